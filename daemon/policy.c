// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/policy.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/window.h"

const struct policy_row policy_rows[] = {
#define POLICY(field, kind, def, min, max, meaning) \
    {#field,                                        \
     POLICY_KIND_##kind,                            \
     def,                                           \
     min,                                           \
     max,                                           \
     meaning,                                       \
     offsetof(struct policy, field)},
#include "daemon/policy.def"
#undef POLICY
};

const size_t policy_row_count = sizeof(policy_rows) / sizeof(policy_rows[0]);

static void store(struct policy *p, const struct policy_row *row, double value)
{
    char *at = (char *) p + row->offset;

    switch (row->kind) {
    case POLICY_KIND_BOOL:
        *(bool *) at = value != 0;
        return;
    case POLICY_KIND_INT:
        *(int64_t *) at = (int64_t) value;
        return;
    case POLICY_KIND_NUM:
        *(double *) at = value;
        return;
    case POLICY_KIND_TEXT:
        *at = '\0'; // there are no defaults but empty ones
        return;
    }
}

void policy_init(struct policy *p)
{
    for (size_t i = 0; i < policy_row_count; i++)
        store(p, &policy_rows[i], policy_rows[i].fallback);
}

const struct policy_row *policy_find(const char *name)
{
    for (size_t i = 0; i < policy_row_count; i++)
        if (strcmp(policy_rows[i].name, name) == 0)
            return &policy_rows[i];
    return NULL;
}

double policy_get(const struct policy *p, const struct policy_row *row)
{
    const char *at = (const char *) p + row->offset;

    switch (row->kind) {
    case POLICY_KIND_BOOL:
        return *(const bool *) at ? 1 : 0;
    case POLICY_KIND_INT:
        return (double) *(const int64_t *) at;
    case POLICY_KIND_NUM:
        return *(const double *) at;
    case POLICY_KIND_TEXT:
        break;
    }
    return 0;
}

const char *policy_get_text(const struct policy *p,
                            const struct policy_row *row)
{
    return row->kind == POLICY_KIND_TEXT ? (const char *) p + row->offset : "";
}

void policy_copy(struct policy *p, const struct policy *from,
                 const struct policy_row *row)
{
    if (row->kind == POLICY_KIND_TEXT)
        memcpy((char *) p + row->offset, policy_get_text(from, row),
               POLICY_TEXT_BYTES);
    else
        store(p, row, policy_get(from, row));
}

int policy_pack_text(char out[POLICY_TEXT_BYTES], const char *text,
                     size_t bytes)
{
    bool is_string = false;
    size_t n = 0;

    for (size_t i = 0; i < bytes; i++) {
        const char c = text[i];
        is_string ^= c == '"';
        if (!is_string && (c == ' ' || c == '\t' || c == '\r' || c == '\n'))
            continue;
        if (c <= ' ' || c > '~')
            return -EINVAL;
        if (n + 1 == POLICY_TEXT_BYTES)
            return -E2BIG;
        out[n++] = c;
    }
    memset(out + n, 0, POLICY_TEXT_BYTES - n);
    return 0;
}

int policy_set_bytes(struct policy *p, const struct policy_row *row,
                     const char *text, size_t bytes, struct error *err)
{
    char packed[POLICY_TEXT_BYTES];

    if (row->kind != POLICY_KIND_TEXT)
        return error_set(err, -EINVAL, "policy %s must be a number, not a text",
                         row->name);
    int rc = policy_pack_text(packed, text, bytes);
    if (rc == -E2BIG)
        return error_set(err, rc, "policy %s is longer than %d characters",
                         row->name, POLICY_TEXT_BYTES - 1);
    if (rc < 0)
        return error_set(err, rc,
                         "policy %s must be a word or JSON in printable "
                         "ASCII, without blanks in its names",
                         row->name);
    if (!packed[0])
        return error_set(err, -EINVAL,
                         "policy %s is empty: `pockctl policy set %s=` goes "
                         "back to the default",
                         row->name, row->name);
    memcpy((char *) p + row->offset, packed, sizeof(packed));
    return 0;
}

int policy_set(struct policy *p, const char *name, double value,
               struct error *err)
{
    const struct policy_row *row = policy_find(name);

    if (!row)
        return error_set(err, -ENOENT,
                         "the policy has no key %.64s: `pockctl policy get` "
                         "lists them",
                         name);
    if (row->kind == POLICY_KIND_TEXT)
        return error_set(err, -EINVAL, "policy %s must be a text, not a number",
                         name);
    if (!isfinite(value) || value < row->min || value > row->max)
        return error_set(err, -ERANGE, "policy %s is %g, but must be %g to %g",
                         name, value, row->min, row->max);
    if (row->kind != POLICY_KIND_NUM && value != floor(value))
        return error_set(err, -EINVAL,
                         "policy %s is %g, but must be a whole number", name,
                         value);
    store(p, row, value);
    return 0;
}

int policy_set_text(struct policy *p, const char *name, const char *text,
                    struct error *err)
{
    static const struct {
        const char *word;
        double value;
    } words[] = {{"yes", 1}, {"true", 1},  {"on", 1},
                 {"no", 0},  {"false", 0}, {"off", 0}};
    const struct policy_row *row = policy_find(name);
    char *end;

    if (row && row->kind == POLICY_KIND_BOOL)
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            if (strcmp(words[i].word, text) == 0)
                return policy_set(p, name, words[i].value, err);

    if (row && row->kind == POLICY_KIND_TEXT)
        return policy_set_bytes(p, row, text, strlen(text), err);
    double value = strtod(text, &end);
    if (end == text || *end != '\0')
        return error_set(err, -EINVAL, "policy %.64s: %.64s is not a number",
                         name, text);
    return policy_set(p, name, value, err);
}

// What is needed to go on may not be more than what is needed to start: such a
// job would stop as soon as it started.
static const struct {
    const char *start;
    const char *keep;
    bool is_floor; // start >= keep; else start <= keep
} pairs[] = {
    {"level_start_pct", "level_keep_pct", true},
    {"battery_temp_start_c", "battery_temp_keep_c", false},
    {"thermal_start", "thermal_keep", false},
    {"psi_mem_full_start", "psi_mem_full", false},
};

static int check_windows(const struct policy *p, const struct policy_row **a,
                         const struct policy_row **b, struct error *err)
{
    struct windows w;

    if (p->windows[0]) {
        *a = *b = policy_find("windows");
        int rc = windows_parse(&w, p->windows, err);
        return rc < 0 ? error_prefix(err, rc, "policy windows") : 0;
    }
    *a = policy_find("window_start_min");
    *b = policy_find("window_end_min");
    // 1440 is the end of a day, and nothing begins there.
    if (p->window_start_min != p->window_end_min &&
        !(p->window_start_min == WINDOW_DAY_MIN && p->window_end_min == 0))
        return 0;
    return error_set(err, -EINVAL,
                     "policy window_start_min is %lld and window_end_min is "
                     "%lld: the window is empty and nothing would ever train: "
                     "for the whole day say 0 and %d",
                     (long long) p->window_start_min,
                     (long long) p->window_end_min, WINDOW_DAY_MIN);
}

int policy_check(const struct policy *p, const struct policy_row **a,
                 const struct policy_row **b, struct error *err)
{
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        *a = policy_find(pairs[i].start);
        *b = policy_find(pairs[i].keep);
        double start = policy_get(p, *a);
        double keep = policy_get(p, *b);
        if (pairs[i].is_floor ? start >= keep : start <= keep)
            continue;
        return error_set(err, -EINVAL,
                         "policy %s is %g and %s is %g: training would stop "
                         "as soon as it starts: make the first at %s the "
                         "second",
                         pairs[i].start, start, pairs[i].keep, keep,
                         pairs[i].is_floor ? "least" : "most");
    }
    return check_windows(p, a, b, err);
}

int policy_mend(struct policy *p, const struct policy *from, struct error *err)
{
    const struct policy_row *a;
    const struct policy_row *b;
    struct error again = {0};
    int rc = policy_check(p, &a, &b, err);

    // Each round settles one pair, and windows are two.
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]) + 2; i++) {
        if (policy_check(p, &a, &b, &again) == 0)
            break;
        policy_copy(p, from, a);
        policy_copy(p, from, b);
    }
    return rc;
}
