// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * UTF-8
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The length of the well-formed sequence at p, or 0. `left` is not 0.
size_t utf8_length(const unsigned char *p, size_t left);
bool utf8_is_valid(const char *text, size_t bytes);
// Decode one well-formed sequence of `length` bytes.
uint32_t utf8_decode(const unsigned char *p, size_t length);
