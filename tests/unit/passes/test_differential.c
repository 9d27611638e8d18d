// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Random programs with and without each pass: same results.
 *
 * What cse, dce and remat leave is computed by the same kernels from the same
 * bytes, so alone each gives the bytes of a compile without passes. canon,
 * fuse, delta and lora round elsewhere (one product of two factors, one sum
 * less), so with them results may differ by what rounding does in graphs of
 * this depth.
 */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/exec/lower.h"
#include "tests/support/bank.h"
#include "tests/unit/passes/random_program.h"

enum { PROGRAMS = 240, RUNS = 2, ALL = (1 << PASS_COUNT) - 1 };

// Relative to the largest value of a tensor: one rounding is 6e-8, and norms,
// gates and soft maxima on the way make some tens of it at most.
static const double tolerance = 5e-5;

static struct device *dev;

// All outputs and states after some runs, by name.
struct result {
    struct {
        char name[96];
        float *data;
        size_t n;
    } items[400];
    uint32_t n;
    uint32_t n_instrs;
};

static int open_device(void **state)
{
    const struct device_params params = {.threads = 1};
    return cpu_backend.open(&dev, &params, NULL);
}

static int close_device(void **state)
{
    cpu_backend.close(dev);
    return 0;
}

static void write_inputs(struct executor *e, const struct program *p)
{
    static const int32_t pos[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    static const int32_t start[] = {0, 0, 2, 2, 2, 5, 6, 6, 6, 6, 10, 10};
    static const int32_t tokens[] = {0, 36, 7, 7, 1, 12, 3, 30, 30, 5, 2, 9};
    static const float weights[] = {0.1f, 0.2f, 0, 0.1f, 0.1f, 0,
                                    0.1f, 0.1f, 0, 0.1f, 0.2f, 0.1f};
    // A large eps, so that the sign of a tiny gradient does not matter.
    static const float hyper[] = {0.01f, 0.9f, 0.99f, 0.5f, 0.1f, 0.1f, 0.01f};
    float h[ADAMW_HYPERS] = {0};
    static const struct {
        const char *name;
        const void *data;
    } inputs[] = {{"pos", pos},         {"start", start},
                  {"tokens", tokens},   {"targets", tokens + 1},
                  {"weights", weights}, {"norms", weights},
                  {"draw", tokens}};

    memcpy(h, hyper, sizeof(hyper));
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
        const struct operand *o = program_io(p, inputs[i].name);
        if (!o)
            continue;
        int32_t data[RANDOM_TOKENS] = {0};
        const size_t n = (size_t) o->ne[3] * sizeof(int32_t);
        const size_t have = i == 3 ? n - sizeof(int32_t) : n;
        memcpy(data, inputs[i].data, have);
        assert_int_equal(executor_write(e, inputs[i].name, data, n), 0);
    }
    if (program_io(p, "hyper"))
        assert_int_equal(executor_write(e, "hyper", h, sizeof(h)), 0);
}

static float *add_item(struct result *r, const char *name, size_t n)
{
    assert_true(r->n < sizeof(r->items) / sizeof(r->items[0]));
    (void) snprintf(r->items[r->n].name, sizeof(r->items[0].name), "%s", name);
    r->items[r->n].data = calloc(n, sizeof(float));
    assert_non_null(r->items[r->n].data);
    r->items[r->n].n = n;
    return r->items[r->n++].data;
}

static void collect_states(struct result *r, const struct program *p,
                           struct bank *b)
{
    for (uint32_t i = 0; i < p->n_states; i++) {
        const char *name = p->states[i].name;
        bank_read(b, name, add_item(r, name, bank_count(b, name)));
    }
}

static void collect_outputs(struct result *r, struct executor *e,
                            const struct program *p)
{
    for (uint32_t i = 0; i < p->n_ios; i++) {
        const struct program_io *io = &p->ios[i];
        const int64_t n = io->operand.ne[0] * io->operand.ne[1] *
                          io->operand.ne[2] * io->operand.ne[3];
        if (io->is_output)
            assert_int_equal(executor_read(e, io->name,
                                           add_item(r, io->name, (size_t) n),
                                           (size_t) n * sizeof(float)),
                             0);
    }
}

// Storage of one seed: what the weights are, and what the states were.
struct rig {
    uint64_t seed;
    struct bank bank;
    struct result start;
};

static void result_finish(struct result *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        free(r->items[i].data);
    r->n = 0;
}

// The first compile of a seed is without passes, so it binds all there is.
static void reset_states(struct rig *rig, const struct program *p)
{
    if (rig->start.n == 0)
        collect_states(&rig->start, p, &rig->bank);
    for (uint32_t i = 0; i < rig->start.n; i++)
        bank_write(&rig->bank, rig->start.items[i].name,
                   rig->start.items[i].data);
}

// The program of this seed without the passes `off`, run twice.
static void run(struct result *r, struct rig *rig, uint32_t off)
{
    struct error err = {0};
    struct arena *a;
    struct graph *g;
    struct program *p;
    struct executor *e;

    *r = (struct result){.n = 0};
    assert_int_equal(arena_create(&a, 16u << 20), 0);
    if (random_program_build(&g, rig->seed, a, &err) < 0)
        fail_msg("seed %llu: %s", (unsigned long long) rig->seed, err.text);
    if (program_compile_graph_without(&p, g, off, &cpu_backend, dev, &err) < 0)
        fail_msg("seed %llu, passes off %#x: %s",
                 (unsigned long long) rig->seed, off, err.text);
    const struct executor_params ep = bank_executor_params(&rig->bank);
    assert_int_equal(executor_create(&e, p, &ep, &err), 0);
    reset_states(rig, p);
    write_inputs(e, p);
    for (int i = 0; i < RUNS; i++)
        assert_int_equal(executor_run(e), 0);
    collect_outputs(r, e, p);
    collect_states(r, p, &rig->bank);
    r->n_instrs = program_instr_count(p);
    executor_destroy(e);
    program_destroy(p);
    arena_destroy(a);
}

static const float *find(const struct result *r, const char *name, size_t n)
{
    for (uint32_t i = 0; i < r->n; i++)
        if (strcmp(r->items[i].name, name) == 0)
            return r->items[i].n == n ? r->items[i].data : NULL;
    return NULL;
}

// The largest difference, relative to the largest value; NAN when there is no
// such tensor.
static double distance(const float *want, const float *got, size_t n)
{
    double top = 1e-3;
    double far = 0;

    for (size_t i = 0; i < n && got; i++) {
        top = fmax(top, fabs((double) want[i]));
        far = fmax(far, fabs((double) want[i] - (double) got[i]));
    }
    return got ? far / top : (double) NAN;
}

static bool is_finite(const struct result *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->items[i].n; k++)
            if (!isfinite(r->items[i].data[k]))
                return false;
    return true;
}

// A state that only dead nodes read is not bound when they are gone.
static void compare(const struct result *want, const struct result *got,
                    uint64_t seed, uint32_t off, bool is_exact)
{
    for (uint32_t i = 0; i < got->n; i++) {
        const size_t n = got->items[i].n;
        const float *w = find(want, got->items[i].name, n);
        const float *y = got->items[i].data;
        assert_non_null(w);
        const double far = distance(w, y, n);
        if (is_exact ? memcmp(w, y, n * sizeof(*w)) != 0 : !(far <= tolerance))
            fail_msg("seed %llu, passes off %#x: %s differs by %g",
                     (unsigned long long) seed, off, got->items[i].name, far);
    }
}

static const uint32_t exact_passes =
    1u << PASS_cse | 1u << PASS_dce | 1u << PASS_remat;

static void try_without(const struct result *want, struct rig *rig,
                        uint32_t off, bool is_exact)
{
    struct result got;
    run(&got, rig, off);
    compare(want, &got, rig->seed, off, is_exact);
    result_finish(&got);
}

// What came of one seed.
struct counts {
    uint32_t n_infinite;
    uint32_t n_shrunk;
};

static void check_seed(uint64_t seed, struct counts *counts)
{
    static struct rig rig;
    struct result want;
    struct result got;

    rig = (struct rig){.seed = seed};
    bank_init(&rig.bank, &cpu_backend, dev, seed);
    run(&want, &rig, ALL);
    if (is_finite(&want)) {
        for (uint32_t i = 0; i < PASS_COUNT; i++) {
            try_without(&want, &rig, ALL & ~(1u << i), exact_passes >> i & 1);
            try_without(&want, &rig, 1u << i, false);
        }
        try_without(&want, &rig, ALL & ~exact_passes, true);
        run(&got, &rig, 0);
        compare(&want, &got, seed, 0, false);
        counts->n_shrunk += got.n_instrs < want.n_instrs;
        result_finish(&got);
    } else {
        counts->n_infinite++;
    }
    result_finish(&want);
    result_finish(&rig.start);
    bank_finish(&rig.bank);
}

static void results_are_the_same_with_and_without_each_pass(void **state)
{
    const char *one = getenv("POCK_SEED"); // as a failure names it
    struct counts counts = {0};

    if (one) {
        check_seed(strtoull(one, NULL, 0), &counts);
        return;
    }
    for (uint64_t seed = 1; seed <= PROGRAMS; seed++)
        check_seed(seed, &counts);
    // The programs must be worth it: finite, and something for passes to do.
    assert_in_range(counts.n_infinite, 0, PROGRAMS / 10);
    assert_in_range(counts.n_shrunk, PROGRAMS / 2, PROGRAMS);
}

static void count_ops(uint32_t seen[OP_COUNT], const struct graph *g)
{
    for (node_id i = 0; i < g->n_nodes; i++)
        if (!g->nodes[i].is_dead)
            seen[g->nodes[i].op]++;
}

// Every operator that a graph may have occurs in some program.
static void programs_reach_the_whole_op_table(void **state)
{
    uint32_t seen[OP_COUNT] = {0};

    for (uint64_t seed = 1; seed <= PROGRAMS; seed++) {
        struct error err = {0};
        struct arena *a;
        struct graph *g;
        assert_int_equal(arena_create(&a, 16u << 20), 0);
        assert_int_equal(random_program_build(&g, seed, a, &err), 0);
        count_ops(seen, g);
        assert_int_equal(passes_run(g, 0, NULL, &err), 0);
        count_ops(seen, g); // some are made by passes
        arena_destroy(a);
    }
    for (int i = 0; i < OP_COUNT; i++)
        if (seen[i] == 0)
            fail_msg("no program has %s", op_infos[i].name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_the_same_with_and_without_each_pass),
        cmocka_unit_test(programs_reach_the_whole_op_table),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
