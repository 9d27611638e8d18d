// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Unicode classes
 *
 * Sorted ranges of the characters that are letters (\p{L}), numbers (\p{N})
 * and white space (\s). What is in no range is none of them.
 */

#include <stddef.h>
#include <stdint.h>

enum unicode_class {
    UNICODE_OTHER,
    UNICODE_LETTER,
    UNICODE_NUMBER,
    UNICODE_SPACE,
};

struct unicode_range {
    uint32_t first;
    uint32_t last;
    uint8_t class; // enum unicode_class
};

extern const struct unicode_range unicode_ranges[];
extern const size_t unicode_n_ranges;
