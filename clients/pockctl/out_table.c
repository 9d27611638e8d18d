// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/out_table.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    GAP = 2,
    SHRINK_MIN = 8, // narrower than this a column says nothing
    WRAP_MIN = 24,  // and this one goes below its row,
    WRAP_INDENT = 6,
};

struct cell {
    size_t offset; // in `text`
    size_t bytes;
    enum term_style style;
};

struct out_table {
    const struct out_column *columns;
    size_t column_count;
    struct str text; // of all cells
    struct cell *cells;
    size_t cell_count;
    size_t cell_size;
    int rc;
};

int out_table_create(struct out_table **out, const struct out_column *columns,
                     size_t count)
{
    struct out_table *t = fault_calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->columns = columns;
    t->column_count = count;
    t->text.limit = (size_t) 1 << 30;
    *out = t;
    return 0;
}

void out_table_destroy(struct out_table *t)
{
    if (!t)
        return;
    str_free(&t->text);
    free(t->cells);
    free(t);
}

static int grow(struct out_table *t)
{
    if (t->cell_count < t->cell_size)
        return 0;
    size_t size = t->cell_size ? t->cell_size * 2 : 64;
    struct cell *p = fault_realloc(t->cells, size * sizeof(*p));
    if (!p)
        return -ENOMEM;
    t->cells = p;
    t->cell_size = size;
    return 0;
}

void out_table_text(struct out_table *t, const char *text)
{
    if (t->rc < 0 || (t->rc = grow(t)) < 0)
        return;
    size_t offset = t->text.bytes;
    term_text(&t->text, text, strlen(text), true);
    t->rc = str_finish(&t->text);
    t->cells[t->cell_count++] =
        (struct cell){.offset = offset, .bytes = t->text.bytes - offset};
}

void out_table_cell(struct out_table *t, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0) {
        t->rc = -ENOMEM;
        return;
    }
    out_table_text(t, text);
    free(text);
}

void out_table_style(struct out_table *t, enum term_style style)
{
    if (t->cell_count > 0)
        t->cells[t->cell_count - 1].style = style;
}

size_t out_table_rows(const struct out_table *t)
{
    return t->cell_count / t->column_count;
}

static bool has_titles(const struct out_table *t)
{
    for (size_t i = 0; i < t->column_count; i++)
        if (t->columns[i].title)
            return true;
    return false;
}

static const char *cell_text(const struct out_table *t, const struct cell *c)
{
    return t->text.data ? t->text.data + c->offset : "";
}

static void measure_columns(const struct out_table *t, bool header,
                            size_t *widths)
{
    for (size_t i = 0; i < t->column_count; i++) {
        const char *title = t->columns[i].title;
        widths[i] = header && title ? strlen(title) : 0;
    }
    for (size_t i = 0; i < t->cell_count; i++) {
        const struct cell *c = &t->cells[i];
        size_t w = term_width(cell_text(t, c), c->bytes);
        if (w > widths[i % t->column_count])
            widths[i % t->column_count] = w;
    }
}

static bool wraps(const struct out_table *t, size_t column)
{
    return t->columns[column].fit == OUT_WRAPS;
}

// The widest column that may gives way, until the row fits.
static void shrink_columns(const struct out_table *t, int columns,
                           size_t *widths)
{
    size_t total = GAP * (t->column_count - 1);

    for (size_t i = 0; i < t->column_count; i++)
        total += wraps(t, i) && widths[i] > WRAP_MIN ? WRAP_MIN : widths[i];
    for (; total > (size_t) columns; total--) {
        size_t widest = t->column_count;
        for (size_t i = 0; i < t->column_count; i++)
            if (t->columns[i].fit == OUT_SHRINKS && widths[i] > SHRINK_MIN &&
                (widest == t->column_count || widths[i] > widths[widest]))
                widest = i;
        if (widest == t->column_count)
            return;
        widths[widest]--;
    }
}

static void print_cell(FILE *f, const char *text, size_t bytes, size_t width,
                       bool to_right, bool is_last)
{
    size_t have = term_width(text, bytes);
    bool cut = have > width;

    if (cut) {
        bytes = term_fit(text, bytes, width - 3);
        have = term_width(text, bytes) + 3;
    }
    int pad = width > have ? (int) (width - have) : 0;
    if (to_right)
        fprintf(f, "%*s", pad, "");
    fwrite(text, 1, bytes, f);
    if (cut)
        fputs("...", f);
    if (!to_right && !is_last)
        fprintf(f, "%*s", pad, "");
    if (!is_last)
        fprintf(f, "%*s", GAP, "");
}

// How much of a text is printed on a line of so many columns: whole words.
static size_t line_bytes(const char *text, size_t bytes, size_t columns)
{
    size_t n = term_fit(text, bytes, columns);
    size_t at = n;

    if (n == bytes || text[n] == ' ')
        return n;
    while (at > 0 && text[at - 1] != ' ')
        at--;
    if (at > 0)
        return at - 1;
    // A word that is too long stays whole, so that it can be copied.
    while (n < bytes && text[n] != ' ')
        n++;
    return n;
}

// From column `indent` on.
static void print_wrapped(FILE *f, const char *text, size_t bytes,
                          size_t indent, size_t columns)
{
    if (term_width(text, bytes) + indent > columns &&
        indent + WRAP_MIN > columns) {
        indent = WRAP_INDENT;
        fprintf(f, "\n%*s", (int) indent, "");
    }
    while (bytes > 0) {
        size_t n =
            line_bytes(text, bytes, columns > indent ? columns - indent : 1);
        fwrite(text, 1, n, f);
        while (n < bytes && text[n] == ' ')
            n++;
        text += n;
        bytes -= n;
        if (bytes > 0)
            fprintf(f, "\n%*s", (int) indent, "");
    }
}

static void print_header(const struct out_table *t, const struct term *term,
                         const size_t *widths)
{
    fputs(term_on(term, TERM_BOLD), term->file);
    for (size_t i = 0; i < t->column_count; i++) {
        const char *title = t->columns[i].title ? t->columns[i].title : "";
        print_cell(term->file, title, strlen(title), widths[i],
                   t->columns[i].to_right, i + 1 == t->column_count);
    }
    fprintf(term->file, "%s\n", term_off(term, TERM_BOLD));
}

int out_table_print(const struct out_table *t, const struct term *term,
                    bool header)
{
    if (t->rc < 0)
        return t->rc;
    header = header && has_titles(t);
    size_t *widths = fault_calloc(t->column_count, sizeof(*widths));
    if (!widths)
        return -ENOMEM;
    measure_columns(t, header, widths);
    if (term->columns > 0)
        shrink_columns(t, term->columns, widths);
    if (header)
        print_header(t, term, widths);
    size_t indent = GAP * (t->column_count - 1);
    for (size_t i = 0; i + 1 < t->column_count; i++)
        indent += widths[i];
    for (size_t i = 0; i < t->cell_count; i++) {
        const struct cell *c = &t->cells[i];
        size_t k = i % t->column_count;
        bool is_last = k + 1 == t->column_count;
        fputs(term_on(term, c->style), term->file);
        if (is_last && wraps(t, k) && term->columns > 0)
            print_wrapped(term->file, cell_text(t, c), c->bytes, indent,
                          (size_t) term->columns);
        else
            print_cell(term->file, cell_text(t, c), c->bytes, widths[k],
                       t->columns[k].to_right, is_last);
        fprintf(term->file, "%s%s", term_off(term, c->style),
                is_last ? "\n" : "");
    }
    free(widths);
    return 0;
}
