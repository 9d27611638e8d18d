// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/exec/lower.h"

#include <errno.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/ir/infer.h"
#include "engine/plan/flops.h"

/*
 * Slots: the weights and states that some instruction touches, by number of
 * their value in the graph.
 */

static int add_slot(struct program *p, struct program_slot *slot,
                    const struct value *v)
{
    slot->name = arena_strdup(p->arena, v->name);
    slot->dtype = v->dtype;
    slot->rank = v->shape.rank;
    memcpy(slot->ne, v->shape.ne, sizeof(slot->ne));
    slot->bytes = value_bytes(v);
    return slot->name ? 0 : -ENOMEM;
}

static int add_slots(struct program *p, uint32_t *slot_of, const bool *touched,
                     const struct graph *g)
{
    p->weights = arena_calloc(p->arena, g->n_values + 1u, sizeof(*p->weights));
    p->states = arena_calloc(p->arena, g->n_values + 1u, sizeof(*p->states));
    if (!p->weights || !p->states)
        return -ENOMEM;
    for (value_id v = 0; v < g->n_values; v++) {
        const struct value *x = &g->values[v];
        int rc = 0;
        if (x->kind == VALUE_WEIGHT && touched[v]) {
            slot_of[v] = p->n_weights++;
            rc = add_slot(p, &p->weights[slot_of[v]], x);
        } else if (x->kind == VALUE_STATE && touched[v]) {
            slot_of[v] = p->n_states++;
            rc = add_slot(p, &p->states[slot_of[v]], x);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/*
 * Instructions
 */

// slot_of may be NULL for what is in the arena.
static struct operand operand(const struct graph *g, value_id v,
                              const uint32_t *slot_of)
{
    struct operand o = {.region = REGION_NONE};
    if (v == VALUE_NONE)
        return o;

    const struct value *x = &g->values[v];
    const value_id storage = graph_storage(g, v);
    const uint8_t kind = g->values[storage].kind;
    o.region = kind == VALUE_WEIGHT  ? REGION_WEIGHT
               : kind == VALUE_STATE ? REGION_STATE
                                     : REGION_ARENA;
    o.dtype = x->dtype;
    o.rank = x->shape.rank;
    o.slot = o.region == REGION_ARENA || !slot_of ? 0 : slot_of[storage];
    for (int i = 0; i < 4; i++)
        o.ne[i] = 1;
    // Missing dimensions stand in front.
    memcpy(&o.ne[4 - x->shape.rank], x->shape.ne,
           x->shape.rank * sizeof(o.ne[0]));
    return o;
}

static struct instr instruction(const struct graph *g, const struct node *n,
                                const uint32_t *slot_of)
{
    struct instr in = {
        .op = n->op,
        .n_in = n->n_in,
        .n_out = n->n_out,
        .attr = n->attr,
    };
    for (int i = 0; i < n->n_in; i++)
        in.in[i] = operand(g, n->in[i], slot_of);
    for (int i = 0; i < n->n_out; i++)
        in.out[i] = operand(g, n->out[i], slot_of);
    return in;
}

bool lower_has(const struct lower_target *t, enum op op)
{
    struct backend_kernel kernels[BACKEND_KERNELS_MAX];
    const uint32_t n = t->backend->kernels(kernels, t->dev, op);

    for (uint32_t i = 0; i < n; i++)
        if (strcmp(kernels[i].name, BACKEND_KERNEL_HOST) != 0)
            return true;
    return false;
}

size_t lower_scratch(void *target, const struct graph *g, const struct node *n)
{
    const struct lower_target *t = target;
    const struct instr in = instruction(g, n, NULL);
    return t->backend->supports(t->dev, &in)
               ? t->backend->scratch_bytes(t->dev, &in)
               : 0;
}

static int refuse(const struct graph *g, const struct node *n,
                  const struct backend *backend, struct error *err)
{
    const struct value *a = &g->values[n->in[0]];
    const struct value *b = &g->values[n->in[n->n_in > 1 ? 1 : 0]];
    char ta[96];
    char tb[96];

    return error_set(err, -ENOTSUP, "the backend %s cannot run %s of %s and %s",
                     backend->name, op_infos[n->op].name,
                     infer_describe(ta, sizeof(ta), a->dtype, &a->shape),
                     infer_describe(tb, sizeof(tb), b->dtype, &b->shape));
}

static void mark_touched(bool *touched, const struct schedule *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const struct node *n = &s->graph->nodes[s->order[i]];
        for (int k = 0; k < n->n_in; k++)
            touched[graph_storage(s->graph, n->in[k])] = true;
    }
}

static void mark_tail(struct program *p, const struct schedule *s)
{
    while (p->first_update > 0 &&
           schedule_is_update(&s->graph->nodes[s->order[p->first_update - 1]]))
        p->first_update--;
    for (uint32_t i = p->first_update + 1; i < p->n_instrs; i++)
        p->instrs[i].is_tail = true;
}

int lower_schedule(struct program *p, const struct schedule *s,
                   bool is_deferred, const struct lower_target *target,
                   struct error *err)
{
    const struct graph *g = s->graph;
    int rc;

    bool *touched = arena_calloc(g->arena, g->n_values + 1u, sizeof(*touched));
    uint32_t *slot_of =
        arena_calloc(g->arena, g->n_values + 1u, sizeof(*slot_of));
    p->instrs = arena_calloc(p->arena, s->n + 1u, sizeof(*p->instrs));
    p->work = arena_calloc(p->arena, s->n + 1u, sizeof(*p->work));
    if (!touched || !slot_of || !p->instrs || !p->work)
        return -ENOMEM;
    mark_touched(touched, s);
    if ((rc = add_slots(p, slot_of, touched, g)) < 0)
        return rc;

    for (uint32_t i = 0; i < s->n; i++) {
        const struct node *n = &g->nodes[s->order[i]];
        p->instrs[i] = instruction(g, n, slot_of);
        p->work[i] = flops_node(g, n);
        if (!target->backend->supports(target->dev, &p->instrs[i]))
            return refuse(g, n, target->backend, err);
    }
    p->n_instrs = s->n;
    p->first_update = s->n;
    if (is_deferred)
        mark_tail(p, s);
    return 0;
}

/*
 * Places
 */

static void place_operand(struct operand *o, const struct memplan *plan,
                          value_id v)
{
    if (o->region == REGION_ARENA)
        o->offset = plan->offsets[plan->liveness->of_value[v]];
}

// When the sum takes the storage of its second summand, that comes first.
static void swap_inplace(struct instr *in)
{
    if (!(op_infos[in->op].flags & OP_COMMUTES) ||
        in->in[1].region != REGION_ARENA || in->out[0].region != REGION_ARENA ||
        in->in[1].offset != in->out[0].offset)
        return;
    const struct operand first = in->in[0];
    in->in[0] = in->in[1];
    in->in[1] = first;
}

static void place_instr(struct program *p, uint32_t i,
                        const struct memplan *plan)
{
    const struct liveness *l = plan->liveness;
    const struct schedule *s = l->schedule;
    const struct node *n = &s->graph->nodes[s->order[i]];
    struct instr *in = &p->instrs[i];

    for (int k = 0; k < n->n_in; k++)
        place_operand(&in->in[k], plan, n->in[k]);
    for (int k = 0; k < n->n_out; k++)
        place_operand(&in->out[k], plan, n->out[k]);
    swap_inplace(in);

    if (l->of_scratch[i] == INTERVAL_NONE)
        return;
    const int64_t bytes = (int64_t) l->intervals[l->of_scratch[i]].bytes;
    in->scratch = (struct operand){
        .region = REGION_ARENA,
        .dtype = DTYPE_f32,
        .rank = 1,
        .offset = plan->offsets[l->of_scratch[i]],
        .ne = {1, 1, 1, bytes / (int64_t) sizeof(float)},
    };
}

static int add_ios(struct program *p, const struct memplan *plan)
{
    const struct graph *g = plan->liveness->schedule->graph;

    p->ios = arena_calloc(p->arena, g->n_values + 1u, sizeof(*p->ios));
    if (!p->ios)
        return -ENOMEM;
    for (value_id v = 0; v < g->n_values; v++) {
        const struct value *x = &g->values[v];
        if ((x->kind != VALUE_INPUT && !x->is_output) ||
            plan->liveness->of_value[v] == INTERVAL_NONE)
            continue;
        struct program_io *io = &p->ios[p->n_ios++];
        io->name = arena_strdup(p->arena, x->name);
        io->is_output = x->is_output;
        io->operand = operand(g, v, NULL);
        place_operand(&io->operand, plan, v);
        if (!io->name)
            return -ENOMEM;
    }
    return 0;
}

// What made a value: the operator and the weight or state that it read.
static const char *describe(struct program *p, const struct graph *g,
                            value_id v)
{
    const node_id id = g->values[v].producer;
    if (id == NODE_NONE)
        return "input";

    const struct node *n = &g->nodes[id];
    const char *op = op_infos[n->op].name;
    for (int i = 0; i < n->n_in; i++) {
        const struct value *x = &g->values[n->in[i]];
        if (x->kind == VALUE_WEIGHT || x->kind == VALUE_STATE)
            return arena_printf(p->arena, "%s %s", op, x->name);
    }
    return op;
}

static enum program_piece_kind kind_of(const struct program *p,
                                       const struct graph *g,
                                       const struct interval *v)
{
    if (v->value == VALUE_NONE)
        return PROGRAM_PIECE_SCRATCH;
    const node_id id = g->values[v->value].producer;
    if (id == NODE_NONE || g->values[v->value].is_output)
        return PROGRAM_PIECE_IO;
    if (g->nodes[id].is_backward)
        return g->nodes[id].is_recomputed ? PROGRAM_PIECE_AGAIN
                                          : PROGRAM_PIECE_GRADIENT;
    return v->last >= p->first_backward ? PROGRAM_PIECE_KEPT
                                        : PROGRAM_PIECE_FORWARD;
}

static int add_pieces(struct program *p, const struct memplan *plan)
{
    const struct liveness *l = plan->liveness;
    const struct schedule *s = l->schedule;
    const struct graph *g = s->graph;

    p->pieces = arena_calloc(p->arena, l->n + 1u, sizeof(*p->pieces));
    if (!p->pieces)
        return -ENOMEM;
    p->first_backward = 0;
    while (p->first_backward < s->n &&
           !g->nodes[s->order[p->first_backward]].is_backward)
        p->first_backward++;
    for (uint32_t i = 0; i < l->n; i++) {
        const struct interval *v = &l->intervals[i];
        const char *name = "scratch";
        const char *what = op_infos[p->instrs[v->first].op].name;
        if (v->value != VALUE_NONE) {
            name = g->values[v->value].name
                       ? arena_strdup(p->arena, g->values[v->value].name)
                       : arena_printf(p->arena, "%%%u", v->value);
            what = describe(p, g, v->value);
        }
        if (!name || !what)
            return -ENOMEM;
        p->pieces[p->n_pieces++] = (struct program_piece){
            .name = name,
            .what = what,
            .kind = kind_of(p, g, v),
            .offset = plan->offsets[i],
            .bytes = v->bytes,
            .first = v->first,
            .last = v->last,
        };
    }
    return 0;
}

int lower_places(struct program *p, const struct memplan *plan)
{
    int rc;

    for (uint32_t i = 0; i < p->n_instrs; i++)
        place_instr(p, i, plan);
    p->arena_bytes = plan->peak;
    p->live_bytes = plan->liveness->peak;
    if ((rc = add_ios(p, plan)) < 0)
        return rc;
    return add_pieces(p, plan);
}
