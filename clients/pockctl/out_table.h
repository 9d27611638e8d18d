// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Tables
 *
 * Aligned columns, two spaces apart. Cells are added from left to right, row
 * by row. On a terminal the columns marked `shrinks` give way, the widest
 * first, with "...", so that a row stays on a line; a last column that wraps
 * goes on below itself, between words. Anywhere else nothing is ever cut. Cells
 * are made harmless by term_text().
 */

#include "clients/pockctl/term.h"

enum out_fit {
    OUT_WHOLE = false,
    OUT_SHRINKS = true,
    OUT_WRAPS, // the last column only
};

struct out_column {
    const char *title; // NULL in every column: no heading at all
    bool to_right;
    enum out_fit fit; // false or true in most tables
};

struct out_table;

// Borrows `columns` until out_table_destroy().
int out_table_create(struct out_table **out, const struct out_column *columns,
                     size_t count);
void out_table_destroy(struct out_table *t);

void out_table_text(struct out_table *t, const char *text);
void out_table_cell(struct out_table *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
// The style of the last cell.
void out_table_style(struct out_table *t, enum term_style style);

size_t out_table_rows(const struct out_table *t);
// 0, or the first failure since out_table_create(): -ENOMEM.
int out_table_print(const struct out_table *t, const struct term *term,
                    bool header);
