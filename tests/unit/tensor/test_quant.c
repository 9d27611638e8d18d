// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tensor/quant.h"

#include "engine/base/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { N = 4096 };

static float x[N], y[N];
static _Alignas(16) unsigned char bytes[4 * N];

static void fill(uint32_t seed, float scale)
{
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = ((float) (seed >> 8) / 8388608.0f - 1.0f) * scale;
    }
}

static void keeps_floats_to_the_type_s_precision(void **state)
{
    fill(1, 3);
    quant_encode(DTYPE_f32, bytes, x, N);
    quant_decode(DTYPE_f32, y, bytes, N);
    assert_memory_equal(x, y, sizeof(x));

    quant_encode(DTYPE_f16, bytes, x, N);
    quant_decode(DTYPE_f16, y, bytes, N);
    for (int i = 0; i < N; i++)
        assert_true(fabsf(x[i] - y[i]) <= fabsf(x[i]) / 2048 + 1e-7f);

    quant_encode(DTYPE_bf16, bytes, x, N);
    quant_decode(DTYPE_bf16, y, bytes, N);
    for (int i = 0; i < N; i++)
        assert_true(fabsf(x[i] - y[i]) <= fabsf(x[i]) / 256);
}

static float largest(const float *b)
{
    float most = 0;
    for (int i = 0; i < 32; i++)
        most = fmaxf(most, fabsf(b[i]));
    return most;
}

// Half a step of the grid, and the rounding of d to binary16 (2^-11).
static void stays_within_half_a_step(void **state)
{
    for (uint32_t seed = 1; seed < 20; seed++) {
        fill(seed, powf(10, (float) seed / 4 - 1));
        quant_encode(DTYPE_q8_0, bytes, x, N);
        quant_decode(DTYPE_q8_0, y, bytes, N);
        for (int i = 0; i < N; i++) {
            float most = largest(x + i / 32 * 32);
            assert_true(fabsf(x[i] - y[i]) <=
                        most / 127 * 0.5001f + most / 2000);
        }
        quant_encode(DTYPE_q4_0, bytes, x, N);
        quant_decode(DTYPE_q4_0, y, bytes, N);
        for (int i = 0; i < N; i++) {
            float most = largest(x + i / 32 * 32);
            // One step at the end that has fewer steps.
            assert_true(fabsf(x[i] - y[i]) <= most / 8 * 1.001f);
        }
    }
}

// Worked by hand from the layouts, and equal to what llama.cpp writes.
static void writes_the_bytes_of_the_format(void **state)
{
    struct quant_q8_0 q8;
    struct quant_q4_0 q4;
    memset(x, 0, sizeof(x));
    x[0] = 127, x[1] = -64, x[2] = 0.5f, x[3] = -0.5f, x[31] = 3;
    quant_encode(DTYPE_q8_0, &q8, x, 32);
    assert_int_equal(q8.d, half_from_f32(1));
    assert_int_equal(q8.q[0], 127);
    assert_int_equal(q8.q[1], -64);
    assert_int_equal(q8.q[2], 1);
    assert_int_equal(q8.q[3], -1);
    assert_int_equal(q8.q[31], 3);

    x[0] = -8, x[1] = 7, x[2] = 9, x[3] = 0.49f, x[16] = 1, x[17] = -3;
    x[2] = 7.4f;
    quant_encode(DTYPE_q4_0, &q4, x, 32);
    assert_int_equal(q4.d, half_from_f32(1));
    assert_int_equal(q4.q[0], 0 | 9 << 4);
    assert_int_equal(q4.q[1], 15 | 5 << 4);
    assert_int_equal(q4.q[2], 15 | 8 << 4);
    assert_int_equal(q4.q[3], 8 | 8 << 4);
    quant_decode(DTYPE_q4_0, y, &q4, 32);
    assert_true(y[0] == -8 && y[1] == 7 && y[16] == 1 && y[17] == -3);

    memset(x, 0, sizeof(x));
    quant_encode(DTYPE_q8_0, &q8, x, 32);
    quant_encode(DTYPE_q4_0, &q4, x, 32);
    quant_decode(DTYPE_q8_0, y, &q8, 32);
    quant_decode(DTYPE_q4_0, y + 32, &q4, 32);
    for (int i = 0; i < 64; i++)
        assert_true(y[i] == 0);
}

#define VECTORS "tests/unit/tensor/vectors.bin" // by make_vectors.py

struct vectors {
    char name[8];
    uint32_t n_bytes, n_values;
};

// Bit by bit, for blocks as models have them and for any bits.
static void decodes_as_llama_cpp_does(void **state)
{
    bool seen[DTYPE_COUNT] = {false};
    FILE *f = fopen(VECTORS, "rb");
    struct vectors v;

    assert_non_null(f);
    while (fread(&v, sizeof(v), 1, f) == 1) {
        enum dtype type;
        assert_true(v.n_bytes <= sizeof(bytes) && v.n_values <= N);
        assert_int_equal(fread(bytes, 1, v.n_bytes, f), v.n_bytes);
        assert_int_equal(fread(x, sizeof(*x), v.n_values, f), v.n_values);
        assert_int_equal(dtype_find(&type, v.name), 0);
        assert_int_equal(dtype_row_bytes(type, v.n_values), v.n_bytes);
        quant_decode(type, y, bytes, v.n_values);
        for (uint32_t i = 0; i < v.n_values; i++)
            if (memcmp(&x[i], &y[i], sizeof(*x)) != 0)
                fail_msg("value %u of %s is %g, not %g", i, v.name,
                         (double) y[i], (double) x[i]);
        seen[type] = true;
    }
    fclose(f);
    for (int type = 0; type < DTYPE_COUNT; type++)
        assert_true(seen[type] || dtype_infos[type].block == 1);
}

// Of evenly spread values, deviation 0.577: the root of the mean squared error.
// What an encoder may lose; a type without a bound fails.
static const float error_max[DTYPE_COUNT] = {
    [DTYPE_q8_0] = 0.0024f, [DTYPE_q4_0] = 0.039f,  [DTYPE_q4_1] = 0.036f,
    [DTYPE_q5_0] = 0.019f,  [DTYPE_q5_1] = 0.0175f, [DTYPE_iq4_nl] = 0.037f,
    [DTYPE_q2_k] = 0.133f,  [DTYPE_q3_k] = 0.071f,  [DTYPE_q4_k] = 0.0325f,
    [DTYPE_q5_k] = 0.0165f, [DTYPE_q6_k] = 0.0077f,
};

static void encodes_close_to_what_it_was_given(void **state)
{
    for (int type = 0; type < DTYPE_COUNT; type++) {
        if (dtype_infos[type].block == 1)
            continue;
        // Whatever their size, as long as binary16 holds the scales well.
        for (float scale = 0.1f; scale < 2000; scale *= 10) {
            double sum = 0;
            fill((uint32_t) type + 7, scale);
            quant_encode((enum dtype) type, bytes, x, N);
            quant_decode((enum dtype) type, y, bytes, N);
            for (int i = 0; i < N; i++)
                sum += pow(((double) x[i] - (double) y[i]) / (double) scale, 2);
            if (!(sqrt(sum / N) <= (double) error_max[type]))
                fail_msg("%s loses %g at %g", dtype_infos[type].name,
                         sqrt(sum / N), (double) scale);
        }
    }
}

// Groups of one size among others, and of one sign: each has its own grid.
static void fits_each_group(void **state)
{
    for (int type = 0; type < DTYPE_COUNT; type++) {
        const int block = (int) dtype_infos[type].block;
        if (block == 1)
            continue;
        fill(3, 1);
        for (int i = 0; i < N; i++)
            x[i] = x[i] * (float) (1 + i / 32 % 5) + (float) (i / 32 % 2) * 3;
        quant_encode((enum dtype) type, bytes, x, N);
        quant_decode((enum dtype) type, y, bytes, N);
        // Two bits have four values from end to end: half a step of three,
        // and as much again for scales of four bits.
        const float bound = type == DTYPE_q2_k ? 0.67f : 0.34f;
        for (int i = 0; i < N; i++) {
            const float most = largest(x + i / 32 * 32);
            if (!(fabsf(x[i] - y[i]) < most * bound))
                fail_msg("%s makes %g of %g, among values up to %g",
                         dtype_infos[type].name, (double) y[i], (double) x[i],
                         (double) most);
        }
    }
}

static void zeros_stay_zeros(void **state)
{
    for (int type = 0; type < DTYPE_COUNT; type++) {
        if (!dtype_is_weight((enum dtype) type))
            continue;
        memset(x, 0, sizeof(x));
        memset(bytes, 0xff, sizeof(bytes));
        quant_encode((enum dtype) type, bytes, x, N);
        memset(y, 0xff, sizeof(y));
        quant_decode((enum dtype) type, y, bytes, N);
        for (int i = 0; i < N; i++)
            assert_true(y[i] == 0);
    }
}

// Parts that begin and end inside blocks.
static void decodes_any_part_of_a_row(void **state)
{
    static const int parts[][2] = {{0, 1},    {31, 2},    {32, 64},
                                   {5, 600},  {256, 256}, {255, 514},
                                   {768, 32}, {0, 1024}};
    fill(11, 1);
    for (int type = 0; type < DTYPE_COUNT; type++) {
        if (!dtype_is_weight((enum dtype) type))
            continue;
        quant_encode((enum dtype) type, bytes, x, 1024);
        quant_decode((enum dtype) type, y, bytes, 1024);
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
            float part[1025];
            const int n = parts[i][1];
            part[n] = 7;
            quant_decode_part((enum dtype) type, part, bytes, parts[i][0], n);
            assert_memory_equal(part, y + parts[i][0],
                                (size_t) n * sizeof(*part));
            assert_true(part[n] == 7);
        }
    }
}

// Undefined behaviour would show under the sanitizer.
static void survives_what_is_not_finite(void **state)
{
    for (int type = 0; type < DTYPE_COUNT; type++) {
        if (dtype_infos[type].block == 1)
            continue;
        fill(3, 1);
        x[5] = NAN, x[300] = INFINITY, x[600] = -3e38f, x[900] = 3e38f;
        x[1100] = 1e-44f;
        quant_encode((enum dtype) type, bytes, x, N);
        quant_decode((enum dtype) type, y, bytes, N);
        // Blocks of 256 before 1024 and after may be anything, not these.
        for (int i = 1280; i < N; i++)
            assert_true(fabsf(y[i] - x[i]) < 0.5f);
    }
}

// A file may hold any bits: scales that are infinite or NaN, or negative.
static void survives_any_bits(void **state)
{
    for (int type = 0; type < DTYPE_COUNT; type++) {
        if (!dtype_is_weight((enum dtype) type))
            continue;
        for (int byte = 0; byte < 256; byte++) {
            memset(bytes, byte, sizeof(bytes));
            y[256] = 7;
            quant_decode((enum dtype) type, y, bytes, 256);
            assert_true(y[256] == 7);
            if (byte == 0x7c || byte == 0xff)
                assert_false(isfinite(y[0]) && type != DTYPE_f32 &&
                             type != DTYPE_bf16);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_floats_to_the_type_s_precision),
        cmocka_unit_test(stays_within_half_a_step),
        cmocka_unit_test(writes_the_bytes_of_the_format),
        cmocka_unit_test(decodes_as_llama_cpp_does),
        cmocka_unit_test(encodes_close_to_what_it_was_given),
        cmocka_unit_test(fits_each_group),
        cmocka_unit_test(zeros_stay_zeros),
        cmocka_unit_test(decodes_any_part_of_a_row),
        cmocka_unit_test(survives_what_is_not_finite),
        cmocka_unit_test(survives_any_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
