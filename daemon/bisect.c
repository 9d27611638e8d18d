// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/bisect.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *) a;
    const int64_t y = *(const int64_t *) b;

    return (x > y) - (x < y);
}

static void halve(struct bisect *b)
{
    b->tried = (b->count + 1) / 2;
}

void bisect_begin(struct bisect *b, const int64_t *ids, size_t n)
{
    bisect_end(b);
    if (n == 0 || n > BISECT_MAX)
        return;
    memcpy(b->ids, ids, n * sizeof(*ids));
    qsort(b->ids, n, sizeof(*ids), compare);
    for (size_t i = 0; i < n; i++)
        if (b->count == 0 || b->ids[b->count - 1] != b->ids[i])
            b->ids[b->count++] = b->ids[i];
    halve(b);
}

void bisect_end(struct bisect *b)
{
    b->count = b->tried = b->deaths = 0;
}

enum bisect_step bisect_died(struct bisect *b)
{
    assert(b->count > 0);
    if (b->count == 1)
        return ++b->deaths >= BISECT_SURE ? BISECT_FOUND : BISECT_GOES_ON;
    b->count = b->tried;
    b->deaths = b->count == 1;
    halve(b);
    return BISECT_GOES_ON;
}

enum bisect_step bisect_survived(struct bisect *b)
{
    assert(b->count > 0);
    if (b->count == 1) {
        bisect_end(b);
        return BISECT_NOTHING;
    }
    b->count -= b->tried;
    memmove(b->ids, b->ids + b->tried, (size_t) b->count * sizeof(b->ids[0]));
    b->deaths = 0;
    halve(b);
    return BISECT_GOES_ON;
}

void bisect_print(char *out, size_t size, const struct bisect *b)
{
    size_t at = 0;

    out[0] = '\0';
    if (b->count == 0)
        return;
    at = (size_t) snprintf(out, size, "%d %d", b->tried, b->deaths);
    for (int i = 0; i < b->count && at < size; i++)
        at += (size_t) snprintf(out + at, size - at, " %lld",
                                (long long) b->ids[i]);
    if (at >= size)
        out[0] = '\0';
}

static bool next_number(const char **at, int64_t *out)
{
    char *end;

    errno = 0;
    long long n = strtoll(*at, &end, 10);
    if (end == *at || errno || n < 0 || (*end != ' ' && *end != '\0'))
        return false;
    *at = end + (*end == ' ');
    *out = n;
    return true;
}

bool bisect_parse(struct bisect *b, const char *text)
{
    int64_t tried;
    int64_t deaths;
    int64_t id;

    bisect_end(b);
    if (!next_number(&text, &tried) || !next_number(&text, &deaths))
        return false;
    while (*text) {
        if (b->count == BISECT_MAX || !next_number(&text, &id) ||
            (b->count > 0 && b->ids[b->count - 1] >= id)) {
            bisect_end(b);
            return false;
        }
        b->ids[b->count++] = id;
    }
    if (tried != (b->count + 1) / 2 || deaths >= BISECT_SURE ||
        (deaths > 0 && b->count != 1)) {
        bisect_end(b);
        return false;
    }
    b->tried = (int) tried;
    b->deaths = (int) deaths;
    return b->count > 0;
}
