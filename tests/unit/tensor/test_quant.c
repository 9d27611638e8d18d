// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tensor/quant.h"

#include "engine/base/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

// Undefined behaviour would show under the sanitizer.
static void survives_what_is_not_finite(void **state)
{
    fill(3, 1);
    x[5] = NAN, x[40] = INFINITY, x[70] = -3e38f;
    quant_encode(DTYPE_q8_0, bytes, x, N);
    quant_decode(DTYPE_q8_0, y, bytes, N);
    quant_encode(DTYPE_q4_0, bytes, x, N);
    quant_decode(DTYPE_q4_0, y, bytes, N);
    assert_true(fabsf(y[200] - x[200]) < 0.2f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_floats_to_the_type_s_precision),
        cmocka_unit_test(stays_within_half_a_step),
        cmocka_unit_test(writes_the_bytes_of_the_format),
        cmocka_unit_test(survives_what_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
