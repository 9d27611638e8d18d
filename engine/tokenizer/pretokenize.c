// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/pretokenize.h"

#include "engine/base/str.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/unicode_table.h"

#include <stdint.h>
#include <string.h>

// Sets of classes.
enum {
    UPPER = 1 << UNICODE_UPPER,
    LOWER = 1 << UNICODE_LOWER,
    LETTER = 1 << UNICODE_LETTER,
    MARK = 1 << UNICODE_MARK,
    NUMBER = 1 << UNICODE_NUMBER,
    PUNCT = 1 << UNICODE_PUNCT,
    SYMBOL = 1 << UNICODE_SYMBOL,
    SPACE = 1 << UNICODE_SPACE,
    LETTERS = UPPER | LOWER | LETTER, // \p{L}
    WORDS = LETTERS | NUMBER | SPACE,
};

struct range {
    uint32_t first, last;
};

struct character {
    uint32_t code;
    uint32_t bytes;
    unsigned class; // one bit
};

static struct character look(const unsigned char *p, size_t left)
{
    struct character c = {*p, 1, 0};

    if (*p >= 128) {
        size_t n = utf8_length(p, left);
        if (n == 0)
            return (struct character){0xfffd, 1, SYMBOL};
        c.bytes = (uint32_t) n;
        c.code = utf8_decode(p, n);
    }
    c.class = 1u << unicode_class_of(c.code);
    return c;
}

// The class at `at`, or 0 at the end.
static unsigned class_at(const unsigned char *p, size_t at, size_t bytes)
{
    return at < bytes ? look(p + at, bytes - at).class : 0;
}

// Where the run of characters of some classes that begins at `at` ends.
static size_t run_end(const unsigned char *p, size_t at, size_t bytes,
                      unsigned classes)
{
    while (at < bytes) {
        struct character c = look(p + at, bytes - at);
        if (!(c.class & classes))
            break;
        at += c.bytes;
    }
    return at;
}

static bool is_newline(unsigned char c)
{
    return c == '\r' || c == '\n';
}

// The contraction at p of any case when `mask` is 0x20, of lower case when it
// is 0: 's 't 're 've 'm 'll 'd
static size_t contraction(const unsigned char *p, size_t bytes,
                          unsigned char mask)
{
    if (bytes < 2 || p[0] != '\'')
        return 0;
    unsigned char a = p[1] | mask;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if (bytes < 3)
        return 0;
    unsigned char b = p[2] | mask;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') ||
                   (a == 'l' && b == 'l')
               ? 3
               : 0;
}

// Spaces: all of them at the end; else all but the last, which belongs to what
// follows. \s+(?!\S)|\s+
static size_t cut_spaces(const unsigned char *p, size_t bytes)
{
    size_t end = 0, last = 0;

    while (end < bytes) {
        struct character c = look(p + end, bytes - end);
        if (c.class != SPACE)
            return end > last ? end - last : end;
        end += c.bytes;
        last = c.bytes;
    }
    return end;
}

// Spaces up to their last newline, or as above. \s*[\r\n]+|\s+(?!\S)|\s+
static size_t cut_lines(const unsigned char *p, size_t bytes)
{
    size_t end = run_end(p, 0, bytes, SPACE);

    while (end > 0 && !is_newline(p[end - 1]))
        end--;
    return end > 0 ? end : cut_spaces(p, bytes);
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
static size_t cut_gpt2(const unsigned char *p, size_t bytes)
{
    size_t n = contraction(p, bytes, 0);

    if (n > 0)
        return n;
    size_t at = bytes > 1 && p[0] == ' ' ? 1 : 0;
    unsigned class = class_at(p, at, bytes);
    if (class == SPACE)
        return cut_spaces(p, bytes);
    if (class & LETTERS)
        return run_end(p, at, bytes, LETTERS);
    return run_end(p, at, bytes, class == NUMBER ? NUMBER : ~(unsigned) WORDS);
}

static size_t up_to(const unsigned char *p, size_t bytes, unsigned classes,
                    unsigned count)
{
    size_t at = 0;
    while (at < bytes && count-- > 0) {
        struct character c = look(p + at, bytes - at);
        if (!(c.class & classes))
            break;
        at += c.bytes;
    }
    return at;
}

// \p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// With `slash` also slashes may follow.
static size_t cut_others(const unsigned char *p, size_t bytes, unsigned digits,
                         bool slash)
{
    size_t at = up_to(p, bytes, NUMBER, digits);
    if (at > 0)
        return at;
    at = p[0] == ' ' ? 1 : 0;
    if (at == bytes || (class_at(p, at, bytes) & WORDS))
        return cut_lines(p, bytes);
    at = run_end(p, at, bytes, ~(unsigned) WORDS);
    while (at < bytes && (is_newline(p[at]) || (slash && p[at] == '/')))
        at++;
    return at;
}

// Does [^\r\n\p{L}\p{N}] match?
static bool may_lead(const unsigned char *p, struct character c)
{
    return !is_newline(*p) && !(c.class & (LETTERS | NUMBER));
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+| and the others
static size_t cut_words(const unsigned char *p, size_t bytes, unsigned digits)
{
    size_t n = contraction(p, bytes, 0x20);

    if (n > 0)
        return n;
    struct character c = look(p, bytes);
    if ((c.class & LETTERS) ||
        (may_lead(p, c) && (class_at(p, c.bytes, bytes) & LETTERS)))
        return run_end(p, c.bytes, bytes, LETTERS);
    return cut_others(p, bytes, digits, false);
}

static size_t cut_words_1(const unsigned char *p, size_t bytes)
{
    return cut_words(p, bytes, 1);
}

static size_t cut_words_3(const unsigned char *p, size_t bytes)
{
    return cut_words(p, bytes, 3);
}

// What of a word may come first, and what last.
enum {
    HEADS = UPPER | LETTER | MARK, // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
    TAILS = LOWER | LETTER | MARK, // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
};

// With `ascii` as llama.cpp has it, whose expressions know no other case than
// that of ASCII, and no marks.
static struct character look_case(const unsigned char *p, size_t left,
                                  bool ascii)
{
    struct character c = look(p, left);
    if (ascii && c.code >= 128)
        c.class = c.class & LETTERS ? LETTER : c.class & ~(unsigned) MARK;
    return c;
}

static size_t run_case(const unsigned char *p, size_t at, size_t bytes,
                       unsigned classes, bool ascii)
{
    while (at < bytes) {
        struct character c = look_case(p + at, bytes - at, ascii);
        if (!(c.class & classes))
            break;
        at += c.bytes;
    }
    return at;
}

// HEADS*TAILS+ from `at`, or `at` where that does not match: when nothing of a
// tail follows the heads, the last of them that may be a tail is one.
static size_t cut_tailed(const unsigned char *p, size_t at, size_t bytes,
                         bool ascii)
{
    size_t tail = at;
    struct character c;

    for (; at < bytes; at += c.bytes) {
        c = look_case(p + at, bytes - at, ascii);
        if (!(c.class & HEADS))
            break;
        if (c.class & TAILS)
            tail = at + c.bytes;
    }
    size_t end = run_case(p, at, bytes, TAILS, ascii);
    return end > at ? end : tail;
}

// [^\r\n\p{L}\p{N}]?HEADS*TAILS+|[^\r\n\p{L}\p{N}]?HEADS+TAILS*, or 0
static size_t cut_cased(const unsigned char *p, size_t bytes, bool ascii)
{
    struct character c = look(p, bytes);
    size_t lead = may_lead(p, c) ? c.bytes : 0;
    size_t end = cut_tailed(p, lead, bytes, ascii);

    if (end > lead)
        return end;
    if (lead > 0 && (end = cut_tailed(p, 0, bytes, ascii)) > 0)
        return end;
    end = run_case(p, lead, bytes, HEADS, ascii);
    return end > lead ? end : 0;
}

static size_t cut_tekken_by(const unsigned char *p, size_t bytes, bool ascii)
{
    size_t n = cut_cased(p, bytes, ascii);
    return n > 0 ? n : cut_others(p, bytes, 1, true);
}

static size_t cut_tekken(const unsigned char *p, size_t bytes)
{
    return cut_tekken_by(p, bytes, false);
}

static size_t cut_tekken_ascii(const unsigned char *p, size_t bytes)
{
    return cut_tekken_by(p, bytes, true);
}

static size_t cut_gpt4o_by(const unsigned char *p, size_t bytes, bool ascii)
{
    size_t n = cut_cased(p, bytes, ascii);
    return n > 0 ? n + contraction(p + n, bytes - n, 0x20)
                 : cut_others(p, bytes, 3, true);
}

static size_t cut_gpt4o(const unsigned char *p, size_t bytes)
{
    return cut_gpt4o_by(p, bytes, false);
}

static size_t cut_gpt4o_ascii(const unsigned char *p, size_t bytes)
{
    return cut_gpt4o_by(p, bytes, true);
}

/*
 * Stages that look for something, and leave the rest to the next: they return
 * what they look for when the text begins with it, else all up to it.
 */

typedef bool is_in_fn(struct character c);

// \s?SET+ with `space`, else SET+, of at most `count` characters.
static size_t cut_set(const unsigned char *p, size_t bytes, is_in_fn *is_in,
                      bool space, size_t count)
{
    size_t at = 0, last = 0; // the last space begins there, and ends at `at`
    struct character c;

    for (; at < bytes; at += c.bytes) {
        c = look(p + at, bytes - at);
        if (is_in(c))
            break;
        last = c.class == SPACE ? at : at + c.bytes;
    }
    if (!space)
        last = at;
    if (last > 0 || at == bytes)
        return at == bytes ? bytes : last;
    for (; at < bytes && count > 0; count--, at += c.bytes) {
        c = look(p + at, bytes - at);
        if (!is_in(c))
            break;
    }
    return at;
}

static bool is_number(struct character c)
{
    return c.class == NUMBER;
}

static size_t cut_number(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_number, false, 1);
}

static size_t cut_numbers_3(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_number, false, 3);
}

static size_t cut_numbers(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_number, false, SIZE_MAX);
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static size_t cut_digits_3(const unsigned char *p, size_t bytes)
{
    for (size_t i = 0; i + 3 <= bytes; i++)
        if (is_digit(p[i]) && is_digit(p[i + 1]) && is_digit(p[i + 2]))
            return i > 0 ? i : 3;
    return bytes;
}

static bool is_newline_character(struct character c)
{
    return c.code == '\r' || c.code == '\n';
}

static size_t cut_newline(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_newline_character, false, 1);
}

static bool is_letter(struct character c)
{
    return c.class & LETTERS;
}

static size_t cut_letters(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_letter, true, SIZE_MAX);
}

static bool is_punctuation(struct character c)
{
    return c.class == PUNCT;
}

static size_t cut_punctuation(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_punctuation, true, SIZE_MAX);
}

static bool is_falcon_mark(struct character c)
{
    return c.class == PUNCT || (c.code < 128 && c.class == SYMBOL);
}

static size_t cut_falcon_marks(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_falcon_mark, false, SIZE_MAX);
}

static bool is_default_mark(struct character c)
{
    return is_falcon_mark(c) && c.code != '`';
}

static size_t cut_default_marks(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_default_mark, false, SIZE_MAX);
}

static bool is_asian(struct character c)
{
    return (c.code >= 0x800 && c.code <= 0x9fa5) ||
           (c.code >= 0xac00 && c.code <= 0xd7ff);
}

static size_t cut_asian(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_asian, false, SIZE_MAX);
}

static bool is_asian_no_space(struct character c)
{
    return is_asian(c) && c.class != SPACE;
}

// As llama.cpp has it: there spaces beyond ASCII are in no range.
static size_t cut_asian_words(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_asian_no_space, false, SIZE_MAX);
}

static bool is_cjk(struct character c)
{
    return (c.code >= 0x4e00 && c.code <= 0x9fa5) ||
           (c.code >= 0x3040 && c.code <= 0x30ff);
}

static size_t cut_cjk(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_cjk, false, SIZE_MAX);
}

// The punctuation that deepseek-llm names: ASCII from ! to / and : to ~ (all
// letters among them), their full-width twins, general punctuation, and that of
// Chinese.
static bool is_deepseek_mark(struct character c)
{
    static const struct range ranges[] = {
        {'!', '/'},       {':', '~'},       {0xff01, 0xff0f},
        {0xff1a, 0xff5e}, {0x2018, 0x201f}, {0x3001, 0x3002},
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (c.code >= ranges[i].first && c.code <= ranges[i].last)
            return true;
    return false;
}

static size_t cut_marks(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_deepseek_mark, true, SIZE_MAX);
}

// Letters that have a case, in the blocks that deepseek-llm names.
static bool is_cased(struct character c)
{
    static const struct range ranges[] = {
#define RANGE(first, last) {first, last},
#include "engine/tokenizer/deepseek_letters.def"
#undef RANGE
    };
    size_t lo = 0, hi = sizeof(ranges) / sizeof(ranges[0]);

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (c.code > ranges[mid].last)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < sizeof(ranges) / sizeof(ranges[0]) &&
           c.code >= ranges[lo].first;
}

static size_t cut_cased_words(const unsigned char *p, size_t bytes)
{
    return cut_set(p, bytes, is_cased, true, SIZE_MAX);
}

// The spaces at the end. \s+$
static size_t cut_blank_end(const unsigned char *p, size_t bytes)
{
    size_t begin = 0;
    struct character c;

    for (size_t at = 0; at < bytes; at += c.bytes) {
        c = look(p + at, bytes - at);
        if (c.class != SPACE)
            begin = at + c.bytes;
    }
    return begin > 0 ? begin : bytes;
}

static bool is_ascii_letter(unsigned char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

// What deepseek-v3's last expression matches at p, or 0:
// [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
// | ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
static size_t match_deepseek_v3(const unsigned char *p, size_t bytes)
{
    struct character c = look(p, bytes);
    size_t at = 1;

    if (c.code < 128 && (c.class & (PUNCT | SYMBOL)) && bytes > 1 &&
        is_ascii_letter(p[1])) {
        while (at < bytes && is_ascii_letter(p[at]))
            at++;
        return at;
    }
    if (c.class & (LETTERS | MARK))
        return run_end(p, 0, bytes, LETTERS | MARK);
    if (!is_newline(p[0]) && !(c.class & (PUNCT | SYMBOL)) &&
        (class_at(p, c.bytes, bytes) & (LETTERS | MARK)))
        return run_end(p, c.bytes, bytes, LETTERS | MARK);
    at = p[0] == ' ' ? 1 : 0;
    if (class_at(p, at, bytes) & (PUNCT | SYMBOL)) {
        at = run_end(p, at, bytes, PUNCT | SYMBOL);
        while (at < bytes && is_newline(p[at]))
            at++;
        return at;
    }
    return c.class == SPACE ? cut_lines(p, bytes) : 0;
}

static size_t cut_deepseek_v3(const unsigned char *p, size_t bytes)
{
    size_t at = match_deepseek_v3(p, bytes);

    if (at > 0)
        return at;
    while (at < bytes && match_deepseek_v3(p + at, bytes - at) == 0)
        at += look(p + at, bytes - at).bytes;
    return at;
}

static const struct pretokenizer table[] = {
#define PRE(names, ignore_merges, adds_bos, ...) \
    {names, {__VA_ARGS__, NULL}, ignore_merges, adds_bos},
#include "engine/tokenizer/pretokenizers.def"
#undef PRE
};

enum { TABLE_ROWS = sizeof(table) / sizeof(table[0]) };

const struct pretokenizer *pretokenizer_find(const char *name)
{
    size_t bytes = strlen(name);

    for (size_t i = 0; i < TABLE_ROWS && bytes > 0; i++) {
        const char *p = table[i].names;
        while (*p) {
            size_t n = strcspn(p, " ");
            if (n == bytes && memcmp(p, name, n) == 0)
                return &table[i];
            p += n;
            p += *p == ' ';
        }
    }
    return NULL;
}

void pretokenizer_names(struct str *out)
{
    for (size_t i = 0; i < TABLE_ROWS; i++) {
        if (strncmp(table[i].names, "hf:", 3) == 0)
            continue;
        if (out->bytes > 0)
            str_putc(out, ' ');
        str_puts(out, table[i].names);
    }
}

const struct pretokenizer *pretokenizer_at(unsigned i)
{
    return i < TABLE_ROWS ? &table[i] : NULL;
}

void pretokenize_start(struct pretokenize *p, const struct pretokenizer *pre,
                       const char *text, size_t bytes)
{
    *p = (struct pretokenize){.pre = pre,
                              .at = (const unsigned char *) text,
                              .left = {bytes}};
}

size_t pretokenize_next(struct pretokenize *p)
{
    size_t k = 0;

    if (p->left[0] == 0)
        return 0;
    for (; p->pre->stages[k]; k++)
        if (p->left[k + 1] == 0)
            p->left[k + 1] = p->pre->stages[k](p->at, p->left[k]);
    size_t n = p->left[k];
    for (size_t i = 0; i <= k; i++)
        p->left[i] -= n;
    p->at += n;
    return n;
}
