// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/redact_fold.h"

#include "engine/base/fault.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct range {
    uint32_t first, last;
    int as; // of the first; -1: left out
};

// In order. What stands for itself: `as` of the first character, and so on.
static const struct range mapped[] = {
    {0x00a0, 0x00a0, ' '}, {0x00ad, 0x00ad, -1},  {0x0660, 0x0669, '0'},
    {0x06f0, 0x06f9, '0'}, {0x0966, 0x096f, '0'}, {0x200b, 0x200f, -1},
    {0x2010, 0x2015, '-'}, {0x202a, 0x202e, -1},  {0x202f, 0x202f, ' '},
    {0x205f, 0x205f, ' '}, {0x2060, 0x2064, -1},  {0x2066, 0x2069, -1},
    {0x2212, 0x2212, '-'}, {0x3000, 0x3000, ' '}, {0xfeff, 0xfeff, -1},
    {0xff01, 0xff5e, '!'},
};

static const struct range classes[] = {
    {0x00aa, 0x00aa, REDACT_CHAR_LETTER},
    {0x00b5, 0x00b5, REDACT_CHAR_LETTER},
    {0x00ba, 0x00ba, REDACT_CHAR_LETTER},
    {0x00c0, 0x00d6, REDACT_CHAR_LETTER},
    {0x00d8, 0x00f6, REDACT_CHAR_LETTER},
    {0x00f8, 0x0dff, REDACT_CHAR_LETTER},
    {0x0e00, 0x0eff, REDACT_CHAR_IDEOGRAM}, // Thai, Lao
    {0x0f00, 0x0fff, REDACT_CHAR_LETTER},
    {0x1000, 0x109f, REDACT_CHAR_IDEOGRAM}, // Burmese
    {0x10a0, 0x177f, REDACT_CHAR_LETTER},
    {0x1780, 0x17ff, REDACT_CHAR_IDEOGRAM}, // Khmer
    {0x1800, 0x1fff, REDACT_CHAR_LETTER},
    {0x2c00, 0x2dff, REDACT_CHAR_LETTER},
    {0x3005, 0x3007, REDACT_CHAR_IDEOGRAM},
    {0x3040, 0x9fff, REDACT_CHAR_IDEOGRAM},
    {0xa000, 0xabff, REDACT_CHAR_LETTER},
    {0xac00, 0xd7af, REDACT_CHAR_IDEOGRAM}, // particles follow digits
    {0xf900, 0xfaff, REDACT_CHAR_IDEOGRAM},
    {0x10000, 0x1cfff, REDACT_CHAR_LETTER},
    {0x1d400, 0x1d7cd, REDACT_CHAR_LETTER},
    {0x20000, 0x3ffff, REDACT_CHAR_IDEOGRAM},
};

static const struct range *find(const struct range *r, size_t n, uint32_t c)
{
    size_t low = 0, high = n;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (c > r[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && c >= r[low].first ? &r[low] : NULL;
}

// -1: nothing is seen of it.
static int fold_char(uint32_t c)
{
    const struct range *r = find(mapped, sizeof(mapped) / sizeof(mapped[0]), c);

    // A comma that ends a clause: no part of a number, as the ASCII one may be.
    if (c == 0xff0c)
        return REDACT_CHAR_MARK;
    if (r)
        return r->as == '0' || r->as == '!' ? r->as + (int) (c - r->first)
                                            : r->as;
    if (c >= 0x1d7ce && c <= 0x1d7ff)
        return '0' + (int) ((c - 0x1d7ce) % 10);
    if (c >= 0x2000 && c <= 0x200a)
        return ' ';
    r = find(classes, sizeof(classes) / sizeof(classes[0]), c);
    return r ? r->as : REDACT_CHAR_MARK;
}

static bool is_ascii(const char *text, size_t bytes)
{
    uint64_t all = 0, word;
    size_t i = 0;

    for (; i + sizeof(word) <= bytes; i += sizeof(word)) {
        memcpy(&word, text + i, sizeof(word));
        all |= word;
    }
    for (; i < bytes; i++)
        all |= (unsigned char) text[i];
    return (all & UINT64_C(0x8080808080808080)) == 0;
}

int redact_fold_init(struct redact_fold *out, const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *) text;
    size_t n = 0;

    *out = (struct redact_fold){.f = p, .n = bytes};
    if (is_ascii(text, bytes))
        return 0;
    if (bytes >= UINT32_MAX)
        return -E2BIG;
    out->own = fault_malloc(bytes + (bytes + 1) * sizeof(uint32_t) + 4);
    if (!out->own)
        return -ENOMEM;
    uint32_t *at = out->own;
    unsigned char *f = (unsigned char *) (at + bytes + 1);
    for (size_t i = 0; i < bytes;) {
        const size_t length = p[i] < 0x80 ? 1 : utf8_length(p + i, bytes - i);
        const int c = length == 0   ? REDACT_CHAR_BAD
                      : length == 1 ? p[i]
                                    : fold_char(utf8_decode(p + i, length));
        if (c >= 0) {
            at[n] = (uint32_t) i;
            f[n++] = (unsigned char) c;
        }
        i += length ? length : 1;
    }
    at[n] = (uint32_t) bytes;
    out->f = f;
    out->at = at;
    out->n = n;
    return 0;
}

void redact_fold_finish(struct redact_fold *f)
{
    free(f->own);
    f->own = NULL;
}

void redact_shape(struct str *out, const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *) text;

    for (size_t i = 0; i < bytes;) {
        const size_t length = utf8_length(p + i, bytes - i);
        const uint32_t c = length ? utf8_decode(p + i, length) : p[i];
        const int as = c < 0x80 ? (int) c : fold_char(c);
        if (as >= '0' && as <= '9')
            str_putc(out, '0');
        else if (as >= 'A' && as <= 'Z')
            str_putc(out, 'X');
        else if ((as >= 'a' && as <= 'z') || as == REDACT_CHAR_LETTER ||
                 as == REDACT_CHAR_IDEOGRAM)
            str_putc(out, 'x');
        else
            str_append(out, p + i, length ? length : 1);
        i += length ? length : 1;
    }
}
