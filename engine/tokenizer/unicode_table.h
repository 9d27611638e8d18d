// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Unicode classes
 *
 * What each character is, in two steps: pages of 128 characters, of which many
 * are alike, and an index of them.
 */

#include <stdint.h>

enum unicode_class {
    UNICODE_OTHER,
    UNICODE_UPPER,  // Lu, Lt
    UNICODE_LOWER,  // Ll
    UNICODE_LETTER, // Lm, Lo: neither upper nor lower case
    UNICODE_MARK,   // M
    UNICODE_NUMBER, // N
    UNICODE_PUNCT,  // P
    UNICODE_SYMBOL, // S
    UNICODE_SPACE,  // \s, White_Space
};

enum { UNICODE_PAGE = 128 };

// Characters past the last index are as the last page.
extern const uint16_t unicode_n_indices;
extern const uint16_t unicode_indices[];
extern const char unicode_pages[][UNICODE_PAGE]; // '0' + class

static inline enum unicode_class unicode_class_of(uint32_t c)
{
    uint32_t page = c / UNICODE_PAGE;
    if (page >= unicode_n_indices)
        page = unicode_n_indices - 1u;
    return (enum unicode_class)(
        unicode_pages[unicode_indices[page]][c % UNICODE_PAGE] - '0');
}
