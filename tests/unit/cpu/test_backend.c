// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/backend.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/*
 * One instruction of every operator, with shapes that need several tasks. All
 * operands live in one arena of random values; numbers of rows are small, so
 * that any of them is in range.
 */

enum {
    T = 130, // tokens, in sequences of 65
    LENGTH = 65,
    C = 64,
    H = 4,
    G = 2,
    D = 16,
    V = 200,
    ARENA = 16 << 20,
    SLOT = 96 << 10, // bytes of an operand
};

struct program {
    struct instr instrs[OP_COUNT];
    size_t used;
};

static struct operand place(struct program *p, enum dtype type, int64_t rows,
                            int64_t cols)
{
    struct operand o = {.region = REGION_ARENA,
                        .dtype = (uint8_t) type,
                        .rank = 2,
                        .offset = p->used,
                        .ne = {1, 1, rows, cols}};
    p->used += SLOT;
    assert_true(p->used <= ARENA);
    assert_true((size_t) rows * dtype_row_bytes(type, cols) <= SLOT);
    return o;
}

struct shape {
    int64_t rows, cols;
};

// Shapes of inputs and outputs; 0 ends a list. Types: f32, or i32 or q8_0
// where the masks say so.
static const struct example {
    enum op op;
    struct shape in[8];
    struct shape out[4];
    unsigned ints; // inputs; outputs from bit 16 on
    unsigned weights;
} examples[] = {
    {OP_embed, {{1, T}, {V, C}}, {{T, C}}, 1, 2},
    {OP_rmsnorm, {{T, C}, {1, C}}, {{T, C}, {1, T}}, 0, 0},
    {OP_rmsnorm_dx, {{T, C}, {T, C}, {1, C}, {1, T}}, {{T, C}}, 0, 0},
    {OP_rmsnorm_dw, {{T, C}, {T, C}, {1, T}}, {{1, C}}, 0, 0},
    {OP_matmul, {{T, C}, {96, C}}, {{T, 96}}, 0, 2},
    {OP_matmul_delta, {{T, C}, {96, C}, {96, C}}, {{T, 96}}, 0, 2},
    {OP_rope, {{T, C}, {1, T}}, {{T, C}}, 2, 0},
    {OP_attention,
     {{T, H *D}, {T, G *D}, {T, G *D}, {1, T}},
     {{T, H *D}, {T, H}},
     8,
     0},
    {OP_attention_back,
     {{T, H *D}, {T, H *D}, {T, G *D}, {T, G *D}, {T, H *D}, {T, H}, {1, T}},
     {{T, H *D}, {T, G *D}, {T, G *D}},
     64,
     0},
    {OP_swiglu, {{T, C}, {T, C}}, {{T, C}}, 0, 0},
    {OP_swiglu_back, {{T, C}, {T, C}, {T, C}}, {{T, C}, {T, C}}, 0, 0},
    {OP_geglu, {{T, C}, {T, C}}, {{T, C}}, 0, 0},
    {OP_geglu_back, {{T, C}, {T, C}, {T, C}}, {{T, C}, {T, C}}, 0, 0},
    {OP_add, {{T, C}, {T, C}}, {{T, C}}, 0, 0},
    {OP_scale, {{T, C}}, {{T, C}}, 0, 0},
    {OP_scale_columns, {{T, C}, {1, C}}, {{T, C}}, 0, 0},
    {OP_add_columns, {{T, C}, {1, C}}, {{T, C}}, 0, 0},
    {OP_soft_cap, {{T, C}}, {{T, C}}, 0, 0},
    {OP_soft_cap_back, {{T, C}, {T, C}}, {{T, C}}, 0, 0},
    {OP_split, {{T, 2 * C}}, {{T, C}, {T, C}}, 0, 0},
    {OP_join, {{T, C}, {T, C}}, {{T, 2 * C}}, 0, 0},
    {OP_dot_columns, {{T, C}, {T, C}}, {{1, C}}, 0, 0},
    {OP_columns, {{T, C}}, {{T, C / 4}}, 0, 0},
    {OP_columns_back, {{T, C / 4}}, {{T, C}}, 0, 0},
    {OP_row_ratio, {{4, C}, {V, C}, {V, 4}}, {{1, V}}, 0, 2},
    {OP_rows, {{T, C}, {1, 9}}, {{9, C}}, 2, 0},
    {OP_xent, {{T, C}, {V, C}, {1, T}, {1, T}}, {{1, 1}, {1, T}, {T, C}}, 4, 2},
    {OP_kv_store, {{3, C}, {1, 3}, {T, C}}, {{T, C}}, 2, 0},
    {OP_attention_cached,
     {{3, H *D}, {T, G *D}, {T, G *D}, {1, 3}},
     {{3, H *D}},
     8,
     0},
    {OP_accumulate, {{T, C}, {T, C}}, {{T, C}}, 0, 0},
    {OP_zero, {{T, C}}, {{T, C}}, 0, 0},
    {OP_adamw,
     {{T, C}, {T, C}, {T, C}, {T, C}, {1, ADAMW_HYPERS}},
     {{T, C}, {T, C}, {T, C}},
     0,
     0},
    {OP_matmul_kept,
     {{T, C}, {96, C}, {T, C / 8}, {1, 8}, {T, 96}},
     {{T, 96}},
     0,
     2},
    {OP_subtoken_mean, {{T, C}, {1, 8}}, {{1, 8}}, 0, 0},
    {OP_subtoken_dot, {{T, C}, {1, 8}}, {{T, C / 8}}, 0, 0},
    {OP_subtoken_spread, {{T, C / 8}, {1, 8}}, {{T, C}}, 0, 0},
    {OP_choose_rows,
     {{T, C}, {1, T}, {1, 4}},
     {{9, C}, {1, 9}},
     4 | 1u << 17,
     0},
    {OP_row_squares, {{T, C}, {1, T}}, {{1, T}}, 0, 0},
    {OP_matmul_lora, {{T, C}, {96, C}, {4, C}, {96, 4}}, {{T, 96}}, 0, 2},
    {OP_momentum,
     {{T, C}, {T, C}, {T, C}, {1, ADAMW_HYPERS}},
     {{T, C}, {T, C}},
     0,
     0},
    {OP_perturb, {{T, C}, {1, 4}, {1, 2}, {1, 2}, {1, 1}}, {{2 * T, C}}, 6, 0},
    {OP_noise_sum, {{T, C}, {1, 4}, {1, 2}, {1, 2}, {1, 1}}, {{T, C}}, 6, 0},
    {OP_matmul_copies, {{T, C}, {96, C}, {T, 48}}, {{T, 48}}, 0, 0},
};

_Static_assert(sizeof(examples) / sizeof(examples[0]) == OP_COUNT,
               "an example for each operator");

static void make_instr(struct program *p, struct instr *in,
                       const struct example *e, const struct device *dev)
{
    *in = (struct instr){.op = (uint8_t) e->op};
    in->attr = (struct op_attr){.alpha = 0.5f,
                                .eps = 1e-5f,
                                .width = C,
                                .part = 5,
                                .rope_base = 1e4f,
                                .trans_b = 1,
                                .rope_sign = 1,
                                .n_heads = H,
                                .n_kv_heads = G,
                                .head_dim = D,
                                .n_rows = 9,
                                .copies = 2,
                                .rope_dims = D,
                                .length = LENGTH};
    for (; e->in[in->n_in].rows > 0; in->n_in++)
        in->in[in->n_in] = place(p,
                                 e->ints >> in->n_in & 1      ? DTYPE_i32
                                 : e->weights >> in->n_in & 1 ? DTYPE_q8_0
                                                              : DTYPE_f32,
                                 e->in[in->n_in].rows, e->in[in->n_in].cols);
    for (; e->out[in->n_out].rows > 0; in->n_out++) {
        const int old = op_updates(e->op, in->n_out);
        in->out[in->n_out] =
            old >= 0
                ? in->in[old]
                : place(p,
                        e->ints >> (16 + in->n_out) & 1 ? DTYPE_i32 : DTYPE_f32,
                        e->out[in->n_out].rows, e->out[in->n_out].cols);
    }
    assert_true(cpu_backend.supports(dev, in));
    in->scratch = (struct operand){
        .region = REGION_ARENA,
        .offset = p->used,
    };
    p->used += (cpu_backend.scratch_bytes(dev, in) + 63) / 64 * 64;
    assert_true(p->used <= 10 * (size_t) ARENA);
}

static void fill(unsigned char *arena, const struct instr *in)
{
    for (int i = 0; i < in->n_in; i++) {
        const struct operand *o = &in->in[i];
        const int64_t n = o->ne[2] * o->ne[3];
        for (int64_t j = 0; j < n; j++) {
            const float x = (float) rand() / (float) RAND_MAX;
            const int32_t k = (int32_t) (rand() % 3);
            if (o->dtype == DTYPE_f32)
                memcpy(arena + o->offset + 4 * j, &x, 4);
            else if (o->dtype == DTYPE_i32)
                memcpy(arena + o->offset + 4 * j, &k, 4);
            else if (j % 32 == 0) // a scale of 1/16, then quants
                memcpy(arena + o->offset + j / 32 * 34, "\x00\x2c", 2);
            else
                arena[o->offset + j / 32 * 34 + 2 + j % 32] =
                    (unsigned char) rand();
        }
    }
}

static struct device *open_device(uint32_t threads, const atomic_bool *stop)
{
    struct device *dev = NULL;
    struct error err;
    const struct device_params params = {.threads = threads, .stop = stop};

    assert_int_equal(cpu_backend.open(&dev, &params, &err), 0);
    return dev;
}

struct how {
    uint32_t threads;
    uint16_t limit;     // of threads, for each instruction
    const char *tier;   // of the device
    const char *kernel; // of the instructions that have it
};

static uint8_t kernel_number(const struct device *dev, enum op op,
                             const char *name)
{
    struct backend_kernel k[BACKEND_KERNELS_MAX];
    const uint32_t n = cpu_backend.kernels(k, dev, op);
    uint8_t number = 0;

    assert_in_range(n, 1, BACKEND_KERNELS_MAX);
    // What a tier has no kernel of its own for it has from a plainer one.
    for (uint32_t i = 0; name && i < n; i++) {
        number = k[i].number;
        if (strcmp(k[i].name, name) == 0)
            break;
    }
    return number;
}

// Runs all examples; the arena afterwards, without scratch.
static unsigned char *run_all(const struct how *how)
{
    const struct device_params params = {.threads = how->threads,
                                         .tier = how->tier};
    struct device *dev = NULL;
    assert_int_equal(cpu_backend.open(&dev, &params, NULL), 0);
    unsigned char *arena = calloc(1, 10 * ARENA);
    struct buffer *buf = NULL;
    assert_non_null(arena);
    assert_int_equal(cpu_backend.buffer_create(&buf, dev, 10 * ARENA), 0);

    size_t end = 0;
    for (int i = 0; i < OP_COUNT; i++) {
        struct program p = {.used = end};
        struct instr in;
        make_instr(&p, &in, &examples[i], dev);
        in.threads = how->limit;
        in.kernel = kernel_number(dev, examples[i].op, how->kernel);
        srand((unsigned) i);
        fill(arena, &in);
        end = in.scratch.offset;
        assert_int_equal(cpu_backend.buffer_write(buf, 0, arena, ARENA), 0);
        const struct bindings b = {.arena = buf};
        assert_int_equal(cpu_backend.run(dev, &in, 1, &b), 1);
        assert_int_equal(cpu_backend.buffer_read(buf, 0, arena, end), 0);
    }
    cpu_backend.buffer_destroy(buf);
    cpu_backend.close(dev);
    memset(arena + end, 0, 10 * ARENA - end);
    return arena;
}

static void gives_the_same_bytes_for_any_number_of_threads(void **state)
{
    static const struct how hows[] = {
        {2, 0, NULL, NULL},
        {3, 0, NULL, NULL},
        {3, 1, NULL, NULL},
        {3, 2, NULL, NULL},
    };
    unsigned char *one = run_all(&(struct how){.threads = 1});

    for (size_t i = 0; i < sizeof(hows) / sizeof(hows[0]); i++) {
        unsigned char *more = run_all(&hows[i]);
        assert_memory_equal(one, more, ARENA);
        free(more);
    }
    free(one);
}

// A device of the best tier runs the kernels of a lower one as a device of that
// tier does.
static void runs_the_kernel_that_is_asked_for(void **state)
{
    struct device *dev = open_device(1, NULL);
    struct backend_kernel k[BACKEND_KERNELS_MAX];
    const uint32_t n = cpu_backend.kernels(k, dev, OP_matmul);
    bool has_512 = false;

    for (uint32_t i = 0; i < n; i++)
        has_512 |= strcmp(k[i].name, "avx512") == 0;

    assert_string_equal(k[0].name, "c");
    assert_int_equal(cpu_backend.kernels(k, dev, OP_embed), 1);
    cpu_backend.close(dev);
    if (!has_512)
        return;
    unsigned char *lower = run_all(&(struct how){.threads = 1, .tier = "avx2"});
    unsigned char *best =
        run_all(&(struct how){.threads = 1, .tier = "avx512"});
    unsigned char *asked =
        run_all(&(struct how){.threads = 1, .kernel = "avx2"});
    assert_memory_equal(lower, asked, ARENA);
    assert_memory_not_equal(best, asked, ARENA); // they do differ
    free(lower);
    free(best);
    free(asked);
}

static void says_which_device_it_is(void **state)
{
    struct device *one = open_device(1, NULL);
    struct device *two = open_device(2, NULL);
    struct device *plain = NULL;
    const struct device_params params = {.threads = 1, .tier = "c"};

    assert_int_equal(cpu_backend.open(&plain, &params, NULL), 0);
    assert_string_equal(cpu_backend.identify(one), cpu_backend.identify(two));
    assert_non_null(strstr(cpu_backend.identify(one), ": c"));
    if (strcmp(cpu_backend.describe(one), "cpu c, 1 thread") != 0)
        assert_string_not_equal(cpu_backend.identify(one),
                                cpu_backend.identify(plain));
    assert_int_equal(cpu_backend.threads(two), 2);
    cpu_backend.close(one);
    cpu_backend.close(two);
    cpu_backend.close(plain);
}

// Halves of the smallest normal number are zero in every thread's share, and
// the caller's own arithmetic is as before.
static void takes_subnormal_numbers_for_zero(void **state)
{
    enum { ROWS = 1024, BYTES = ROWS * C * 4 };
    struct device *dev = open_device(3, NULL);
    struct buffer *buf = NULL;
    float *x = calloc(2, BYTES);
    volatile float tiny = 1.2e-38f;
    struct instr in = {
        .op = OP_scale,
        .n_in = 1,
        .n_out = 1,
        .attr = {.alpha = 0.5f},
        .in = {{.region = REGION_ARENA, .rank = 2, .ne = {1, 1, ROWS, C}}},
        .out = {{.region = REGION_ARENA,
                 .rank = 2,
                 .offset = BYTES,
                 .ne = {1, 1, ROWS, C}}},
    };

    assert_non_null(x);
    for (int i = 0; i < ROWS * C; i++)
        x[i] = i % 2 ? tiny : 1.0f;
    assert_int_equal(cpu_backend.buffer_create(&buf, dev, 2 * BYTES), 0);
    assert_int_equal(cpu_backend.buffer_write(buf, 0, x, BYTES), 0);
    const struct bindings b = {.arena = buf};
    assert_int_equal(cpu_backend.run(dev, &in, 1, &b), 1);
    assert_int_equal(cpu_backend.buffer_read(buf, BYTES, x, BYTES), 0);
#if defined(__x86_64__) || defined(__aarch64__)
    for (int i = 0; i < ROWS * C; i++)
        assert_true(x[i] == (i % 2 ? 0.0f : 0.5f));
#endif
    assert_true(tiny * 0.5f > 0.0f);
    free(x);
    cpu_backend.buffer_destroy(buf);
    cpu_backend.close(dev);
}

static void names_the_tiers_when_one_is_unknown(void **state)
{
    struct device *dev = NULL;
    struct error err;
    const struct device_params params = {.threads = 1, .tier = "sse9"};

    assert_int_equal(cpu_backend.open(&dev, &params, &err), -EINVAL);
    assert_non_null(strstr(err.text, "sse9"));
    assert_non_null(strstr(err.text, "has c"));
    assert_null(dev);
}

static void describes_itself(void **state)
{
    struct device *dev = NULL;
    const struct device_params params = {.threads = 1, .tier = "c"};

    assert_int_equal(cpu_backend.open(&dev, &params, NULL), 0);
    assert_string_equal(cpu_backend.describe(dev), "cpu c, 1 thread");
    cpu_backend.close(dev);
    cpu_backend.close(NULL);
}

static void stops_before_the_next_instruction(void **state)
{
    atomic_bool stop = true;
    struct device *dev = open_device(2, &stop);
    struct program p = {0};
    struct buffer *buf = NULL;

    make_instr(&p, &p.instrs[0], &examples[0], dev);
    assert_int_equal(cpu_backend.buffer_create(&buf, dev, ARENA), 0);
    const struct bindings b = {.arena = buf};
    assert_int_equal(cpu_backend.run(dev, p.instrs, 1, &b), 0);
    atomic_store(&stop, false);
    assert_int_equal(cpu_backend.run(dev, p.instrs, 1, &b), 1);
    cpu_backend.buffer_destroy(buf);
    cpu_backend.close(dev);
}

static void refuses_what_no_kernel_takes(void **state)
{
    struct device *dev = open_device(1, NULL);
    struct program p = {0};
    struct instr in;

    make_instr(&p, &in, &examples[4], dev); // matmul
    in.in[1].dtype = DTYPE_i32;
    assert_false(cpu_backend.supports(dev, &in));
    in.in[1].dtype = DTYPE_q8_0;
    in.in[1].ne[3] = 65; // not whole blocks
    assert_false(cpu_backend.supports(dev, &in));
    in.in[1].ne[3] = C;
    in.in[0].dtype = DTYPE_f16; // only b may be anything
    assert_false(cpu_backend.supports(dev, &in));
    make_instr(&p, &in, &examples[7], dev); // attention
    in.attr.head_dim = 512;
    assert_false(cpu_backend.supports(dev, &in));
    in.attr.head_dim = D;
    in.attr.n_kv_heads = 3; // does not divide the heads
    assert_false(cpu_backend.supports(dev, &in));
    in.op = OP_COUNT;
    assert_false(cpu_backend.supports(dev, &in));
    cpu_backend.close(dev);
}

static void keeps_inside_its_buffers(void **state)
{
    struct device *dev = open_device(1, NULL);
    struct buffer *buf = NULL;
    char bytes[16] = "0123456789abcde";

    assert_int_equal(cpu_backend.buffer_create(&buf, dev, 100), 0);
    assert_int_equal(cpu_backend.buffer_write(buf, 84, bytes, 16), 0);
    assert_int_equal(cpu_backend.buffer_write(buf, 85, bytes, 16), -ERANGE);
    assert_int_equal(cpu_backend.buffer_read(buf, SIZE_MAX, bytes, 2), -ERANGE);
    assert_int_equal(cpu_backend.buffer_read(buf, 0, bytes, 16), 0);
    assert_int_equal(bytes[7], 0); // new memory is zero
    cpu_backend.buffer_destroy(buf);

    assert_int_equal(cpu_backend.buffer_import(&buf, dev, bytes, 16), 0);
    assert_int_equal(cpu_backend.buffer_write(buf, 0, bytes, 1), -EROFS);
    cpu_backend.buffer_destroy(buf);
    cpu_backend.buffer_destroy(NULL);
    cpu_backend.close(dev);
}

static void survives_missing_memory(void **state)
{
    struct buffer *buf = NULL;
    struct device *dev = NULL;
    const struct device_params params = {.threads = 2};
    struct error err;

    for (unsigned long n = 1; n <= 2; n++) {
        fault_arm(FAULT_ALLOC, n);
        assert_int_equal(cpu_backend.open(&dev, &params, &err), -ENOMEM);
        assert_null(dev);
    }
    fault_arm(FAULT_ALLOC, 0);
    assert_int_equal(cpu_backend.open(&dev, &params, &err), 0);
    fault_arm(FAULT_ALLOC, 1);
    assert_int_equal(cpu_backend.buffer_create(&buf, dev, 64), -ENOMEM);
    fault_arm(FAULT_ALLOC, 0);
    assert_int_equal(cpu_backend.buffer_create(&buf, dev, SIZE_MAX - 3),
                     -ENOMEM);
    assert_null(buf);
    cpu_backend.close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_same_bytes_for_any_number_of_threads),
        cmocka_unit_test(runs_the_kernel_that_is_asked_for),
        cmocka_unit_test(says_which_device_it_is),
        cmocka_unit_test(takes_subnormal_numbers_for_zero),
        cmocka_unit_test(names_the_tiers_when_one_is_unknown),
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(stops_before_the_next_instruction),
        cmocka_unit_test(refuses_what_no_kernel_takes),
        cmocka_unit_test(keeps_inside_its_buffers),
        cmocka_unit_test(survives_missing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
