// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Prefix values
 *
 * How hidden states are kept: as f16, or as int8 with one f32 scale for each
 * row, in half the space. Rows stand one after another, little-endian, the
 * scale first. What is read back is what every step computes with, so that a
 * run does not depend on what was kept.
 */

#include <stddef.h>
#include <stdint.h>

enum prefix_values {
    PREFIX_VALUES_OFF,
    PREFIX_VALUES_F16,
    PREFIX_VALUES_INT8,
    PREFIX_VALUES_COUNT
};

// "off", "f16", "int8"; NULL for anything else.
const char *prefix_values_name(enum prefix_values v);

size_t prefix_values_row_bytes(enum prefix_values v, uint32_t width);
// (rows, width). f16 saturates: no finite state becomes infinite.
void prefix_values_encode(void *out, enum prefix_values v, const float *x,
                          size_t rows, uint32_t width);
// As f16, which is what programs begin with; it saturates as well.
void prefix_values_halves(uint16_t *out, enum prefix_values v, const void *data,
                          size_t rows, uint32_t width);
