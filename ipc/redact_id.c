// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * National identity numbers. Those whose check is strong, or whose form is of
 * their own, are found alone; the others only beside a word such as "SSN".
 */

#include "ipc/redact_scan.h"

#include <string.h>

enum { WORD_REACH = 30 };

struct id {
    const struct redact_view *v;
    size_t begin;
    struct redact_run run;
    size_t end;    // of the run's digits
    bool is_named; // a word says that it is one
};

static unsigned value(const char *d, unsigned n)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum = sum * 10 + (unsigned) (d[i] - '0');
    return sum;
}

static uint64_t rest(const char *d, unsigned n, unsigned by)
{
    uint64_t r = 0;

    for (unsigned i = 0; i < n; i++)
        r = (r * 10 + (uint64_t) (d[i] - '0')) % by;
    return r;
}

static unsigned weigh(const char *d, const uint8_t *weights, unsigned n)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += (unsigned) (d[i] - '0') * weights[i];
    return sum;
}

static bool is_day(unsigned month, unsigned day)
{
    return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

static bool has_groups(const struct redact_run *r, const char *lengths,
                       char mark)
{
    if (r->groups != strlen(lengths))
        return false;
    for (unsigned g = 0; g < r->groups; g++)
        if (r->length[g] != lengths[g] - '0' ||
            (g > 0 && mark && r->before[g] != mark))
            return false;
    return true;
}

static bool are_same(const char *d, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        if (d[i] != d[0])
            return false;
    return true;
}

/*
 * Digits only; d has as many as the row says
 */

// United States: no check digit, but numbers that are not given.
static bool is_us(const struct id *x)
{
    const char *d = x->run.digits;
    const unsigned area = value(d, 3);

    return (has_groups(&x->run, "324", '-') ||
            (x->is_named &&
             (x->run.groups == 1 || has_groups(&x->run, "324", ' ')))) &&
           area != 0 && area != 666 && area < 900 && value(d + 3, 2) != 0 &&
           value(d + 5, 4) != 0;
}

// Netherlands; Canada and Australia go in 3 3 3.
static bool is_nine(const struct id *x)
{
    static const uint8_t dutch[] = {9, 8, 7, 6, 5, 4, 3, 2};
    static const uint8_t australian[] = {1, 4, 3, 7, 5, 8, 6, 9, 10};
    const char *d = x->run.digits;

    if (!x->is_named || are_same(d, 9))
        return false;
    return weigh(d, dutch, 8) % 11 == (unsigned) (d[8] - '0') ||
           weigh(d, australian, 9) % 11 == 0 || redact_luhn(d, 9);
}

// Belgium: two digits make it whole, with a 2 before it from 2000 on.
static bool is_belgian(const struct id *x)
{
    const char *d = x->run.digits;
    const unsigned key = value(d + 9, 2);

    return is_day(value(d + 2, 2), value(d + 4, 2)) &&
           (97 - rest(d, 9, 97) == key ||
            97 - (2000000000 + value(d, 9)) % 97 == key);
}

static bool is_norwegian(const struct id *x)
{
    static const uint8_t first[] = {3, 7, 6, 1, 8, 9, 4, 5, 2, 1};
    static const uint8_t second[] = {5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1};
    const char *d = x->run.digits;

    return is_day(value(d + 2, 2), value(d, 2)) &&
           weigh(d, first, 10) % 11 == 0 && weigh(d, second, 11) % 11 == 0;
}

static bool is_brazilian(const struct id *x)
{
    static const uint8_t weights[] = {11, 10, 9, 8, 7, 6, 5, 4, 3, 2};
    const char *d = x->run.digits;

    if ((!has_groups(&x->run, "3332", 0) && !x->is_named) || are_same(d, 11))
        return false;
    return weigh(d, weights + 1, 9) * 10 % 11 % 10 == (unsigned) (d[9] - '0') &&
           weigh(d, weights, 10) * 10 % 11 % 10 == (unsigned) (d[10] - '0');
}

// Germany: ISO 7064 mod 11, 10.
static bool is_german(const struct id *x)
{
    unsigned product = 10;

    for (int i = 0; i < 10; i++) {
        unsigned sum = ((unsigned) (x->run.digits[i] - '0') + product) % 10;
        product = (sum == 0 ? 10 : sum) * 2 % 11;
    }
    return x->is_named && x->run.digits[0] != '0' &&
           (11 - product) % 10 == (unsigned) (x->run.digits[10] - '0');
}

static bool is_polish(const struct id *x)
{
    static const uint8_t weights[] = {1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1};

    return x->is_named && weigh(x->run.digits, weights, 11) % 10 == 0;
}

static bool is_turkish(const struct id *x)
{
    const char *d = x->run.digits;
    unsigned odd = 0, even = 0;

    for (int i = 0; i < 9; i += 2)
        odd += (unsigned) (d[i] - '0');
    for (int i = 1; i < 8; i += 2)
        even += (unsigned) (d[i] - '0');
    return x->is_named && d[0] != '0' &&
           (odd * 7 + 90 - even) % 10 == (unsigned) (d[9] - '0') &&
           (odd + even + (unsigned) (d[9] - '0')) % 10 ==
               (unsigned) (d[10] - '0');
}

static bool is_eleven(const struct id *x)
{
    const bool is_whole = x->run.groups == 1 || has_groups(&x->run, "65", ' ');

    return is_brazilian(x) || is_german(x) || is_polish(x) || is_turkish(x) ||
           ((is_whole || has_groups(&x->run, "22232", 0) ||
             has_groups(&x->run, "632", 0)) &&
            is_belgian(x)) ||
           (is_whole && is_norwegian(x));
}

// Sweden: the Luhn digit is over the last ten.
static bool is_swedish(const struct id *x)
{
    const unsigned skip = x->run.n - 10;
    const char *d = x->run.digits + skip;

    return has_groups(&x->run, skip ? "84" : "64", '-') &&
           is_day(value(d + 2, 2), value(d + 4, 2) % 60) &&
           (redact_luhn(d, 10) || x->is_named);
}

static bool is_korean(const struct id *x)
{
    static const uint8_t weights[] = {2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5};
    const char *d = x->run.digits;

    return has_groups(&x->run, "67", '-') &&
           is_day(value(d + 2, 2), value(d + 4, 2)) &&
           (11 - weigh(d, weights, 12) % 11) % 10 == (unsigned) (d[12] - '0');
}

static bool is_swiss(const struct id *x)
{
    static const uint8_t weights[] = {1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1};
    const char *d = x->run.digits;

    return value(d, 3) == 756 &&
           (has_groups(&x->run, "3442", '.') || x->run.groups == 1) &&
           weigh(d, weights, 13) % 10 == 0;
}

static bool is_french(const struct id *x)
{
    const char *d = x->run.digits;
    const unsigned month = value(d + 3, 2);

    return (d[0] == '1' || d[0] == '2') &&
           ((month >= 1 && month <= 12) || month >= 20) &&
           (x->run.groups == 1 || has_groups(&x->run, "1222332", ' ')) &&
           97 - rest(d, 13, 97) == value(d + 13, 2);
}

static bool is_digits(const struct id *x)
{
    switch (x->run.n) {
    case 9:
        return is_us(x) || is_nine(x);
    case 10:
        return is_swedish(x);
    case 11:
        return is_eleven(x);
    case 12:
        return is_swedish(x);
    case 13:
        return is_swiss(x) || is_korean(x);
    case 15:
        return is_french(x);
    default:
        return false;
    }
}

/*
 * With letters
 */

// Spain: 8 digits, or X, Y, Z and 7, and the letter of the rest by 23.
static size_t spanish(const struct redact_view *v, size_t i)
{
    static const char letters[] = "TRWAGMYFPDXBNJZSQVHLCKE";
    unsigned number = 0;
    size_t at = i;

    if (v->f[i] >= 'X' && v->f[i] <= 'Z')
        number = v->f[at++] - 'X';
    for (; redact_is(v, at, REDACT_IS_DIGIT) && at < i + 8; at++)
        number = number * 10 + v->f[at] - '0';
    if (at != i + 8)
        return 0;
    if (redact_char(v, at) == '-')
        at++;
    return redact_char(v, at) == (unsigned char) letters[number % 23] ? at + 1
                                                                      : 0;
}

// Finland: ddmmyy, a century, three digits, and the rest by 31.
static size_t finnish(const struct redact_view *v, size_t i)
{
    static const char letters[] = "0123456789ABCDEFHJKLMNPRSTUVWXY";
    char d[9];

    for (unsigned k = 0; k < 10; k++) {
        if (k == 6)
            continue;
        if (!redact_is(v, i + k, REDACT_IS_DIGIT))
            return 0;
        d[k > 6 ? k - 1 : k] = (char) v->f[i + k];
    }
    const unsigned char century = redact_char(v, i + 6);
    return century && strchr("-+ABCDEFYXWVU", century) &&
                   is_day(value(d + 2, 2), value(d, 2)) &&
                   redact_char(v, i + 10) ==
                       (unsigned char) letters[value(d, 9) % 31]
               ? i + 11
               : 0;
}

// China: 17 digits with a day of birth, and the rest by 11 as 0 to 9 or X.
static size_t chinese(const struct redact_view *v, size_t i)
{
    static const char letters[] = "10X98765432";
    static const uint8_t weights[] = {7, 9, 10, 5,  8, 4, 2, 1, 6,
                                      3, 7, 9,  10, 5, 8, 4, 2};
    char d[17];

    for (unsigned k = 0; k < 17; k++) {
        if (!redact_is(v, i + k, REDACT_IS_DIGIT))
            return 0;
        d[k] = (char) v->f[i + k];
    }
    const unsigned year = value(d + 6, 4);
    return year >= 1850 && year <= 2100 &&
                   is_day(value(d + 10, 2), value(d + 12, 2)) &&
                   (redact_char(v, i + 17) & 0xdfu) ==
                       ((unsigned char) letters[weigh(d, weights, 17) % 11] &
                        0xdfu)
               ? i + 18
               : 0;
}

// United Kingdom: two letters of those in use, 6 digits, A to D.
static size_t british(const struct redact_view *v, size_t i)
{
    const unsigned char a = redact_char(v, i), b = redact_char(v, i + 1);
    size_t at = i + 2;

    if (!redact_is(v, i, REDACT_IS_UPPER) ||
        !redact_is(v, i + 1, REDACT_IS_UPPER) || strchr("DFIQUV", a) ||
        strchr("DFIQUVO", b) || (a == 'B' && b == 'G') ||
        (a == 'G' && b == 'B') || (a == 'N' && (b == 'K' || b == 'T')) ||
        (a == 'T' && b == 'N') || (a == 'Z' && b == 'Z'))
        return 0;
    for (int pair = 0; pair < 3; pair++) {
        if (redact_char(v, at) == ' ')
            at++;
        if (!redact_is(v, at, REDACT_IS_DIGIT) ||
            !redact_is(v, at + 1, REDACT_IS_DIGIT))
            return 0;
        at += 2;
    }
    if (redact_char(v, at) == ' ')
        at++;
    return redact_char(v, at) >= 'A' && redact_char(v, at) <= 'D' ? at + 1 : 0;
}

// Italy: a pattern of 16, and a letter of the sum by 26.
static size_t italian(const struct redact_view *v, size_t i)
{
    static const char pattern[] = "AAAAAA00A00A000A";
    static const uint8_t odd[] = {1,  0,  5,  7,  9,  13, 15, 17, 19,
                                  21, 2,  4,  18, 20, 11, 3,  6,  8,
                                  12, 14, 16, 10, 22, 25, 24, 23};
    unsigned sum = 0;

    for (unsigned k = 0; k < 16; k++) {
        const unsigned char c = redact_char(v, i + k);
        if (!redact_is(v, i + k,
                       pattern[k] == 'A' ? REDACT_IS_UPPER : REDACT_IS_DIGIT))
            return 0;
        const unsigned n = c >= 'A' ? c - 'A' : c - '0';
        if (k == 15)
            return n == sum % 26 ? i + 16 : 0;
        sum += k % 2 == 0 ? odd[n] : n;
    }
    return 0;
}

static size_t with_letters(const struct redact_view *v, size_t i)
{
    static size_t (*const forms[])(const struct redact_view *, size_t) = {
        spanish, finnish, chinese, british, italian,
    };

    for (size_t k = 0; k < sizeof(forms) / sizeof(forms[0]); k++) {
        const size_t end = forms[k](v, i);
        if (end && redact_ends(v, end))
            return end;
    }
    return 0;
}

bool redact_id(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    struct id x = {.v = v, .begin = i};

    if (!redact_begins(v, i))
        return false;
    const size_t end = with_letters(v, i);
    if (end)
        return redact_hit_set(hit, REDACT_ID, i, end);
    if (!redact_is(v, i, REDACT_IS_DIGIT))
        return false;
    redact_run(&x.run, v, i, " -./", 16);
    if (x.run.groups == 0)
        return false;
    x.end = x.run.end[x.run.groups - 1];
    x.is_named = redact_word_near(v, REDACT_WORD_ID, i, WORD_REACH);
    return redact_ends(v, x.end) && is_digits(&x) &&
           redact_hit_set(hit, REDACT_ID, i, x.end);
}
