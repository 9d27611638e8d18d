// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Programs that end or begin between two blocks: the states there depend on
 * the model and a window's own tokens alone, byte for byte.
 */

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/base/half.h"
#include "engine/exec/program.h"
#include "engine/formats/gguf.h"
#include "tests/support/archfile.h"
#include "tests/support/tiny.h"

enum { BLOCKS = 3, BOUNDARY = 2, PLACES = 64 };

static const char *const tiers[] = {"c",    "avx2",    "avx512",  "avx512bf16",
                                    "neon", "neondot", "neonbf16"};

struct rig {
    struct device *dev;
    struct bank bank;
    struct model_config m;
};

// False when this machine has no such tier.
static bool rig_init(struct rig *r, const char *tier, enum dtype type)
{
    const struct device_params params = {.threads = 1, .tier = tier};

    if (cpu_backend.open(&r->dev, &params, NULL) < 0)
        return false;
    bank_init(&r->bank, &cpu_backend, r->dev, 5);
    r->m = tiny_config((uint8_t) type, BLOCKS);
    return true;
}

static void rig_finish(struct rig *r)
{
    bank_finish(&r->bank);
    cpu_backend.close(r->dev);
}

static struct program *compile(struct rig *r, enum program_kind kind,
                               uint32_t batch, uint32_t length,
                               uint32_t first_block)
{
    const struct scheme_lora lora = {2, 4, LORA_ALL, 1};
    const struct scheme scheme = tiny_scheme(&r->m, &lora);
    const struct program_params params = {
        .kind = kind,
        .batch = batch,
        .length = length,
        .scheme = &scheme,
        .first_block = first_block,
    };
    struct program *p;
    struct error err = {0};

    if (program_compile(&p, &r->m, &params, &cpu_backend, r->dev, &err) < 0)
        fail_msg("%s", err.text);
    return p;
}

static struct executor *bind(struct rig *r, const struct program *p)
{
    const struct executor_params params = bank_executor_params(&r->bank);
    struct executor *e;

    assert_int_equal(executor_create(&e, p, &params, NULL), 0);
    return e;
}

// The inputs that the program has.
static void write_batch(struct executor *e, const struct program *p,
                        const struct tiny_batch *b)
{
    const struct {
        const char *name;
        const void *data;
    } inputs[] = {{"tokens", b->tokens},
                  {"pos", b->pos},
                  {"start", b->start},
                  {"targets", b->targets},
                  {"weights", b->weights}};

    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++)
        if (program_io(p, inputs[i].name))
            assert_int_equal(executor_write(e, inputs[i].name, inputs[i].data,
                                            b->n * 4),
                             0);
}

// hidden (n,C)
static void run_prefix(float *hidden, struct rig *r, const struct tiny_batch *b,
                       uint32_t batch)
{
    struct program *p =
        compile(r, PROGRAM_PREFIX, batch, b->n / batch, BOUNDARY);
    struct executor *e = bind(r, p);

    write_batch(e, p, b);
    assert_int_equal(executor_run(e), 0);
    assert_int_equal(executor_read(e, "hidden", hidden,
                                   b->n * r->m.width * sizeof(float)),
                     0);
    executor_destroy(e);
    program_destroy(p);
}

// Backwards, so that a place reads the state that it names.
static void write_hidden(struct executor *e, const float *hidden, uint32_t n,
                         uint32_t width)
{
    uint16_t halves[PLACES * 64];
    int32_t state[PLACES];

    for (uint32_t t = 0; t < n; t++) {
        state[t] = (int32_t) (n - 1 - t);
        for (uint32_t i = 0; i < width; i++)
            halves[state[t] * width + i] = half_from_f32(hidden[t * width + i]);
    }
    assert_int_equal(executor_write(e, "state", state, n * sizeof *state), 0);
    assert_int_equal(executor_write(e, "hidden", halves,
                                    (size_t) n * width * sizeof *halves),
                     0);
}

// But for the rounding of hidden states to halves.
static void assert_same(const float *a, const float *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        assert_true(fabsf(a[i] - b[i]) <= 2e-3F * (1 + fabsf(b[i])));
}

static void run_eval(float *nll, struct rig *r, const struct tiny_batch *b,
                     const float *hidden)
{
    struct program *p =
        compile(r, PROGRAM_EVAL, 1, b->n, hidden ? BOUNDARY : 0);
    struct executor *e = bind(r, p);

    write_batch(e, p, b);
    if (hidden)
        write_hidden(e, hidden, b->n, r->m.width);
    assert_int_equal(executor_run(e), 0);
    assert_int_equal(executor_read(e, "nll", nll, b->n * sizeof(float)), 0);
    executor_destroy(e);
    program_destroy(p);
}

static void both_halves_make_the_whole(void **state)
{
    static float hidden[PLACES * 64];
    float whole[PLACES], halves[PLACES];
    struct tiny_batch b;
    struct rig r;

    for (size_t t = 0; t < sizeof(tiers) / sizeof(tiers[0]); t++) {
        if (!rig_init(&r, tiers[t], DTYPE_f32))
            continue;
        tiny_batch_make(&b, 1, 41, r.m.n_vocab, 1);
        run_prefix(hidden, &r, &b, 1);
        run_eval(whole, &r, &b, NULL);
        run_eval(halves, &r, &b, hidden);
        assert_same(whole, halves, b.n);
        rig_finish(&r);
    }
}

// With another block, if there are but two.
static void read_arch(struct model_config *m, const struct archfile *a)
{
    const int fd = archfile_create(a);
    struct gguf *g;

    assert_int_equal(gguf_load_fd(&g, fd, NULL), 0);
    close(fd);
    assert_int_equal(model_config_read(m, g, NULL), 0);
    gguf_destroy(g);
    m->n_blocks = BLOCKS;
    memcpy(m->linear_dtypes[BLOCKS - 1], m->linear_dtypes[0],
           sizeof(m->linear_dtypes[0]));
    m->biases[BLOCKS - 1] = m->biases[0];
}

static void both_halves_make_the_whole_of_every_architecture(void **state)
{
    static float hidden[PLACES * 64];
    float whole[PLACES], halves[PLACES];
    struct tiny_batch b;
    struct rig r;

    for (size_t i = 0; i < archfile_count; i++) {
        assert_true(rig_init(&r, "c", DTYPE_f32));
        read_arch(&r.m, &archfiles[i]);
        tiny_batch_make(&b, 1, 41, r.m.n_vocab, 1);
        run_prefix(hidden, &r, &b, 1);
        run_eval(whole, &r, &b, NULL);
        run_eval(halves, &r, &b, hidden);
        assert_same(whole, halves, b.n);
        rig_finish(&r);
    }
}

// One window of `n` tokens at place `at` of a row of `length`, behind another.
static void place_window(struct tiny_batch *b, uint32_t row, uint32_t length,
                         uint32_t at, uint32_t n)
{
    for (uint32_t i = 0; i < length; i++) {
        const uint32_t t = row * length + i;
        const bool is_in = i >= at && i < at + n;
        const uint32_t start = is_in ? at : i < at ? 0 : at + n;
        b->tokens[t] = is_in ? (int32_t) (3 + (i - at) * 7 % 31) : 2;
        b->pos[t] = (int32_t) (i - start);
        b->start[t] = (int32_t) (row * length + start);
    }
    b->n += length;
}

static void a_window_has_the_same_bytes_wherever_it_lies(void **state)
{
    static const struct {
        uint32_t batch, length, row, at;
    } places[] = {{1, 16, 0, 0}, {1, 32, 0, 0}, {1, 32, 0, 17}, {1, 48, 0, 5},
                  {2, 32, 1, 9}, {2, 16, 1, 0}, {1, 64, 0, 50}, {4, 16, 2, 2}};
    static const enum dtype types[] = {DTYPE_f32, DTYPE_q8_0};
    enum { N = 13 };
    static float alone[PLACES * 64], hidden[PLACES * 64];
    struct rig r;

    for (size_t t = 0; t < 2 * sizeof(tiers) / sizeof(tiers[0]); t++) {
        if (!rig_init(&r, tiers[t / 2], types[t % 2]))
            continue;
        const size_t row = r.m.width;
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
            struct tiny_batch b = {0};
            const uint32_t length = places[i].length;
            for (uint32_t k = 0; k < places[i].batch; k++)
                place_window(&b, k, length,
                             k == places[i].row ? places[i].at : 0,
                             k == places[i].row ? N : 3);
            run_prefix(hidden, &r, &b, places[i].batch);
            const float *at =
                hidden + (places[i].row * length + places[i].at) * row;
            if (i == 0)
                memcpy(alone, at, N * row * sizeof(float));
            if (memcmp(alone, at, N * row * sizeof(float)) != 0)
                fail_msg("tier %s, place %zu: other bytes", tiers[t / 2], i);
        }
        rig_finish(&r);
    }
}

static bool has_weight(const struct program *p, const char *start)
{
    for (uint32_t i = 0; i < program_weight_count(p); i++)
        if (strncmp(program_weight(p, i)->name, start, strlen(start)) == 0)
            return true;
    return false;
}

static void each_half_reads_its_own_blocks_only(void **state)
{
    struct rig r;

    assert_true(rig_init(&r, "c", DTYPE_f32));
    r.m.is_tied = false;
    struct program *front = compile(&r, PROGRAM_PREFIX, 1, 16, BOUNDARY);
    assert_true(has_weight(front, "token_embd"));
    assert_true(has_weight(front, "blk.1."));
    assert_false(has_weight(front, "blk.2."));
    assert_false(has_weight(front, "output"));
    assert_int_equal(program_state_count(front), 0);
    struct program *back = compile(&r, PROGRAM_TRAIN, 1, 16, BOUNDARY);
    assert_false(has_weight(back, "token_embd"));
    assert_false(has_weight(back, "blk.1."));
    assert_true(has_weight(back, "blk.2."));
    assert_true(has_weight(back, "output"));
    assert_null(program_io(back, "tokens"));
    program_destroy(front);
    program_destroy(back);
    rig_finish(&r);
}

static void a_boundary_above_what_learns_is_refused(void **state)
{
    static const struct {
        enum program_kind kind;
        uint32_t first_block, last_blocks;
    } wrong[] = {
        {PROGRAM_TRAIN, 2, 2},
        {PROGRAM_TRAIN, 1, 0},
        {PROGRAM_EVAL, 4, 1},
        {PROGRAM_PREFIX, 0, 1},
    };
    struct rig r;

    assert_true(rig_init(&r, "c", DTYPE_f32));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct scheme_lora lora = {2, 4, LORA_V, wrong[i].last_blocks};
        const struct scheme scheme = tiny_scheme(&r.m, &lora);
        const struct program_params params = {
            .kind = wrong[i].kind,
            .batch = 1,
            .length = 16,
            .scheme = &scheme,
            .first_block = wrong[i].first_block,
        };
        struct program *p;
        struct error err = {0};
        assert_int_equal(program_compile(&p, &r.m, &params, &cpu_backend, r.dev,
                                         &err),
                         -EINVAL);
        assert_non_null(strstr(err.text, "boundary"));
    }
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_halves_make_the_whole),
        cmocka_unit_test(both_halves_make_the_whole_of_every_architecture),
        cmocka_unit_test(a_window_has_the_same_bytes_wherever_it_lies),
        cmocka_unit_test(each_half_reads_its_own_blocks_only),
        cmocka_unit_test(a_boundary_above_what_learns_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
