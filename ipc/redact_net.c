// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Addresses: e-mail, URLs with a login, IPv4, IPv6, MAC.
 */

#include "ipc/redact_scan.h"

#include <string.h>

enum { LOCAL_MAX = 64, DOMAIN_MAX = 255, LOGIN_MAX = 512 };

static bool is_local(unsigned char c)
{
    return (redact_kinds[c] & REDACT_IS_WORD) || c == '.' || c == '_' ||
           c == '%' || c == '+' || c == '-';
}

// A name with a dot and a top level of letters. 0: it is none.
static size_t domain_end(const struct redact_view *v, size_t i)
{
    static const char *const files[] = {"png", "jpg",  "jpeg", "gif",
                                        "svg", "webp", "css",  "js"};
    size_t end = i, top = 0;

    while (end < v->n && end - i < DOMAIN_MAX &&
           (redact_is(v, end, REDACT_IS_WORD) || v->f[end] == '-' ||
            v->f[end] == '.')) {
        if (v->f[end] == '.' && end > i && v->f[end - 1] == '.')
            break;
        end++;
    }
    while (end > i && !redact_is(v, end - 1, REDACT_IS_WORD))
        end--;
    for (size_t k = i + 1; k < end; k++)
        if (v->f[k] == '.')
            top = k + 1;
    if (top == 0 || end - top < 2 || redact_is(v, end, REDACT_IS_WORD))
        return 0;
    for (size_t k = top; k < end; k++)
        if (!(redact_kinds[v->f[k]] & (REDACT_IS_ALPHA | REDACT_IS_OTHER)))
            return 0;
    for (size_t k = 0; k < sizeof(files) / sizeof(files[0]); k++)
        if (strlen(files[k]) == end - top &&
            memcmp(files[k], v->f + top, end - top) == 0)
            return 0;
    return end;
}

bool redact_email(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    size_t begin = i;

    while (begin > v->floor && i - begin <= LOCAL_MAX &&
           is_local(v->f[begin - 1]))
        begin--;
    while (begin < i && !redact_is(v, begin, REDACT_IS_WORD))
        begin++;
    if (begin == i || i - begin > LOCAL_MAX)
        return false;
    const size_t end = domain_end(v, i + 1);
    if (end == 0)
        return false;
    // git@example.org:a/b is a place, not a person.
    if (i - begin == 3 && memcmp(v->f + begin, "git", 3) == 0 &&
        redact_char(v, end) == ':')
        return false;
    return redact_hit_set(hit, REDACT_EMAIL, begin, end);
}

bool redact_login(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    const size_t begin = i + 3;
    size_t colon = 0, at = 0;

    if (redact_char(v, i + 1) != '/' || redact_char(v, i + 2) != '/' ||
        i == 0 || !redact_is(v, i - 1, REDACT_IS_ALNUM))
        return false;
    for (size_t k = begin; k < v->n && k < begin + LOGIN_MAX; k++) {
        const unsigned char c = v->f[k];
        if (c <= ' ' || strchr("/?#\"'<>`\\", c))
            break;
        if (c == ':' && colon == 0)
            colon = k;
        if (c == '@')
            at = k;
    }
    return colon != 0 && at > colon + 1 &&
           redact_hit_set(hit, REDACT_LOGIN, begin, at);
}

/*
 * IPv4
 */

// One of four; false: it is none.
static bool octet(const struct redact_view *v, size_t *i, unsigned *value)
{
    const size_t begin = *i;

    *value = 0;
    while (redact_is(v, *i, REDACT_IS_DIGIT) && *i - begin < 4)
        *value = *value * 10 + v->f[(*i)++] - '0';
    return *i > begin && *value <= 255 &&
           (*i == begin + 1 || v->f[begin] != '0');
}

bool redact_ipv4(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    unsigned part[4];
    size_t at = i;

    for (int k = 0; k < 4; k++) {
        if ((k > 0 && redact_char(v, at++) != '.') || !octet(v, &at, &part[k]))
            return false;
    }
    if (redact_is(v, at, REDACT_IS_WORD) || redact_char(v, at) == '@' ||
        (redact_char(v, at) == '.' && redact_is(v, at + 1, REDACT_IS_ALNUM)))
        return false;
    if (i > 1 && (v->f[i - 1] == '.' || v->f[i - 1] == '-') &&
        redact_is(v, i - 2, REDACT_IS_WORD))
        return false;
    // This machine, and everybody.
    if (part[0] == 0 || part[0] == 127 || part[0] == 255)
        return false;
    if (redact_word_near(v, REDACT_WORD_VERSION, i, 3))
        return false;
    // 3.1.2.4 is a section or a version more often.
    if (part[0] < 10 && part[1] < 10 && part[2] < 10 && part[3] < 10 &&
        !redact_word_near(v, REDACT_WORD_IP, i, 6))
        return false;
    return redact_hit_set(hit, REDACT_IP, i, at);
}

/*
 * MAC and IPv6
 */

static unsigned hex_value(unsigned char c)
{
    return c <= '9' ? c - 48u : (c | 32u) - 87u;
}

static bool is_hex(const struct redact_view *v, size_t i, size_t n)
{
    for (size_t k = i; k < i + n; k++)
        if (!redact_is(v, k, REDACT_IS_HEX))
            return false;
    return true;
}

static bool has_kind(const struct redact_view *v, size_t i, size_t n, int kinds)
{
    for (size_t k = i; k < i + n; k++)
        if (redact_is(v, k, kinds))
            return true;
    return false;
}

// Groups of `size` digits with `mark` between, `n` of them, and no more.
static bool is_grid(const struct redact_view *v, size_t i, unsigned size,
                    unsigned n, unsigned char mark)
{
    const size_t end = i + n * (size + 1) - 1;

    for (unsigned k = 0; k < n; k++) {
        const size_t at = i + k * (size + 1);
        if (!is_hex(v, at, size) ||
            (k + 1 < n && redact_char(v, at + size) != mark))
            return false;
    }
    return !redact_is(v, end, REDACT_IS_WORD) &&
           !(redact_char(v, end) == mark &&
             redact_is(v, end + 1, REDACT_IS_HEX)) &&
           !(i > 1 && v->f[i - 1] == mark &&
             redact_is(v, i - 2, REDACT_IS_HEX));
}

static bool mac(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    const unsigned char mark = redact_char(v, i + 2);

    if ((mark == ':' || mark == '-') && is_grid(v, i, 2, 6, mark)) {
        // Dates and times go in twos, too.
        if (mark == '-' && !has_kind(v, i, 17, REDACT_IS_ALPHA))
            return false;
        return redact_hit_set(hit, REDACT_MAC, i, i + 17);
    }
    return redact_char(v, i + 4) == '.' && is_grid(v, i, 4, 3, '.') &&
           has_kind(v, i, 14, REDACT_IS_ALPHA) &&
           has_kind(v, i, 14, REDACT_IS_DIGIT) &&
           redact_hit_set(hit, REDACT_MAC, i, i + 14);
}

// Of what machines have: global, unique local and link local addresses.
static bool is_net(unsigned first, unsigned digits)
{
    return digits == 4 && ((first >= 0x2000 && first <= 0x3fff) ||
                           (first >= 0xfc00 && first <= 0xfdff) ||
                           (first >= 0xfe80 && first <= 0xfebf));
}

static bool ipv6(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    unsigned groups = 0, first = 0;
    bool has_gap = false;
    size_t at = i;

    for (;;) {
        unsigned n = 0, value = 0;
        while (n < 5 && redact_is(v, at + n, REDACT_IS_HEX))
            value = value * 16 + hex_value(v->f[at + n++]);
        if (n == 0 || n > 4)
            break;
        if (groups++ == 0 && !is_net(first = value, n))
            return false;
        at += n;
        if (redact_char(v, at) != ':' || groups == 8)
            break;
        if (redact_char(v, at + 1) == ':') {
            if (has_gap)
                return false;
            has_gap = true;
            at += 2;
        } else if (redact_is(v, at + 1, REDACT_IS_HEX)) {
            at++;
        } else {
            break;
        }
    }
    if (redact_is(v, at, REDACT_IS_WORD) ||
        (has_gap ? groups > 7 : groups != 8))
        return false;
    return redact_hit_set(hit, REDACT_IP, i, at);
}

bool redact_hex(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    if (i > 0 && v->f[i - 1] == ':' && i > 1 &&
        redact_is(v, i - 2, REDACT_IS_HEX))
        return false;
    return mac(v, i, hit) || ipv6(v, i, hit);
}
