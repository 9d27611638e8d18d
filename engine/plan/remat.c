// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/remat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/passes/pass.h"
#include "engine/plan/flops.h"
#include "engine/plan/liveness.h"
#include "engine/plan/schedule.h"

/*
 * Nodes are grouped into segments, the blocks of a model. What one segment
 * hands to the next is kept, so that each can be made again alone, from its
 * input. Within a segment the nodes that gradients read are dropped one after
 * the other, each time the one that saves the most bytes for what it adds to
 * the work: what is shared between two of them is paid for once. The steps of
 * all segments, best first, make one list; the budget decides how far down it
 * goes, and is found by halving: each probe plans the rewritten graph.
 *
 * Invariants:
 * 1. A step of a segment comes after the earlier steps of that segment.
 * 2. Steps are ordered by numbers that come from shapes alone.
 */

static const size_t PROBE_BYTES_MAX = (size_t) 1 << 30;

// Gradients, and what is never made again.
#define SEGMENT_NONE UINT32_MAX

enum {
    SEGMENT_TAIL = 1 << 17, // behind the blocks
    TRIES_MAX = 4,          // segments that are kept after all
};

struct step {
    node_id node;
    uint32_t segment;
    uint32_t rank; // within its segment
    double worth;  // bytes for a unit of work, no more than any before it
};

struct choose {
    struct graph *g;
    const struct remat_params *params;
    struct remat_choice *result;
    uint32_t *segment;  // by node
    size_t *kept_bytes; // by node: of its outputs that gradients read
    bool *is_fixed;     // by node: read by the next segment, or not repeatable
    uint64_t *flops;    // by node
    bool *is_dropped;   // by node
    uint32_t *seen;     // by node: the closure that it was last part of
    uint32_t closure;
    node_id *stack;
    struct step *steps;
    uint32_t n_steps;
    struct step *part; // room for those of one segment
};

/*
 * Segments
 */

// The block of a weight's name, or the tail.
static uint32_t segment_of(const struct graph *g, const struct node *n,
                           uint32_t current)
{
    unsigned block;

    for (int i = 0; i < n->n_in; i++) {
        const struct value *v = &g->values[n->in[i]];
        if (v->kind != VALUE_WEIGHT)
            continue;
        if (sscanf(v->name, "blk.%5u.", &block) == 1)
            return block + 1;
        return current ? SEGMENT_TAIL : 0;
    }
    return current;
}

static bool is_source(const struct graph *g, const struct node *n)
{
    for (int i = 0; i < n->n_in; i++)
        if (g->values[n->in[i]].kind != VALUE_WEIGHT &&
            g->values[n->in[i]].kind != VALUE_INPUT)
            return false;
    return true;
}

static bool can_repeat(const struct node *n)
{
    for (int i = 0; i < n->n_out; i++)
        if (op_updates((enum op) n->op, i) >= 0)
            return false;
    return n->op != OP_xent;
}

static void find_segments(struct choose *c)
{
    const struct graph *g = c->g;
    uint32_t current = 0;

    for (node_id i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        c->segment[i] = SEGMENT_NONE;
        if (n->is_dead || n->is_backward)
            continue;
        current = segment_of(g, n, current);
        c->segment[i] = current;
        c->flops[i] = flops_node(g, n);
    }
}

// Bytes that gradients keep of each node; none of what the next segment reads,
// unless it can be had from the inputs of the program.
static int find_kept(struct choose *c)
{
    const struct graph *g = c->g;
    bool *counted = arena_calloc(g->arena, g->n_values + 1u, sizeof(*counted));

    if (!counted)
        return -ENOMEM;
    for (node_id i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_in && !n->is_dead && n->is_backward; k++) {
            const value_id v = n->in[k];
            const node_id p = g->values[v].producer;
            if (p == NODE_NONE || c->segment[p] == SEGMENT_NONE || counted[v])
                continue;
            counted[v] = true;
            c->kept_bytes[p] += value_bytes(&g->values[v]);
        }
    }
    for (node_id i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_in && c->segment[i] != SEGMENT_NONE; k++) {
            const node_id p = g->values[n->in[k]].producer;
            if (p != NODE_NONE && c->segment[p] != c->segment[i] &&
                !is_source(g, &g->nodes[p]))
                c->is_fixed[p] = true;
        }
        if (c->segment[i] != SEGMENT_NONE && !can_repeat(n))
            c->is_fixed[i] = true;
    }
    return 0;
}

/*
 * Steps
 */

// Adds the work to make `node` again to *work, but what this closure has
// already.
static void add_closure(struct choose *c, node_id node, uint64_t *work)
{
    const struct graph *g = c->g;
    uint32_t depth = 0;

    if (c->seen[node] == c->closure)
        return;
    c->seen[node] = c->closure;
    c->stack[depth++] = node;
    while (depth > 0) {
        const node_id id = c->stack[--depth];
        const struct node *n = &g->nodes[id];
        *work += c->flops[id];
        for (int i = 0; i < n->n_in; i++) {
            const node_id p = g->values[n->in[i]].producer;
            if (p == NODE_NONE || c->seen[p] == c->closure)
                continue;
            if (!c->is_dropped[p] && (c->kept_bytes[p] > 0 || c->is_fixed[p]))
                continue;
            if (c->segment[p] != c->segment[node] && !c->is_dropped[p])
                continue;
            c->seen[p] = c->closure;
            c->stack[depth++] = p;
        }
    }
}

static uint64_t work_of(struct choose *c, const struct step *steps, uint32_t n)
{
    uint64_t work = 0;

    c->closure++;
    for (uint32_t i = 0; i < n; i++)
        add_closure(c, steps[i].node, &work);
    return work;
}

// Takes the best of steps[done..n) to place `done`. False when none is left.
static bool take_best(struct choose *c, uint32_t done, uint32_t n,
                      uint64_t *work)
{
    struct step *s = c->part;
    uint32_t best = n;
    uint64_t best_work = 0;
    double best_worth = 0;

    for (uint32_t i = done; i < n; i++) {
        const struct step first = s[done];
        s[done] = s[i];
        c->is_dropped[s[done].node] = true;
        const uint64_t sum = work_of(c, s, done + 1);
        c->is_dropped[s[done].node] = false;
        const double bytes = (double) c->kept_bytes[s[done].node];
        s[done] = first;
        const double worth = bytes / (double) (sum > *work ? sum - *work : 1);
        if (worth > best_worth) {
            best = i;
            best_work = sum;
            best_worth = worth;
        }
    }
    if (best == n)
        return false;
    const struct step chosen = s[best];
    s[best] = s[done];
    s[done] = chosen;
    s[done].worth = best_worth;
    c->is_dropped[chosen.node] = true;
    *work = best_work;
    return true;
}

// The nodes of a segment, in the order in which they are dropped.
static void add_steps(struct choose *c, uint32_t segment)
{
    const struct graph *g = c->g;
    uint64_t work = 0;
    uint32_t n = 0;
    uint32_t done = 0;

    for (node_id i = 0; i < g->n_nodes; i++)
        if (c->segment[i] == segment && c->kept_bytes[i] > 0 && !c->is_fixed[i])
            c->part[n++] = (struct step){.node = i, .segment = segment};
    while (done < n && take_best(c, done, n, &work))
        done++;
    for (uint32_t i = 0; i < done; i++) {
        struct step *s = &c->part[i];
        c->is_dropped[s->node] = false;
        s->rank = i;
        if (i > 0 && s->worth > s[-1].worth)
            s->worth = s[-1].worth;
        c->steps[c->n_steps++] = *s;
    }
}

static int compare_steps(const void *a, const void *b)
{
    const struct step *x = a;
    const struct step *y = b;

    if (x->worth != y->worth)
        return x->worth < y->worth ? 1 : -1;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

// Segments are numbered upwards, with few gaps.
static int list_steps(struct choose *c)
{
    const struct graph *g = c->g;
    bool *is_used = arena_calloc(g->arena, SEGMENT_TAIL + 1u, 1);

    if (!is_used)
        return -ENOMEM;
    for (node_id i = 0; i < g->n_nodes; i++)
        if (c->segment[i] != SEGMENT_NONE && c->kept_bytes[i] > 0)
            is_used[c->segment[i]] = true;
    for (uint32_t s = 0; s <= SEGMENT_TAIL; s++)
        if (is_used[s])
            add_steps(c, s);
    qsort(c->steps, c->n_steps, sizeof(*c->steps), compare_steps);
    return 0;
}

/*
 * Probes
 */

static void mark(struct choose *c, struct graph *g, uint32_t n,
                 uint32_t segments_end)
{
    for (uint32_t i = 0; i < c->n_steps; i++)
        g->nodes[c->steps[i].node].is_recomputed =
            i < n && c->steps[i].segment < segments_end;
}

static int plan_copy(size_t *peak, uint64_t *flops, const struct choose *c,
                     struct graph *g)
{
    struct schedule *s;
    int rc;

    if ((rc = pass_remat(g)) < 0)
        return rc;
    size_t *scratch = arena_calloc(g->arena, g->n_nodes + 1u, sizeof(*scratch));
    if (!scratch)
        return -ENOMEM;
    for (node_id i = 0; i < g->n_nodes && c->params->scratch; i++)
        if (!g->nodes[i].is_dead)
            scratch[i] = c->params->scratch(c->params->user, g, &g->nodes[i]);
    *flops = flops_graph(g);
    const struct schedule_params params = {scratch, c->params->is_deferred};
    return schedule_create_for(&s, peak, g, &params, g->arena);
}

// The peak with the first n steps taken in segments below `end`.
static int probe(size_t *peak, uint64_t *flops, struct choose *c, uint32_t n,
                 uint32_t end)
{
    struct arena *a = NULL;
    struct graph *copy;
    int rc;

    if ((rc = arena_create(&a, PROBE_BYTES_MAX)) < 0)
        return rc;
    if ((rc = graph_copy(&copy, c->g, a)) == 0) {
        mark(c, copy, n, end);
        rc = plan_copy(peak, flops, c, copy);
    }
    arena_destroy(a);
    c->result->n_probes++;
    return rc;
}

static int take(struct choose *c, uint32_t n, uint32_t end, size_t peak,
                uint64_t flops)
{
    c->result->peak = peak;
    c->result->flops_extra = flops - c->result->flops;
    mark(c, c->g, n, end);
    c->result->n_marked = 0;
    for (node_id i = 0; i < c->g->n_nodes; i++)
        c->result->n_marked += c->g->nodes[i].is_recomputed;
    return 0;
}

// Gradients of the last segments come first: there, what is not kept has to be
// there again at once, and may not lower the peak at all.
static int keep_last(struct choose *c, uint32_t n, uint32_t n_segments)
{
    size_t peak;
    uint64_t flops;
    int rc = 0;

    for (uint32_t i = 1; i <= TRIES_MAX && i < n_segments && rc == 0; i++) {
        const uint32_t end = n_segments - i;
        if ((rc = probe(&peak, &flops, c, n, end)) < 0 ||
            peak > c->params->budget)
            break;
        if (flops - c->result->flops < c->result->flops_extra)
            rc = take(c, n, end, peak, flops);
    }
    return rc;
}

static uint32_t count_segments(const struct choose *c)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < c->n_steps; i++)
        if (c->steps[i].segment != SEGMENT_TAIL && c->steps[i].segment >= last)
            last = c->steps[i].segment + 1;
    return last;
}

// The fewest steps that meet the budget, else those with the lowest peak.
static int search(struct choose *c)
{
    const uint32_t all = UINT32_MAX;
    const size_t budget = c->params->budget;
    uint32_t low = 0;
    uint32_t high = c->n_steps;
    size_t peak;
    uint64_t flops;
    int rc;

    if ((rc = probe(&peak, &flops, c, high, all)) < 0)
        return rc;
    if (peak < c->result->peak && (rc = take(c, high, all, peak, flops)) < 0)
        return rc;
    bool meets = peak <= budget;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if ((rc = probe(&peak, &flops, c, middle, all)) < 0)
            return rc;
        if (peak <= budget) {
            high = middle;
            rc = take(c, middle, all, peak, flops);
            meets = true;
        } else {
            low = middle;
            if (!meets && peak < c->result->peak)
                rc = take(c, middle, all, peak, flops);
        }
        if (rc < 0)
            return rc;
    }
    return meets ? keep_last(c, high, count_segments(c)) : 0;
}

static int init(struct choose *c)
{
    struct arena *a = c->g->arena;
    const uint32_t n = c->g->n_nodes + 1u;

    c->segment = arena_calloc(a, n, sizeof(*c->segment));
    c->kept_bytes = arena_calloc(a, n, sizeof(*c->kept_bytes));
    c->is_fixed = arena_calloc(a, n, sizeof(*c->is_fixed));
    c->flops = arena_calloc(a, n, sizeof(*c->flops));
    c->is_dropped = arena_calloc(a, n, sizeof(*c->is_dropped));
    c->seen = arena_calloc(a, n, sizeof(*c->seen));
    c->stack = arena_calloc(a, n, sizeof(*c->stack));
    c->steps = arena_calloc(a, n, sizeof(*c->steps));
    c->part = arena_calloc(a, n, sizeof(*c->part));
    if (!c->segment || !c->kept_bytes || !c->is_fixed || !c->flops ||
        !c->is_dropped || !c->seen || !c->stack || !c->steps || !c->part)
        return -ENOMEM;
    return 0;
}

int remat_choose(struct remat_choice *out, struct graph *g,
                 const struct remat_params *params)
{
    struct remat_choice result = {.flops = flops_graph(g)};
    struct choose c = {.g = g, .params = params, .result = &result};
    uint64_t flops;
    int rc;

    if ((rc = init(&c)) < 0 ||
        (rc = probe(&result.peak_kept, &flops, &c, 0, 0)) < 0)
        return rc;
    result.peak = result.peak_kept;
    if (params->budget > 0 && result.peak > params->budget) {
        find_segments(&c);
        if ((rc = find_kept(&c)) < 0 || (rc = list_steps(&c)) < 0)
            return rc;
        if (c.n_steps > 0 && (rc = search(&c)) < 0)
            return rc;
    }
    *out = result;
    return 0;
}
