// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/policy.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
