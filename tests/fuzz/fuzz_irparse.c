// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Text to graph. What parses and verifies must print and parse again; every
 * pass must leave it valid; and its schedule and memory plan must hold.
 */

#include "engine/ir/irparse.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/ir/irprint.h"
#include "engine/ir/verify.h"
#include "engine/passes/pass.h"
#include "engine/plan/memplan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct graph *g, struct arena *a)
{
    struct str first = {0};
    struct str second = {0};
    struct graph *again;

    irprint_graph(&first, g);
    if (str_finish(&first) == 0) {
        if (irparse_graph(&again, first.data, first.bytes, a, NULL) < 0)
            abort();
        // Numbers may differ the first time: unused outputs have none.
        irprint_graph(&second, again);
        if (str_finish(&second) < 0 || verify_graph(again, NULL, NULL) < 0)
            abort();
    }
    str_free(&first);
    str_free(&second);
}

static void plan(const struct graph *g, struct arena *a)
{
    const struct liveness_params params = {0};
    struct schedule *s;
    struct liveness *l;
    struct memplan *p;

    if (schedule_create(&s, g, a) < 0 || liveness_find(&l, s, &params, a) < 0 ||
        memplan_assign(&p, l, a) < 0)
        return; // out of memory
    if (!schedule_check(s) || !memplan_check(p))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a;
    struct graph *g;
    struct error err = {0};

    if (arena_create(&a, 64u << 20) < 0)
        return 0;
    if (irparse_graph(&g, (const char *) data, size, a, &err) == 0 &&
        verify_graph(g, NULL, &err) == 0) {
        round_trip(g, a);
        if (passes_run(g, 0, NULL, &err) < 0 || verify_graph(g, NULL, &err) < 0)
            abort();
        plan(g, a);
    }
    arena_destroy(a);
    return 0;
}
