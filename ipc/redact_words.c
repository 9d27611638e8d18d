// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/redact_scan.h"

#include <math.h>
#include <string.h>

static const struct {
    enum redact_word kind;
    const char *text;
} words[] = {
#define WORD(kind, text) {REDACT_WORD_##kind, text},
#include "ipc/redact_words.def"
#undef WORD
};

enum { WORDS = sizeof(words) / sizeof(words[0]) };

// Words by their first two bytes: first[] and next[] are an index + 1, 0: none.
enum { SLOTS = 1024 };
static uint16_t first[SLOTS], next[WORDS];
static uint8_t letters[WORDS]; // characters of it
static unsigned slot_of(unsigned char a, unsigned char b)
{
    return (a * 37u + b) % SLOTS;
}

void redact_words_index(void)
{
    for (size_t i = WORDS; i > 0; i--) {
        const unsigned char *p = (const unsigned char *) words[i - 1].text;
        const unsigned slot = slot_of(p[0], p[1]);
        next[i - 1] = first[slot];
        first[slot] = (uint16_t) i;
        for (; *p; p++)
            letters[i - 1] += (*p & 0xc0) != 0x80;
    }
}

// ASCII, and the capitals of Latin-1.
static unsigned char lower(unsigned char c, unsigned char before)
{
    if (c >= 'A' && c <= 'Z')
        return c + 32;
    return before == 0xc3 && c >= 0x80 && c <= 0x9e && c != 0x97 ? c + 32 : c;
}

// A text is not NUL-terminated: `left` bytes of it are there.
static bool begins_with(const char *text, size_t left, const char *word)
{
    unsigned char before = 0;

    for (size_t i = 0; word[i]; i++) {
        if (i == left)
            return false;
        const unsigned char c = (unsigned char) text[i];
        if (lower(c, before) != (unsigned char) word[i] &&
            c != (unsigned char) word[i])
            return false;
        before = c;
    }
    return true;
}

unsigned redact_words_at(const struct redact_view *v, size_t i,
                         size_t end[REDACT_WORDS])
{
    const size_t at = v->at ? v->at[i] : i;
    const size_t bytes = v->at ? v->at[v->n] : v->n;
    const unsigned char *p = (const unsigned char *) v->text + at;
    unsigned kinds = 0;

    if (bytes - at < 2)
        return 0;
    for (unsigned w = first[slot_of(lower(p[0], 0), lower(p[1], p[0]))]; w != 0;
         w = next[w - 1]) {
        const size_t stop = i + letters[w - 1];
        const enum redact_word kind = words[w - 1].kind;
        if (stop > v->n ||
            !begins_with(v->text + at, bytes - at, words[w - 1].text) ||
            (redact_is(v, stop - 1, REDACT_IS_WORD) &&
             redact_is(v, stop, REDACT_IS_WORD)))
            continue;
        if (!(kinds >> kind & 1) || stop > end[kind])
            end[kind] = stop;
        kinds |= 1u << kind;
    }
    return kinds;
}

double redact_entropy(const struct redact_view *v, size_t begin, size_t end)
{
    unsigned counts[256] = {0};
    double bits = 0;
    const double n = (double) (end - begin);

    for (size_t i = begin; i < end; i++)
        counts[v->f[i]]++;
    for (int c = 0; c < 256; c++)
        if (counts[c])
            bits -= counts[c] / n * log2(counts[c] / n);
    return bits;
}

#define D (REDACT_IS_DIGIT | REDACT_IS_HEX)
#define U REDACT_IS_UPPER
#define L REDACT_IS_LOWER
#define H REDACT_IS_HEX
const uint8_t redact_kinds[256] = {
    ['0'] = D,     ['1'] = D,     ['2'] = D,
    ['3'] = D,     ['4'] = D,     ['5'] = D,
    ['6'] = D,     ['7'] = D,     ['8'] = D,
    ['9'] = D,     ['A'] = U | H, ['B'] = U | H,
    ['C'] = U | H, ['D'] = U | H, ['E'] = U | H,
    ['F'] = U | H, ['G'] = U,     ['H'] = U,
    ['I'] = U,     ['J'] = U,     ['K'] = U,
    ['L'] = U,     ['M'] = U,     ['N'] = U,
    ['O'] = U,     ['P'] = U,     ['Q'] = U,
    ['R'] = U,     ['S'] = U,     ['T'] = U,
    ['U'] = U,     ['V'] = U,     ['W'] = U,
    ['X'] = U,     ['Y'] = U,     ['Z'] = U,
    ['a'] = L | H, ['b'] = L | H, ['c'] = L | H,
    ['d'] = L | H, ['e'] = L | H, ['f'] = L | H,
    ['g'] = L,     ['h'] = L,     ['i'] = L,
    ['j'] = L,     ['k'] = L,     ['l'] = L,
    ['m'] = L,     ['n'] = L,     ['o'] = L,
    ['p'] = L,     ['q'] = L,     ['r'] = L,
    ['s'] = L,     ['t'] = L,     ['u'] = L,
    ['v'] = L,     ['w'] = L,     ['x'] = L,
    ['y'] = L,     ['z'] = L,     [REDACT_CHAR_LETTER] = REDACT_IS_OTHER,
};
