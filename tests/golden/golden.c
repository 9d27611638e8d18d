// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Goldens of passes: golden FILE.ir...
 *
 * A file says which passes run on which graph, and what must come out:
 *
 *     # remarks
 *     passes canon dce
 *     --- before
 *     input @x f32[4,8]
 *     ...
 *     --- after
 *     ...
 *
 * With --print the graph that comes out is printed instead of compared.
 */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/ir/irparse.h"
#include "engine/ir/irprint.h"
#include "engine/ir/verify.h"
#include "engine/passes/pass.h"

static char *read_file(const char *path)
{
    static char text[1 << 20];
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    const size_t n = fread(text, 1, sizeof(text) - 1, f);
    (void) fclose(f);
    text[n] = '\0';
    return text;
}

// The text behind a marker line, NULL when there is none.
static char *section(char *text, const char *marker)
{
    char *at = strstr(text, marker);
    return at ? at + strlen(marker) : NULL;
}

// Runs each pass that the line "passes a b c" names.
static int run_passes(struct graph *g, const char *line, struct error *err)
{
    char name[32];
    int used;

    while (sscanf(line, " %31[a-z_]%n", name, &used) == 1) {
        int rc = pass_run_named(g, name, err);
        if (rc < 0)
            return rc;
        line += used;
        if (*line != ' ')
            break;
    }
    return verify_graph(g, NULL, err);
}

static int transform(struct str *got, const char *before, size_t bytes,
                     const char *passes, struct error *err)
{
    struct arena *a = NULL;
    struct graph *g;
    int rc;

    if ((rc = arena_create(&a, 64u << 20)) < 0 ||
        (rc = irparse_graph(&g, before, bytes, a, err)) < 0 ||
        (rc = verify_graph(g, NULL, err)) < 0 ||
        (rc = run_passes(g, passes, err)) < 0)
        goto out;
    irprint_graph(got, g);
    rc = str_finish(got);

out:
    arena_destroy(a);
    return rc;
}

static bool check_file(const char *path, bool is_print)
{
    struct str got = {0};
    struct error err = {0};
    bool ok = false;

    char *text = read_file(path);
    char *passes = text ? section(text, "\npasses") : NULL;
    char *before = text ? section(text, "\n--- before\n") : NULL;
    char *after = text ? section(text, "\n--- after\n") : NULL;
    if (!passes || !before || !after) {
        (void) printf("# %s: needs passes, before and after\n", path);
        return false;
    }
    const size_t bytes = (size_t) (strstr(before, "--- after\n") - before);
    if (transform(&got, before, bytes, passes, &err) < 0)
        (void) printf("# %s: %s\n", path, err.text);
    else if (is_print)
        ok = fputs(got.data, stdout) >= 0;
    else
        ok = strcmp(got.data, after) == 0;
    if (!ok && got.data)
        (void) printf("# %s gives:\n%s", path, got.data);
    str_free(&got);
    return ok;
}

// Is there a file NAME.ir for each pass?
static bool every_pass_has_a_golden(int argc, char **argv)
{
    static const char *const names[PASS_COUNT] = {
#define PASS(name) "/" #name ".ir",
#include "engine/passes/passes.def"
#undef PASS
    };
    bool all = true;
    for (int i = 0; i < PASS_COUNT; i++) {
        bool found = false;
        for (int k = 1; k < argc && !found; k++) {
            const char *at = strrchr(argv[k], '/');
            found = at && strcmp(at, names[i]) == 0;
        }
        if (!found)
            (void) printf("# there is no golden %s\n", names[i] + 1);
        all &= found;
    }
    return all;
}

int main(int argc, char **argv)
{
    const bool is_print = argc > 1 && strcmp(argv[1], "--print") == 0;
    int bad = 0;

    if (!is_print)
        (void) printf("1..%d\n", argc);
    for (int i = 1 + is_print; i < argc; i++) {
        const bool ok = check_file(argv[i], is_print);
        if (!is_print)
            (void) printf("%s %d - %s\n", ok ? "ok" : "not ok", i, argv[i]);
        bad |= !ok;
    }
    if (!is_print) {
        const bool ok = every_pass_has_a_golden(argc, argv);
        (void) printf("%s %d - every pass has a golden\n", ok ? "ok" : "not ok",
                      argc);
        bad |= !ok;
    }
    return bad;
}
