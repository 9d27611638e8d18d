// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/exec/program.h"

#include <stdio.h>

#include "engine/base/str.h"
#include "engine/exec/lower.h"

/*
 * A drawing of the arena over time: instructions from left to right, offsets
 * from the bottom up, so that the peak is the height. Hand-written SVG without
 * scripts or outer references; a viewer shows a piece's name under the pointer.
 */

enum { WIDTH = 1200, HEIGHT = 600, LEFT = 70, TOP = 40, BOTTOM = 60 };

static const struct {
    const char *name;
    const char *color;
    const char *meaning;
} kinds[PROGRAM_PIECE_KINDS] = {
    [PROGRAM_PIECE_IO] = {"io", "#9e9ac8", "inputs, outputs"},
    [PROGRAM_PIECE_FORWARD] = {"forward", "#9ecae1", "forward only"},
    [PROGRAM_PIECE_KEPT] = {"kept", "#3182bd", "kept for gradients"},
    [PROGRAM_PIECE_AGAIN] = {"again", "#31a354", "made again"},
    [PROGRAM_PIECE_GRADIENT] = {"gradient", "#fd8d3c", "gradients"},
    [PROGRAM_PIECE_SCRATCH] = {"scratch", "#525252", "scratch"},
};

const char *program_piece_kind_name(enum program_piece_kind kind)
{
    return kinds[kind].name;
}

static void draw_text(struct str *s, double x, double y, const char *anchor,
                      const char *text)
{
    str_printf(s, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y,
               anchor);
    str_puts(s, text);
    str_puts(s, "</text>\n");
}

static void draw_style(struct str *s)
{
    str_puts(s, "<style>text{font:12px sans-serif;fill:#333}"
                "rect{stroke:#fff;stroke-width:.3}"
                "line{stroke:#999;stroke-width:1}");
    for (int i = 0; i < PROGRAM_PIECE_KINDS; i++)
        str_printf(s, ".%s{fill:%s}", kinds[i].name, kinds[i].color);
    // Most are one instruction wide: a border would hide them.
    str_puts(s, ".scratch{stroke:#525252;stroke-width:.8}</style>\n");
}

static void draw_legend(struct str *s)
{
    for (int i = 0; i < PROGRAM_PIECE_KINDS; i++) {
        const double x = LEFT + i * 180;
        str_printf(s,
                   "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"12\" "
                   "height=\"12\"/>\n",
                   kinds[i].name, x, TOP + HEIGHT + 36);
        draw_text(s, x + 18, TOP + HEIGHT + 46, "start", kinds[i].meaning);
    }
}

// Lines at quarters of the peak.
static void draw_scale(struct str *s, const struct program *p)
{
    char text[48];

    for (int i = 0; i <= 4; i++) {
        const double y = TOP + HEIGHT - HEIGHT * i / 4.0;
        (void) snprintf(text, sizeof(text), "%.1f MiB",
                        (double) p->arena_bytes * i / 4 / (1 << 20));
        draw_text(s, LEFT - 6, y + 4, "end", text);
        str_printf(s, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>\n",
                   LEFT - 4, y, LEFT + WIDTH, y);
    }
}

static void draw_pieces(struct str *s, const struct program *p)
{
    const double sx = WIDTH / (double) (p->n_instrs + 1);
    const double sy = HEIGHT / (double) (p->arena_bytes ? p->arena_bytes : 1);

    for (uint32_t i = 0; i < p->n_pieces; i++) {
        const struct program_piece *x = &p->pieces[i];
        const double height = (double) x->bytes * sy;
        // What is too thin to see only makes the file large.
        if (height < 0.05)
            continue;
        str_printf(s,
                   "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" "
                   "height=\"%.2f\"><title>",
                   kinds[x->kind].name, LEFT + x->first * sx,
                   TOP + HEIGHT - (double) (x->offset + x->bytes) * sy,
                   (x->last - x->first + 1) * sx, height);
        // Names of tensors come from the file and are escaped.
        for (const char *c = x->what; *c; c++)
            str_putc(s, *c == '<' || *c == '&' || *c == '>' ? '?' : *c);
        str_printf(s, ", %zu bytes, %u to %u</title></rect>\n", x->bytes,
                   x->first, x->last);
    }
}

int program_draw(char **out, const struct program *p)
{
    const double sx = WIDTH / (double) (p->n_instrs + 1);
    struct str s = {.limit = 16u << 20};
    char text[128];
    int rc;

    str_printf(&s,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d "
               "%d\" width=\"%d\" height=\"%d\">\n",
               LEFT + WIDTH + 20, TOP + HEIGHT + BOTTOM, LEFT + WIDTH + 20,
               TOP + HEIGHT + BOTTOM);
    draw_style(&s);
    str_puts(&s, "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
    (void) snprintf(text, sizeof(text),
                    "arena of %.1f MiB over %u instructions, offset against "
                    "time",
                    (double) p->arena_bytes / (1 << 20), p->n_instrs);
    draw_text(&s, LEFT, TOP - 16, "start", text);
    draw_scale(&s, p);
    draw_pieces(&s, p);
    if (p->first_backward < p->n_instrs) {
        const double x = LEFT + p->first_backward * sx;
        str_printf(&s,
                   "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" "
                   "stroke-dasharray=\"4\"/>\n",
                   x, TOP - 8, x, TOP + HEIGHT + 8);
        draw_text(&s, x - 6, TOP + HEIGHT + 20, "end", "forward");
        draw_text(&s, x + 6, TOP + HEIGHT + 20, "start", "gradients");
    }
    draw_legend(&s);
    str_puts(&s, "</svg>\n");
    if ((rc = str_finish(&s)) < 0)
        str_free(&s);
    else
        *out = s.data;
    return rc;
}
