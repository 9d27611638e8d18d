// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/drop.h"

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/train/recipe.h"
#include "tests/support/test_device.h"
#include "tests/support/tiny.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 4, BRANCHES = 2 * BLOCKS, LENGTH = 12 };

static struct model_config m;
static struct scheme scheme;
static struct device *dev;

static void make_scheme(uint32_t targets, uint32_t last_blocks)
{
    const struct scheme_lora lora = {2, 4, targets, last_blocks};

    assert_int_equal(scheme_from_lora(&scheme, &lora, &m, NULL), 0);
}

static int set_up(void **state)
{
    const struct device_params params = {.threads = 1, .tier = "c"};

    m = tiny_config(DTYPE_f32, BLOCKS);
    return test_device_open(&dev, &params, NULL);
}

static int tear_down(void **state)
{
    test_backend()->close(dev);
    return 0;
}

static uint32_t count_bits(const struct model_drop *d)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < 2 * MODEL_BLOCKS_MAX; i++)
        n += model_drop_has(d, i);
    return n;
}

static void branches_take_turns(void **state)
{
    static const float rates[] = {0, 0.1F, 0.25F, 0.5F, 0.75F, 0.9F};
    struct recipe r;

    recipe_init(&r);
    make_scheme(LORA_ALL, 0);
    for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
        uint32_t times[BRANCHES] = {0}, least = DROP_MASKS, most = 0;
        const uint32_t want = (uint32_t) (rates[k] * BRANCHES);
        r.drop_rate = rates[k];
        for (uint64_t step = 0; step < DROP_MASKS; step++) {
            struct model_drop d, again;
            drop_choose(&d, &scheme, &m, &r, step);
            drop_choose(&again, &scheme, &m, &r, step + 8 * DROP_MASKS);
            assert_memory_equal(&d, &again, sizeof d);
            assert_int_equal(count_bits(&d), want);
            for (uint32_t i = 0; i < BRANCHES; i++)
                times[i] += model_drop_has(&d, i);
        }
        for (uint32_t i = 0; i < BRANCHES; i++) {
            least = times[i] < least ? times[i] : least;
            most = times[i] > most ? times[i] : most;
        }
        assert_true(most - least <= 1);
    }
}

static void something_that_learns_is_left(void **state)
{
    struct recipe r;

    recipe_init(&r);
    r.drop_rate = 0.9F;
    // Attention of the last block alone: two branches, of which one learns.
    make_scheme(LORA_Q, 1);
    for (r.seed = 0; r.seed < 8; r.seed++)
        for (uint64_t step = 0; step < DROP_MASKS; step++) {
            struct model_drop d;
            drop_choose(&d, &scheme, &m, &r, step);
            assert_false(model_drop_has(&d, BRANCHES - 2));
            for (uint32_t i = 0; i < BRANCHES - 2; i++)
                assert_false(model_drop_has(&d, i));
        }
}

static struct program *compile(enum program_kind kind,
                               const struct model_drop *drop)
{
    struct program_params params = {
        .kind = kind,
        .batch = 1,
        .length = LENGTH,
        .scheme = &scheme,
    };
    struct error err = {0};
    struct program *p;

    if (drop)
        params.drop = *drop;
    if (program_compile(&p, &m, &params, test_backend(), dev, &err) < 0)
        fail_msg("%s", err.text);
    return p;
}

static uint32_t count_reads(const struct program *p, const char *weight)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < program_instr_count(p); i++) {
        const struct instr *in = program_instr(p, i);
        for (int k = 0; k < in->n_in; k++)
            if (in->in[k].region == REGION_WEIGHT &&
                strcmp(program_weight(p, in->in[k].slot)->name, weight) == 0)
                n++;
    }
    return n;
}

static void a_dropped_branch_has_no_backward_pass(void **state)
{
    struct model_drop drop = {{0}};
    char name[64];

    make_scheme(LORA_ALL, 0);
    // Block 2's attention and block 1's feed-forward.
    drop.bits[0] = 1u << 4 | 1u << 3;
    struct program *whole = compile(PROGRAM_TRAIN, NULL);
    struct program *part = compile(PROGRAM_TRAIN, &drop);
    for (uint32_t block = 0; block < BLOCKS; block++)
        for (int i = 0; i < MODEL_LINEARS; i++) {
            const uint32_t branch = 2 * block + (i >= MODEL_LINEAR_gate);
            model_linear_name(name, &m, block, (enum model_linear) i);
            const uint32_t both = count_reads(whole, name);
            assert_true(both >= 1 && both <= 2);
            assert_int_equal(count_reads(part, name),
                             model_drop_has(&drop, branch) ? 1 : both);
        }
    struct program_costs all, fewer;
    program_costs(&all, whole);
    program_costs(&fewer, part);
    assert_true(fewer.flops < all.flops);
    // 7 linears in a block, A, B and their moments in each.
    assert_int_equal(program_state_count(whole), 7 * 2 * 3 * BLOCKS);
    assert_int_equal(program_state_count(whole) - program_state_count(part),
                     7 * 2 * 2);
    program_destroy(whole);
    program_destroy(part);
}

static bool read_gradient(float *out, const struct program *p,
                          struct executor *e, const char *param, size_t n)
{
    char name[96];

    (void) snprintf(name, sizeof name, "grad.%.80s", param);
    if (!program_io(p, name))
        return false;
    assert_int_equal(executor_read(e, name, out, n * sizeof *out), 0);
    return true;
}

// What lies above all that is dropped sees no difference; what lies below gets
// another gradient, but from the same loss.
static void gradients_above_are_the_same_bytes(void **state)
{
    enum { PARAMS_MAX = 128, FLOATS_MAX = 256 };
    static struct param params[PARAMS_MAX];
    const struct model_drop none = {{0}};
    const struct model_drop drop = {{1u << 5}}; // block 2's feed-forward
    struct executor *e[2];
    struct program *p[2];
    struct tiny_batch batch;
    struct bank bank;
    float a[FLOATS_MAX], b[FLOATS_MAX], loss[2];
    int same = 0, other = 0, gone = 0;

    make_scheme(LORA_ALL, 0);
    bank_init(&bank, test_backend(), dev, 3);
    const struct executor_params ep = bank_executor_params(&bank);
    tiny_batch_make(&batch, 1, LENGTH, m.n_vocab, 1);
    for (int i = 0; i < 2; i++) {
        p[i] = compile(PROGRAM_GRADIENT, i ? &drop : &none);
        assert_int_equal(executor_create(&e[i], p[i], &ep, NULL), 0);
        tiny_batch_write(e[i], &batch);
        assert_int_equal(executor_run(e[i]), 0);
        assert_int_equal(executor_read(e[i], "loss", &loss[i], sizeof loss[i]),
                         0);
    }
    assert_true(loss[0] == loss[1]);
    const uint32_t n = scheme_params(params, PARAMS_MAX, &m, &scheme);
    for (uint32_t i = 0; i < n; i++) {
        const size_t floats = (size_t) (params[i].ne[0] * params[i].ne[1]);
        const uint32_t branch =
            2u * params[i].block + (params[i].linear >= MODEL_LINEAR_gate);
        assert_true(floats <= FLOATS_MAX);
        assert_true(read_gradient(a, p[0], e[0], params[i].name, floats));
        const bool is_there =
            read_gradient(b, p[1], e[1], params[i].name, floats);
        assert_int_equal(is_there, branch != 5);
        gone += !is_there;
        if (is_there && branch > 5) {
            assert_memory_equal(a, b, floats * sizeof *a);
            same++;
        } else if (is_there) {
            other += memcmp(a, b, floats * sizeof *a) != 0;
            for (size_t k = 0; k < floats; k++)
                assert_true(isfinite(b[k]));
        }
    }
    assert_int_equal(gone, 3 * 2);
    assert_int_equal(same, 7 * 2);
    assert_true(other > 0);
    for (int i = 0; i < 2; i++) {
        executor_destroy(e[i]);
        program_destroy(p[i]);
    }
    bank_finish(&bank);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(branches_take_turns),
        cmocka_unit_test(something_that_learns_is_left),
        cmocka_unit_test(a_dropped_branch_has_no_backward_pass),
        cmocka_unit_test(gradients_above_are_the_same_bytes),
    };
    test_device_begin();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
