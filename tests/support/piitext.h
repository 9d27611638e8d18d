// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Sentences with something to redact in them, and sentences that only look so
 *
 * Made of a seed: numbers with their check digits, tokens in the forms that
 * their issuers publish, in sentences of several languages. Written apart from
 * the scanner's tables. A part of the variants is known to be hard.
 */

#include "engine/base/rng.h"
#include "ipc/redact.h"

struct piitext {
    char text[1024];
    size_t bytes;
    size_t begin, end; // of what is to be found; equal: nothing is
    const char *variant;
    bool is_hard; // without what the scanner goes by
};

// `class` REDACT_CLASSES: a sentence in which nothing is to be found.
void piitext_make(struct piitext *out, struct rng *r, enum redact_class class);
