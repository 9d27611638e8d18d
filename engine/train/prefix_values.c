// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/prefix_values.h"

#include "engine/base/half.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "kept states are little-endian"
#endif

static const float F16_MAX = 65504.0F;
static const float INT8_TOP = 127.0F;

const char *prefix_values_name(enum prefix_values v)
{
    static const char *const names[PREFIX_VALUES_COUNT] = {
        [PREFIX_VALUES_OFF] = "off",
        [PREFIX_VALUES_F16] = "f16",
        [PREFIX_VALUES_INT8] = "int8",
    };
    return (unsigned) v < PREFIX_VALUES_COUNT ? names[v] : NULL;
}

size_t prefix_values_row_bytes(enum prefix_values v, uint32_t width)
{
    assert(v != PREFIX_VALUES_OFF);
    return v == PREFIX_VALUES_F16 ? (size_t) width * sizeof(uint16_t)
                                  : sizeof(float) + (size_t) width;
}

static uint16_t half_saturated(float v)
{
    if (isfinite(v) && fabsf(v) > F16_MAX)
        v = copysignf(F16_MAX, v);
    return half_from_f32(v);
}

static void encode_f16(uint8_t *out, const float *x, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++) {
        const uint16_t h = half_saturated(x[i]);
        out[2 * (size_t) i] = (uint8_t) h;
        out[2 * (size_t) i + 1] = (uint8_t) (h >> 8);
    }
}

static void put_f32(uint8_t out[4], float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t) (u >> 8 * i);
}

static float get_f32(const uint8_t in[4])
{
    uint32_t u = 0;
    float x;

    for (int i = 0; i < 4; i++)
        u |= (uint32_t) in[i] << 8 * i;
    memcpy(&x, &u, sizeof x);
    return x;
}

static void encode_int8(uint8_t *out, const float *x, uint32_t width)
{
    float top = 0;

    // A row that is not finite anywhere is not a number as a whole: the loss
    // must see it.
    for (uint32_t i = 0; i < width && !isnan(top); i++)
        top = isfinite(x[i]) ? fmaxf(top, fabsf(x[i])) : NAN;
    const float scale = top / INT8_TOP;
    const float inverse = scale > 0 ? INT8_TOP / top : 0;
    put_f32(out, scale);
    for (uint32_t i = 0; i < width; i++) {
        const float v = inverse > 0 ? nearbyintf(x[i] * inverse) : 0;
        out[4 + i] = (uint8_t) (int8_t) v;
    }
}

// No state is beyond f16 by more than the rounding of its scale.
static void halve_int8(uint16_t *out, const uint8_t *data, uint32_t width)
{
    const float scale = get_f32(data);

    for (uint32_t i = 0; i < width; i++)
        out[i] = half_saturated(scale * (float) (int8_t) data[4 + i]);
}

void prefix_values_encode(void *out, enum prefix_values v, const float *x,
                          size_t rows, uint32_t width)
{
    const size_t row = prefix_values_row_bytes(v, width);

    for (size_t r = 0; r < rows; r++) {
        uint8_t *to = (uint8_t *) out + r * row;
        if (v == PREFIX_VALUES_F16)
            encode_f16(to, x + r * width, width);
        else
            encode_int8(to, x + r * width, width);
    }
}

void prefix_values_halves(uint16_t *out, enum prefix_values v, const void *data,
                          size_t rows, uint32_t width)
{
    const size_t row = prefix_values_row_bytes(v, width);

    if (v == PREFIX_VALUES_F16) {
        memcpy(out, data, rows * row);
        return;
    }
    for (size_t r = 0; r < rows; r++)
        halve_int8(out + r * width, (const uint8_t *) data + r * row, width);
}
