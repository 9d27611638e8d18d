// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Redaction
 *
 * Finds what should not be stored in a text: numbers of cards and accounts,
 * addresses, keys, codes (redact.def). Hand-written scanners that walk over the
 * text once; each looks a bounded way ahead, so that time is linear in the
 * text's length, whatever it is. No promise of completeness: the README has
 * what is found and what is missed.
 */

#include "engine/base/error.h"
#include "engine/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum redact_class {
#define REDACT(class, ...) REDACT_##class,
#include "ipc/redact.def"
#undef REDACT
    REDACT_CLASSES
};

enum redact_mode {
    REDACT_OFF,   // not looked for
    REDACT_MASK,  // "<CARD>" in its place
    REDACT_SHAPE, // digits become 0, letters x or X, marks stay
    REDACT_DROP,  // the record is not stored
    REDACT_MODES
};

struct redact {
    uint8_t modes[REDACT_CLASSES]; // enum redact_mode
};

struct redact_counts {
    uint32_t found[REDACT_CLASSES];
};

// Output has at most so many times the bytes of the input.
enum { REDACT_GROWTH = 3 };

const char *redact_class_name(enum redact_class c);
const char *redact_class_meaning(enum redact_class c);
const char *redact_class_tag(enum redact_class c);
const char *redact_mode_name(enum redact_mode m); // off, mask, shape, drop
// -EINVAL when there is no such mode.
int redact_mode_parse(enum redact_mode *out, const char *name, size_t bytes);
int redact_class_parse(enum redact_class *out, const char *name, size_t bytes);
void redact_init(struct redact *r, enum redact_mode all);

// What was found, from left to right, without overlap, in bytes of the text.
// Other than 0 from fn ends the search and is returned.
typedef int (*redact_fn)(void *user, enum redact_class c, size_t begin,
                         size_t end);
// 0 or -ENOMEM. Bytes that are no UTF-8 are passed over.
int redact_find(const struct redact *r, const char *text, size_t bytes,
                redact_fn fn, void *user);

// The text as it may be stored, appended to `out`, with `counts` (may be NULL)
// added to. 1: something was found and nothing of it is to be dropped; 0:
// nothing was found and `out` is as before; -ECANCELED: the record is to be
// dropped, or cannot be made clean. Doing it again finds nothing more. Text
// that is UTF-8 stays UTF-8.
int redact_text(const struct redact *r, struct str *out,
                struct redact_counts *counts, const char *text, size_t bytes);
