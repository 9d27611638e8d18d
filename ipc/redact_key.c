// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Keys, tokens and passwords.
 */

#include "ipc/redact_scan.h"

#include <string.h>

enum {
    SET_PLAIN,
    SET_WORD,
    SET_URL,
    SET_DOTTED,
    SET_PATH,
    SET_HEX,
    SET_UPPER,
    SET_B64,
    SET_VALUE, // of api_key=
    SETS,
    JWT_MAX = 16384,
    VALUE_MAX = 256,
};

static const struct {
    const char *prefix;
    uint8_t set;
    uint16_t min, max;
    float bits;
} keys[] = {
#define KEY(issuer, prefix, set, min, max, bits) \
    {prefix, SET_##set, min, max, bits},
#include "ipc/redact_keys.def"
#undef KEY
};

enum { KEYS = sizeof(keys) / sizeof(keys[0]) };

// Rows by the first character of their prefix: an index + 1, 0: none.
static uint8_t first[128], next[KEYS];

void redact_keys_index(void)
{
    for (size_t i = KEYS; i > 0; i--) {
        const unsigned char c = (unsigned char) keys[i - 1].prefix[0];
        next[i - 1] = first[c];
        first[c] = (uint8_t) i;
    }
}

static bool is_in(const struct redact_view *v, size_t i, unsigned set)
{
    static const char *const more[SETS] = {
        [SET_PLAIN] = "",        [SET_WORD] = "_",   [SET_URL] = "_-",
        [SET_DOTTED] = "_-.",    [SET_PATH] = "_-/", [SET_B64] = "+/=",
        [SET_VALUE] = "+/=_-.~",
    };
    const unsigned char c = redact_char(v, i);

    if (set == SET_HEX)
        return redact_is(v, i, REDACT_IS_HEX);
    if (set == SET_UPPER)
        return redact_is(v, i, REDACT_IS_UPPER | REDACT_IS_DIGIT);
    return redact_is(v, i, REDACT_IS_ALNUM) || (c && strchr(more[set], c));
}

// How far a run of the set goes, at most `most`; without marks at its end.
static size_t run_of(const struct redact_view *v, size_t i, unsigned set,
                     size_t most)
{
    size_t n = 0;

    while (n < most && is_in(v, i + n, set))
        n++;
    while (n > 0 && n < most && set != SET_B64 &&
           strchr("-./", v->f[i + n - 1]))
        n--;
    return n;
}

static bool has_digit(const struct redact_view *v, size_t i, size_t n)
{
    for (size_t k = i; k < i + n; k++)
        if (redact_is(v, k, REDACT_IS_DIGIT))
            return true;
    return false;
}

static bool issued(const struct redact_view *v, size_t i,
                   struct redact_hit *hit)
{
    if (v->f[i] >= 128)
        return false;
    for (unsigned row = first[v->f[i]]; row != 0; row = next[row - 1]) {
        const unsigned k = row - 1;
        const size_t head = strlen(keys[k].prefix);
        if (v->n - i < head || memcmp(v->f + i, keys[k].prefix, head) != 0)
            continue;
        const size_t n = run_of(v, i + head, keys[k].set, keys[k].max + 1u);
        if (n < keys[k].min || n > keys[k].max ||
            redact_is(v, i + head + n, REDACT_IS_WORD))
            continue;
        if (keys[k].bits > 0 &&
            (redact_entropy(v, i + head, i + head + n) < keys[k].bits ||
             !has_digit(v, i + head, n)))
            continue;
        return redact_hit_set(hit, REDACT_KEY, i, i + head + n);
    }
    return false;
}

// Three parts of base64, of which the first begins with {" and is no longer
// than a run may be. Not inside of a longer one: each run is read once.
static bool jwt(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    size_t at = i;

    if (v->f[i] != 'e' || v->n - i < 30 || memcmp(v->f + i, "eyJ", 3) != 0 ||
        (i > 0 && is_in(v, i - 1, SET_DOTTED)))
        return false;
    for (int part = 0; part < 3; part++) {
        size_t n = 0;
        while (n < JWT_MAX && is_in(v, at + n, SET_URL))
            n++;
        if (n < 10 || n == JWT_MAX)
            return false;
        at += n;
        if (part < 2 && redact_char(v, at++) != '.')
            return false;
    }
    return redact_hit_set(hit, REDACT_KEY, i, at);
}

// 123456789:35 characters, of Telegram's bots.
static bool bot(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    size_t at = i;

    while (redact_is(v, at, REDACT_IS_DIGIT) && at - i < 11)
        at++;
    if (at - i < 8 || at - i > 10 || redact_char(v, at) != ':')
        return false;
    const size_t n = run_of(v, at + 1, SET_URL, 36);
    return n == 35 && redact_entropy(v, at + 1, at + 1 + n) > 3.5 &&
           redact_hit_set(hit, REDACT_KEY, i, at + 1 + n);
}

bool redact_key(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    return redact_is(v, i, REDACT_IS_DIGIT)
               ? bot(v, i, hit)
               : issued(v, i, hit) || jwt(v, i, hit);
}

/*
 * PEM
 */

static bool begins(const struct redact_view *v, size_t i, const char *text)
{
    const size_t n = strlen(text);

    return i <= v->n && v->n - i >= n && memcmp(v->f + i, text, n) == 0;
}

// Where a line of dashes ends that holds "PRIVATE KEY" and began at i; 0: none.
static size_t key_line_end(const struct redact_view *v, size_t i)
{
    bool is_private = false;

    for (size_t k = i; k < v->n && k < i + 60 && v->f[k] != '\n'; k++) {
        is_private |= begins(v, k, "PRIVATE KEY");
        if (begins(v, k, "-----"))
            return is_private ? k + 5 : 0;
    }
    return 0;
}

bool redact_pem(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    if (!begins(v, i, "-----BEGIN ") || (i > 0 && v->f[i - 1] == '-'))
        return false;
    size_t at = key_line_end(v, i + 11);
    if (at == 0)
        return false;
    const size_t body = at;
    // Base64, lines, written also as \n, and headers such as DEK-Info.
    while (at < v->n && (is_in(v, at, SET_B64) ||
                         (v->f[at] && strchr(" \t\r\n\\:,.", v->f[at])) ||
                         (v->f[at] == '-' && redact_char(v, at + 1) != '-')))
        at++;
    if (at - body < 40)
        return false;
    if (begins(v, at, "-----END ")) {
        const size_t end = key_line_end(v, at + 9);
        at = end ? end : at;
    }
    return redact_hit_set(hit, REDACT_KEY, i, at);
}

/*
 * What a word announces
 */

static bool is_blank(unsigned char c)
{
    return c == ' ' || c == '\t';
}

static bool is_quote(unsigned char c)
{
    return c == '"' || c == '\'' || c == '`' || c == '*';
}

// Past `"`, blanks and what says "is"; 0: nothing says it.
static size_t link_end(const struct redact_view *v, size_t i)
{
    static const char *const links[] = {"is ", "ist ", "lautet ", "est ",
                                        "es "};
    size_t at = i;

    while (at < i + 2 && is_quote(redact_char(v, at)))
        at++;
    for (size_t k = at; at < k + 3 && is_blank(redact_char(v, at));)
        at++;
    const unsigned char c = redact_char(v, at);
    if (c == ':' || c == '=' || c == REDACT_CHAR_IDEOGRAM) {
        at++;
        if (redact_char(v, at) == '>' || redact_char(v, at) == ':' ||
            redact_char(v, at) == '=')
            at++;
    } else {
        const size_t before = at;
        for (size_t k = 0; k < sizeof(links) / sizeof(links[0]); k++)
            if (at == before && begins(v, at, links[k]))
                at += strlen(links[k]);
        if (at == before || at == i)
            return 0;
    }
    for (size_t k = at; at < k + 3 && is_blank(redact_char(v, at));)
        at++;
    for (size_t k = at; at < k + 2 && is_quote(redact_char(v, at));)
        at++;
    return at;
}

// Not a word of a sentence: a digit, a mark inside, or a capital inside.
static bool is_password(const struct redact_view *v, size_t i, size_t n)
{
    bool has_number = false, has_mark = false, has_capital = false;
    bool has_letter = false;

    if (n < 4 || strchr("$%{<*/.&[(", v->f[i]))
        return false;
    for (size_t k = i; k < i + n; k++) {
        const unsigned char c = v->f[k];
        if (begins(v, k, "://"))
            return false;
        has_number |= redact_is(v, k, REDACT_IS_DIGIT);
        has_letter |= redact_is(v, k, REDACT_IS_ALPHA | REDACT_IS_OTHER);
        has_mark |= k > i && strchr("!@#$%^&*+=?~|", c) != NULL;
        has_capital |= k > i && redact_is(v, k, REDACT_IS_UPPER) &&
                       redact_is(v, k - 1, REDACT_IS_LOWER);
    }
    return has_number || (has_letter && (has_mark || has_capital));
}

static bool password(const struct redact_view *v, size_t i,
                     struct redact_hit *hit)
{
    const size_t begin = link_end(v, i);
    size_t end = begin;

    if (begin == 0)
        return false;
    while (end < v->n && end - begin < VALUE_MAX && v->f[end] > ' ' &&
           v->f[end] != REDACT_CHAR_IDEOGRAM && !is_quote(v->f[end]) &&
           !strchr("<>,;()[]{}\\", v->f[end]))
        end++;
    while (end > begin && strchr(".:!", v->f[end - 1]) && v->f[end - 1] != '!')
        end--;
    return end > begin && is_password(v, begin, end - begin) &&
           redact_hit_set(hit, REDACT_PASSWORD, begin, end);
}

bool redact_secret(const struct redact_view *v, size_t i, enum redact_word kind,
                   struct redact_hit *hit)
{
    size_t begin = i + 1;

    if (kind == REDACT_WORD_PASSWORD)
        return password(v, i, hit);
    if (kind == REDACT_WORD_BEARER ? !is_blank(redact_char(v, i))
                                   : (begin = link_end(v, i)) == 0)
        return false;
    const size_t n = run_of(v, begin, SET_VALUE, VALUE_MAX);
    return n >= (kind == REDACT_WORD_BEARER ? 20 : 16) &&
           !redact_is(v, begin + n, REDACT_IS_WORD) && has_digit(v, begin, n) &&
           redact_entropy(v, begin, begin + n) >= 3.0 &&
           redact_hit_set(hit, REDACT_KEY, begin, begin + n);
}
