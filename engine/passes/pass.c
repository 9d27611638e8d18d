// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/passes/pass.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/ir/irprint.h"
#include "engine/ir/verify.h"

static const struct {
    const char *name;
    int (*run)(struct graph *g);
} passes[PASS_COUNT] = {
#define PASS(name) {#name, pass_##name},
#include "engine/passes/passes.def"
#undef PASS
};

static void dump(const struct graph *g, const char *name)
{
    const char *which = getenv("POCK_DUMP");
    if (!which || (strcmp(which, "all") != 0 && strcmp(which, name) != 0))
        return;
    (void) fprintf(stderr, "# after %s\n", name);
    irprint_dump(stderr, g);
}

static int check(const struct graph *g, const char *after, struct error *err)
{
    int rc = verify_graph(g, NULL, err);
    return rc < 0 ? error_prefix(err, rc, "after %s", after) : 0;
}

static int run(struct graph *g, int i, struct pass_stats *stats,
               struct error *err)
{
    if (stats)
        pass_count_ops(stats->before, g);
    const uint64_t start = clock_monotonic_ns();
    const int rc = passes[i].run(g);

    if (rc < 0)
        return rc;
    if (stats) {
        stats->ns = clock_monotonic_ns() - start;
        stats->name = passes[i].name;
        stats->changes = (uint32_t) rc;
        stats->n_nodes = pass_count_nodes(g);
        pass_count_ops(stats->after, g);
    }
    dump(g, passes[i].name);
    const int fault = check(g, passes[i].name, err);
    return fault < 0 ? fault : rc;
}

int passes_run(struct graph *g, uint32_t off,
               struct pass_stats stats[PASS_COUNT], struct error *err)
{
    int rc = check(g, "building", err);
    dump(g, "build");
    for (int i = 0; i < PASS_COUNT && rc >= 0; i++)
        if (!(off & 1u << i))
            rc = run(g, i, stats ? &stats[i] : NULL, err);
    return rc < 0 ? rc : 0;
}

const char *pass_name(enum pass pass)
{
    return passes[pass].name;
}

int pass_run_named(struct graph *g, const char *name, struct error *err)
{
    for (int i = 0; i < PASS_COUNT; i++)
        if (strcmp(passes[i].name, name) == 0)
            return run(g, i, NULL, err);
    return error_set(err, -ENOENT, "there is no pass %s", name);
}

uint32_t pass_count_nodes(const struct graph *g)
{
    uint32_t n = 0;
    for (node_id i = 0; i < g->n_nodes; i++)
        n += !g->nodes[i].is_dead;
    return n;
}

void pass_count_ops(uint32_t counts[OP_COUNT], const struct graph *g)
{
    memset(counts, 0, OP_COUNT * sizeof(*counts));
    for (node_id i = 0; i < g->n_nodes; i++)
        if (!g->nodes[i].is_dead)
            counts[g->nodes[i].op]++;
}

uint32_t *pass_count_uses(const struct graph *g)
{
    uint32_t *uses = arena_calloc(g->arena, g->n_values, sizeof(*uses));
    if (!uses)
        return NULL;
    for (node_id i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_in && !n->is_dead; k++)
            uses[n->in[k]]++;
    }
    for (value_id i = 0; i < g->n_values; i++)
        uses[i] += g->values[i].is_output;
    return uses;
}

bool pass_replace(struct graph *g, value_id from, value_id to)
{
    struct value *f = &g->values[from];
    struct value *t = &g->values[to];

    if (f->is_output && t->name)
        return false;
    if (f->is_output) {
        t->is_output = true;
        t->name = f->name;
        f->is_output = false;
        f->name = NULL;
    }
    for (node_id i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] == from)
                g->nodes[i].in[k] = to;
    return true;
}

struct node *pass_private_matmul(const struct graph *g, value_id v,
                                 const uint32_t *uses)
{
    const node_id p = g->values[v].producer;

    if (p == NODE_NONE || g->nodes[p].op != OP_matmul || uses[v] != 1 ||
        g->values[v].is_output)
        return NULL;
    return &g->nodes[p];
}

static bool reads(const struct node *n, value_id v)
{
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] == v)
            return true;
    return false;
}

bool pass_is_updated_between(const struct graph *g, node_id from, node_id to)
{
    for (node_id i = from + 1; i < to; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_out && !n->is_dead; k++) {
            const int in = op_updates((enum op) n->op, k);
            if (in >= 0 && reads(&g->nodes[from], n->in[in]))
                return true;
        }
    }
    return false;
}
