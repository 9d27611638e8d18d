// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/exec/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/autodiff/autodiff.h"
#include "engine/autodiff/optim.h"
#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/exec/lower.h"
#include "engine/exec/program_place.h"
#include "engine/ir/builder.h"
#include "engine/plan/flops.h"

// A compile of the largest graph that model_build() makes stays far below.
static const size_t COMPILE_BYTES_MAX = (size_t) 1 << 30;

/*
 * The front half: model, gradients, and what happens to them.
 */

static enum model_phase phase_of(enum program_kind kind)
{
    switch (kind) {
    case PROGRAM_CACHED:
        return MODEL_PHASE_CACHED;
    case PROGRAM_PREFIX:
        return MODEL_PHASE_PREFIX;
    case PROGRAM_GAINS:
        return MODEL_PHASE_GAINS;
    case PROGRAM_TRAIN:
    case PROGRAM_ACCUMULATE:
    case PROGRAM_UPDATE:
    case PROGRAM_GRADIENT:
    case PROGRAM_EVAL:
    case PROGRAM_PERTURBED:
    case PROGRAM_MOVE:
        break;
    }
    return MODEL_PHASE_LOSS;
}

static bool has_gradients(enum program_kind kind)
{
    return phase_of(kind) == MODEL_PHASE_LOSS && kind != PROGRAM_EVAL &&
           kind != PROGRAM_PERTURBED && kind != PROGRAM_MOVE;
}

static struct model_graph_params graph_params(const struct program_params *p,
                                              const struct lower_target *target)
{
    return (struct model_graph_params){
        .phase = phase_of(p->kind),
        .batch = p->batch,
        .length = p->length,
        .cache_length = p->cache_length,
        .n_rows = p->n_rows,
        .scheme = p->scheme,
        .has_halves = p->kind == PROGRAM_CACHED &&
                      p->precision != PRECISION_F32 &&
                      lower_has(target, OP_matmul_lora),
        .first_block = p->first_block,
        .drop = p->drop,
        .kept = has_gradients(p->kind) ? &p->kept : NULL,
        .copies = p->kind == PROGRAM_PERTURBED ? p->perturb.copies : 0,
    };
}

static enum optim_mode optim_mode(enum program_kind kind)
{
    switch (kind) {
    case PROGRAM_TRAIN:
        return OPTIM_UPDATE;
    case PROGRAM_ACCUMULATE:
        return OPTIM_ACCUMULATE;
    case PROGRAM_UPDATE:
        return OPTIM_FINISH;
    case PROGRAM_GRADIENT:
    case PROGRAM_EVAL:
    case PROGRAM_CACHED:
    case PROGRAM_PREFIX:
    case PROGRAM_GAINS:
    case PROGRAM_PERTURBED:
    case PROGRAM_MOVE:
        break;
    }
    return OPTIM_OUTPUT;
}

// The last norm stands in no branch.
static bool is_dropped(const struct model_drop *drop, const struct param *p,
                       const struct model_config *m)
{
    if (p->block >= m->n_blocks)
        return false;
    const bool is_ffn = p->linear < MODEL_LINEARS
                            ? p->linear >= MODEL_LINEAR_gate
                            : p->linear > MODEL_LINEARS;
    return model_drop_has(drop, 2 * (uint32_t) p->block + is_ffn);
}

// The values of those of the scheme's params that learn, in its order.
static int find_params(value_id **out, float **rates, uint32_t *n_out,
                       struct graph *g, const struct model_config *m,
                       const struct program_params *program, struct error *err)
{
    const struct scheme *scheme = program->scheme;
    const uint32_t n = scheme_params(NULL, 0, m, scheme);
    uint32_t learning = 0;

    if (n == 0)
        return error_set(err, -EINVAL,
                         "a program that learns needs a scheme in which "
                         "something learns");

    struct param *params = arena_calloc(g->arena, n, sizeof(*params));
    value_id *values = arena_calloc(g->arena, n, sizeof(*values));
    *rates = arena_calloc(g->arena, n, sizeof(**rates));
    if (!params || !values || !*rates)
        return -ENOMEM;
    (void) scheme_params(params, n, m, scheme);
    for (uint32_t i = 0; i < n; i++) {
        if (params[i].is_frozen || is_dropped(&program->drop, &params[i], m))
            continue;
        (*rates)[learning] = params[i].rate;
        values[learning++] = graph_find(g, params[i].name);
    }
    *out = values;
    *n_out = learning;
    return 0;
}

// The squares that vjp_matmul_kept() has summed, for the next choice of tokens.
static int output_squares(struct graph *g, struct error *err)
{
    struct builder b = {.g = g, .err = err, .is_backward = true};

    for (node_id i = g->n_nodes; i-- > 0;) {
        if (g->nodes[i].op != OP_row_squares)
            continue;
        builder_output(&b, g->nodes[i].out[0], "token_squares");
        break;
    }
    return b.rc;
}

// Everything that a program of this kind does beyond the forward graph.
static int add_learning(struct graph *g, const struct model_config *m,
                        const struct program_params *params, struct error *err)
{
    value_id *wrt = NULL;
    float *rates = NULL;
    uint32_t n = 0;
    int rc;

    if (!has_gradients(params->kind))
        return 0;
    if ((rc = find_params(&wrt, &rates, &n, g, m, params, err)) < 0)
        return rc;
    value_id *grads = arena_calloc(g->arena, n, sizeof(*grads));
    if (!grads)
        return -ENOMEM;
    if ((rc = autodiff(grads, g, graph_find(g, "loss"), wrt, n, err)) < 0 ||
        (rc = output_squares(g, err)) < 0)
        return rc;
    const struct optim_params optim = {
        .mode = optim_mode(params->kind),
        .values = wrt,
        .grads = grads,
        .rates = rates,
        .n = n,
    };
    return optim_apply(g, &optim, err);
}

// What learns by directions. MOVE has no model, and makes the states itself.
static int perturb(struct graph *g, const struct model_config *m,
                   const struct program_params *program, struct error *err)
{
    const struct perturb *p = &program->perturb;
    struct builder b = {.g = g, .err = err};
    struct perturb_values v = {0};
    const uint32_t n = scheme_params(NULL, 0, m, program->scheme);

    if (n == 0)
        return error_set(err, -EINVAL,
                         "a program that learns needs a scheme in which "
                         "something learns");
    if (p->copies < 1 || p->copies > PERTURB_COPIES_MAX || p->queries < 1 ||
        p->queries > PERTURB_COPIES_MAX)
        return error_set(err, -EINVAL,
                         "%u copies and %u queries: there must be 1 to %d of "
                         "each",
                         p->copies, p->queries, PERTURB_COPIES_MAX);

    struct param *params = arena_calloc(g->arena, n + 1u, sizeof(*params));
    value_id *values = arena_calloc(g->arena, n + 1u, sizeof(*values));
    uint32_t *streams = arena_calloc(g->arena, n + 1u, sizeof(*streams));
    float *rates = arena_calloc(g->arena, n + 1u, sizeof(*rates));
    if (!params || !values || !streams || !rates)
        return -ENOMEM;
    (void) scheme_params(params, n, m, program->scheme);
    for (uint32_t i = 0; i < n; i++) {
        if (params[i].is_frozen)
            continue;
        const struct shape s = shape2(params[i].ne[0], params[i].ne[1]);
        rates[v.n] = params[i].rate;
        streams[v.n] = i;
        values[v.n++] = program->kind == PROGRAM_MOVE
                            ? builder_state(&b, params[i].name, &s)
                            : graph_find(g, params[i].name);
    }
    if (b.rc < 0)
        return b.rc;
    v.values = values;
    v.streams = streams;
    v.rates = rates;
    v.n_limits = n;
    return program->kind == PROGRAM_MOVE ? perturb_move(g, p, &v, err)
                                         : perturb_forward(g, p, &v, err);
}

enum precision program_cached_precision(uint32_t length)
{
    return length > 16 ? PRECISION_BF16 : PRECISION_Q8;
}

static void set_precision(struct graph *g, enum precision precision)
{
    for (node_id i = 0; i < g->n_nodes; i++)
        if (op_infos[g->nodes[i].op].flags & OP_PRODUCTS)
            g->nodes[i].attr.precision = (uint8_t) precision;
}

/*
 * The compiler
 */

// What one choice of the planner gives.
struct layout {
    struct graph *g;
    struct schedule *schedule;
    struct memplan *plan;
    size_t live; // at once, at least
    struct remat_choice choice;
    int n_recomputed;
};

struct request {
    uint32_t off; // passes
    size_t budget;
    bool is_deferred;
    bool is_whole; // once begun, it is not stopped
    struct place_request place;
};

// Neighbours that may run side by side need memory of their own: as long as it
// costs no more than an eighth, and nothing that the budget does not have.
static int plan_arena(struct layout *out, const size_t *scratch,
                      const struct request *r, uint32_t beside, struct arena *a)
{
    const struct schedule *s = out->schedule;
    struct liveness_params live = {.scratch = scratch};
    struct liveness *l;
    int rc = liveness_find(&l, s, &live, a);

    if (rc < 0)
        return rc;
    const size_t most = l->peak + l->peak / 8;
    out->live = l->peak;
    for (live.lag = beside; live.lag > 0; live.lag /= 3) {
        struct liveness *wide;
        if ((rc = liveness_find(&wide, s, &live, a)) < 0)
            return rc;
        if (wide->peak > most || (r->budget > 0 && wide->peak > r->budget))
            continue;
        if ((rc = memplan_assign(&out->plan, wide, a)) < 0)
            return rc;
        if (out->plan->peak <= most &&
            (r->budget == 0 || out->plan->peak <= r->budget))
            return 0;
    }
    return memplan_assign(&out->plan, l, a);
}

static int make_layout(struct layout *out, struct graph *g,
                       const struct request *r, struct lower_target *target,
                       struct error *err)
{
    const size_t budget = r->budget;
    const struct remat_params remat = {budget, lower_scratch, target,
                                       r->is_deferred};
    struct schedule_params order = {.is_deferred = r->is_deferred};
    int rc;

    out->g = g;
    if (budget > 0 && ((rc = remat_choose(&out->choice, g, &remat)) < 0 ||
                       (rc = pass_run_named(g, "remat", err)) < 0))
        return rc;
    out->n_recomputed = budget > 0 ? rc : 0;
    size_t *scratch = arena_calloc(g->arena, g->n_nodes + 1u, sizeof(*scratch));
    size_t *by_step = arena_calloc(g->arena, g->n_nodes + 1u, sizeof(*scratch));
    if (!scratch || !by_step)
        return -ENOMEM;
    for (node_id i = 0; i < g->n_nodes; i++)
        if (!g->nodes[i].is_dead)
            scratch[i] = lower_scratch(target, g, &g->nodes[i]);
    order.scratch = scratch;
    if ((rc = schedule_create_for(&out->schedule, NULL, g, &order, g->arena)) <
        0)
        return rc;
    for (uint32_t i = 0; i < out->schedule->n; i++)
        by_step[i] = scratch[out->schedule->order[i]];
    return plan_arena(out, by_step, r, target->backend->beside, g->arena);
}

// The planner of recomputation counts live bytes; an arena may need a little
// more, and then a little more has to go.
static int find_layout(struct layout *out, struct graph *g,
                       const struct request *r, struct lower_target *target,
                       struct error *err)
{
    enum { ROUNDS = 3 };
    const size_t budget = r->budget;
    struct request aim = *r;
    int rc;

    for (int i = 0; i < ROUNDS; i++) {
        struct layout l = {0};
        struct graph *copy;
        if ((rc = graph_copy(&copy, g, g->arena)) < 0 ||
            (rc = make_layout(&l, copy, &aim, target, err)) < 0)
            return rc;
        if (i == 0 || l.plan->peak < out->plan->peak)
            *out = l;
        if (budget == 0 || l.plan->peak <= budget || l.choice.peak > aim.budget)
            break;
        const size_t excess = l.plan->peak - budget;
        aim.budget =
            excess < aim.budget / 2 ? aim.budget - excess : aim.budget / 2;
    }
    return 0;
}

static int compile_graph(struct program **out, struct graph *g,
                         const struct request *asked,
                         struct lower_target *target, struct error *err)
{
    struct request r = *asked;
    struct layout layout = {0};
    int rc = -ENOMEM;

    struct program *p = fault_calloc(1, sizeof(*p));
    if (!p)
        goto error;
    if ((rc = arena_create(&p->arena, COMPILE_BYTES_MAX)) < 0)
        goto error;

    // Of what it makes, each part runs anywhere; the whole may not.
    if (!lower_has(target, OP_matmul_lora))
        r.off |= 1u << PASS_lora;
    if ((rc = passes_run(g, r.off, p->passes, err)) < 0)
        goto error;
    if (r.off & 1u << PASS_remat)
        r.budget = 0;
    if ((rc = find_layout(&layout, g, &r, target, err)) < 0)
        goto error;
    if ((rc = lower_schedule(p, layout.schedule, r.is_deferred, target, err)) <
        0)
        goto error;
    if ((rc = lower_places(p, layout.plan)) < 0)
        goto error;
    for (uint32_t i = 1; i < p->n_instrs && r.is_whole; i++)
        p->instrs[i].is_tail = true;

    p->costs = (struct program_costs){
        .flops = flops_graph(layout.g),
        .flops_extra = layout.choice.flops_extra,
        .kept_bytes = layout.choice.peak_kept,
        .live_bytes = layout.live,
        .n_recomputed = (uint32_t) layout.n_recomputed,
    };
    if ((rc = program_choose(p, &r.place, target)) < 0)
        goto error;
    p->passes[PASS_remat].changes = (uint32_t) layout.n_recomputed;
    *out = p;
    return 0;

error:
    program_destroy(p);
    return rc;
}

int program_compile_graph_without(struct program **out, struct graph *g,
                                  uint32_t off, const struct backend *backend,
                                  const struct device *dev, struct error *err)
{
    struct lower_target target = {backend, dev};
    const struct request r = {.off = off};
    return compile_graph(out, g, &r, &target, err);
}

int program_compile_graph(struct program **out, struct graph *g,
                          const struct backend *backend,
                          const struct device *dev, struct error *err)
{
    return program_compile_graph_without(out, g, 0, backend, dev, err);
}

int program_compile(struct program **out, const struct model_config *m,
                    const struct program_params *params,
                    const struct backend *backend, const struct device *dev,
                    struct error *err)
{
    struct lower_target target = {backend, dev};
    const struct model_graph_params forward = graph_params(params, &target);
    const struct request r = {
        // What learns keeps its three products, also where a branch's gradients
        // are dropped: dropping must not change what others learn.
        .off = params->passes_off |
               (has_gradients(params->kind) ? 1u << PASS_lora : 0),
        .budget = (size_t) params->arena_budget,
        .is_deferred = params->is_deferred,
        .is_whole = params->kind == PROGRAM_MOVE,
        .place = {params->times, params->threads,
                  params->kind == PROGRAM_PREFIX},
    };
    struct arena *work = NULL;
    struct graph *g;
    int rc;

    if ((rc = arena_create(&work, COMPILE_BYTES_MAX)) < 0)
        goto out;
    if (params->kind == PROGRAM_MOVE)
        rc = graph_create(&g, work);
    else
        rc = model_build(&g, m, &forward, work, err);
    if (rc < 0)
        goto out;
    if (params->kind == PROGRAM_PERTURBED || params->kind == PROGRAM_MOVE)
        rc = perturb(g, m, params, err);
    else
        rc = add_learning(g, m, params, err);
    if (rc < 0)
        goto out;
    set_precision(g, params->precision);
    rc = compile_graph(out, g, &r, &target, err);

out:
    if (rc == -ENOMEM)
        (void) error_set(err, rc, "compiling the program: out of memory");
    arena_destroy(work);
    return rc;
}

void program_destroy(struct program *p)
{
    if (!p)
        return;
    arena_destroy(p->arena);
    free(p);
}

/*
 * Looking at a program
 */

size_t program_arena_bytes(const struct program *p)
{
    return p->arena_bytes;
}

void program_costs(struct program_costs *out, const struct program *p)
{
    *out = p->costs;
}

uint32_t program_instr_count(const struct program *p)
{
    return p->n_instrs;
}

const struct instr *program_instr(const struct program *p, uint32_t i)
{
    return i < p->n_instrs ? &p->instrs[i] : NULL;
}

uint32_t program_weight_count(const struct program *p)
{
    return p->n_weights;
}

const struct program_slot *program_weight(const struct program *p, uint32_t i)
{
    return i < p->n_weights ? &p->weights[i] : NULL;
}

uint32_t program_state_count(const struct program *p)
{
    return p->n_states;
}

const struct program_slot *program_state(const struct program *p, uint32_t i)
{
    return i < p->n_states ? &p->states[i] : NULL;
}

uint32_t program_piece_count(const struct program *p)
{
    return p->n_pieces;
}

const struct program_piece *program_piece(const struct program *p, uint32_t i)
{
    return i < p->n_pieces ? &p->pieces[i] : NULL;
}

const struct operand *program_io(const struct program *p, const char *name)
{
    for (uint32_t i = 0; i < p->n_ios; i++)
        if (strcmp(p->ios[i].name, name) == 0)
            return &p->ios[i].operand;
    return NULL;
}
