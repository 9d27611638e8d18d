// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/tuner.h"

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/exec/program.h"
#include "engine/exec/program_place.h"
#include "engine/plan/timetable.h"
#include "engine/train/base_model.h"
#include "engine/train/microbatch.h"
#include "engine/train/recipe.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SECONDS = 20,
    PROGRAMS_MAX = 8,
    EVAL_PLACES = 1024, // as in evaluations
    CACHE_LENGTH = 256, // of generation: the shortest
    CHUNK = 128,        // of a prompt
    PASSES = 12,        // over all shapes, while there is time
    WAKES = 15,         // samples of how long threads take to wake
    LITTLE = 2000,      // of a program: by its part one is guessed
};

static const double HOPELESS = 4;      // times the best: not tried
static const double OTHERS_MAX = 0.15; // share of the processors
static const double FAR_BEHIND = 2;    // times the best: not tried again

// An instruction to time.
struct job {
    uint32_t program;
    uint32_t instr;
    struct timetable_shape shape;
    // The least of each target; 0: none. By itself, and as part of its program.
    uint64_t ns[TIMETABLE_TARGETS_MAX];
    uint64_t among[TIMETABLE_TARGETS_MAX];
};

struct tuner {
    const struct base_model *base;
    const struct tuner_params *params;
    struct timetable *times;
    struct scheme scheme;
    struct program *programs[PROGRAMS_MAX];
    uint32_t *job_of[PROGRAMS_MAX]; // of each instruction
    bool is_whole[PROGRAMS_MAX];    // short enough to run as a whole
    uint32_t n_programs;
    struct job *jobs;
    uint32_t n_jobs;
    struct buffer *arena;
    struct buffer *states;
    struct binding *weights;
    struct binding *state_places;
    uint32_t bound;       // program whose weights and states are bound
    bool has_clock;       // the device says itself how long an instruction took
    bool tries_all;       // nothing is hopeless yet
    struct instr *instrs; // room for those of a program, and
    uint64_t *took;       // for what they took
    // ns for a unit of work, of the largest shape so far; 0: not known
    double rate[OP_COUNT][TIMETABLE_TARGETS_MAX];
    double overall[TIMETABLE_TARGETS_MAX];
    // What it took of what the first target did, with a clock.
    double ratio[OP_COUNT][TIMETABLE_TARGETS_MAX];
    double wall_ns; // of long runs, times their threads
    double cpu_ns;  // that these had
};

/*
 * Programs
 */

static int add_program(struct tuner *t, const struct program_params *params,
                       struct error *err)
{
    const struct base_model *b = t->base;
    const int rc = program_compile(&t->programs[t->n_programs], &b->config,
                                   params, b->backend, b->dev, err);

    t->n_programs += rc == 0;
    return rc;
}

static int add_training(struct tuner *t, const struct microbatch *m,
                        struct error *err)
{
    const struct recipe *r = t->params->recipe;
    struct program_params p = {
        .kind = m->n_micro > 1 ? PROGRAM_UPDATE : PROGRAM_TRAIN,
        .batch = m->rows,
        .length = m->length,
        .scheme = &t->scheme,
        .first_block = recipe_first_block(r, &t->scheme, &t->base->config),
        .arena_budget = m->budget,
        .is_deferred = m->is_deferred,
        .kept = m->kept,
        .precision = (enum precision) r->precision,
    };
    int rc = add_program(t, &p, err);

    if (rc == 0 && m->n_micro > 1) {
        p.kind = PROGRAM_ACCUMULATE;
        rc = add_program(t, &p, err);
    }
    if (rc == 0 && p.first_block > 0) {
        struct program_params prefix = p;
        prefix.kind = PROGRAM_PREFIX;
        prefix.scheme = NULL;
        prefix.precision = PRECISION_F32;
        rc = add_program(t, &prefix, err);
    }
    // The last rows of an epoch, and what a search compiles.
    if (rc == 0 && m->rows > 1) {
        p.kind = PROGRAM_TRAIN;
        p.batch = 1;
        rc = add_program(t, &p, err);
    }
    return rc;
}

static int add_programs(struct tuner *t, struct error *err)
{
    const uint32_t context = t->base->config.context;
    struct program_params p = {
        .kind = PROGRAM_CACHED,
        .batch = 1,
        .length = 1,
        .cache_length = context < CACHE_LENGTH ? context : CACHE_LENGTH,
        .n_rows = 1,
        .scheme = &t->scheme,
        .precision = program_cached_precision(1),
    };
    struct microbatch m;
    int rc;

    if ((rc = microbatch_plan(&m, t->base, t->params->recipe, err)) < 0 ||
        (rc = add_training(t, &m, err)) < 0 ||
        (rc = add_program(t, &p, err)) < 0)
        return rc;
    p.length = context < CHUNK ? context : CHUNK;
    p.precision = program_cached_precision(p.length);
    if ((rc = add_program(t, &p, err)) < 0)
        return rc;
    p = (struct program_params){
        .kind = PROGRAM_EVAL,
        .batch = m.length < EVAL_PLACES ? EVAL_PLACES / m.length : 1,
        .length = m.length,
        .scheme = &t->scheme,
    };
    return add_program(t, &p, err);
}

static int by_work(const void *a, const void *b)
{
    const struct job *x = a;
    const struct job *y = b;

    if (x->shape.work != y->shape.work)
        return x->shape.work < y->shape.work ? -1 : 1;
    if (x->shape.exact != y->shape.exact)
        return x->shape.exact < y->shape.exact ? -1 : 1;
    return 0;
}

// Each shape once.
static int list_jobs(struct tuner *t, struct error *err)
{
    uint32_t n = 0;
    uint32_t kept = 0;

    for (uint32_t p = 0; p < t->n_programs; p++)
        n += program_instr_count(t->programs[p]);
    t->jobs = calloc(n + 1u, sizeof *t->jobs);
    if (!t->jobs)
        return error_set(err, -ENOMEM, "kernel times: out of memory");
    n = 0;
    for (uint32_t p = 0; p < t->n_programs; p++)
        for (uint32_t i = 0; i < program_instr_count(t->programs[p]); i++) {
            t->jobs[n] = (struct job){.program = p, .instr = i};
            program_shape(&t->jobs[n++].shape, t->programs[p], i);
        }
    qsort(t->jobs, n, sizeof *t->jobs, by_work);
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || by_work(&t->jobs[i], &t->jobs[kept - 1]) != 0)
            t->jobs[kept++] = t->jobs[i];
    t->n_jobs = kept;
    return 0;
}

static int map_jobs(struct tuner *t, struct error *err)
{
    for (uint32_t p = 0; p < t->n_programs; p++) {
        const uint32_t n = program_instr_count(t->programs[p]);
        t->job_of[p] = calloc(n + 1u, sizeof *t->job_of[p]);
        if (!t->job_of[p])
            return error_set(err, -ENOMEM, "kernel times: out of memory");
        for (uint32_t i = 0; i < n; i++) {
            struct job key;
            program_shape(&key.shape, t->programs[p], i);
            const struct job *j =
                bsearch(&key, t->jobs, t->n_jobs, sizeof *t->jobs, by_work);
            t->job_of[p][i] = (uint32_t) (j - t->jobs);
        }
    }
    return 0;
}

/*
 * Memory
 */

static size_t align(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t state_bytes(const struct program *p)
{
    size_t bytes = 64;

    for (uint32_t i = 0; i < program_state_count(p); i++)
        bytes += align(program_state(p, i)->bytes);
    return bytes;
}

static int make_buffers(struct tuner *t, struct error *err)
{
    const struct backend *backend = t->base->backend;
    size_t arena = 64;
    size_t states = 64;
    uint32_t slots = 1;
    uint32_t instrs = 1;
    int rc;

    for (uint32_t i = 0; i < t->n_programs; i++) {
        const struct program *p = t->programs[i];
        const uint32_t n = program_weight_count(p) + program_state_count(p);
        arena = program_arena_bytes(p) > arena ? program_arena_bytes(p) : arena;
        states = state_bytes(p) > states ? state_bytes(p) : states;
        slots = n > slots ? n : slots;
        if (program_instr_count(p) > instrs)
            instrs = program_instr_count(p);
    }
    t->weights = calloc(slots, sizeof *t->weights);
    t->state_places = calloc(slots, sizeof *t->state_places);
    t->instrs = calloc(instrs, sizeof *t->instrs);
    t->took = calloc(instrs, sizeof *t->took);
    rc = t->weights && t->state_places && t->instrs && t->took ? 0 : -ENOMEM;
    if (rc == 0)
        rc = backend->buffer_create(&t->arena, t->base->dev, arena);
    if (rc == 0)
        rc = backend->buffer_create(&t->states, t->base->dev, states);
    return rc < 0
               ? error_set(err, rc,
                           "kernel times: there is no memory for %zu MiB of a "
                           "training step: lower memory_mib or the batch",
                           (arena + states) >> 20)
               : 0;
}

static int bind(struct tuner *t, uint32_t program, struct error *err)
{
    const struct program *p = t->programs[program];
    size_t at = 0;

    if (t->bound == program)
        return 0;
    t->bound = UINT32_MAX;
    for (uint32_t i = 0; i < program_weight_count(p); i++) {
        const int rc =
            base_model_bind(&t->weights[i], t->base, program_weight(p, i), err);
        if (rc < 0)
            return rc;
    }
    for (uint32_t i = 0; i < program_state_count(p); i++) {
        t->state_places[i] = (struct binding){t->states, at};
        at += align(program_state(p, i)->bytes);
    }
    t->bound = program;
    return 0;
}

static int fill(const struct tuner *t, const struct operand *o, int32_t whole)
{
    const int64_t n = o->ne[0] * o->ne[1] * o->ne[2] * o->ne[3];
    const float one = 1;
    unsigned char bytes[sizeof one];
    int rc = 0;

    memcpy(bytes, &whole, sizeof bytes);
    if (o->dtype == DTYPE_f32)
        memcpy(bytes, &one, sizeof bytes);
    for (int64_t i = 0; i < n && rc == 0; i++)
        rc = t->base->backend->buffer_write(t->arena,
                                            o->offset +
                                                (size_t) i * sizeof bytes,
                                            bytes, sizeof bytes);
    return rc;
}

// Every row counts, so that the loss leaves none out, and sees half a cache.
static int write_inputs(const struct tuner *t, const struct program *p)
{
    static const char *const names[] = {"tokens",  "pos",  "start",
                                        "targets", "rows", "weights"};
    const uint32_t context = t->base->config.context;
    const int32_t half =
        (int32_t) (context < CACHE_LENGTH ? context : CACHE_LENGTH) / 2;
    int rc = 0;

    for (size_t i = 0; i < sizeof names / sizeof *names && rc == 0; i++) {
        const struct operand *o = program_io(p, names[i]);
        if (o)
            rc = fill(t, o, strcmp(names[i], "pos") == 0 ? half : 0);
    }
    return rc;
}

/*
 * Time
 */

// Does the device tell? Then what its host does beside it does not count.
static bool look_for_clock(const struct tuner *t)
{
    const struct backend *b = t->base->backend;

    return b->time && b->time(t->base->dev, NULL, 0, NULL, NULL) == 0;
}

static double cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}

static struct bindings bindings_of(const struct tuner *t)
{
    return (struct bindings){.arena = t->arena,
                             .weights = t->weights,
                             .states = t->state_places};
}

// By the device's clock.
static int64_t run_timed(struct tuner *t, const struct instr *in)
{
    const struct bindings b = bindings_of(t);
    uint64_t ns = 0;
    const int n = t->base->backend->time(t->base->dev, in, 1, &b, &ns);

    if (n < 1)
        return n < 0 ? n : -EINTR;
    return ns > 0 ? (int64_t) ns : 1;
}

// One run, in ns; negative: an errno. What is long and takes all threads tells
// whether they had the processors for themselves.
static int64_t run_once(struct tuner *t, const struct instr *in)
{
    if (t->has_clock)
        return run_timed(t, in);
    const struct bindings b = bindings_of(t);
    const uint32_t threads = t->base->backend->threads(t->base->dev);
    const double cpu = cpu_ns();
    const uint64_t begin = clock_monotonic_ns();
    const int n = t->base->backend->run(t->base->dev, in, 1, &b);
    const uint64_t took = clock_monotonic_ns() - begin;

    if (n < 1)
        return n < 0 ? n : -EINTR;
    if (took > 1000000 && in->threads == threads &&
        !t->base->backend->switch_ns) {
        t->wall_ns += (double) took * threads;
        t->cpu_ns += cpu_ns() - cpu;
    }
    return took > 0 ? (int64_t) took : 1;
}

// What one run alone takes beside the instruction: in a program, a device goes
// on by itself.
static int64_t overhead_of(const struct tuner *t, uint32_t target)
{
    const struct backend *b = t->base->backend;
    const char *kernel = timetable_target(t->times, target)->kernel;

    return b->switch_ns && !t->has_clock &&
                   strcmp(kernel, BACKEND_KERNEL_HOST) != 0
               ? (int64_t) b->switch_ns(t->base->dev)
               : 0;
}

// What is short runs twice, so that threads are awake and code is in the cache;
// on a device whose clock has to rise more often, and the least counts.
static int64_t time_once(struct tuner *t, const struct instr *in,
                         uint32_t target)
{
    const int64_t overhead = overhead_of(t, target);
    const int more = t->has_clock ? 3 : 1;
    int64_t ns = run_once(t, in);

    for (int i = 0; i < more && ns >= 0 && ns <= 2000000; i++) {
        const int64_t again = run_once(t, in);
        ns = t->has_clock && again > ns ? ns : again;
    }
    return ns < 0 ? ns : ns > overhead ? ns - overhead : 1;
}

// The instruction as this target runs it. False: the target has no such kernel.
static bool put_on(struct instr *out, const struct tuner *t,
                   const struct instr *in, uint32_t target)
{
    const struct timetable_target *x = timetable_target(t->times, target);
    struct backend_kernel k[BACKEND_KERNELS_MAX];
    const uint32_t n =
        t->base->backend->kernels(k, t->base->dev, (enum op) in->op);

    *out = *in;
    out->threads = (uint16_t) x->threads;
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(k[i].name, x->kernel) == 0) {
            out->kernel = k[i].number;
            return program_offers(t->base->backend, t->base->dev, out);
        }
    return false;
}

static double expected_ns(const struct tuner *t, const struct job *j,
                          enum op op, uint32_t target)
{
    // Little work takes a device as long as some more.
    if (j->ns[0] > 0 && t->ratio[op][target] > 0)
        return t->ratio[op][target] * (double) j->ns[0];
    const double rate =
        t->rate[op][target] > 0 ? t->rate[op][target] : t->overall[target];
    return rate * (double) j->shape.work;
}

static void learn_rates(struct tuner *t, const struct job *j, enum op op)
{
    for (uint32_t i = 0; i < timetable_targets(t->times); i++) {
        if (j->ns[i] == 0)
            continue;
        t->overall[i] = t->rate[op][i] =
            (double) j->ns[i] / (double) j->shape.work;
        if (t->has_clock && j->ns[0] > 0)
            t->ratio[op][i] = (double) j->ns[i] / (double) j->ns[0];
    }
}

static double least_of(const uint64_t *ns, uint32_t n)
{
    double least = INFINITY;

    for (uint32_t i = 0; i < n; i++)
        if (ns[i] > 0)
            least = fmin(least, (double) ns[i]);
    return least;
}

// The best kernel and all threads stand first in the table. The first pass
// tries what is not hopeless, later ones what is near the best.
static bool is_worth_it(const struct tuner *t, const struct job *j, enum op op,
                        uint32_t target, bool is_first)
{
    const double best = least_of(j->ns, timetable_targets(t->times));

    if (!is_first && t->tries_all)
        return true;
    // A device that has just begun to work may still be slow.
    const double far = t->has_clock ? HOPELESS : FAR_BEHIND;

    return is_first ? expected_ns(t, j, op, target) <= HOPELESS * best
                    : j->ns[target] > 0 && (double) j->ns[target] <= far * best;
}

// Each target once.
static int time_shape(struct tuner *t, struct job *j, bool is_first)
{
    const struct instr *in = program_instr(t->programs[j->program], j->instr);

    for (uint32_t i = 0; i < timetable_targets(t->times); i++) {
        struct instr out;
        if (!is_worth_it(t, j, (enum op) in->op, i, is_first) ||
            !put_on(&out, t, in, i))
            continue;
        const int64_t took = time_once(t, &out, i);
        if (took < 0)
            return (int) took;
        if (j->ns[i] == 0 || (uint64_t) took < j->ns[i])
            j->ns[i] = (uint64_t) took;
    }
    return 0;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *) a;
    const double y = *(const double *) b;

    return (x > y) - (x < y);
}

// How much longer an instruction takes on all threads when they were asleep:
// the middle of some samples.
static int time_wake(struct tuner *t, const struct job *j)
{
    const struct instr *in = program_instr(t->programs[j->program], j->instr);
    double late[WAKES];
    struct instr all = *in;

    all.threads = 0;
    for (int i = 0; i < WAKES; i++) {
        const int64_t warm = time_once(t, &all, 0);
        const uint64_t begin = clock_monotonic_ns();
        // Longer than threads look for work before they sleep.
        while (clock_monotonic_ns() - begin < 500000)
            ;
        const int64_t cold = run_once(t, &all);
        if (warm < 0 || cold < 0)
            return warm < 0 ? (int) warm : (int) cold;
        late[i] = (double) (cold - warm);
    }
    qsort(late, WAKES, sizeof *late, by_value);
    if (late[WAKES / 2] > 0)
        timetable_set_wake_ns(t->times, (uint64_t) late[WAKES / 2]);
    return 0;
}

/*
 * All of it
 */

static bool is_for_wake(const struct tuner *t, const struct job *j)
{
    return t->base->backend->threads(t->base->dev) > 1 && j->ns[0] > 20000 &&
           j->ns[0] < 2000000;
}

static int prepare(struct tuner *t, const struct job *j, struct error *err)
{
    int rc = bind(t, j->program, err);

    if (rc < 0)
        return rc;
    rc = write_inputs(t, t->programs[j->program]);
    return rc < 0 ? error_set(err, rc, "kernel times: %s", strerror(-rc)) : 0;
}

static bool is_timed(const struct tuner *t, const struct job *j)
{
    return isfinite(least_of(j->ns, timetable_targets(t->times)));
}

// Everything once, from the smallest work up, as far as there is time.
static int first_pass(struct tuner_result *out, struct tuner *t, double until,
                      struct error *err)
{
    bool has_wake = timetable_wake_ns(t->times) > 0;

    for (uint32_t i = 0; i < t->n_jobs; i++) {
        struct job *j = &t->jobs[i];
        const struct program *p = t->programs[j->program];
        const enum op op = (enum op) program_instr(p, j->instr)->op;
        int rc;
        if (timetable_has(t->times, &j->shape) || is_timed(t, j))
            continue;
        const double left = until - (double) clock_monotonic_ns();
        if (left < 0 || expected_ns(t, j, op, 0) > left / 2) {
            out->n_left++;
            continue;
        }
        if ((rc = prepare(t, j, err)) < 0)
            return rc;
        if ((rc = time_shape(t, j, true)) < 0)
            return error_set(err, rc, "kernel times: %s", strerror(-rc));
        learn_rates(t, j, op);
        if (has_wake || !is_for_wake(t, j))
            continue;
        if ((rc = time_wake(t, j)) < 0)
            return error_set(err, rc, "kernel times: %s", strerror(-rc));
        has_wake = true;
    }
    return 0;
}

static double targets_of(const struct tuner *t)
{
    return timetable_targets(t->times);
}

// What a run of the program takes with all at its best; INFINITY where some
// shape was left out.
static double whole_ns(const struct tuner *t, uint32_t p)
{
    double sum = 0;

    for (uint32_t i = 0; i < program_instr_count(t->programs[p]); i++) {
        const struct job *j = &t->jobs[t->job_of[p][i]];
        if (!timetable_has(t->times, &j->shape))
            sum += least_of(j->ns, timetable_targets(t->times));
    }
    return sum;
}

// The target itself, or for an operator that has no such kernel its best one
// with as many threads.
static uint32_t put_near(struct instr *out, const struct tuner *t,
                         const struct instr *in, uint32_t target)
{
    const uint32_t threads = timetable_target(t->times, target)->threads;

    if (put_on(out, t, in, target))
        return target;
    for (uint32_t i = 0; i < timetable_targets(t->times); i++)
        if (timetable_target(t->times, i)->threads == threads &&
            put_on(out, t, in, i))
            return i;
    *out = *in;
    return target;
}

// Instruction i of a program for a target, or where that is hopeless as it is
// usual; returns what it is then.
static uint32_t put_for(struct instr *out, bool *is_tried,
                        const struct tuner *t, uint32_t p, uint32_t i,
                        uint32_t target)
{
    const struct instr *in = program_instr(t->programs[p], i);
    const struct job *j = &t->jobs[t->job_of[p][i]];
    const uint32_t at = put_near(out, t, in, target);
    const bool is_worth = is_worth_it(t, j, (enum op) in->op, at, false);

    *is_tried = is_worth && at == target;
    return is_worth ? at : put_near(out, t, in, 0);
}

static void note_among(struct job *j, uint32_t target, uint64_t ns)
{
    if (ns > 0 && (j->among[target] == 0 || ns < j->among[target]))
        j->among[target] = ns;
}

// Is there anything to time of the program on that target?
static bool has_whole(const struct tuner *t, uint32_t p, uint32_t target)
{
    bool is_tried = false;

    for (uint32_t i = 0; i < program_instr_count(t->programs[p]); i++) {
        struct instr out;
        (void) put_for(&out, &is_tried, t, p, i, target);
        if (is_tried)
            return true;
    }
    return false;
}

// The whole program on one target, but for what is hopeless there: caches and
// threads are as they will be.
static int time_whole(struct tuner *t, uint32_t p, uint32_t target)
{
    bool is_tried;

    for (uint32_t i = 0; i < program_instr_count(t->programs[p]); i++) {
        struct instr out;
        const uint32_t at = put_for(&out, &is_tried, t, p, i, target);
        const int64_t took = run_once(t, &out);
        if (took < 0)
            return (int) took;
        note_among(&t->jobs[t->job_of[p][i]], at, (uint64_t) took);
    }
    return 0;
}

// The same at one piece, so that the device has no time to rest.
static int time_at_once(struct tuner *t, uint32_t p, uint32_t target)
{
    const uint32_t n = program_instr_count(t->programs[p]);
    const struct bindings b = bindings_of(t);
    bool is_tried;

    for (uint32_t i = 0; i < n; i++)
        (void) put_for(&t->instrs[i], &is_tried, t, p, i, target);
    const int rc =
        t->base->backend->time(t->base->dev, t->instrs, n, &b, t->took);
    if (rc < (int) n)
        return rc < 0 ? rc : -EINTR;
    for (uint32_t i = 0; i < n; i++) {
        struct instr out;
        const uint32_t at = put_for(&out, &is_tried, t, p, i, target);
        note_among(&t->jobs[t->job_of[p][i]], at, t->took[i]);
    }
    return 0;
}

static int pass_target(struct tuner *t, uint32_t p, uint32_t target,
                       struct error *err)
{
    int rc;

    if (!has_whole(t, p, target))
        return 0;
    t->bound = UINT32_MAX;
    if ((rc = bind(t, p, err)) < 0)
        return rc;
    if ((rc = write_inputs(t, t->programs[p])) < 0 ||
        (rc = t->has_clock ? time_at_once(t, p, target)
                           : time_whole(t, p, target)) < 0)
        return error_set(err, rc, "kernel times: %s", strerror(-rc));
    return 0;
}

static int pass_whole(struct tuner *t, uint32_t p, struct error *err)
{
    int rc = 0;

    for (uint32_t i = 0; i < timetable_targets(t->times) && rc == 0; i++)
        rc = pass_target(t, p, i, err);
    return rc;
}

// What the program may take on the first target, by an instruction that is
// little of it; negative: an errno.
static double guess_ns(struct tuner *t, uint32_t p, struct error *err)
{
    const struct job *least = NULL;
    double work = 0;
    struct instr in;

    for (uint32_t i = 0; i < program_instr_count(t->programs[p]); i++)
        work += (double) t->jobs[t->job_of[p][i]].shape.work;
    for (uint32_t i = 0; i < program_instr_count(t->programs[p]); i++) {
        const struct job *j = &t->jobs[t->job_of[p][i]];
        if ((double) j->shape.work * LITTLE < work ||
            (least && least->shape.work <= j->shape.work))
            continue;
        least = j;
        (void) put_near(&in, t, program_instr(t->programs[p], i), 0);
    }
    if (!least)
        return INFINITY;
    int rc = bind(t, p, err);
    if (rc < 0 || (rc = write_inputs(t, t->programs[p])) < 0)
        return rc;
    return (double) time_once(t, &in, 0) * work / (double) least->shape.work;
}

// What the program took on the first target.
static double first_ns(const struct tuner *t, uint32_t p)
{
    double sum = 0;

    for (uint32_t i = 0; i < program_instr_count(t->programs[p]); i++)
        sum += (double) t->jobs[t->job_of[p][i]].among[0];
    return sum;
}

// With a clock, a program that is short is timed as a whole from the beginning,
// on every target: no instruction has to be prepared by itself.
static int begin_whole(struct tuner *t, uint32_t p, double budget_ns,
                       struct error *err)
{
    const uint32_t n = timetable_targets(t->times);
    const double guess = guess_ns(t, p, err);
    int rc;

    if (guess < 0)
        return error_set(err, (int) guess, "kernel times: the device failed");
    if (guess > budget_ns)
        return 0;
    t->tries_all = true;
    rc = pass_target(t, p, 0, err);
    t->is_whole[p] = rc == 0 && first_ns(t, p) * n * HOPELESS < budget_ns;
    for (uint32_t i = 1; i < n && t->is_whole[p] && rc == 0; i++)
        rc = pass_target(t, p, i, err);
    t->tries_all = false;
    for (uint32_t i = 0; i < program_instr_count(t->programs[p]); i++) {
        struct job *j = &t->jobs[t->job_of[p][i]];
        if (t->is_whole[p])
            memcpy(j->ns, j->among, sizeof j->ns);
        else if (!is_timed(t, j))
            memset(j->among, 0, sizeof j->among);
    }
    return rc;
}

static bool has_new(const struct tuner *t, uint32_t p)
{
    for (uint32_t i = 0; i < program_instr_count(t->programs[p]); i++)
        if (!timetable_has(t->times, &t->jobs[t->job_of[p][i]].shape))
            return true;
    return false;
}

static int pass_alone(struct tuner *t, double until, struct error *err)
{
    int rc = 0;

    for (uint32_t i = 0; i < t->n_jobs && rc == 0; i++) {
        struct job *j = &t->jobs[i];
        if (t->is_whole[j->program] || !is_timed(t, j))
            continue; // there is a row, or there was no time
        if ((double) clock_monotonic_ns() > until)
            return 0;
        if ((rc = prepare(t, j, err)) == 0 &&
            (rc = time_shape(t, j, false)) < 0)
            rc = error_set(err, rc, "kernel times: %s", strerror(-rc));
    }
    return rc;
}

// Passes over everything, not runs of one after another, so that a busy moment
// of the machine falls on one run of each.
static int time_jobs(struct tuner_result *out, struct tuner *t, uint64_t begin,
                     struct error *err)
{
    const double seconds =
        t->params->seconds > 0 ? t->params->seconds : SECONDS;
    const double until = (double) begin + seconds * 1e9;
    const double share = seconds * 1e9 / t->n_programs;
    int rc = 0;

    for (uint32_t p = 0; p < t->n_programs && t->has_clock && rc == 0; p++)
        if (has_new(t, p) && (double) clock_monotonic_ns() < until)
            rc = begin_whole(t, p, share, err);
    if (rc == 0)
        rc = first_pass(out, t, until, err);
    // Programs that can run three times on every target, in a share of the
    // time, are timed as a whole.
    for (uint32_t p = 0; p < t->n_programs; p++) {
        const double ns = whole_ns(t, p);
        t->is_whole[p] |= ns > 0 && ns * 3 * targets_of(t) < share * 2;
    }
    for (int pass = 1; pass < PASSES && rc == 0; pass++) {
        for (uint32_t p = 0; p < t->n_programs && rc == 0; p++)
            if (t->is_whole[p] && (double) clock_monotonic_ns() < until)
                rc = pass_whole(t, p, err);
        if (rc == 0)
            rc = pass_alone(t, until, err);
    }
    return rc;
}

// What was hopeless was not tried among others; there it takes longer, too.
static void merge(const struct tuner *t, struct job *j)
{
    const uint32_t n = timetable_targets(t->times);
    const double scale = least_of(j->among, n) / least_of(j->ns, n);

    if (!isfinite(scale))
        return;
    for (uint32_t i = 0; i < n; i++)
        if (j->among[i] > 0)
            j->ns[i] = j->among[i];
        else if (scale > 1)
            j->ns[i] = (uint64_t) ((double) j->ns[i] * scale);
}

static int check_quiet(struct tuner_result *out, const struct tuner *t,
                       struct error *err)
{
    if (t->wall_ns > 0)
        out->others = fmax(0, 1 - t->cpu_ns / t->wall_ns);
    if (out->others <= OTHERS_MAX || t->params->is_forced)
        return 0;
    return error_set(err, -EAGAIN,
                     "others used %.0f %% of the processors while kernels were "
                     "timed, so the times say little and were not kept: try "
                     "again when less runs, or take --force",
                     out->others * 100);
}

static void store(struct tuner_result *out, struct tuner *t)
{
    uint8_t shape[HASH_BYTES];

    for (uint32_t i = 0; i < t->n_jobs; i++) {
        struct job *j = &t->jobs[i];
        merge(t, j);
        out->n_timed +=
            timetable_put(t->times, &j->shape, j->ns, t->params->when) == 0;
    }
    base_model_shape(shape, t->base);
    timetable_put_model(t->times, shape, t->params->when);
}

int tuner_run(struct tuner_result *out, struct timetable *times,
              const struct base_model *base, const struct tuner_params *params,
              struct error *err)
{
    const uint64_t begin = clock_monotonic_ns();
    struct tuner *t = calloc(1, sizeof *t);
    int rc;

    if (!t)
        return error_set(err, -ENOMEM, "kernel times: out of memory");
    *out = (struct tuner_result){0};
    t->base = base;
    t->params = params;
    t->times = times;
    t->bound = UINT32_MAX;
    t->has_clock = look_for_clock(t);
    rc = recipe_scheme(&t->scheme, params->recipe, &base->config, err);
    if (rc < 0 || (rc = add_programs(t, err)) < 0 ||
        (rc = list_jobs(t, err)) < 0 || (rc = map_jobs(t, err)) < 0 ||
        (rc = make_buffers(t, err)) < 0)
        goto out;
    out->n_shapes = t->n_jobs;
    rc = time_jobs(out, t, begin, err);
    if (rc == 0)
        rc = check_quiet(out, t, err);
    if (rc == 0)
        store(out, t);
    out->seconds = (double) (clock_monotonic_ns() - begin) * 1e-9;

out:
    for (uint32_t i = 0; i < PROGRAMS_MAX; i++) {
        program_destroy(t->programs[i]);
        free(t->job_of[i]);
    }
    base->backend->buffer_destroy(t->arena);
    base->backend->buffer_destroy(t->states);
    free(t->took);
    free(t->instrs);
    free(t->state_places);
    free(t->weights);
    free(t->jobs);
    free(t);
    return rc;
}
