// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/redaction.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The policy's words: MODE or CLASS=MODE, with commas between; for streams
 * NAME=MODE or NAME:CLASS=MODE.
 */

struct word {
    const char *at;
    size_t bytes;
};

static int bad_mode(struct word w, struct error *err)
{
    return error_set(err, -EINVAL, "\"%.*s\" must be off, mask, shape or drop",
                     (int) (w.bytes < 64 ? w.bytes : 64), w.at);
}

static int bad_class(struct word w, struct error *err)
{
    char names[160] = "";

    for (int c = 0; c < REDACT_CLASSES; c++)
        (void) snprintf(names + strlen(names), sizeof(names) - strlen(names),
                        "%s%s", c ? ", " : "",
                        redact_class_name((enum redact_class) c));
    return error_set(err, -EINVAL, "\"%.*s\" must be one of %s",
                     (int) (w.bytes < 64 ? w.bytes : 64), w.at, names);
}

// "email=off": the class's mode, or that of all.
static int set_mode(uint8_t modes[REDACT_CLASSES], struct word class,
                    struct word mode, struct error *err)
{
    enum redact_class c;
    enum redact_mode m;

    if (redact_mode_parse(&m, mode.at, mode.bytes) < 0)
        return bad_mode(mode, err);
    if (class.bytes == 0) {
        memset(modes, (int) m, REDACT_CLASSES);
        return 0;
    }
    if (redact_class_parse(&c, class.at, class.bytes) < 0)
        return bad_class(class, err);
    modes[c] = (uint8_t) m;
    return 0;
}

// The next item of a list; false at its end.
static bool next_item(struct word *item, const char **text)
{
    if (!**text)
        return false;
    item->at = *text;
    item->bytes = strcspn(*text, ",");
    *text += item->bytes;
    *text += **text == ',';
    return true;
}

// What is before the mark, which is left out; all of it when there is none.
static struct word split(struct word *w, char mark)
{
    const char *at = memchr(w->at, mark, w->bytes);
    struct word head = *w;

    if (!at)
        return head;
    head.bytes = (size_t) (at - w->at);
    w->bytes -= head.bytes + 1;
    w->at = at + 1;
    return head;
}

static int parse_all(struct redact *rules, const char *text, struct error *err)
{
    struct word mode;
    int rc = 0;

    redact_init(rules, REDACT_MASK);
    while (rc == 0 && next_item(&mode, &text)) {
        const size_t bytes = mode.bytes;
        struct word class = split(&mode, '=');
        if (mode.bytes == bytes)
            class.bytes = 0;
        rc = set_mode(rules->modes, class, mode, err);
    }
    return rc;
}

static struct redaction_stream *stream_of(struct redaction *r, struct word name)
{
    for (size_t i = 0; i < r->n_streams; i++)
        if (strlen(r->streams[i].name) == name.bytes &&
            memcmp(r->streams[i].name, name.at, name.bytes) == 0)
            return &r->streams[i];
    return NULL;
}

static int parse_stream(struct redaction *r, struct word mode,
                        struct error *err)
{
    const size_t bytes = mode.bytes;
    struct word class = split(&mode, '=');

    if (mode.bytes == bytes)
        return error_set(err, -EINVAL,
                         "\"%.*s\" must be STREAM=MODE or STREAM:CLASS=MODE",
                         (int) (bytes < 64 ? bytes : 64), mode.at);
    const size_t both = class.bytes;
    struct word name = split(&class, ':');
    if (class.bytes == both)
        class.bytes = 0;
    if (!rpc_record_name_is_valid(name.at, name.bytes))
        return error_set(err, -EINVAL, "\"%.*s\" is no name of a stream",
                         (int) (name.bytes < 64 ? name.bytes : 64), name.at);
    struct redaction_stream *s = stream_of(r, name);
    if (!s && r->n_streams == REDACTION_STREAMS_MAX)
        return error_set(err, -EINVAL, "it names more than %d streams",
                         REDACTION_STREAMS_MAX);
    if (!s) {
        s = &r->streams[r->n_streams++];
        memset(s, 0, sizeof(*s));
        memcpy(s->name, name.at, name.bytes);
        memset(s->modes, REDACT_MODES, sizeof(s->modes));
    }
    return set_mode(s->modes, class, mode, err);
}

static int parse_streams(struct redaction *r, const char *text,
                         struct error *err)
{
    struct word item;
    int rc = 0;

    r->n_streams = 0;
    while (rc == 0 && next_item(&item, &text))
        rc = parse_stream(r, item, err);
    return rc;
}

int redaction_check(const char *key, const char *text, struct error *err)
{
    int rc = 0;

    if (strcmp(key, "redact") == 0)
        return parse_all(&(struct redact){.modes = {0}}, text, err);
    if (strcmp(key, "redact_streams") != 0)
        return 0;
    struct redaction *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(err, -ENOMEM, "out of memory");
    rc = parse_streams(r, text, err);
    free(r);
    return rc;
}

int redaction_init(struct redaction *r, const struct policy *policy,
                   struct error *err)
{
    memset(r, 0, sizeof(*r));
    r->text.limit = (size_t) REDACT_GROWTH * RPC_RECORD_BYTES_MAX + 65536;
    int rc = parse_all(&r->rules, policy->redact, err);
    return rc < 0 ? rc : parse_streams(r, policy->redact_streams, err);
}

void redaction_finish(struct redaction *r)
{
    str_free(&r->text);
}

void redaction_reset(struct redaction *r)
{
    memset(&r->counts, 0, sizeof(r->counts));
    r->redacted = 0;
    r->dropped = 0;
}

/*
 * Records
 */

static void rules_of(struct redact *out, struct redaction *r,
                     struct codec_bytes stream)
{
    const struct redaction_stream *s =
        stream_of(r, (struct word){stream.data, stream.bytes});

    *out = r->rules;
    for (int c = 0; s && c < REDACT_CLASSES; c++)
        if (s->modes[c] != REDACT_MODES)
            out->modes[c] = s->modes[c];
}

struct cleaning {
    struct redaction *r;
    struct redact rules;
    struct redact_counts counts;
    int rc;
};

// A text that changes goes to the end of r->text; its data is an offset until
// all are there.
static struct codec_bytes clean(struct cleaning *c, struct codec_bytes in)
{
    struct str *to = &c->r->text;
    const size_t from = to->bytes;

    if (c->rc < 0 || in.bytes == 0)
        return in;
    const int rc = redact_text(&c->rules, to, &c->counts, in.data, in.bytes);
    if (rc <= 0) {
        c->rc = rc;
        return in;
    }
    return (struct codec_bytes){NULL, to->bytes - from};
}

// Where the next changed text lies.
static void place(struct codec_bytes *b, const char **at)
{
    if (b->data)
        return;
    b->data = *at;
    *at += b->bytes;
}

static void clean_chat(struct cleaning *c, struct rpc_record *out,
                       const struct rpc_record *in)
{
    struct codec_bytes role, content;
    const char *at;
    uint32_t n = 0;

    out->bytes = 0;
    for (; rpc_record_message(in, n, &role, &content); n++) {
        c->r->contents[n] = clean(c, content);
        out->bytes += role.bytes + c->r->contents[n].bytes;
    }
    at = c->r->text.data;
    for (uint32_t i = 0; i < n; i++)
        place(&c->r->contents[i], &at);
    out->contents = c->r->contents;
}

static void clean_texts(struct cleaning *c, struct rpc_record *out,
                        const struct rpc_record *in)
{
    const char *at;

    switch (in->kind) {
    case RPC_RECORD_KIND_CHAT:
        clean_chat(c, out, in);
        return;
    case RPC_RECORD_KIND_TEXT:
        out->text = clean(c, in->text);
        break;
    case RPC_RECORD_KIND_PAIR:
    case RPC_RECORD_KIND_FEEDBACK:
        out->prompt = clean(c, in->prompt);
        out->completion = clean(c, in->completion);
        break;
    }
    at = c->r->text.data;
    if (in->kind == RPC_RECORD_KIND_TEXT) {
        place(&out->text, &at);
        out->bytes = out->text.bytes;
        return;
    }
    place(&out->prompt, &at);
    place(&out->completion, &at);
    out->bytes = out->prompt.bytes + out->completion.bytes;
}

int redaction_apply(struct redaction *r, struct rpc_record *out,
                    const struct rpc_record *in, struct error *err)
{
    struct cleaning c = {.r = r};

    *out = *in;
    if (in->is_secret) {
        r->dropped++;
        return 1;
    }
    rules_of(&c.rules, r, in->stream);
    str_clear(&r->text);
    clean_texts(&c, out, in);
    if (c.rc == -ECANCELED) {
        r->dropped++;
        return 1;
    }
    if (c.rc < 0)
        return error_set(err, c.rc, "out of memory");
    if (out->bytes > RPC_RECORD_BYTES_MAX)
        return error_set(err, -E2BIG,
                         "the record's texts have %zu bytes with what is "
                         "masked in them, but may have at most %d: split it",
                         out->bytes, RPC_RECORD_BYTES_MAX);
    for (int k = 0; k < REDACT_CLASSES; k++) {
        r->counts.found[k] += c.counts.found[k];
        r->redacted += c.counts.found[k];
    }
    return 0;
}
