// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_tool_inside.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/train/adapter.h"
#include "engine/train/journal.h"
#include "engine/train/recipe.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { LINES_BYTES_MAX = 64 << 20 };

// One object of what the run began with, then one a step.
static void print_head(struct str *out, const struct journal *j,
                       const struct recipe *r)
{
    char recipe[RECIPE_TEXT_BYTES] = "", hex[HASH_HEX];

    if (recipe_print(recipe, sizeof(recipe), r) < 0)
        recipe[0] = '\0';
    str_printf(out,
               "{\"steps\":%llu,\"best\":%llu,\"queries\":%u,\"seed\":%llu",
               (unsigned long long) j->steps,
               (unsigned long long) j->steps_best, j->queries,
               (unsigned long long) r->seed);
    hash_to_hex(hex, j->base);
    str_printf(out, ",\"base\":\"%s\"", hex);
    hash_to_hex(hex, j->start);
    str_printf(out, ",\"start\":\"%s\"", hex);
    hash_to_hex(hex, j->values);
    str_printf(out, ",\"values\":\"%s\",\"recipe\":", hex);
    str_json(out, recipe, strlen(recipe));
    str_puts(out, "}\n");
}

static void print_step(struct str *out, const struct journal *j, uint64_t i)
{
    const struct journal_step s = journal_step(j, i);

    str_printf(out, "{\"step\":%llu,\"rate\":%.9g,\"eps\":%.9g,\"g\":[",
               (unsigned long long) i + 1, (double) s.rate, (double) s.eps);
    for (uint32_t q = 0; q < j->queries; q++)
        str_printf(out, "%s%.9g", q ? "," : "", (double) s.g[q]);
    str_puts(out, "]}\n");
}

static int write_all(int fd, const char *data, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        bytes -= (size_t) n;
    }
    return 0;
}

int tool_write_journal(const struct adapter *a, int fd, struct error *err)
{
    struct str out = {.limit = LINES_BYTES_MAX};
    struct journal j;
    struct recipe r;
    int rc;

    if (!a->journal)
        return error_set(err, -ENOTSUP,
                         "this version has no journal: only what was learned "
                         "without gradients has one");
    if ((rc = journal_parse(&j, &r, a->journal, err)) < 0)
        return rc;
    print_head(&out, &j, &r);
    for (uint64_t i = 0; i < j.steps; i++)
        print_step(&out, &j, i);
    journal_finish(&j);
    rc = str_finish(&out);
    if (rc == 0)
        rc = write_all(fd, out.data, out.bytes);
    str_free(&out);
    return rc < 0 ? error_set(err, rc, "no room for the journal") : 0;
}
