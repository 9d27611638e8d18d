// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/pretokenize.h"

#include "engine/base/utf8.h"

#include <string.h>

#define L UNICODE_LETTER
#define N UNICODE_NUMBER
#define S UNICODE_SPACE
// Most text is ASCII: one look-up instead of a search.
static const uint8_t ascii[128] = {
    ['\t'] = S, ['\n'] = S, ['\v'] = S, ['\f'] = S, ['\r'] = S, [' '] = S,
    ['0'] = N,  ['1'] = N,  ['2'] = N,  ['3'] = N,  ['4'] = N,  ['5'] = N,
    ['6'] = N,  ['7'] = N,  ['8'] = N,  ['9'] = N,  ['A'] = L,  ['B'] = L,
    ['C'] = L,  ['D'] = L,  ['E'] = L,  ['F'] = L,  ['G'] = L,  ['H'] = L,
    ['I'] = L,  ['J'] = L,  ['K'] = L,  ['L'] = L,  ['M'] = L,  ['N'] = L,
    ['O'] = L,  ['P'] = L,  ['Q'] = L,  ['R'] = L,  ['S'] = L,  ['T'] = L,
    ['U'] = L,  ['V'] = L,  ['W'] = L,  ['X'] = L,  ['Y'] = L,  ['Z'] = L,
    ['a'] = L,  ['b'] = L,  ['c'] = L,  ['d'] = L,  ['e'] = L,  ['f'] = L,
    ['g'] = L,  ['h'] = L,  ['i'] = L,  ['j'] = L,  ['k'] = L,  ['l'] = L,
    ['m'] = L,  ['n'] = L,  ['o'] = L,  ['p'] = L,  ['q'] = L,  ['r'] = L,
    ['s'] = L,  ['t'] = L,  ['u'] = L,  ['v'] = L,  ['w'] = L,  ['x'] = L,
    ['y'] = L,  ['z'] = L,
};
#undef L
#undef N
#undef S

enum unicode_class pretokenize_class(uint32_t c)
{
    if (c < 128)
        return (enum unicode_class) ascii[c];

    size_t lo = 0, hi = unicode_n_ranges;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct unicode_range *r = &unicode_ranges[mid];
        if (c < r->first)
            hi = mid;
        else if (c > r->last)
            lo = mid + 1;
        else
            return (enum unicode_class) r->class;
    }
    return UNICODE_OTHER;
}

// The class of the character at `p`, and its length.
static enum unicode_class look(const unsigned char *p, size_t left,
                               size_t *length)
{
    *length = 1;
    if (*p < 128)
        return (enum unicode_class) ascii[*p];
    size_t n = utf8_length(p, left);
    if (n == 0)
        return UNICODE_OTHER;
    *length = n;
    return pretokenize_class(utf8_decode(p, n));
}

// Where the run of characters of one class that includes `at` ends. The
// length of the last character goes to `last`.
static size_t run_end(const unsigned char *p, size_t at, size_t bytes,
                      enum unicode_class class, size_t *last)
{
    size_t n;
    while (at < bytes && look(p + at, bytes - at, &n) == class) {
        at += n;
        *last = n;
    }
    return at;
}

// 's 't 're 've 'm 'll 'd
static size_t contraction(const unsigned char *p, size_t bytes)
{
    if (bytes < 2 || p[0] != '\'')
        return 0;
    if (p[1] == 's' || p[1] == 't' || p[1] == 'm' || p[1] == 'd')
        return 2;
    if (bytes >= 3 &&
        ((p[1] == 'r' && p[2] == 'e') || (p[1] == 'v' && p[2] == 'e') ||
         (p[1] == 'l' && p[2] == 'l')))
        return 3;
    return 0;
}

size_t pretokenize_gpt2(const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *) text;
    size_t n = contraction(p, bytes), last = 0;

    if (n > 0)
        return n;
    size_t at = bytes > 1 && p[0] == ' ' ? 1 : 0;
    enum unicode_class class = look(p + at, bytes - at, &n);
    if (class != UNICODE_SPACE)
        return run_end(p, at, bytes, class, &last);

    // Spaces: all of them at the end of the text; else all but the last,
    // which belongs to what follows when it is a blank.
    size_t end = run_end(p, 0, bytes, UNICODE_SPACE, &last);
    return end < bytes && end > last ? end - last : end;
}
