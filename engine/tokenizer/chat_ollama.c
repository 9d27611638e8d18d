// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/str.h"
#include "engine/tokenizer/chat.h"
#include "engine/tokenizer/chat_format.h"

// A token as its letters. Ollama puts the beginning of the sequence there
// itself.
static void print_piece(struct str *out, const struct chat *c,
                        const struct chat_piece *p)
{
    size_t bytes = 0;
    const char *eos;

    switch (p->kind) {
    case CHAT_PIECE_EOS:
        eos = tokenizer_piece(c->t, tokenizer_eos(c->t), &bytes);
        str_append(out, eos ? eos : "", bytes);
        return;
    case CHAT_PIECE_TOKEN:
    case CHAT_PIECE_MAYBE:
    case CHAT_PIECE_TEXT:
        str_append(out, p->text, p->bytes);
        return;
    default:
        return;
    }
}

static void print_pieces(struct str *out, const struct chat *c,
                         const char *pieces)
{
    struct chat_piece p;

    while (pieces && chat_piece_next(&p, &pieces))
        print_piece(out, c, &p);
}

static void print_prefix(struct str *out, const struct chat *c,
                         enum chat_role role, const char *inner)
{
    const char *at = c->format->roles[role].prefix;
    struct chat_piece p;

    while (chat_piece_next(&p, &at)) {
        if (p.kind == CHAT_PIECE_SAYS)
            str_puts(out, inner);
        else
            print_piece(out, c, &p);
    }
}

static void print_user(struct str *out, const struct chat *c)
{
    const struct chat_format *f = c->format;
    struct str system = {.limit = 1 << 12};

    if (!f->roles[CHAT_ROLE_SYSTEM].prefix) {
        str_puts(&system, "{{ if .System }}");
        print_pieces(&system, c, f->before);
        str_puts(&system, "{{ .System }}");
        print_pieces(&system, c, f->after);
        str_puts(&system, "{{ end }}");
    }
    print_prefix(out, c, CHAT_ROLE_USER,
                 str_finish(&system) == 0 && system.data ? system.data : "");
    str_puts(out, "{{ .Prompt }}");
    print_pieces(out, c, f->roles[CHAT_ROLE_USER].suffix);
    str_free(&system);
}

static void print_stop(struct str *out, const struct chat *c,
                       const char *pieces)
{
    struct chat_piece p;

    while (pieces && chat_piece_next(&p, &pieces)) {
        if (p.kind != CHAT_PIECE_TOKEN && p.kind != CHAT_PIECE_MAYBE &&
            p.kind != CHAT_PIECE_EOS)
            continue;
        str_puts(out, "PARAMETER stop \"");
        print_piece(out, c, &p);
        str_puts(out, "\"\n");
        return;
    }
}

void chat_print_ollama(struct str *out, const struct chat *c)
{
    const struct chat_format *f = c->format;

    if (!f)
        return;
    str_puts(out, "TEMPLATE \"\"\"");
    if (f->roles[CHAT_ROLE_SYSTEM].prefix) {
        str_puts(out, "{{ if .System }}");
        print_prefix(out, c, CHAT_ROLE_SYSTEM, "{{ .System }}");
        print_pieces(out, c, f->roles[CHAT_ROLE_SYSTEM].suffix);
        str_puts(out, "{{ end }}");
    }
    str_puts(out, "{{ if .Prompt }}");
    print_user(out, c);
    str_puts(out, "{{ end }}");
    print_prefix(out, c, CHAT_ROLE_ASSISTANT, "");
    print_pieces(out, c, f->think);
    str_puts(out, "{{ .Response }}");
    print_pieces(out, c, f->roles[CHAT_ROLE_ASSISTANT].suffix);
    print_pieces(out, c, f->between);
    str_puts(out, "\"\"\"\n");
    print_stop(out, c, f->roles[CHAT_ROLE_ASSISTANT].suffix);
    print_stop(out, c, f->roles[CHAT_ROLE_USER].prefix);
}
