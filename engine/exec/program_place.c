// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/exec/program_place.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/plan/place.h"

// What is chosen without a table stays where less is gained.
static const double GAIN_MIN = 1 + TIMETABLE_GAIN_PCT / 100.0;

/*
 * Shapes
 */

struct digest {
    struct hash_state hash;
};

static void put(struct digest *d, const void *data, size_t bytes)
{
    hash_update(&d->hash, data, bytes);
}

static uint64_t end(struct digest *d)
{
    uint8_t out[HASH_BYTES];
    uint64_t x;

    hash_final(&d->hash, out);
    memcpy(&x, out, sizeof(x));
    return x;
}

// Numbers of an operator may change from build to build, names do not.
static void begin(struct digest *d, const struct instr *in)
{
    const char *name = op_infos[in->op].name;

    hash_init(&d->hash);
    put(d, name, strlen(name) + 1);
}

// Whole numbers only: what a value is does not change the time it takes.
static void put_attr(struct digest *d, const struct op_attr *a, bool has_length)
{
    for (int i = 0; i < op_attr_field_count; i++) {
        const struct op_attr_field *f = &op_attr_fields[i];
        const double x = op_attr_get(a, f);
        if (f->kind == ATTR_F32 ||
            (!has_length && f->offset == offsetof(struct op_attr, length)))
            continue;
        put(d, &x, sizeof(x));
    }
}

static void put_operand(struct digest *d, const struct operand *o,
                        bool has_rows)
{
    const char *type =
        o->region == REGION_NONE ? "" : dtype_infos[o->dtype].name;

    put(d, type, strlen(type) + 1);
    if (o->region == REGION_NONE)
        return;
    put(d, &o->ne[3], sizeof(o->ne[3]));
    if (has_rows)
        put(d, o->ne, 3 * sizeof(o->ne[0]));
}

static uint64_t hash_instr(const struct instr *in, bool is_exact)
{
    struct digest d;

    begin(&d, in);
    put_attr(&d, &in->attr, is_exact);
    for (int i = 0; i < in->n_in; i++)
        put_operand(&d, &in->in[i], is_exact);
    for (int i = 0; i < in->n_out; i++)
        put_operand(&d, &in->out[i], is_exact);
    return end(&d);
}

static uint64_t hash_kind(const struct instr *in)
{
    struct digest d;

    begin(&d, in);
    return end(&d);
}

void program_shape(struct timetable_shape *out, const struct program *p,
                   uint32_t i)
{
    const struct instr *in = &p->instrs[i];

    *out = (struct timetable_shape){
        .exact = hash_instr(in, true),
        .family = hash_instr(in, false),
        .kind = hash_kind(in),
        .work = p->work[i] > 0 ? p->work[i] : 1,
    };
}

/*
 * Choice
 */

struct choosing {
    struct program *p;
    const struct place_request *r;
    const struct lower_target *target;
    uint32_t n_targets;
    uint32_t threads; // at most
    double *cost;     // (instructions, targets) as measured
    double *biased;   // the same, where what is usual has an advantage
    double *change;   // (targets, targets)
    uint16_t *choice; // (instructions)
    struct program_place *places;
};

// The best kernel of an operator; its threads are as many as there are.
static const struct backend_kernel *kernel_of(
    const struct backend_kernel *kernels, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(kernels[i].name, name) == 0)
            return &kernels[i];
    return NULL;
}

bool program_offers(const struct backend *backend, const struct device *dev,
                    const struct instr *in)
{
    return !backend->offers || backend->offers(dev, in);
}

static bool may_run(const struct choosing *c, uint32_t i,
                    const struct backend_kernel *kernels, uint32_t n,
                    uint32_t t)
{
    const struct timetable_target *x = timetable_target(c->r->times, t);
    const struct backend_kernel *k = kernel_of(kernels, n, x->kernel);
    struct instr in = c->p->instrs[i];

    if (!k || x->threads > c->threads ||
        (c->r->is_exact && k != &kernels[n - 1]) ||
        (k->is_by_shape && !c->places[i].is_measured))
        return false;
    in.kernel = k->number;
    return program_offers(c->target->backend, c->target->dev, &in);
}

// What runs without a table: the best kernel, most threads.
static int32_t find_usual(const struct choosing *c,
                          const struct backend_kernel *best)
{
    int32_t usual = -1;
    uint32_t most = 0;

    for (uint32_t t = 0; t < c->n_targets; t++) {
        const struct timetable_target *x = timetable_target(c->r->times, t);
        if (strcmp(x->kernel, best->name) == 0 && x->threads <= c->threads &&
            x->threads > most) {
            usual = (int32_t) t;
            most = x->threads;
        }
    }
    return usual;
}

static void weigh(struct choosing *c, uint32_t i)
{
    const enum op op = (enum op) c->p->instrs[i].op;
    struct backend_kernel kernels[BACKEND_KERNELS_MAX];
    const uint32_t n = c->target->backend->kernels(kernels, c->target->dev, op);
    const int32_t usual = find_usual(c, &kernels[n - 1]);
    double *cost = c->cost + (size_t) i * c->n_targets;
    double *biased = c->biased + (size_t) i * c->n_targets;
    struct program_place *place = &c->places[i];
    struct timetable_shape shape;
    bool is_known = false;

    program_shape(&shape, c->p, i);
    place->shape = shape.exact;
    place->is_measured =
        timetable_find(cost, c->r->times, &shape) == TIMETABLE_MEASURED;
    for (uint32_t t = 0; t < c->n_targets; t++) {
        if (!may_run(c, i, kernels, n, t))
            cost[t] = INFINITY;
        biased[t] = (int32_t) t == usual ? cost[t] : cost[t] * GAIN_MIN;
        is_known |= isfinite(cost[t]);
    }
    place->is_known = is_known;
    // Nothing is known: anywhere is as good, and nothing is chosen.
    for (uint32_t t = 0; t < c->n_targets && !is_known; t++)
        cost[t] = biased[t] = 0;
}

static bool is_host(const struct timetable_target *t)
{
    return strcmp(t->kernel, BACKEND_KERNEL_HOST) == 0;
}

static double change_of(const struct timetable_target *from,
                        const struct timetable_target *to, double wake,
                        double leave)
{
    return (to->threads > from->threads ? wake : 0) +
           (is_host(from) != is_host(to) ? leave : 0);
}

// Threads that slept have to be woken, and a device waited for.
static void set_changes(struct choosing *c)
{
    const double wake = (double) timetable_wake_ns(c->r->times);
    const struct backend *backend = c->target->backend;
    const double leave =
        backend->switch_ns ? (double) backend->switch_ns(c->target->dev) : 0;

    for (uint32_t f = 0; f < c->n_targets; f++)
        for (uint32_t t = 0; t < c->n_targets; t++)
            c->change[f * c->n_targets + t] =
                change_of(timetable_target(c->r->times, f),
                          timetable_target(c->r->times, t), wake, leave);
}

static void set_target(struct program_target *out, const struct choosing *c,
                       const double *cost, uint32_t t)
{
    const struct timetable_target *x = timetable_target(c->r->times, t);

    (void) snprintf(out->kernel, sizeof(out->kernel), "%s", x->kernel);
    out->threads = x->threads;
    out->ns = cost[t];
}

static void take(struct choosing *c, uint32_t i)
{
    struct instr *in = &c->p->instrs[i];
    const double *cost = c->cost + (size_t) i * c->n_targets;
    const uint32_t t = c->choice[i];
    const struct timetable_target *x = timetable_target(c->r->times, t);
    struct backend_kernel kernels[BACKEND_KERNELS_MAX];
    struct program_place *place = &c->places[i];
    int32_t other = -1;

    if (!place->is_known)
        return;
    const uint32_t n =
        c->target->backend->kernels(kernels, c->target->dev, (enum op) in->op);
    const struct backend_kernel *k = kernel_of(kernels, n, x->kernel);
    in->kernel = k == &kernels[n - 1] ? 0 : k->number;
    in->threads = x->threads < c->threads ? (uint16_t) x->threads : 0;
    set_target(&place->chosen, c, cost, t);
    for (uint32_t o = 0; o < c->n_targets; o++)
        if (o != t && isfinite(cost[o]) && (other < 0 || cost[o] < cost[other]))
            other = (int32_t) o;
    if (other >= 0)
        set_target(&place->other, c, cost, (uint32_t) other);
}

// What is not known takes as long as the rest for the same work.
static double total_of(const struct choosing *c, double known)
{
    double work = 0;
    double unknown = 0;

    for (uint32_t i = 0; i < c->p->n_instrs; i++)
        *(c->places[i].is_known ? &work : &unknown) += (double) c->p->work[i];
    return work > 0 ? known * (1 + unknown / work) : 0;
}

static int choose(struct choosing *c)
{
    struct program *p = c->p;
    struct place_problem problem = {
        .n_steps = p->n_instrs,
        .n_targets = c->n_targets,
        .cost = c->biased,
        .change = c->change,
    };
    double total;

    set_changes(c);
    for (uint32_t i = 0; i < p->n_instrs; i++)
        weigh(c, i);
    int rc = place_solve(c->choice, &total, &problem);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < p->n_instrs; i++)
        take(c, i);
    problem.cost = c->cost;
    p->costs.ns = total_of(c, place_cost(&problem, c->choice));
    p->places = c->places;
    return 0;
}

int program_choose(struct program *p, const struct place_request *r,
                   const struct lower_target *target)
{
    const uint32_t n = r->times ? timetable_targets(r->times) : 0;
    const size_t cells = (size_t) p->n_instrs * n;
    struct choosing c = {
        .p = p,
        .r = r,
        .target = target,
        .n_targets = n,
        .threads =
            r->threads ? r->threads : target->backend->threads(target->dev),
    };
    int rc = -ENOMEM;

    if (cells == 0)
        return 0;
    _Static_assert((int) TIMETABLE_TARGETS_MAX <= (int) PLACE_TARGETS_MAX,
                   "columns are targets");
    c.places = arena_calloc(p->arena, p->n_instrs, sizeof(*c.places));
    c.cost = fault_calloc(cells, sizeof(*c.cost));
    c.biased = fault_calloc(cells, sizeof(*c.biased));
    c.change = fault_calloc((size_t) n * n, sizeof(*c.change));
    c.choice = fault_calloc(p->n_instrs, sizeof(*c.choice));
    if (c.places && c.cost && c.biased && c.change && c.choice)
        rc = choose(&c);
    free(c.choice);
    free(c.change);
    free(c.biased);
    free(c.cost);
    return rc;
}

/*
 * Looking
 */

const struct program_place *program_place(const struct program *p, uint32_t i)
{
    return p->places && i < p->n_instrs ? &p->places[i] : NULL;
}

const char *program_instr_name(char out[PROGRAM_NAME], const struct program *p,
                               uint32_t i)
{
    const struct instr *in = &p->instrs[i];
    const char *op = op_infos[in->op].name;
    const char *what = NULL;

    for (int k = 0; k < in->n_in && !what; k++) {
        const struct operand *o = &in->in[k];
        if (o->region == REGION_WEIGHT)
            what = p->weights[o->slot].name;
        else if (o->region == REGION_STATE)
            what = p->states[o->slot].name;
    }
    (void) snprintf(out, PROGRAM_NAME, "%s%s%s", op, what ? " " : "",
                    what ? what : "");
    return out;
}
