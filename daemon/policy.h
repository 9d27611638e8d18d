// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Policy
 *
 * The owner's settings, one field for each row of policy.def. A struct policy
 * is always complete and within its ranges: changes go through policy_set() and
 * its like.
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { POLICY_TEXT_BYTES = 4096 }; // of a text, with its NUL

struct policy {
#define POLICY_BOOL(field)                          bool field;
#define POLICY_INT(field)                           int64_t field;
#define POLICY_NUM(field)                           double field;
#define POLICY_TEXT(field)                          char field[POLICY_TEXT_BYTES];
#define POLICY(field, kind, def, min, max, meaning) POLICY_##kind(field)
#include "daemon/policy.def"
#undef POLICY
#undef POLICY_BOOL
#undef POLICY_INT
#undef POLICY_NUM
#undef POLICY_TEXT
};

enum policy_kind {
    POLICY_KIND_BOOL,
    POLICY_KIND_INT,
    POLICY_KIND_NUM,
    POLICY_KIND_TEXT, // a preset, a name or JSON: ASCII, without idle blanks
};

struct policy_row {
    const char *name;
    enum policy_kind kind;
    double fallback;
    double min;
    double max;
    const char *meaning;
    size_t offset; // of the field in struct policy
};

extern const struct policy_row policy_rows[];
extern const size_t policy_row_count;

void policy_init(struct policy *p);
// NULL when there is no such key.
const struct policy_row *policy_find(const char *name);
// 0 for texts.
double policy_get(const struct policy *p, const struct policy_row *row);
// "" for what is no text.
const char *policy_get_text(const struct policy *p,
                            const struct policy_row *row);
// As it is in `from`.
void policy_copy(struct policy *p, const struct policy *from,
                 const struct policy_row *row);
// Unknown names, fractions where an integer is meant and values out of range
// are refused, and then nothing is changed.
int policy_set(struct policy *p, const char *name, double value,
               struct error *err);
// The same for a text, which may be cut out of a frame.
int policy_set_bytes(struct policy *p, const struct policy_row *row,
                     const char *text, size_t bytes, struct error *err);
// The same for the words of a file: numbers, yes/no/true/false/on/off, texts.
int policy_set_text(struct policy *p, const char *name, const char *text,
                    struct error *err);
// A preset or JSON as one word: blanks outside of JSON's strings are left out,
// none of them means anything. -EINVAL: other than printable ASCII, or a blank
// in a string. -E2BIG: it does not fit. `out` is changed in any case.
int policy_pack_text(char out[POLICY_TEXT_BYTES], const char *text,
                     size_t bytes);
// Two values that contradict each other, such as a level to start that is below
// the one to go on: -EINVAL, a sentence, and their rows (b may be a).
int policy_check(const struct policy *p, const struct policy_row **a,
                 const struct policy_row **b, struct error *err);
// What contradicts itself takes the values of `from`, which do not.
int policy_mend(struct policy *p, const struct policy *from, struct error *err);
