// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/chat.h"

#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/formats/gguf.h"
#include "engine/tokenizer/chat_format.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { NAME_BYTES = 64, MISSING_MAX = 4, RUN_MAX = 64 << 20 };

static const char *const role_names[CHAT_ROLE_COUNT] = {
    [CHAT_ROLE_SYSTEM] = "system",
    [CHAT_ROLE_USER] = "user",
    [CHAT_ROLE_ASSISTANT] = "assistant",
};

int chat_role_parse(enum chat_role *out, const char *name)
{
    for (int i = 0; i < CHAT_ROLE_COUNT; i++) {
        if (strcmp(name, role_names[i]) == 0) {
            *out = (enum chat_role) i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *chat_role_name(enum chat_role role)
{
    return role_names[role];
}

/*
 * Formats of a model
 */

static void find_ends(struct chat *c)
{
    static const char *const names[CHAT_ENDS_MAX] = {
        "<|im_end|>",    "<|eot_id|>",    "<|eom_id|>", "<|end|>",
        "<end_of_turn>", "<|endoftext|>", "</s>",       "<|end_of_turn|>",
    };

    c->n_ends = 0;
    for (int i = 0; i < CHAT_ENDS_MAX; i++) {
        const int32_t id = tokenizer_find_special(c->t, names[i]);
        if (id != TOKEN_NONE && tokenizer_is_control(c->t, id))
            c->ends[c->n_ends++] = id;
    }
}

void chat_init(struct chat *c, struct tokenizer *t, const struct gguf *file)
{
    const char *text = NULL;

    *c = (struct chat){.t = t, .adds_bos = tokenizer_adds_bos(t)};
    find_ends(c);
    if (gguf_get_str(&text, file, "tokenizer.ggml.model", NULL) == 0)
        c->is_spm = strcmp(text, "llama") == 0;
    if (gguf_get_str(&text, file, "tokenizer.chat_template", NULL) < 0) {
        c->format = chat_format_find("pock");
        return;
    }
    c->format = chat_format_recognise(text);
    if (!c->format)
        c->why_not = "its chat template is none that pockd knows: name the "
                     "format with `pockctl model set MODEL --chat-format NAME`";
    chat_format_default_system(c->system, sizeof(c->system), text);
    c->adds_bos |= strstr(text, "bos_token") != NULL;
}

int chat_check_name(const char *name, struct error *err)
{
    char all[512] = "none";
    size_t at = 4;

    if (strcmp(name, "none") == 0 || chat_format_find(name))
        return 0;
    for (unsigned i = 0; chat_format_at(i); i++) {
        const char *other = chat_format_at(i)->name;
        const size_t n = strlen(other);
        if (at + n + 3 > sizeof(all))
            break;
        memcpy(all + at, ", ", 2);
        memcpy(all + at + 2, other, n + 1);
        at += n + 2;
    }
    return error_set(err, -EINVAL,
                     "there is no chat format \"%.40s\": pockd knows %s", name,
                     all);
}

int chat_set_format(struct chat *c, const char *name, struct error *err)
{
    int rc;

    if (name[0] == '\0')
        return 0;
    if ((rc = chat_check_name(name, err)) < 0)
        return rc;
    c->format = chat_format_find(name);
    c->why_not = c->format ? NULL
                           : "it was registered for texts only (--chat-format "
                             "none)";
    return 0;
}

const char *chat_format_name(const struct chat *c)
{
    if (c->format)
        return c->format->name;
    return strstr(c->why_not, "template") ? "unknown" : "none";
}

bool chat_is_end(const struct chat *c, int32_t id)
{
    for (uint32_t i = 0; i < c->n_ends; i++)
        if (c->ends[i] == id)
            return true;
    return tokenizer_is_end(c->t, id);
}

static int32_t find_token(const struct chat *c, const struct chat_piece *p)
{
    char name[NAME_BYTES];

    if (p->kind == CHAT_PIECE_EOS)
        return tokenizer_eos(c->t);
    if (p->kind == CHAT_PIECE_BOS)
        return tokenizer_bos(c->t);
    if (p->bytes >= sizeof(name))
        return TOKEN_NONE;
    memcpy(name, p->text, p->bytes);
    name[p->bytes] = '\0';
    return tokenizer_find_special(c->t, name);
}

/*
 * What a model lacks
 */

struct missing {
    struct chat_piece pieces[MISSING_MAX];
    uint32_t n;
};

static void look(struct missing *m, const struct chat *c, const char *pieces)
{
    struct chat_piece p;

    while (pieces && chat_piece_next(&p, &pieces)) {
        if ((p.kind != CHAT_PIECE_TOKEN && p.kind != CHAT_PIECE_EOS) ||
            find_token(c, &p) != TOKEN_NONE)
            continue;
        if (p.kind == CHAT_PIECE_EOS) {
            static const char end[] = "an end of sequence";
            p.text = end;
            p.bytes = sizeof(end) - 1;
        }
        uint32_t i = 0;
        while (i < m->n && (m->pieces[i].bytes != p.bytes ||
                            memcmp(m->pieces[i].text, p.text, p.bytes) != 0))
            i++;
        if (i == m->n && i < MISSING_MAX)
            m->pieces[m->n++] = p;
    }
}

// Names every token that the messages need and the model lacks. A model that
// learned a role writes it as one control token; spelling it out in pieces
// would teach it something else.
static int check_tokens(const struct chat *c,
                        const struct chat_message *messages, size_t count,
                        bool is_prompt, struct error *err)
{
    const struct chat_format *f = c->format;
    bool needed[CHAT_ROLE_COUNT] = {[CHAT_ROLE_ASSISTANT] = is_prompt};
    struct missing m = {.n = 0};
    char names[MISSING_MAX * NAME_BYTES] = "";
    size_t at = 0;

    if (!f)
        return error_set(err, -ENOTSUP,
                         "this model cannot hold this conversation: %s",
                         c->why_not);
    for (size_t i = 0; i < count; i++)
        needed[messages[i].role] = true;
    for (int i = 0; i < CHAT_ROLE_COUNT; i++)
        if (needed[i])
            look(&m, c, f->roles[i].prefix);
    for (int i = 0; i < CHAT_ROLE_COUNT; i++)
        if (needed[i])
            look(&m, c, f->roles[i].suffix);
    if (m.n == 0)
        return 0;
    for (uint32_t i = 0; i < m.n; i++) {
        memcpy(names + at, ", ", i ? 2 : 0);
        at += i ? 2 : 0;
        memcpy(names + at, m.pieces[i].text, m.pieces[i].bytes);
        at += m.pieces[i].bytes;
    }
    return error_set(err, -ENOTSUP,
                     "this model cannot hold this conversation: its vocabulary "
                     "lacks %.*s",
                     (int) at, names);
}

/*
 * Rendering. Text is gathered until a special token comes, with a mark for
 * each byte, and encoded then.
 */

struct rendering {
    struct token_list *out;
    struct chat *c;
    struct str run;
    struct str marks; // as long as `run`
    uint8_t mark;
    bool is_after_token;
    int rc;
};

static void fail(struct rendering *r, int rc)
{
    if (r->rc == 0 && rc < 0)
        r->rc = rc;
}

static bool is_blank(char ch)
{
    return ch == ' ' || (ch >= '\t' && ch <= '\r');
}

static void put_text(struct rendering *r, const char *text, size_t bytes)
{
    if (r->is_after_token && r->c->is_spm &&
        (r->c->format->flags & CHAT_STRIPS_AFTER))
        for (; bytes > 0 && is_blank(*text); bytes--)
            text++;
    if (bytes == 0)
        return;
    r->is_after_token = false;
    str_append(&r->run, text, bytes);
    for (size_t i = 0; i < bytes; i++)
        str_append(&r->marks, &r->mark, 1);
}

// Gives tokens from `first` on the marks of the bytes they are made of. False
// when a token is of two kinds. Blanks that the tokenizer puts before the first
// one are of its kind.
static bool mark_tokens(struct rendering *r, size_t first)
{
    struct token_list *l = r->out;
    size_t end = r->run.bytes;

    for (size_t i = l->count; i > first; i--) {
        size_t bytes = 0;
        (void) tokenizer_piece(r->c->t, l->ids[i - 1], &bytes);
        if (bytes > end) {
            if (i - 1 > first || bytes > end + 1)
                return false;
            bytes = end;
        }
        const char *m = r->marks.data + end - bytes;
        for (size_t k = 1; k < bytes; k++)
            if (m[k] != m[0])
                return false;
        l->marks[i - 1] = bytes > 0 || end == 0 ? (uint8_t) m[0] : 0;
        end -= bytes;
    }
    return end == 0;
}

// One piece after the other, each of one kind.
static void encode_apart(struct rendering *r)
{
    const char *m = r->marks.data;

    for (size_t from = 0, to; from < r->run.bytes && r->rc == 0; from = to) {
        for (to = from + 1; to < r->run.bytes && m[to] == m[from]; to++)
            ;
        r->out->mark = (uint8_t) m[from];
        fail(r, tokenizer_encode(r->c->t, r->out, r->run.data + from, to - from,
                                 0));
    }
}

static void flush(struct rendering *r)
{
    const size_t first = r->out->count;

    if (r->run.bytes == 0 || r->rc < 0)
        return;
    fail(r, str_finish(&r->run));
    fail(r, str_finish(&r->marks));
    if (r->rc < 0)
        return;
    fail(r, tokenizer_encode(r->c->t, r->out, r->run.data, r->run.bytes, 0));
    if (r->rc == 0 && !mark_tokens(r, first)) {
        r->out->count = first;
        encode_apart(r);
    }
    r->run.bytes = r->marks.bytes = 0;
}

static void put_token(struct rendering *r, int32_t id)
{
    flush(r);
    if (r->rc < 0 || id == TOKEN_NONE)
        return;
    r->out->mark = r->mark;
    fail(r, token_list_add(r->out, id));
    r->is_after_token = true;
}

static void put_piece(struct rendering *r, const struct chat_piece *p)
{
    const int32_t id =
        p->kind == CHAT_PIECE_TEXT ? TOKEN_NONE : find_token(r->c, p);

    if (p->kind == CHAT_PIECE_TEXT ||
        (p->kind == CHAT_PIECE_MAYBE && id == TOKEN_NONE))
        put_text(r, p->text, p->bytes);
    else
        put_token(r, id);
}

static void put_pieces(struct rendering *r, const char *pieces)
{
    struct chat_piece p;

    while (pieces && chat_piece_next(&p, &pieces))
        if (p.kind != CHAT_PIECE_SAYS)
            put_piece(r, &p);
}

static bool counts(const struct chat *c, enum chat_role role)
{
    switch (c->loss_on) {
    case CHAT_LOSS_ASSISTANT:
        return role == CHAT_ROLE_ASSISTANT;
    case CHAT_LOSS_USER:
        return role == CHAT_ROLE_USER;
    case CHAT_LOSS_ALL:
    case CHAT_LOSS_COUNT:
        break;
    }
    return true;
}

static void put_said(struct rendering *r, enum chat_role role,
                     const struct chat_message *m)
{
    const char *text = m->text;
    size_t bytes = m->bytes;

    if (r->c->format->flags & 1u << role) {
        for (; bytes > 0 && is_blank(*text); bytes--)
            text++;
        while (bytes > 0 && is_blank(text[bytes - 1]))
            bytes--;
    }
    put_text(r, text, bytes);
}

// What a turn has before the words of its speaker.
struct opening {
    const struct chat_message *system; // n of them
    size_t n;
    const char *think;
};

static void put_opening(struct rendering *r, const struct opening *o)
{
    const struct chat_format *f = r->c->format;

    for (size_t i = 0; i < o->n; i++) {
        put_pieces(r, f->before);
        r->mark = counts(r->c, CHAT_ROLE_SYSTEM);
        put_said(r, CHAT_ROLE_SYSTEM, &o->system[i]);
        r->mark = 0;
        put_pieces(r, f->after);
    }
    put_pieces(r, o->think);
}

// The prefix; from SAYS on it is the speaker's, unless it `stops` there.
static void put_prefix(struct rendering *r, enum chat_role role,
                       const struct opening *o, bool stops)
{
    const char *at = r->c->format->roles[role].prefix;
    struct chat_piece p;

    r->mark = 0;
    while (chat_piece_next(&p, &at)) {
        if (p.kind != CHAT_PIECE_SAYS) {
            put_piece(r, &p);
            continue;
        }
        put_opening(r, o);
        if (stops)
            return;
        r->mark = counts(r->c, role);
    }
}

static void put_suffix(struct rendering *r, enum chat_role role)
{
    const char *at = r->c->format->roles[role].suffix;
    struct chat_piece p;

    while (chat_piece_next(&p, &at)) {
        if (p.kind == CHAT_PIECE_SAYS)
            r->mark = 0;
        else
            put_piece(r, &p);
    }
    r->mark = 0;
}

static void put_turn(struct rendering *r, enum chat_role role,
                     const struct chat_message *m, const struct opening *o)
{
    put_prefix(r, role, o, false);
    if (m)
        put_said(r, role, m);
    put_suffix(r, role);
}

static bool has_thought(const struct chat_message *m)
{
    static const char end[] = "</think>";
    const size_t n = sizeof(end) - 1;

    for (size_t i = 0; i + n <= m->bytes; i++)
        if (memcmp(m->text + i, end, n) == 0)
            return true;
    return false;
}

// Messages of the system that the user's next turn has to carry.
struct waiting {
    const struct chat_message *first;
    size_t n;
};

static void put_waiting(struct rendering *r, struct waiting *w)
{
    // Nobody took it: it is a turn of its own.
    if (w->n > 0)
        put_turn(r, CHAT_ROLE_USER, w->first + w->n - 1,
                 &(struct opening){.system = w->first, .n = w->n - 1});
    w->n = 0;
}

static void put_messages(struct rendering *r, const struct chat_message *m,
                         size_t count)
{
    const struct chat_format *f = r->c->format;
    struct waiting w = {.n = 0};
    size_t last_user = 0;

    for (size_t i = 0; i < count; i++)
        if (m[i].role == CHAT_ROLE_USER)
            last_user = i;
    for (size_t i = 0; i < count && r->rc == 0; i++) {
        const enum chat_role role = m[i].role;
        struct opening o = {.n = 0};
        if (role == CHAT_ROLE_SYSTEM && !f->roles[role].prefix) {
            w.first = w.n ? w.first : &m[i];
            w.n++;
            continue;
        }
        if (role == CHAT_ROLE_USER) {
            o = (struct opening){.system = w.first, .n = w.n};
            w.n = 0;
        }
        put_waiting(r, &w);
        if (role == CHAT_ROLE_ASSISTANT && i > last_user && !has_thought(&m[i]))
            o.think = f->think;
        put_turn(r, role, &m[i], &o);
        if (role == CHAT_ROLE_ASSISTANT && i + 1 < count)
            put_pieces(r, f->between);
    }
    put_waiting(r, &w);
}

static bool begins_with_bos(const struct chat *c,
                            const struct chat_message *messages, size_t count)
{
    return (c->format->flags & CHAT_BOS_IN_TURN) && count > 0 &&
           messages[0].role != CHAT_ROLE_ASSISTANT;
}

static int failed(struct token_list *out, size_t count, int rc,
                  struct error *err)
{
    out->count = count;
    return error_set(err, rc, "cannot tokenize the text: %s",
                     rc == -E2BIG ? "it has too many tokens" : strerror(-rc));
}

static int render(struct token_list *out, struct chat *c,
                  const struct chat_message *messages, size_t count,
                  bool is_prompt, struct error *err)
{
    struct rendering r = {
        .out = out,
        .c = c,
        .run.limit = RUN_MAX,
        .marks.limit = RUN_MAX,
    };
    const size_t before = out->count;
    int rc = check_tokens(c, messages, count, is_prompt, err);

    if (rc < 0)
        return rc;
    if (c->adds_bos && !begins_with_bos(c, messages, count))
        put_token(&r, tokenizer_bos(c->t));
    if (c->system[0] && c->format->roles[CHAT_ROLE_SYSTEM].prefix &&
        (count == 0 || messages[0].role != CHAT_ROLE_SYSTEM)) {
        const struct chat_message m = {CHAT_ROLE_SYSTEM, c->system,
                                       strlen(c->system)};
        put_turn(&r, CHAT_ROLE_SYSTEM, &m, &(struct opening){.n = 0});
    }
    put_messages(&r, messages, count);
    if (is_prompt) {
        if (count > 0 && messages[count - 1].role == CHAT_ROLE_ASSISTANT)
            put_pieces(&r, c->format->between);
        put_prefix(&r, CHAT_ROLE_ASSISTANT,
                   &(struct opening){.think = c->format->think}, true);
    }
    flush(&r);
    out->mark = 0;
    str_free(&r.run);
    str_free(&r.marks);
    return r.rc < 0 ? failed(out, before, r.rc, err) : 0;
}

static int add_bos(struct token_list *out, const struct tokenizer *t)
{
    return tokenizer_adds_bos(t) ? token_list_add(out, tokenizer_bos(t)) : 0;
}

int chat_render_text(struct token_list *out, struct chat *c, const char *text,
                     size_t bytes, struct error *err)
{
    size_t before = out->count;
    int32_t end = tokenizer_document_end(c->t);

    out->mark = 0;
    int rc = add_bos(out, c->t);
    size_t first = out->count;
    out->mark = 1;
    if (rc == 0)
        rc = tokenizer_encode(c->t, out, text, bytes, 0);
    if (rc == 0 && end != TOKEN_NONE)
        rc = token_list_add(out, end);
    out->mark = 0;
    if (rc < 0)
        return failed(out, before, rc, err);
    // Nothing stands before the very first token to predict it from.
    if (first == before && out->count > before)
        out->marks[before] = 0;
    return 0;
}

int chat_render_pair(struct token_list *out, struct chat *c,
                     const struct chat_message *prompt,
                     const struct chat_message *completion, struct error *err)
{
    const struct chat_message messages[] = {
        {CHAT_ROLE_USER, prompt->text, prompt->bytes},
        {CHAT_ROLE_ASSISTANT, completion->text, completion->bytes},
    };
    return render(out, c, messages, 2, false, err);
}

int chat_render_messages(struct token_list *out, struct chat *c,
                         const struct chat_message *messages, size_t count,
                         struct error *err)
{
    return render(out, c, messages, count, false, err);
}

int chat_render_prompt(struct token_list *out, struct chat *c,
                       const struct chat_message *messages, size_t count,
                       struct error *err)
{
    return render(out, c, messages, count, true, err);
}

int chat_render_start(struct token_list *out, struct chat *c, const char *text,
                      size_t bytes, struct error *err)
{
    size_t before = out->count;

    out->mark = 0;
    int rc = add_bos(out, c->t);
    if (rc == 0)
        rc = tokenizer_encode(c->t, out, text, bytes, 0);
    return rc < 0 ? failed(out, before, rc, err) : 0;
}
