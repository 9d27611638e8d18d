// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/fault.h"
#include "engine/exec/program_place.h"
#include "engine/plan/timetable.h"
#include "tests/support/tiny.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TARGETS = 4, FAST = 1000, SLOW = 100000 };

// Of the best kernel and of plain C, both on two threads and on one.
struct rig {
    struct device *dev;
    struct model_config config;
    struct scheme scheme;
    char best[16];
    struct timetable *times;
};

// What a target takes for an operator; 0: it was not timed.
typedef uint64_t cost_fn(enum op op, uint32_t target);

static struct program *compile(const struct rig *r, enum program_kind kind,
                               const struct timetable *times, uint32_t threads)
{
    const struct program_params params = {
        .kind = kind,
        .batch = 2,
        .length = 16,
        .scheme = kind == PROGRAM_PREFIX ? NULL : &r->scheme,
        .first_block = kind == PROGRAM_PREFIX ? 1 : 0,
        .times = times,
        .threads = threads,
    };
    struct program *p;

    assert_int_equal(program_compile(&p, &r->config, &params, &cpu_backend,
                                     r->dev, NULL),
                     0);
    return p;
}

static void add_rows(struct rig *r, enum program_kind kind, cost_fn *cost)
{
    struct program *p = compile(r, kind, NULL, 0);

    assert_null(program_place(p, 0));
    for (uint32_t i = 0; i < program_instr_count(p); i++) {
        const enum op op = (enum op) program_instr(p, i)->op;
        struct timetable_shape shape;
        uint64_t ns[TARGETS];
        program_shape(&shape, p, i);
        for (uint32_t t = 0; t < TARGETS; t++)
            ns[t] = cost(op, t);
        if (ns[0] || ns[1] || ns[2] || ns[3])
            assert_int_equal(timetable_put(r->times, &shape, ns, 1), 0);
    }
    program_destroy(p);
}

// One tier, whose kernels are the best of all operators but of those that have
// only plain C.
static void open_tier(struct rig *r)
{
    struct backend_kernel k[BACKEND_KERNELS_MAX];
    struct device_params params = {.threads = 2};

    assert_int_equal(cpu_backend.open(&r->dev, &params, NULL), 0);
    params.tier = k[cpu_backend.kernels(k, r->dev, OP_swiglu) - 1].name;
    cpu_backend.close(r->dev);
    assert_int_equal(cpu_backend.open(&r->dev, &params, NULL), 0);
}

static void rig_init(struct rig *r, cost_fn *cost)
{
    struct timetable_target targets[TARGETS] = {{"", 2},
                                                {"", 1},
                                                {"c", 2},
                                                {"c", 1}};
    struct backend_kernel k[BACKEND_KERNELS_MAX];

    r->config = tiny_config(DTYPE_f32, 2);
    r->scheme = tiny_scheme(&r->config, &(struct scheme_lora){4, 8, 127, 0});
    open_tier(r);
    const uint32_t n = cpu_backend.kernels(k, r->dev, OP_matmul);
    if (n < 2)
        skip(); // plain C is all there is
    strcpy(targets[0].kernel, k[n - 1].name);
    strcpy(targets[1].kernel, k[n - 1].name);
    strcpy(r->best, k[n - 1].name);
    const struct timetable_params table = {
        .device = "x",
        .build = "x",
        .threads = 2,
        .targets = targets,
        .n_targets = TARGETS,
    };
    assert_int_equal(timetable_create(&r->times, &table), 0);
    add_rows(r, PROGRAM_TRAIN, cost);
    add_rows(r, PROGRAM_PREFIX, cost);
}

static void rig_finish(struct rig *r)
{
    timetable_destroy(r->times);
    cpu_backend.close(r->dev);
}

static uint64_t matmul_on_c(enum op op, uint32_t target)
{
    if (op == OP_matmul)
        return target == 3 ? FAST : SLOW; // c, one thread
    return target == 1 ? FAST : SLOW;     // the best, one thread
}

static void takes_what_is_fastest(void **state)
{
    struct rig r;
    double sum = 0;
    int n_matmul = 0;

    rig_init(&r, matmul_on_c);
    struct program *p = compile(&r, PROGRAM_TRAIN, r.times, 0);
    for (uint32_t i = 0; i < program_instr_count(p); i++) {
        const struct instr *in = program_instr(p, i);
        const struct program_place *place = program_place(p, i);
        struct backend_kernel k[BACKEND_KERNELS_MAX];
        const uint32_t n = cpu_backend.kernels(k, r.dev, (enum op) in->op);
        assert_true(place->is_known && place->is_measured);
        sum += place->chosen.ns;
        if (n < 2)
            continue; // no more than one kernel
        assert_int_equal(in->threads, 1);
        assert_true(place->chosen.ns == FAST);
        assert_true(place->other.ns == SLOW);
        if (in->op == OP_matmul) {
            n_matmul++;
            assert_int_equal(in->kernel, k[0].number);
            assert_string_equal(place->chosen.kernel, "c");
        } else {
            assert_int_equal(in->kernel, 0);
            assert_string_equal(place->chosen.kernel, r.best);
        }
    }
    struct program_costs costs;
    program_costs(&costs, p);
    assert_true(n_matmul > 10);
    assert_true(fabs(costs.ns - sum) < 1e-6 * sum);
    program_destroy(p);
    rig_finish(&r);
}

static void a_frozen_prefix_keeps_its_kernels(void **state)
{
    struct rig r;
    int n_one = 0;

    rig_init(&r, matmul_on_c);
    struct program *p = compile(&r, PROGRAM_PREFIX, r.times, 0);
    for (uint32_t i = 0; i < program_instr_count(p); i++) {
        assert_int_equal(program_instr(p, i)->kernel, 0);
        n_one += program_instr(p, i)->threads == 1;
    }
    assert_true(n_one > 0); // threads change nothing, so they are chosen
    program_destroy(p);
    rig_finish(&r);
}

static uint64_t two_threads(enum op op, uint32_t target)
{
    return target == 0 ? FAST : target == 1 ? 2 * FAST : SLOW;
}

static void what_is_usual_is_left_alone(void **state)
{
    struct rig r;

    rig_init(&r, two_threads);
    struct program *p = compile(&r, PROGRAM_TRAIN, r.times, 0);
    for (uint32_t i = 0; i < program_instr_count(p); i++)
        if (strcmp(program_place(p, i)->chosen.kernel, "c") != 0) {
            assert_int_equal(program_instr(p, i)->kernel, 0);
            assert_int_equal(program_instr(p, i)->threads, 0);
        }
    program_destroy(p);
    // As if there were only one.
    p = compile(&r, PROGRAM_TRAIN, r.times, 1);
    for (uint32_t i = 0; i < program_instr_count(p); i++)
        assert_int_equal(program_place(p, i)->chosen.threads, 1);
    program_destroy(p);
    rig_finish(&r);
}

static uint64_t alternating(enum op op, uint32_t target)
{
    if (op == OP_add)
        return target == 1 ? FAST : target == 0 ? FAST * 3 / 2 : SLOW;
    return two_threads(op, target);
}

static uint32_t count_ones(const struct program *p)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < program_instr_count(p); i++)
        n += program_instr(p, i)->op == OP_add &&
             program_instr(p, i)->threads == 1;
    return n;
}

// One thread saves 500 ns an addition, and then the next one has to be woken.
static void threads_are_kept_awake_when_waking_costs_more(void **state)
{
    struct rig r;

    rig_init(&r, alternating);
    struct program *p = compile(&r, PROGRAM_TRAIN, r.times, 0);
    assert_true(count_ones(p) > 0);
    program_destroy(p);
    timetable_set_wake_ns(r.times, 10 * FAST);
    p = compile(&r, PROGRAM_TRAIN, r.times, 0);
    assert_int_equal(count_ones(p), 0);
    program_destroy(p);
    rig_finish(&r);
}

static uint64_t all_but_xent(enum op op, uint32_t target)
{
    return op == OP_xent ? 0 : two_threads(op, target);
}

static void what_nothing_is_known_of_runs_as_ever(void **state)
{
    struct rig r;
    struct program_costs costs;
    double sum = 0;

    rig_init(&r, all_but_xent);
    struct program *p = compile(&r, PROGRAM_TRAIN, r.times, 0);
    for (uint32_t i = 0; i < program_instr_count(p); i++) {
        const struct instr *in = program_instr(p, i);
        const struct program_place *place = program_place(p, i);
        assert_int_equal(place->is_known, in->op != OP_xent);
        sum += place->is_known ? place->chosen.ns : 0;
        if (in->op == OP_xent) {
            assert_int_equal(in->kernel, 0);
            assert_int_equal(in->threads, 0);
            assert_int_equal(place->chosen.threads, 0);
        }
    }
    program_costs(&costs, p);
    assert_true(costs.ns > sum); // it takes its time all the same
    program_destroy(p);
    rig_finish(&r);
}

static void every_lack_of_memory_is_said(void **state)
{
    struct rig r;
    int failed = 0;

    rig_init(&r, two_threads);
    const struct program_params params = {
        .kind = PROGRAM_EVAL,
        .batch = 1,
        .length = 8,
        .scheme = &r.scheme,
        .times = r.times,
    };
    for (unsigned long n = 1;; n++) {
        struct program *p = NULL;
        fault_arm(FAULT_ALLOC, n);
        int rc =
            program_compile(&p, &r.config, &params, &cpu_backend, r.dev, NULL);
        const bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        program_destroy(p);
        if (!fired)
            break;
        failed++;
    }
    assert_true(failed > 5);
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_fastest),
        cmocka_unit_test(a_frozen_prefix_keeps_its_kernels),
        cmocka_unit_test(what_is_usual_is_left_alone),
        cmocka_unit_test(threads_are_kept_awake_when_waking_costs_more),
        cmocka_unit_test(what_nothing_is_known_of_runs_as_ever),
        cmocka_unit_test(every_lack_of_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
