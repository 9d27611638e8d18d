// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Numbers: cards, accounts, telephones, one-time codes.
 */

#include "ipc/redact_scan.h"

#include <stdlib.h>
#include <string.h>

enum {
    PHONE_REACH = 30, // characters from "call" to its number
    CODE_REACH = 60,  // from "verification code" to its code
    LINK_REACH = 14,  // from "code" to its number
};

void redact_run(struct redact_run *r, const struct redact_view *v, size_t i,
                const char *separators, unsigned most)
{
    char before = 0;

    *r = (struct redact_run){.n = 0};
    if (most > REDACT_DIGITS)
        most = REDACT_DIGITS;
    while (r->groups < REDACT_GROUPS && redact_is(v, i, REDACT_IS_DIGIT)) {
        size_t end = i;
        while (redact_is(v, end, REDACT_IS_DIGIT))
            end++;
        if (end - i > most - r->n)
            return;
        memcpy(r->digits + r->n, v->f + i, end - i);
        r->n += (unsigned) (end - i);
        r->length[r->groups] = (uint8_t) (end - i);
        r->before[r->groups] = before;
        r->count[r->groups] = r->n;
        r->end[r->groups++] = end;
        before = (char) redact_char(v, end);
        if (before == 0 || !strchr(separators, before))
            return;
        i = end + 1;
    }
}

bool redact_begins(const struct redact_view *v, size_t i)
{
    if (i == 0)
        return true;
    const unsigned char c = v->f[i - 1];
    if (redact_is(v, i - 1, REDACT_IS_WORD) || c == '#')
        return false;
    // 0.4111, AB-4111, /dp/4111
    if (i > 1 && (c == '.' || c == ',') && redact_is(v, i - 2, REDACT_IS_DIGIT))
        return false;
    return i < 2 || (c != '-' && c != '/') ||
           !redact_is(v, i - 2, REDACT_IS_WORD);
}

bool redact_ends(const struct redact_view *v, size_t i)
{
    const unsigned char c = redact_char(v, i);

    if (redact_is(v, i, REDACT_IS_WORD) || c == '@' || c == '_' || c == '%')
        return false;
    return (c != '.' && c != ',' && c != '-') ||
           !redact_is(v, i + 1, REDACT_IS_ALNUM);
}

bool redact_luhn(const char *digits, unsigned n)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < n; i++) {
        unsigned d = (unsigned) (digits[n - 1 - i] - '0');
        if (i % 2 == 1)
            d = d > 4 ? 2 * d - 9 : 2 * d;
        sum += d;
    }
    return sum % 10 == 0;
}

static unsigned number(const char *digits, unsigned n)
{
    unsigned value = 0;

    for (unsigned i = 0; i < n; i++)
        value = value * 10 + (unsigned) (digits[i] - '0');
    return value;
}

/*
 * Cards
 */

// First six digits, and lengths as bits.
#define LENGTH(n)         (1u << (n))
#define LENGTHS(from, to) ((LENGTH((to) + 1)) - LENGTH(from))
static const struct {
    unsigned first, last;
    uint32_t lengths;
} issuers[] = {
    {400000, 499999, LENGTH(13) | LENGTH(16) | LENGTH(19)}, // Visa
    {510000, 559999, LENGTH(16)},                           // Mastercard
    {222100, 272099, LENGTH(16)},
    {340000, 349999, LENGTH(15)}, // American Express
    {370000, 379999, LENGTH(15)},
    {601100, 601199, LENGTHS(16, 19)}, // Discover
    {644000, 659999, LENGTHS(16, 19)},
    {300000, 305999, LENGTH(14)}, // Diners Club
    {360000, 369999, LENGTH(14)},
    {380000, 399999, LENGTH(14)},
    {352800, 358999, LENGTHS(16, 19)},                      // JCB
    {620000, 629999, LENGTHS(16, 19)},                      // UnionPay
    {810000, 817199, LENGTHS(16, 19)},                      // RuPay, UnionPay
    {508500, 508999, LENGTH(16)},                           // RuPay
    {606985, 608499, LENGTH(16)},                           // RuPay
    {220000, 220499, LENGTH(16)},                           // Mir
    {500000, 509999, LENGTH(16) | LENGTH(18) | LENGTH(19)}, // Maestro
    {560000, 589999, LENGTH(16) | LENGTH(18) | LENGTH(19)},
    {630400, 630499, LENGTHS(16, 19)},
    {675900, 676399, LENGTHS(16, 19)},
    {979200, 979299, LENGTH(16)}, // Troy
};

static bool is_card(const char *digits, unsigned n)
{
    const unsigned head = number(digits, 6);

    for (size_t i = 0; i < sizeof(issuers) / sizeof(issuers[0]); i++)
        if (head >= issuers[i].first && head <= issuers[i].last &&
            (issuers[i].lengths >> n & 1))
            return redact_luhn(digits, n);
    return false;
}

// 4 4 4 4 and on, 4 6 5, 4 6 4, or all together; one kind of separator.
static bool is_card_grouped(const struct redact_run *r, unsigned last)
{
    if (last == 0)
        return true;
    for (unsigned g = 2; g <= last; g++)
        if (r->before[g] != r->before[1])
            return false;
    if (last == 2 && r->length[0] == 4 && r->length[1] == 6)
        return r->length[2] == 5 || r->length[2] == 4;
    for (unsigned g = 0; g < last; g++)
        if (r->length[g] != 4)
            return false;
    return last >= 3 && r->length[last] <= 4;
}

bool redact_card(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    struct redact_run r;

    // A part of something longer that goes in fours.
    if (!redact_begins(v, i) ||
        (i > 4 && redact_is(v, i - 2, REDACT_IS_DIGIT) &&
         redact_is(v, i - 3, REDACT_IS_DIGIT) &&
         redact_is(v, i - 4, REDACT_IS_DIGIT) &&
         redact_is(v, i - 5, REDACT_IS_DIGIT)))
        return false;
    redact_run(&r, v, i, " -.\n", 24);
    for (unsigned g = r.groups; g > 0; g--) {
        const unsigned n = r.count[g - 1];
        if (n >= 13 && n <= 19 && is_card_grouped(&r, g - 1) &&
            redact_ends(v, r.end[g - 1]) && is_card(r.digits, n))
            return redact_hit_set(hit, REDACT_CARD, i, r.end[g - 1]);
    }
    return false;
}

/*
 * IBAN
 */

static const char ibans[][5] = {
    "AD24", "AE23", "AL28", "AT20", "AZ28", "BA20", "BE16", "BG22", "BH22",
    "BI27", "BR29", "BY28", "CH21", "CR22", "CY28", "CZ24", "DE22", "DJ27",
    "DK18", "DO28", "EE20", "EG29", "ES24", "FI18", "FK18", "FO18", "FR27",
    "GB22", "GE22", "GI23", "GL18", "GR27", "GT28", "HR21", "HU28", "IE22",
    "IL23", "IQ23", "IS26", "IT27", "JO30", "KW30", "KZ20", "LB28", "LC32",
    "LI21", "LT20", "LU20", "LV21", "LY25", "MC27", "MD24", "ME22", "MK19",
    "MN20", "MR27", "MT31", "MU30", "NI28", "NL18", "NO15", "OM23", "PK24",
    "PL28", "PS29", "PT25", "QA29", "RO24", "RS22", "RU33", "SA24", "SC31",
    "SD18", "SE24", "SI19", "SK24", "SM27", "SO23", "ST25", "SV28", "TL23",
    "TN24", "TR26", "UA29", "VA22", "VG24", "XK20",
};

static unsigned upper(unsigned char c)
{
    return c >= 'a' && c <= 'z' ? c - 32u : c;
}

static unsigned iban_length(const struct redact_view *v, size_t i)
{
    for (size_t k = 0; k < sizeof(ibans) / sizeof(ibans[0]); k++)
        if ((unsigned char) ibans[k][0] == upper(redact_char(v, i)) &&
            (unsigned char) ibans[k][1] == upper(redact_char(v, i + 1)))
            return number(ibans[k] + 2, 2);
    return 0;
}

static bool is_mark(unsigned char c)
{
    return c == ' ' || c == '-' || c == '\n';
}

static unsigned mod97(unsigned rest, unsigned c)
{
    return c <= '9' ? (rest * 10 + c - '0') % 97
                    : (rest * 100 + c - 'A' + 10) % 97;
}

bool redact_iban(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    unsigned text[34];
    unsigned n = 0, rest = 0;
    size_t end = i;

    if (!redact_is(v, i, REDACT_IS_ALPHA) ||
        !redact_is(v, i + 1, REDACT_IS_ALPHA) ||
        !redact_is(v, i + 2, REDACT_IS_DIGIT) ||
        !redact_is(v, i + 3, REDACT_IS_DIGIT))
        return false;
    const unsigned length = iban_length(v, i);
    while (n < length) {
        for (int k = 0; n > 0 && k < 2 && is_mark(redact_char(v, end)); k++)
            end++;
        if (!redact_is(v, end, REDACT_IS_ALNUM))
            return false;
        text[n++] = upper(v->f[end++]);
    }
    if (length == 0 || redact_is(v, end, REDACT_IS_WORD))
        return false;
    for (unsigned k = 0; k < n; k++)
        rest = mod97(rest, text[(k + 4) % n]);
    return rest == 1 && redact_hit_set(hit, REDACT_IBAN, i, end);
}

/*
 * Telephones
 */

static bool is_date(const struct redact_run *r)
{
    const uint8_t *l = r->length;

    if (r->groups < 3 || r->before[1] != r->before[2] || r->before[1] == ' ')
        return false;
    if (l[0] == 4)
        return l[1] <= 2 && l[2] <= 2;
    return l[0] <= 2 && l[1] <= 2 && (l[2] == 2 || l[2] == 4) &&
           number(r->digits, l[0]) <= 31 &&
           number(r->digits + l[0], l[1]) <= 31;
}

// The last group that leaves at most `most` digits and ends well; 0: none.
static unsigned last_group(const struct redact_view *v,
                           const struct redact_run *r, unsigned least,
                           unsigned most)
{
    for (unsigned g = r->groups; g > 0; g--)
        if (r->count[g - 1] >= least && r->count[g - 1] <= most &&
            redact_ends(v, r->end[g - 1]))
            return g;
    return 0;
}

// "+49 (0)30 1234-567", "0049 30 ..."
static bool phone_abroad(const struct redact_view *v, size_t i,
                         struct redact_hit *hit)
{
    size_t at = i + 1;
    struct redact_run code = {.n = 0}, r;

    redact_run(&code, v, at, "", 15);
    if (code.n == 0 || v->f[at] == '0')
        return false;
    // A zero or an area in parentheses.
    size_t next = code.end[0];
    if (redact_char(v, next) == ' ')
        next++;
    if (code.n <= 3 && redact_char(v, next) == '(') {
        struct redact_run area;
        redact_run(&area, v, next + 1, "", 5);
        if (area.groups == 0 || redact_char(v, area.end[0]) != ')')
            return false;
        next = area.end[0] + 1;
        if (redact_char(v, next) == ' ' || redact_char(v, next) == '-')
            next++;
        redact_run(&r, v, next, " -./", 15 - code.n);
        const unsigned g = last_group(v, &r, 4, 14);
        return g > 0 && code.n + area.n + r.count[g - 1] >= 8 &&
               redact_hit_set(hit, REDACT_PHONE, i, r.end[g - 1]);
    }
    redact_run(&r, v, at, " -./", 20);
    const unsigned g = last_group(v, &r, 8, 15);
    return g > 0 && (g > 1 || r.count[0] >= 9) &&
           redact_hit_set(hit, REDACT_PHONE, i, r.end[g - 1]);
}

// 555-123-4567, (555) 123-4567, 1-555-123-4567
static bool is_american(const struct redact_run *r, unsigned from, unsigned to)
{
    const char *d = r->digits + (from ? r->count[from - 1] : 0);

    return to - from == 3 && r->length[from] == 3 && r->length[from + 1] == 3 &&
           r->length[from + 2] == 4 &&
           r->before[from + 1] == r->before[from + 2] && d[0] >= '2' &&
           d[3] >= '2' && r->before[from + 1] != '/';
}

// With a trunk 0: 030 1234567, 0171/1234567, 06 12 34 56 78
static bool is_national(const struct redact_run *r, unsigned groups)
{
    const unsigned n = r->count[groups - 1];

    if (r->digits[0] != '0' || r->digits[1] == '0' || groups < 2 || n < 9 ||
        n > 12 || r->length[0] > 6 || r->length[0] < 2)
        return false;
    for (unsigned g = 1; g < groups; g++) {
        // Points only where all of it goes in twos.
        if (r->length[g] < 2 ||
            (r->before[g] == '.' && (groups != 5 || r->length[g] != 2)))
            return false;
    }
    return true;
}

static bool phone_in_parentheses(const struct redact_view *v, size_t i,
                                 struct redact_hit *hit)
{
    struct redact_run area, r;

    redact_run(&area, v, i + 1, "", 6);
    if (area.n < 2 || redact_char(v, area.end[0]) != ')')
        return false;
    size_t next = area.end[0] + 1;
    if (redact_char(v, next) == ' ' || redact_char(v, next) == '-')
        next++;
    redact_run(&r, v, next, " -", 10);
    const unsigned g = last_group(v, &r, 4, 10);
    if (g == 0)
        return false;
    if (area.digits[0] == '0' ? area.n + r.count[g - 1] < 8
                              : !(area.n == 3 && r.length[0] == 3 &&
                                  r.count[g - 1] == 7 && g == 2))
        return false;
    return redact_hit_set(hit, REDACT_PHONE, i, r.end[g - 1]);
}

bool redact_phone(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    struct redact_run r;
    const unsigned char before = i > 0 ? v->f[i - 1] : ' ';

    if (v->f[i] == '+')
        return !redact_is(v, i - 1, REDACT_IS_WORD) && before != '+' &&
               phone_abroad(v, i, hit);
    if (v->f[i] == '(')
        return phone_in_parentheses(v, i, hit);
    if (!redact_begins(v, i))
        return false;
    redact_run(&r, v, i, " -./", 20);
    if (r.groups == 0 || is_date(&r))
        return false;
    if (r.n > 4 && r.digits[0] == '0' && r.digits[1] == '0' && r.groups > 1 &&
        phone_abroad(v, i + 1, hit)) {
        hit->begin = i;
        return true;
    }
    for (unsigned g = r.groups; g > 0; g--) {
        if (!redact_ends(v, r.end[g - 1]))
            continue;
        if (is_national(&r, g) || is_american(&r, 0, g) ||
            (g > 1 && r.length[0] == 1 && r.digits[0] == '1' &&
             is_american(&r, 1, g)))
            return redact_hit_set(hit, REDACT_PHONE, i, r.end[g - 1]);
    }
    if (!redact_word_near(v, REDACT_WORD_PHONE, i, PHONE_REACH))
        return false;
    const unsigned g = last_group(v, &r, 7, 15);
    return g > 0 && (g > 1 || r.count[0] >= 9) &&
           redact_hit_set(hit, REDACT_PHONE, i, r.end[g - 1]);
}

/*
 * One-time codes
 */

// Only blanks, marks and one short word stand between "code" and its number.
static bool is_linked(const struct redact_view *v, size_t from, size_t to)
{
    static const char *const links[] = {"is",     "ist", "est",  "es",  "on",
                                        "lautet", "er",  "jest", "to",  "of",
                                        "e",      "se",  "da",   "was", "war"};
    size_t i = from;

    if (to - from > LINK_REACH)
        return false;
    while (i < to && !redact_is(v, i, REDACT_IS_WORD)) {
        if (v->f[i] == '\n' || v->f[i] == '.' || v->f[i] == ',')
            return false;
        i++;
    }
    if (i == to || v->f[i] == REDACT_CHAR_LETTER)
        return true;
    for (size_t k = 0; k < sizeof(links) / sizeof(links[0]); k++) {
        const size_t n = strlen(links[k]);
        if (i + n < to && memcmp(v->f + i, links[k], n) == 0 &&
            !redact_is(v, i + n, REDACT_IS_WORD))
            return true;
    }
    return false;
}

static bool is_one_sentence(const struct redact_view *v, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const unsigned char c = v->f[i];
        if ((c == '.' || c == '!' || c == '?') && i + 1 < to &&
            v->f[i + 1] == ' ')
            return false;
        if (c == '\n' && i + 1 < to && v->f[i + 1] == '\n')
            return false;
    }
    return true;
}

static bool is_announced(const struct redact_view *v, size_t i)
{
    const size_t strong = v->word_end[REDACT_WORD_ONCE];
    const size_t weak = v->word_end[REDACT_WORD_CODE];

    if (redact_word_near(v, REDACT_WORD_ONCE, i, CODE_REACH) &&
        is_one_sentence(v, strong, i))
        return true;
    return weak <= i && is_linked(v, weak, i);
}

// "123456 is your code"
static bool is_explained(const struct redact_view *v, size_t i)
{
    const unsigned wanted = 1u << REDACT_WORD_CODE | 1u << REDACT_WORD_ONCE;
    const bool has_no_blanks = redact_char(v, i) == REDACT_CHAR_IDEOGRAM;
    size_t end[REDACT_WORDS];
    size_t stop = i + 1;

    if (!has_no_blanks) {
        while (redact_is(v, stop, REDACT_IS_WORD))
            stop++;
        if (redact_char(v, i) != ' ' || stop - i > 6 || stop == i + 1 ||
            !is_linked(v, i, stop + 1))
            return false;
    }
    for (size_t k = stop; k < v->n && k < i + 40; k++) {
        if (v->f[k] == '.' || v->f[k] == '\n')
            return false;
        if ((has_no_blanks || !redact_is(v, k - 1, REDACT_IS_WORD)) &&
            (redact_words_at(v, k, end) & wanted))
            return true;
    }
    return false;
}

bool redact_code(const struct redact_view *v, size_t i, struct redact_hit *hit)
{
    const bool has_g = i > 1 && v->f[i - 1] == '-' && v->f[i - 2] == 'G' &&
                       (i == 2 || !redact_is(v, i - 3, REDACT_IS_WORD));
    const size_t begin = has_g && i - 2 >= v->floor ? i - 2 : i;
    struct redact_run r;
    unsigned groups = 1;

    if (begin == i && !redact_begins(v, i))
        return false;
    redact_run(&r, v, i, " -", 12);
    if (r.groups == 0)
        return false;
    if (r.groups > 1 && r.length[0] == r.length[1] &&
        (r.length[0] == 3 || r.length[0] == 4) && redact_ends(v, r.end[1]))
        groups = 2;
    if (r.count[groups - 1] < 4 || r.count[groups - 1] > 8 ||
        !redact_ends(v, r.end[groups - 1]))
        return false;
    const size_t end = r.end[groups - 1];
    return (is_announced(v, begin) || is_explained(v, end)) &&
           redact_hit_set(hit, REDACT_CODE, begin, end);
}
