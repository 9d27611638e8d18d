// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Terminal
 *
 * What one output stream can show: whether a person sees it, how wide it is
 * and whether it may be coloured. Colour never carries meaning alone. Text
 * that came from records or models goes through term_text(), so that it cannot
 * move the cursor or retitle the window.
 */

#include "engine/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum term_color {
    TERM_COLOR_AUTO, // on a terminal, unless NO_COLOR is set or TERM is dumb
    TERM_COLOR_ALWAYS,
    TERM_COLOR_NEVER,
};

enum term_style {
    TERM_PLAIN,
    TERM_BOLD,
    TERM_DIM,
    TERM_GOOD,
    TERM_WARN,
    TERM_BAD,
};

struct term {
    FILE *file;
    bool is_tty;
    bool has_color;
    bool has_cursor; // may be redrawn in place
    int columns;     // 0: no limit
};

void term_init(struct term *t, FILE *file, enum term_color color);
// Escape sequences that switch a style on, and all styles off; "" without
// colour.
const char *term_on(const struct term *t, enum term_style style);
const char *term_off(const struct term *t, enum term_style style);

// How many columns UTF-8 text takes. Bytes that are no text count as one.
size_t term_width(const char *text, size_t bytes);
// How many bytes of it fit into so many columns.
size_t term_fit(const char *text, size_t bytes, size_t columns);

// Append text made harmless for a terminal: control characters other than tab
// and newline, and bytes that are no UTF-8, become "?". `one_line` turns tabs
// and newlines into spaces.
void term_text(struct str *out, const char *text, size_t bytes, bool one_line);
