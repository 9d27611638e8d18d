// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Texts as redaction sees them
 *
 * One byte for each character: other scripts' digits, wide letters, blanks and
 * dashes become ASCII, what is not seen on a screen is left out. A text that
 * is ASCII is not copied.
 */

#include "ipc/redact_scan.h"

struct redact_fold {
    const unsigned char *f; // (n)
    const uint32_t *at;     // (n + 1); NULL: the text is ASCII
    size_t n;
    void *own;
};

int redact_fold_init(struct redact_fold *out, const char *text, size_t bytes);
void redact_fold_finish(struct redact_fold *f);

// Digits become 0, letters x or X, in ASCII; marks stay.
void redact_shape(struct str *out, const char *text, size_t bytes);
