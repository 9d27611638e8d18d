// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Inside redaction
 *
 * Scanners see a text as one byte for each character: digits, letters and marks
 * of other scripts that look like ASCII are that ASCII, the rest is one of
 * REDACT_CHAR_*. A scanner is asked at the place where its find would begin (or
 * at its "@") and looks at most a few hundred characters ahead.
 */

#include "ipc/redact.h"

enum {
    REDACT_CHAR_BAD = 0x01,    // a byte that is no text
    REDACT_CHAR_LETTER = 0x80, // of a script with words
    REDACT_CHAR_MARK = 0x81,
    REDACT_CHAR_IDEOGRAM = 0x82, // no blanks between words: also a boundary
};

// Words that say what a number beside them is; redact_words.def.
enum redact_word {
    REDACT_WORD_CODE,   // weak: only right before a number
    REDACT_WORD_ONCE,   // strong: a one-time code follows in this sentence
    REDACT_WORD_NOCODE, // error, zip, ...: no code is meant
    REDACT_WORD_PHONE,
    REDACT_WORD_ID,
    REDACT_WORD_IP,
    REDACT_WORD_VERSION,
    REDACT_WORD_PASSWORD,
    REDACT_WORD_KEY,
    REDACT_WORD_BEARER,
    REDACT_WORDS
};

struct redact_view {
    const struct redact *rules;
    const unsigned char *f; // (n)
    const uint32_t *at;     // (n + 1) bytes; NULL: the same numbers
    size_t n;
    const char *text;
    size_t floor; // what is before it was found already
    // Where the last word of each kind ended; SIZE_MAX: there was none.
    size_t word_end[REDACT_WORDS];
};

struct redact_hit {
    enum redact_class class;
    size_t begin, end; // characters
};

// Digits with single separators between groups.
enum { REDACT_DIGITS = 24, REDACT_GROUPS = 10 };
struct redact_run {
    char digits[REDACT_DIGITS];
    unsigned n, groups;
    uint8_t length[REDACT_GROUPS];
    char before[REDACT_GROUPS];    // the separator before the group; 0: none
    size_t end[REDACT_GROUPS];     // of the group
    unsigned count[REDACT_GROUPS]; // digits up to its end
};

extern const uint8_t redact_kinds[256];
enum {
    REDACT_IS_DIGIT = 1,
    REDACT_IS_UPPER = 2,
    REDACT_IS_LOWER = 4,
    REDACT_IS_HEX = 8,
    REDACT_IS_OTHER = 16, // REDACT_CHAR_LETTER
    REDACT_IS_ALPHA = REDACT_IS_UPPER | REDACT_IS_LOWER,
    REDACT_IS_ALNUM = REDACT_IS_ALPHA | REDACT_IS_DIGIT,
    REDACT_IS_WORD = REDACT_IS_ALNUM | REDACT_IS_OTHER,
};

static inline unsigned char redact_char(const struct redact_view *v, size_t i)
{
    return i < v->n ? v->f[i] : 0;
}

static inline bool redact_is(const struct redact_view *v, size_t i, int kinds)
{
    return i < v->n && (redact_kinds[v->f[i]] & kinds) != 0;
}

static inline bool redact_is_on(const struct redact_view *v,
                                enum redact_class c)
{
    return v->rules->modes[c] != REDACT_OFF;
}

static inline bool redact_hit_set(struct redact_hit *hit, enum redact_class c,
                                  size_t begin, size_t end)
{
    *hit = (struct redact_hit){c, begin, end};
    return true;
}

// Is a word of this kind at most `reach` characters before i?
static inline bool redact_word_near(const struct redact_view *v,
                                    enum redact_word w, size_t i, size_t reach)
{
    return v->word_end[w] <= i && i - v->word_end[w] <= reach;
}

// Once, before the first walk.
void redact_words_index(void);
void redact_keys_index(void);

// Kinds of the words that begin at i, one bit each, and where the longest of a
// kind ends.
unsigned redact_words_at(const struct redact_view *v, size_t i,
                         size_t end[REDACT_WORDS]);

// Nothing that would make the number another one stands before it, or behind.
bool redact_begins(const struct redact_view *v, size_t i);
bool redact_ends(const struct redact_view *v, size_t i);

// Digits from i on, with any of `separators` between groups; at most `most`.
void redact_run(struct redact_run *r, const struct redact_view *v, size_t i,
                const char *separators, unsigned most);
bool redact_luhn(const char *digits, unsigned n);
// Bits a character of what is there.
double redact_entropy(const struct redact_view *v, size_t begin, size_t end);

// At a digit, or "+" or "(" for telephones, with no word before it.
bool redact_card(const struct redact_view *v, size_t i, struct redact_hit *hit);
bool redact_phone(const struct redact_view *v, size_t i,
                  struct redact_hit *hit);
bool redact_code(const struct redact_view *v, size_t i, struct redact_hit *hit);
bool redact_ipv4(const struct redact_view *v, size_t i, struct redact_hit *hit);
// At the first character of a word.
bool redact_iban(const struct redact_view *v, size_t i, struct redact_hit *hit);
bool redact_id(const struct redact_view *v, size_t i, struct redact_hit *hit);
bool redact_hex(const struct redact_view *v, size_t i, struct redact_hit *hit);
bool redact_key(const struct redact_view *v, size_t i, struct redact_hit *hit);
// Behind a word that announces a secret.
bool redact_secret(const struct redact_view *v, size_t i, enum redact_word kind,
                   struct redact_hit *hit);
// At "@", at the ":" of "://", at the first "-" of "-----BEGIN".
bool redact_email(const struct redact_view *v, size_t i,
                  struct redact_hit *hit);
bool redact_login(const struct redact_view *v, size_t i,
                  struct redact_hit *hit);
bool redact_pem(const struct redact_view *v, size_t i, struct redact_hit *hit);
