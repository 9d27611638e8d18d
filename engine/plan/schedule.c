// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/schedule.h"

#include <assert.h>
#include <errno.h>

#include "engine/base/arena.h"
#include "engine/plan/liveness.h"

/*
 * Invariants of the greedy walk:
 * 1. `waits[n]` counts the nodes that must still run before n: producers of its
 *    inputs, and readers of versions that it replaces, each once per edge.
 * 2. A node is in `ready` exactly when it waits for none and has not run.
 * 3. `readers[v]` counts reads of v that have not run yet.
 * 4. A node is in `freeing` exactly when it is in `ready` and its growth() is
 *    negative. It cannot grow again: readers become fewer only.
 */
struct walk {
    const struct graph *g;
    uint32_t *waits;   // by node
    uint32_t *readers; // by value
    node_id *updater;  // by value: the node that replaces it
    uint64_t *ready;   // a bit for each node
    uint64_t *freeing;
    uint32_t n_words;
    // Who reads a value: edges[first[v] .. first[v + 1])
    node_id *edges;
    uint32_t *first;
};

static int walk_alloc(struct walk *w, struct arena *a)
{
    const struct graph *g = w->g;

    w->waits = arena_calloc(a, g->n_nodes + 1u, sizeof(*w->waits));
    w->n_words = g->n_nodes / 64u + 1;
    w->ready = arena_calloc(a, w->n_words, sizeof(*w->ready));
    w->freeing = arena_calloc(a, w->n_words, sizeof(*w->freeing));
    w->readers = arena_calloc(a, g->n_values + 1u, sizeof(*w->readers));
    w->updater = arena_calloc(a, g->n_values + 1u, sizeof(*w->updater));
    w->first = arena_calloc(a, g->n_values + 2u, sizeof(*w->first));
    return w->waits && w->ready && w->freeing && w->readers && w->updater &&
                   w->first
               ? 0
               : -ENOMEM;
}

static int find_readers(struct walk *w, struct arena *a)
{
    const struct graph *g = w->g;

    for (node_id i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in && !g->nodes[i].is_dead; k++)
            w->readers[g->nodes[i].in[k]]++;
    for (value_id v = 0; v < g->n_values; v++)
        w->first[v + 1] = w->first[v] + w->readers[v];

    w->edges = arena_calloc(a, w->first[g->n_values] + 1u, sizeof(*w->edges));
    uint32_t *at = arena_calloc(a, g->n_values + 1u, sizeof(*at));
    if (!w->edges || !at)
        return -ENOMEM;
    for (node_id i = 0; i < g->n_nodes; i++) {
        for (int k = 0; k < g->nodes[i].n_in && !g->nodes[i].is_dead; k++) {
            const value_id v = g->nodes[i].in[k];
            w->edges[w->first[v] + at[v]++] = i;
        }
    }
    return 0;
}

static void find_updaters(struct walk *w)
{
    const struct graph *g = w->g;

    for (value_id v = 0; v < g->n_values; v++)
        w->updater[v] = NODE_NONE;
    for (node_id i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_out && !n->is_dead; k++) {
            const int in = op_updates((enum op) n->op, k);
            if (in >= 0)
                w->updater[n->in[in]] = i;
        }
    }
}

static bool is_in_arena(const struct graph *g, value_id v)
{
    return g->values[graph_storage(g, v)].kind == VALUE_TEMP;
}

// Bytes of the arena that stay taken after the node, less those before it.
static int64_t growth(const struct walk *w, const struct node *n)
{
    const struct graph *g = w->g;
    int64_t bytes = 0;

    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] != VALUE_NONE && is_in_arena(g, n->out[i]))
            bytes += (int64_t) value_bytes(&g->values[n->out[i]]);
    for (int i = 0; i < n->n_in; i++) {
        const value_id v = n->in[i];
        uint32_t mine = 0;
        bool is_repeat = false;
        for (int k = 0; k < n->n_in; k++) {
            mine += n->in[k] == v;
            is_repeat |= k < i && n->in[k] == v;
        }
        if (!is_repeat && w->readers[v] == mine && is_in_arena(g, v) &&
            !g->values[v].is_output)
            bytes -= (int64_t) value_bytes(&g->values[v]);
    }
    return bytes;
}

static bool has(const uint64_t *set, node_id id)
{
    return set[id / 64] >> (id % 64) & 1;
}

static void add(uint64_t *set, node_id id)
{
    set[id / 64] |= UINT64_C(1) << (id % 64);
}

static void take(uint64_t *set, node_id id)
{
    set[id / 64] &= ~(UINT64_C(1) << (id % 64));
}

static void find_freeing(struct walk *w, node_id id)
{
    if (has(w->ready, id) && !has(w->freeing, id) &&
        growth(w, &w->g->nodes[id]) < 0)
        add(w->freeing, id);
}

static void make_ready(struct walk *w, node_id id)
{
    add(w->ready, id);
    find_freeing(w, id);
}

static void count_waits(struct walk *w)
{
    const struct graph *g = w->g;

    for (value_id v = 0; v < g->n_values; v++) {
        for (uint32_t e = w->first[v]; e < w->first[v + 1]; e++) {
            const node_id reader = w->edges[e];
            if (g->values[v].producer != NODE_NONE)
                w->waits[reader]++;
            if (w->updater[v] != NODE_NONE && w->updater[v] != reader)
                w->waits[w->updater[v]]++;
        }
    }
    for (node_id i = 0; i < g->n_nodes; i++)
        if (!g->nodes[i].is_dead && w->waits[i] == 0)
            make_ready(w, i);
}

static int walk_init(struct walk *w, const struct graph *g, struct arena *a)
{
    int rc;
    w->g = g;
    if ((rc = walk_alloc(w, a)) < 0 || (rc = find_readers(w, a)) < 0)
        return rc;
    find_updaters(w);
    count_waits(w);
    return 0;
}

static node_id first_of(const struct walk *w, const uint64_t *set)
{
    for (uint32_t i = 0; i < w->n_words; i++)
        if (set[i])
            return i * 64 + (node_id) __builtin_ctzll(set[i]);
    return NODE_NONE;
}

// What frees memory first, then what the graph's order has first.
static node_id choose(const struct walk *w)
{
    const node_id id = first_of(w, w->freeing);

    return id != NODE_NONE ? id : first_of(w, w->ready);
}

static void release(struct walk *w, node_id id)
{
    if (--w->waits[id] == 0)
        make_ready(w, id);
}

static void run(struct walk *w, node_id id)
{
    const struct node *n = &w->g->nodes[id];

    take(w->ready, id);
    take(w->freeing, id);
    for (int i = 0; i < n->n_in; i++)
        w->readers[n->in[i]]--;
    for (int i = 0; i < n->n_in; i++) {
        const value_id v = n->in[i];
        const node_id updater = w->updater[v];
        if (updater != NODE_NONE && updater != id)
            release(w, updater);
        // Only when all that are left may be of one node does anything change.
        for (uint32_t e = w->first[v];
             e < w->first[v + 1] && w->readers[v] <= OP_INPUTS_MAX; e++)
            find_freeing(w, w->edges[e]);
    }
    for (int i = 0; i < n->n_out; i++) {
        const value_id v = n->out[i];
        if (v == VALUE_NONE)
            continue;
        for (uint32_t e = w->first[v]; e < w->first[v + 1]; e++)
            release(w, w->edges[e]);
    }
}

static int order_greedily(struct schedule *s, struct arena *a)
{
    struct walk w = {0};
    int rc = walk_init(&w, s->graph, a);
    if (rc < 0)
        return rc;
    for (node_id id; (id = choose(&w)) != NODE_NONE;) {
        s->order[s->n++] = id;
        run(&w, id);
    }
    return 0;
}

int schedule_create_kind(struct schedule **out, const struct graph *g,
                         enum schedule_kind kind, struct arena *a)
{
    struct schedule *s = arena_calloc(a, 1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->graph = g;
    s->order = arena_calloc(a, g->n_nodes + 1u, sizeof(*s->order));
    if (!s->order)
        return -ENOMEM;

    if (kind == SCHEDULE_GREEDY) {
        int rc = order_greedily(s, a);
        if (rc < 0)
            return rc;
    } else {
        for (node_id i = 0; i < g->n_nodes; i++)
            if (!g->nodes[i].is_dead)
                s->order[s->n++] = i;
    }
    *out = s;
    return 0;
}

static int find_peak(size_t *peak, const struct schedule *s,
                     const size_t *scratch, struct arena *a)
{
    struct liveness_params params = {0};
    struct liveness *l;
    int rc;

    if (scratch) {
        size_t *by_step = arena_calloc(a, s->n + 1u, sizeof(*by_step));
        if (!by_step)
            return -ENOMEM;
        for (uint32_t i = 0; i < s->n; i++)
            by_step[i] = scratch[s->order[i]];
        params.scratch = by_step;
    }
    if ((rc = liveness_find(&l, s, &params, a)) < 0)
        return rc;
    *peak = l->peak;
    return 0;
}

bool schedule_is_update(const struct node *n)
{
    return n->op == OP_adamw || n->op == OP_zero;
}

// Both parts keep their order: an update moves away from what must come before
// it, never towards it.
static int defer(struct schedule *s, struct arena *a)
{
    uint32_t n = 0;
    node_id *order = arena_calloc(a, s->n + 1u, sizeof(*order));

    if (!order)
        return -ENOMEM;
    for (int is_update = 0; is_update <= 1; is_update++)
        for (uint32_t i = 0; i < s->n; i++)
            if (schedule_is_update(&s->graph->nodes[s->order[i]]) == is_update)
                order[n++] = s->order[i];
    s->order = order;
    return 0;
}

int schedule_create_for(struct schedule **out, size_t *peak,
                        const struct graph *g,
                        const struct schedule_params *params, struct arena *a)
{
    struct schedule *best = NULL;
    size_t best_peak = 0;

    for (int kind = SCHEDULE_GIVEN; kind <= SCHEDULE_GREEDY; kind++) {
        struct schedule *s;
        size_t mine;
        int rc;
        if ((rc = schedule_create_kind(&s, g, (enum schedule_kind) kind, a)) <
                0 ||
            (params->is_deferred && (rc = defer(s, a)) < 0) ||
            (rc = find_peak(&mine, s, params->scratch, a)) < 0)
            return rc;
        assert(schedule_check(s));
        if (!best || mine < best_peak) {
            best = s;
            best_peak = mine;
        }
    }
    if (peak)
        *peak = best_peak;
    *out = best;
    return 0;
}

int schedule_create(struct schedule **out, const struct graph *g,
                    struct arena *a)
{
    const struct schedule_params params = {0};
    return schedule_create_for(out, NULL, g, &params, a);
}

bool schedule_check(const struct schedule *s)
{
    const struct graph *g = s->graph;
    uint32_t alive = 0;

    uint32_t *step = arena_calloc(g->arena, g->n_nodes + 1u, sizeof(*step));
    uint32_t *replaced =
        arena_calloc(g->arena, g->n_values + 1u, sizeof(*replaced));
    if (!step || !replaced)
        return true; // cannot tell
    for (uint32_t i = 0; i < s->n; i++)
        step[s->order[i]] = i + 1;
    for (node_id i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        alive += !n->is_dead;
        if (n->is_dead != (step[i] == 0))
            return false;
        for (int k = 0; k < n->n_out && !n->is_dead; k++) {
            const int in = op_updates((enum op) n->op, k);
            if (in >= 0)
                replaced[n->in[in]] = step[i];
        }
    }
    for (uint32_t i = 0; i < s->n; i++) {
        const struct node *n = &g->nodes[s->order[i]];
        for (int k = 0; k < n->n_in; k++) {
            const value_id v = n->in[k];
            const node_id p = g->values[v].producer;
            if (p != NODE_NONE && (step[p] == 0 || step[p] >= i + 1))
                return false;
            if (replaced[v] && replaced[v] < i + 1)
                return false;
        }
    }
    return alive == s->n;
}
