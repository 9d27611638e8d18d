// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/json.h"

#include "engine/base/arena.h"
#include "engine/base/fault.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    NUMBER_BYTES_MAX = 120,
    FEW_KEYS = 8, // compared pair by pair
};

struct reader {
    struct arena *arena;
    const char *text;
    size_t bytes;
    size_t at;
    int depth;
    struct error *err;
};

const char *json_type_name(enum json_type type)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",     [JSON_BOOL] = "true or false",
        [JSON_NUMBER] = "number", [JSON_STRING] = "string",
        [JSON_ARRAY] = "array",   [JSON_OBJECT] = "object",
    };
    return names[type];
}

static int fail(struct reader *r, const char *what)
{
    return error_set(r->err, -EINVAL, "JSON is wrong at byte %zu: %s", r->at,
                     what);
}

static int fail_memory(struct reader *r)
{
    return error_set(r->err, -ENOMEM,
                     "JSON of %zu bytes needs more memory than is allowed",
                     r->bytes);
}

static void skip_space(struct reader *r)
{
    while (r->at < r->bytes) {
        char c = r->text[r->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return;
        r->at++;
    }
}

// The next byte, or -1 at the end.
static int peek(const struct reader *r)
{
    return r->at < r->bytes ? (unsigned char) r->text[r->at] : -1;
}

static bool take(struct reader *r, char c)
{
    if (peek(r) != (unsigned char) c)
        return false;
    r->at++;
    return true;
}

static int parse_word(struct reader *r, const char *word)
{
    size_t n = strlen(word);
    if (r->bytes - r->at < n || memcmp(r->text + r->at, word, n) != 0)
        return fail(r, "expected a value");
    r->at += n;
    return 0;
}

static size_t skip_digits(struct reader *r)
{
    size_t from = r->at;
    while (peek(r) >= '0' && peek(r) <= '9')
        r->at++;
    return r->at - from;
}

// Digits without sign, known to be well-formed.
static bool to_integer(int64_t *out, const char *digits, size_t n, bool minus)
{
    int64_t x = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(x, 10, &x) ||
            __builtin_sub_overflow(x, digits[i] - '0', &x))
            return false;
    if (!minus && __builtin_sub_overflow(0, x, &x))
        return false;
    *out = x;
    return true;
}

static int parse_number(struct reader *r, struct json *v)
{
    size_t from = r->at;
    bool minus = take(r, '-');
    size_t whole = r->at;

    if (peek(r) == '0')
        r->at++;
    else if (skip_digits(r) == 0)
        return fail(r, "expected a digit");
    size_t whole_end = r->at;
    if (take(r, '.') && skip_digits(r) == 0)
        return fail(r, "expected a digit after the decimal point");
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+'))
            (void) take(r, '-');
        if (skip_digits(r) == 0)
            return fail(r, "expected a digit in the exponent");
    }

    char buf[NUMBER_BYTES_MAX + 1];
    size_t n = r->at - from;
    if (n > NUMBER_BYTES_MAX)
        return fail(r, "this number has too many digits");
    memcpy(buf, r->text + from, n);
    buf[n] = '\0';
    v->type = JSON_NUMBER;
    v->number = strtod(buf, NULL);
    if (!isfinite(v->number))
        return fail(r, "this number is too large");
    if (r->at == whole_end)
        v->is_integer =
            to_integer(&v->integer, r->text + whole, whole_end - whole, minus);
    return 0;
}

// Four hexadecimal digits, or -1.
static int32_t parse_hex4(struct reader *r)
{
    int32_t x = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(r);
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        x = x << 4 | digit;
        r->at++;
    }
    return x;
}

static size_t put_utf8(char *p, uint32_t c)
{
    if (c < 0x80) {
        p[0] = (char) c;
        return 1;
    }
    if (c < 0x800) {
        p[0] = (char) (0xc0 | c >> 6);
        p[1] = (char) (0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        p[0] = (char) (0xe0 | c >> 12);
        p[1] = (char) (0x80 | (c >> 6 & 0x3f));
        p[2] = (char) (0x80 | (c & 0x3f));
        return 3;
    }
    p[0] = (char) (0xf0 | c >> 18);
    p[1] = (char) (0x80 | (c >> 12 & 0x3f));
    p[2] = (char) (0x80 | (c >> 6 & 0x3f));
    p[3] = (char) (0x80 | (c & 0x3f));
    return 4;
}

// After "\u": a code point, from a pair of surrogates where it is one. Six
// bytes of text make at most three bytes of UTF-8, twelve make four.
static int parse_unicode(struct reader *r, char **to)
{
    int32_t c = parse_hex4(r);
    if (c < 0)
        return fail(r, "expected four hexadecimal digits");
    if (c >= 0xdc00 && c <= 0xdfff)
        return fail(r, "a low surrogate without a high one before it");
    if (c >= 0xd800 && c <= 0xdbff) {
        int32_t low = take(r, '\\') && take(r, 'u') ? parse_hex4(r) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(r, "a high surrogate without a low one after it");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *to += put_utf8(*to, (uint32_t) c);
    return 0;
}

static int parse_escape(struct reader *r, char **to)
{
    static const char from[] = "\"\\/bfnrt";
    static const char into[] = "\"\\/\b\f\n\r\t";
    int c = peek(r);

    if (c == 'u') {
        r->at++;
        return parse_unicode(r, to);
    }
    const char *p = c > 0 ? strchr(from, c) : NULL;
    if (!p)
        return fail(r, "unknown escape");
    *(*to)++ = into[p - from];
    r->at++;
    return 0;
}

// The raw length up to the closing quote: no less than the decoded one.
static size_t raw_length(const struct reader *r)
{
    size_t i = r->at;
    while (i < r->bytes && r->text[i] != '"')
        i += r->text[i] == '\\' ? 2 : 1;
    return (i < r->bytes ? i : r->bytes) - r->at;
}

static int parse_text(struct reader *r, const char **text, size_t *bytes)
{
    if (!take(r, '"'))
        return fail(r, "expected a string");

    char *p = arena_alloc(r->arena, raw_length(r) + 1);
    char *start = p;
    if (!p)
        return fail_memory(r);
    while (!take(r, '"')) {
        int c = peek(r);
        if (c < 0)
            return fail(r, "the text ends inside a string");
        if (c < 0x20)
            return fail(r, "a control character inside a string");
        if (c == '\\') {
            r->at++;
            int rc = parse_escape(r, &p);
            if (rc < 0)
                return rc;
            continue;
        }
        size_t n = utf8_length((const unsigned char *) r->text + r->at,
                               r->bytes - r->at);
        if (n == 0)
            return fail(r, "this is not UTF-8");
        memcpy(p, r->text + r->at, n);
        p += n;
        r->at += n;
    }
    *p = '\0';
    *text = start;
    *bytes = (size_t) (p - start);
    return 0;
}

static int key_compare(const struct json *a, const struct json *b)
{
    if (a->key_bytes != b->key_bytes)
        return a->key_bytes < b->key_bytes ? -1 : 1;
    return memcmp(a->key, b->key, a->key_bytes);
}

static int key_compare_sort(const void *a, const void *b)
{
    return key_compare(*(const struct json *const *) a,
                       *(const struct json *const *) b);
}

static int fail_duplicate(struct reader *r, const struct json *v)
{
    return error_set(r->err, -EINVAL,
                     "JSON is wrong before byte %zu: the key \"%.60s\" is "
                     "there twice",
                     r->at, v->key);
}

// Sorting, not hashing: no choice of keys makes it slow.
static int check_keys(struct reader *r, const struct json *object)
{
    if (object->count <= FEW_KEYS) {
        for (const struct json *a = object->first; a; a = a->next)
            for (const struct json *b = a->next; b; b = b->next)
                if (key_compare(a, b) == 0)
                    return fail_duplicate(r, a);
        return 0;
    }

    const struct json **all = fault_calloc(object->count, sizeof(*all));
    if (!all)
        return fail_memory(r);
    size_t n = 0;
    int rc = 0;
    for (const struct json *v = object->first; v; v = v->next)
        all[n++] = v;
    qsort(all, n, sizeof(*all), key_compare_sort);
    for (size_t i = 1; i < n && rc == 0; i++)
        if (key_compare(all[i - 1], all[i]) == 0)
            rc = fail_duplicate(r, all[i]);
    free(all);
    return rc;
}

static int parse_value(struct reader *r, struct json *v);

// Members of an object, or items of an array, after the opening bracket.
static int parse_children(struct reader *r, struct json *v, char close)
{
    struct json **tail = &v->first;

    skip_space(r);
    if (take(r, close))
        return 0;
    do {
        struct json *child = arena_alloc(r->arena, sizeof(*child));
        int rc = 0;
        if (!child)
            return fail_memory(r);
        if (v->type == JSON_OBJECT) {
            skip_space(r);
            if ((rc = parse_text(r, &child->key, &child->key_bytes)) < 0)
                return rc;
            skip_space(r);
            if (!take(r, ':'))
                return fail(r, "expected a colon after the key");
        }
        if ((rc = parse_value(r, child)) < 0)
            return rc;
        *tail = child;
        tail = &child->next;
        v->count++;
        skip_space(r);
    } while (take(r, ','));

    if (!take(r, close))
        return fail(r, close == '}' ? "expected a comma or }"
                                    : "expected a comma or ]");
    return v->type == JSON_OBJECT ? check_keys(r, v) : 0;
}

static int parse_container(struct reader *r, struct json *v, char close)
{
    if (r->depth == JSON_DEPTH_MAX)
        return fail(r, "values are nested too deeply");
    r->at++;
    r->depth++;
    v->type = close == '}' ? JSON_OBJECT : JSON_ARRAY;
    int rc = parse_children(r, v, close);
    r->depth--;
    return rc;
}

static int parse_value(struct reader *r, struct json *v)
{
    skip_space(r);
    switch (peek(r)) {
    case -1:
        return fail(r, "the text ends where a value should be");
    case '{':
        return parse_container(r, v, '}');
    case '[':
        return parse_container(r, v, ']');
    case '"':
        v->type = JSON_STRING;
        return parse_text(r, &v->text, &v->bytes);
    case 't':
    case 'f':
        v->type = JSON_BOOL;
        v->boolean = peek(r) == 't';
        return parse_word(r, v->boolean ? "true" : "false");
    case 'n':
        return parse_word(r, "null");
    default:
        if (peek(r) == '-' || (peek(r) >= '0' && peek(r) <= '9'))
            return parse_number(r, v);
        return fail(r, "expected a value");
    }
}

int json_parse(const struct json **out, struct arena *a, const char *text,
               size_t bytes, struct error *err)
{
    struct reader r = {.arena = a, .text = text, .bytes = bytes, .err = err};
    struct json *v = arena_alloc(a, sizeof(*v));
    if (!v)
        return fail_memory(&r);

    int rc = parse_value(&r, v);
    if (rc < 0)
        return rc;
    skip_space(&r);
    if (r.at != bytes)
        return fail(&r, "text after the end of the value");
    *out = v;
    return 0;
}

const struct json *json_get(const struct json *object, const char *key)
{
    if (!object || object->type != JSON_OBJECT)
        return NULL;
    size_t n = strlen(key);
    for (const struct json *v = object->first; v; v = v->next)
        if (v->key_bytes == n && memcmp(v->key, key, n) == 0)
            return v;
    return NULL;
}

const char *json_get_text(const struct json *object, const char *key)
{
    const struct json *v = json_get(object, key);
    if (!v || v->type != JSON_STRING || strlen(v->text) != v->bytes)
        return NULL;
    return v->text;
}
