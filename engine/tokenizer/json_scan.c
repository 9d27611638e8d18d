// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/json_scan.h"

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/json.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <string.h>

void json_scan_init(struct json_scan *s, struct json_part part,
                    struct arena *arena, struct error *err)
{
    *s = (struct json_scan){.text = part.text,
                            .at = part.text,
                            .end = part.text + part.bytes,
                            .arena = arena,
                            .err = err};
}

static int fail(struct json_scan *s, const char *what)
{
    return error_set(s->err, -EINVAL, "JSON is wrong at byte %zu: %s",
                     (size_t) (s->at - s->text), what);
}

char json_scan_peek(struct json_scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' ||
                              *s->at == '\n' || *s->at == '\r'))
        s->at++;
    return s->at < s->end ? *s->at : '\0';
}

int json_scan_enter(struct json_scan *s, char bracket)
{
    if (json_scan_peek(s) != bracket)
        return fail(s, bracket == '{' ? "expected an object"
                                      : "expected an array");
    s->at++;
    return 0;
}

// Behind a string; whether it has escapes.
static int pass_string(struct json_scan *s, bool *escapes)
{
    if (json_scan_peek(s) != '"')
        return fail(s, "expected a string");
    const char *p = s->at + 1;
    *escapes = false;
    for (; p < s->end && *p != '"'; p++) {
        if (*p == '\\') {
            *escapes = true;
            p++;
        }
    }
    if (p >= s->end)
        return fail(s, "a string does not end");
    s->at = p + 1;
    return 0;
}

int json_scan_string(struct json_scan *s, struct json_part *out)
{
    const struct json *tree;
    bool escapes;

    (void) json_scan_peek(s);
    const char *from = s->at;
    int rc = pass_string(s, &escapes);
    if (rc < 0)
        return rc;
    *out = (struct json_part){from + 1, (size_t) (s->at - from) - 2};
    if (!escapes)
        return utf8_is_valid(out->text, out->bytes)
                   ? 0
                   : fail(s, "a string is not UTF-8");
    rc = json_parse(&tree, s->arena, from, (size_t) (s->at - from), s->err);
    if (rc == 0)
        *out = (struct json_part){tree->text, tree->bytes};
    return rc;
}

int json_scan_next(struct json_scan *s, char bracket, bool is_first,
                   struct json_part *key)
{
    const char close = bracket == '{' ? '}' : ']';
    char c = json_scan_peek(s);
    int rc;

    if (c == close) {
        s->at++;
        return 0;
    }
    if (!is_first) {
        if (c != ',')
            return fail(s, "expected a comma or the end");
        s->at++;
    }
    if (bracket == '{') {
        if ((rc = json_scan_string(s, key)) < 0)
            return rc;
        if (json_scan_peek(s) != ':')
            return fail(s, "expected a colon");
        s->at++;
    }
    return json_scan_peek(s) ? 1 : fail(s, "the text ends too early");
}

int json_scan_skip(struct json_scan *s, struct json_part *out)
{
    size_t depth = 0;
    bool escapes;
    int rc;

    (void) json_scan_peek(s);
    out->text = s->at;
    do {
        char c = json_scan_peek(s);
        if (c == '\0')
            return fail(s, "the text ends too early");
        if (c == '"') {
            if ((rc = pass_string(s, &escapes)) < 0)
                return rc;
        } else if (c == '{' || c == '[') {
            depth++;
            s->at++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return fail(s, "a bracket too many");
            depth--;
            s->at++;
        } else if (depth > 0) {
            s->at++;
        } else {
            while (s->at < s->end && !strchr(",]} \t\r\n", *s->at))
                s->at++;
        }
    } while (depth > 0);
    out->bytes = (size_t) (s->at - out->text);
    return out->bytes > 0 ? 0 : fail(s, "expected a value");
}

int json_scan_count(struct json_scan *s, unsigned *out)
{
    unsigned n = 0;
    int digits = 0;

    (void) json_scan_peek(s);
    for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
        if (++digits > 9)
            return fail(s, "the number is too large");
        n = n * 10 + (unsigned) (*s->at - '0');
    }
    if (digits == 0)
        return fail(s, "expected a number");
    *out = n;
    return 0;
}
