// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/term.h"

#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

static bool is_set(const char *name)
{
    const char *v = getenv(name);

    return v && *v;
}

void term_init(struct term *t, FILE *file, enum term_color color)
{
    const char *kind = getenv("TERM");
    bool dumb = !kind || !*kind || strcmp(kind, "dumb") == 0;
    struct winsize size;

    *t = (struct term){.file = file, .is_tty = isatty(fileno(file)) == 1};
    t->has_cursor = t->is_tty && !dumb;
    t->has_color =
        color == TERM_COLOR_ALWAYS ||
        (color == TERM_COLOR_AUTO && t->has_cursor && !is_set("NO_COLOR"));
    if (t->is_tty && ioctl(fileno(file), TIOCGWINSZ, &size) == 0)
        t->columns = size.ws_col;
}

const char *term_on(const struct term *t, enum term_style style)
{
    static const char *const codes[] = {
        [TERM_PLAIN] = "",        [TERM_BOLD] = "\033[1m",
        [TERM_DIM] = "\033[2m",   [TERM_GOOD] = "\033[32m",
        [TERM_WARN] = "\033[33m", [TERM_BAD] = "\033[31m",
    };

    return t->has_color ? codes[style] : "";
}

const char *term_off(const struct term *t, enum term_style style)
{
    return t->has_color && style != TERM_PLAIN ? "\033[0m" : "";
}

// Bytes and columns of the first character; `left` is not 0.
static size_t measure(const unsigned char *p, size_t left, size_t *columns)
{
    size_t n = utf8_length(p, left);

    *columns = 1;
    if (n == 0)
        return 1;
    if (n > 1) {
        int w = wcwidth((wchar_t) utf8_decode(p, n));
        *columns = w < 0 ? 1 : (size_t) w;
    }
    return n;
}

size_t term_width(const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *) text;
    size_t width = 0;

    for (size_t i = 0; i < bytes;) {
        size_t columns;
        i += measure(p + i, bytes - i, &columns);
        width += columns;
    }
    return width;
}

size_t term_fit(const char *text, size_t bytes, size_t columns)
{
    const unsigned char *p = (const unsigned char *) text;
    size_t i = 0;

    while (i < bytes) {
        size_t w;
        size_t n = measure(p + i, bytes - i, &w);
        if (w > columns)
            break;
        columns -= w;
        i += n;
    }
    return i;
}

// C0, DEL, C1, and the marks that reorder what follows them.
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void term_text(struct str *out, const char *text, size_t bytes, bool one_line)
{
    const unsigned char *p = (const unsigned char *) text;

    for (size_t i = 0; i < bytes;) {
        size_t n = utf8_length(p + i, bytes - i);
        bool space = p[i] == '\n' || p[i] == '\t';
        if (space)
            str_putc(out, one_line ? ' ' : (char) p[i]);
        else if (n == 0 || is_control(utf8_decode(p + i, n)))
            str_putc(out, '?');
        else
            str_append(out, p + i, n);
        i += n ? n : 1;
    }
}
