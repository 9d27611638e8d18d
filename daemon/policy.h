// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Policy
 *
 * The owner's numbers, one field for each row of policy.def. A struct policy
 * is always complete and within its ranges: changes go through policy_set().
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy {
#define POLICY_BOOL(field)                          bool field;
#define POLICY_INT(field)                           int64_t field;
#define POLICY_NUM(field)                           double field;
#define POLICY(field, kind, def, min, max, meaning) POLICY_##kind(field)
#include "daemon/policy.def"
#undef POLICY
#undef POLICY_BOOL
#undef POLICY_INT
#undef POLICY_NUM
};

enum policy_kind {
    POLICY_KIND_BOOL,
    POLICY_KIND_INT,
    POLICY_KIND_NUM,
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
double policy_get(const struct policy *p, const struct policy_row *row);
// Unknown names, fractions where an integer is meant and values out of range
// are refused, and then nothing is changed.
int policy_set(struct policy *p, const char *name, double value,
               struct error *err);
// The same for the text of a file: numbers, and yes/no/true/false/on/off.
int policy_set_text(struct policy *p, const char *name, const char *text,
                    struct error *err);
