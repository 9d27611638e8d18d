// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/tokenizer.h"

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/str.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/spm.h"
#include "engine/tokenizer/textmap.h"
#include "engine/tokenizer/vocab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_MAX = 256 << 20 };

// Small, because a vocabulary has a quarter of a million of them.
struct token {
    uint32_t text;  // the bytes it stands for: where they begin
    uint16_t bytes; // 0: no text gives it
    uint8_t type;   // enum token_type
};

struct special {
    const char *text;
    int32_t id;
    uint16_t bytes;
    uint8_t strip;
    bool is_guarded;
};

struct tokenizer {
    struct arena *arena;
    enum vocab_kind kind;
    struct token *tokens;
    uint32_t n_vocab;
    char *letters; // of all texts, one after the other
    uint32_t n_letters;
    const struct pretokenizer *pre;
    struct bpe *bpe;
    struct spm *spm;
    float *scores;        // of SPM
    struct textmap words; // of SPM, and of BPE where merges may be ignored
    // Tokens that are looked for in text before it is cut into words, sorted
    // by first byte, longest first; starts[b] is where those of byte b begin.
    struct special *specials;
    uint32_t n_specials;
    uint32_t starts[257];
    bool has_user_defined;
    bool adds_bos, adds_eos, adds_space, strips;
    int32_t bos, eos, eot, document_end;
    char lacks[128]; // bytes without a token
    int n_lacks;
};

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "not enough memory for the tokenizer");
}

static bool is_special(const struct token *t)
{
    return t->type == TOKEN_TYPE_CONTROL || t->type == TOKEN_TYPE_UNKNOWN ||
           t->type == TOKEN_TYPE_USER_DEFINED;
}

// Must text be kept from becoming this token?
static bool is_guarded(const struct token *t)
{
    return t->type == TOKEN_TYPE_CONTROL || t->type == TOKEN_TYPE_UNKNOWN;
}

static const char *text_of(const void *owner, int32_t id, size_t *bytes)
{
    const struct tokenizer *t = owner;
    *bytes = t->tokens[id].bytes;
    return t->letters + t->tokens[id].text;
}

/*
 * What names stand for
 */

// GPT-2 writes a byte as one printable character: itself where it is one in
// Latin-1, else the next of those from U+0100 on. 0 to 255, or -1.
static int byte_of(uint32_t c)
{
    if ((c >= '!' && c <= '~') || (c >= 0xa1 && c <= 0xac) ||
        (c >= 0xae && c <= 0xff))
        return (int) c;
    if (c < 0x100 || c > 0x143)
        return -1;
    c -= 0x100;
    if (c <= 32)
        return (int) c;
    return c <= 66 ? (int) (c - 33 + 0x7f) : 0xad;
}

// The bytes that a name in byte characters stands for; their number, or 0 when
// it is not written so.
static size_t spell_bytes(char *out, const char *name, size_t bytes)
{
    const unsigned char *p = (const unsigned char *) name;
    size_t n = 0;

    for (size_t i = 0; i < bytes;) {
        size_t length = utf8_length(p + i, bytes - i);
        int byte = length ? byte_of(utf8_decode(p + i, length)) : -1;
        if (byte < 0)
            return 0;
        out[n++] = (char) byte;
        i += length;
    }
    return n;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// "<0x0A>": 10, or -1 for another name.
static int fallback_byte(const struct vocab_token *v)
{
    if (v->bytes != 6 || memcmp(v->name, "<0x", 3) != 0 || v->name[5] != '>' ||
        v->type == TOKEN_TYPE_CONTROL || v->type == TOKEN_TYPE_USER_DEFINED)
        return -1;
    int hi = hex_digit(v->name[3]), lo = hex_digit(v->name[4]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

// U+2581 is a blank.
static size_t spell_blanks(char *out, const struct vocab_token *v)
{
    static const char mark[] = "\xe2\x96\x81";
    size_t n = 0;

    for (size_t i = 0; i < v->bytes;) {
        if (v->bytes - i >= 3u && memcmp(v->name + i, mark, 3) == 0) {
            out[n++] = ' ';
            i += 3;
        } else {
            out[n++] = v->name[i++];
        }
    }
    return n;
}

static size_t spell(const struct tokenizer *t, char *out,
                    const struct vocab_token *v, const struct token *token)
{
    if (!is_special(token)) {
        int byte = t->kind == VOCAB_SPM ? fallback_byte(v) : -1;
        if (byte >= 0) {
            *out = (char) byte;
            return 1;
        }
        if (t->kind == VOCAB_SPM)
            return spell_blanks(out, v);
        size_t n = spell_bytes(out, v->name, v->bytes);
        if (n > 0)
            return n;
    }
    memcpy(out, v->name, v->bytes);
    return v->bytes;
}

static bool has_blank_mark(const struct vocab_token *v)
{
    return memmem(v->name, v->bytes, "\xe2\x96\x81", 3) != NULL;
}

static int make_tokens(struct tokenizer *t, const struct vocab *v)
{
    size_t total = 0;

    for (uint32_t i = 0; i < v->n_tokens; i++)
        total += v->tokens[i].bytes;
    t->n_vocab = v->n_tokens;
    t->tokens = arena_calloc(t->arena, t->n_vocab, sizeof(*t->tokens));
    t->letters = total < UINT32_MAX ? arena_alloc(t->arena, total + 1) : NULL;
    if (!t->tokens || !t->letters)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        struct token *token = &t->tokens[i];
        const struct vocab_token *from = &v->tokens[i];
        token->text = t->n_letters;
        token->type = from->type;
        // SPM makes these from blanks, and finds them in no other way.
        if (t->kind == VOCAB_SPM && token->type == TOKEN_TYPE_USER_DEFINED &&
            has_blank_mark(from))
            token->type = TOKEN_TYPE_NORMAL;
        if (from->bytes > 0)
            token->bytes =
                (uint16_t) spell(t, t->letters + t->n_letters, from, token);
        t->n_letters += token->bytes;
    }
    return 0;
}

// Every text must have its tokens. Bytes that begin rare characters, or none,
// may be lacking: they are written as U+FFFD.
static bool is_needed(int b)
{
    return b < 0x80 || b == 0xef || b == 0xbf || b == 0xbd;
}

static int check_bytes(struct tokenizer *t, int32_t ids[256], struct error *err)
{
    for (int b = 0; b < 256; b++) {
        if (ids[b] != TOKEN_NONE)
            continue;
        if (is_needed(b))
            return error_set(err, -EINVAL,
                             "the vocabulary has no token for the byte 0x%02x, "
                             "so it cannot write every text",
                             b);
        t->lacks[t->n_lacks++] = (char) b;
        ids[b] = ids[0xef];
    }
    return 0;
}

/*
 * Byte-level BPE
 */

// The token of each single byte, which every text is made of.
static void find_bytes(int32_t out[256], const struct tokenizer *t,
                       const struct vocab *v)
{
    char byte[2];

    for (uint32_t i = t->n_vocab; i-- > 0;) {
        const struct vocab_token *name = &v->tokens[i];
        if (name->bytes > 0 && name->bytes <= 2 && !is_special(&t->tokens[i]) &&
            spell_bytes(byte, name->name, name->bytes) == 1)
            out[(unsigned char) byte[0]] = (int32_t) i;
    }
}

// Merges that involve a special token are left out: without them no text can
// become a control token, and user-defined ones, whose names are not written in
// byte characters, decode to what was encoded.
static void add_merges(struct tokenizer *t, const struct vocab *v)
{
    for (uint32_t i = 0; i < v->n_merges; i++) {
        const struct vocab_merge *m = &v->merges[i];
        if (!is_special(&t->tokens[m->left]) &&
            !is_special(&t->tokens[m->right]) && !is_special(&t->tokens[m->id]))
            bpe_add_merge(t->bpe, m->left, m->right, m->id);
    }
}

static int add_words(struct tokenizer *t)
{
    if (textmap_init(&t->words, t->n_vocab, text_of, t) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->n_vocab; i++)
        if (t->tokens[i].bytes > 0 && !is_special(&t->tokens[i]))
            textmap_add(&t->words, (int32_t) i);
    bpe_set_words(t->bpe, &t->words);
    return 0;
}

static int make_bpe(struct tokenizer *t, const struct vocab *v,
                    struct error *err)
{
    int32_t bytes[256];

    memset(bytes, 0xff, sizeof(bytes));
    find_bytes(bytes, t, v);
    int rc = check_bytes(t, bytes, err);
    if (rc < 0)
        return rc;
    t->pre = v->pre;
    if (bpe_create(&t->bpe, bytes, v->n_merges) < 0)
        return no_memory(err);
    add_merges(t, v);
    if (v->ignore_merges && add_words(t) < 0)
        return no_memory(err);
    return 0;
}

/*
 * SentencePiece BPE
 */

// Is there a blank behind another character?
static bool has_inner_blank(const char *text, size_t bytes)
{
    for (size_t i = 1; i < bytes; i++)
        if (text[i] == ' ' && text[i - 1] != ' ')
            return true;
    return false;
}

// Texts that are put together from others: all but control tokens, the bytes,
// and names with a true blank, which in text is always U+2581.
static void add_texts(struct tokenizer *t, struct spm_params *p,
                      const struct vocab *v)
{
    p->has_words = true;
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        const struct vocab_token *name = &v->tokens[i];
        const struct token *token = &t->tokens[i];
        if (name->bytes == 0 || is_guarded(token) || fallback_byte(name) >= 0 ||
            memchr(name->name, ' ', name->bytes))
            continue;
        textmap_add(&t->words, (int32_t) i);
        if (token->bytes > p->longest)
            p->longest = token->bytes;
        if (has_inner_blank(t->letters + token->text, token->bytes))
            p->has_words = false;
    }
}

// A byte that has no token of its own may be one as a character.
static void find_fallbacks(int32_t out[256], const struct tokenizer *t,
                           const struct vocab *v)
{
    for (int b = 0; b < 256; b++) {
        const char c = (char) b;
        out[b] = textmap_find(&t->words, &c, 1);
    }
    for (uint32_t i = t->n_vocab; i-- > 0;) {
        int byte = fallback_byte(&v->tokens[i]);
        if (byte >= 0)
            out[byte] = (int32_t) i;
    }
}

static int make_spm(struct tokenizer *t, const struct vocab *v,
                    struct error *err)
{
    struct spm_params p = {0};

    t->scores = arena_calloc(t->arena, t->n_vocab, sizeof(*t->scores));
    if (!t->scores || textmap_init(&t->words, t->n_vocab, text_of, t) < 0)
        return no_memory(err);
    for (uint32_t i = 0; i < t->n_vocab; i++)
        t->scores[i] = v->tokens[i].score;
    add_texts(t, &p, v);
    find_fallbacks(p.byte_ids, t, v);
    int rc = check_bytes(t, p.byte_ids, err);
    if (rc < 0)
        return rc;
    p.texts = &t->words;
    p.scores = t->scores;
    return spm_create(&t->spm, &p) < 0 ? no_memory(err) : 0;
}

/*
 * Special tokens
 */

static int special_compare(const void *a, const void *b)
{
    const struct special *x = a, *y = b;
    unsigned char p = (unsigned char) x->text[0];
    unsigned char q = (unsigned char) y->text[0];
    if (p != q)
        return p < q ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int collect_specials(struct tokenizer *t, const struct vocab *v)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->n_vocab; i++)
        n += is_special(&t->tokens[i]);
    t->specials = arena_calloc(t->arena, n, sizeof(*t->specials));
    if (!t->specials)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        const struct token *token = &t->tokens[i];
        if (!is_special(token) || token->bytes == 0)
            continue;
        t->specials[t->n_specials++] = (struct special){
            .text = t->letters + token->text,
            .id = (int32_t) i,
            .bytes = token->bytes,
            .strip = v->tokens[i].strip,
            .is_guarded = is_guarded(token),
        };
        t->strips |= v->tokens[i].strip != 0;
        t->has_user_defined |= !is_guarded(token);
    }
    n = t->n_specials;
    qsort(t->specials, n, sizeof(*t->specials), special_compare);
    for (uint32_t b = 0, i = 0; b <= 256; b++) {
        while (i < n && (unsigned char) t->specials[i].text[0] < b)
            i++;
        t->starts[b] = i;
    }
    return 0;
}

static void take_ids(struct tokenizer *t, const struct vocab *v)
{
    t->bos = v->bos;
    t->eos = v->eos;
    t->eot = v->eot;
    t->adds_bos = v->adds_bos;
    t->adds_eos = v->adds_eos;
    t->adds_space = v->adds_space;
    t->document_end = tokenizer_find_special(t, "<|endoftext|>");
    if (t->document_end == TOKEN_NONE)
        t->document_end = t->eos;
}

int tokenizer_create_vocab(struct tokenizer **out, const struct vocab *v,
                           struct error *err)
{
    int rc;
    struct tokenizer *t = fault_calloc(1, sizeof(*t));
    if (!t)
        return no_memory(err);
    t->kind = v->kind;
    if ((rc = arena_create(&t->arena, ARENA_MAX)) < 0 ||
        (rc = make_tokens(t, v)) < 0 || (rc = collect_specials(t, v)) < 0) {
        no_memory(err);
        goto error;
    }
    rc = t->kind == VOCAB_BPE ? make_bpe(t, v, err) : make_spm(t, v, err);
    if (rc < 0)
        goto error;
    take_ids(t, v);
    *out = t;
    return 0;

error:
    tokenizer_destroy(t);
    return rc;
}

int tokenizer_create(struct tokenizer **out, const struct gguf *file,
                     struct error *err)
{
    struct vocab *v;
    int rc = vocab_read_gguf(&v, file, err);
    if (rc < 0)
        return rc;
    rc = tokenizer_create_vocab(out, v, err);
    vocab_destroy(v);
    return rc;
}

void tokenizer_destroy(struct tokenizer *t)
{
    if (!t)
        return;
    bpe_destroy(t->bpe);
    spm_destroy(t->spm);
    textmap_finish(&t->words);
    arena_destroy(t->arena);
    free(t);
}

/*
 * Encoding
 */

static int encode_plain(struct tokenizer *t, struct token_list *out,
                        const char *text, size_t bytes, bool continues)
{
    struct pretokenize words;
    size_t n;
    int rc = 0;

    if (t->kind == VOCAB_SPM)
        return spm_encode(t->spm, out, text, bytes,
                          t->adds_space && !continues);
    pretokenize_start(&words, t->pre, text, bytes);
    while (rc == 0 && (n = pretokenize_next(&words)) > 0)
        rc = bpe_encode(t->bpe, out, (const char *) words.at - n, n);
    return rc;
}

// The special token that the text starts with: the longest.
static const struct special *match_special(const struct tokenizer *t,
                                           const char *text, size_t bytes,
                                           bool with_control)
{
    unsigned char first = (unsigned char) text[0];
    for (uint32_t i = t->starts[first]; i < t->starts[first + 1]; i++) {
        const struct special *s = &t->specials[i];
        if (s->bytes <= bytes && memcmp(s->text, text, s->bytes) == 0 &&
            (with_control || !s->is_guarded))
            return s;
    }
    return NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int encode_special(struct tokenizer *t, struct token_list *out,
                          const char *text, size_t bytes, bool with_control,
                          bool continues)
{
    size_t from = 0;
    int rc = 0;

    for (size_t i = 0; i < bytes && rc == 0;) {
        const struct special *s =
            match_special(t, text + i, bytes - i, with_control);
        if (!s) {
            i++;
            continue;
        }
        size_t end = i;
        while (end > from && (s->strip & VOCAB_STRIP_LEFT) &&
               is_blank(text[end - 1]))
            end--;
        rc = encode_plain(t, out, text + from, end - from, continues);
        if (rc == 0)
            rc = token_list_add(out, s->id);
        i += s->bytes;
        while (i < bytes && (s->strip & VOCAB_STRIP_RIGHT) && is_blank(text[i]))
            i++;
        from = i;
        continues = false;
    }
    return rc < 0 ? rc
                  : encode_plain(t, out, text + from, bytes - from, continues);
}

static int encode(struct tokenizer *t, struct token_list *out, const char *text,
                  size_t bytes, unsigned flags)
{
    bool with_control = flags & TOKENIZER_PARSE_CONTROL;
    bool continues = flags & TOKENIZER_CONTINUES;

    return with_control || t->has_user_defined
               ? encode_special(t, out, text, bytes, with_control, continues)
               : encode_plain(t, out, text, bytes, continues);
}

// Can each byte be written?
static bool has_all_bytes(const struct tokenizer *t, const char *text,
                          size_t bytes)
{
    for (int i = 0; i < t->n_lacks; i++)
        if (memchr(text, t->lacks[i], bytes))
            return false;
    return true;
}

static int encode_replaced(struct tokenizer *t, struct token_list *out,
                           const char *text, size_t bytes, unsigned flags)
{
    struct str s = {.limit = SIZE_MAX / 2};

    for (size_t i = 0; i < bytes; i++) {
        if (memchr(t->lacks, text[i], (size_t) t->n_lacks))
            str_puts(&s, "\xef\xbf\xbd");
        else
            str_putc(&s, text[i]);
    }
    int rc = str_finish(&s);
    if (rc == 0)
        rc = encode(t, out, s.data, s.bytes, flags);
    str_free(&s);
    return rc;
}

int tokenizer_encode(struct tokenizer *t, struct token_list *out,
                     const char *text, size_t bytes, unsigned flags)
{
    size_t count = out->count;
    int rc = has_all_bytes(t, text, bytes)
                 ? encode(t, out, text, bytes, flags)
                 : encode_replaced(t, out, text, bytes, flags);
    if (rc < 0)
        out->count = count;
    return rc;
}

/*
 * Decoding, and what is asked
 */

const char *tokenizer_piece(const struct tokenizer *t, int32_t id,
                            size_t *bytes)
{
    if (id < 0 || (uint32_t) id >= t->n_vocab)
        return NULL;
    return text_of(t, id, bytes);
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t) id < t->n_vocab && is_guarded(&t->tokens[id]);
}

int tokenizer_decode(const struct tokenizer *t, struct str *out,
                     const int32_t *ids, size_t count, bool with_control)
{
    bool begins = true; // no text before this

    for (size_t i = 0; i < count; i++) {
        size_t n;
        const char *p = tokenizer_piece(t, ids[i], &n);
        if (!p)
            return -EINVAL;
        bool special = is_special(&t->tokens[ids[i]]);
        // The blank that encoding put there.
        if (t->adds_space && begins && !special && n > 0 && p[0] == ' ') {
            p++;
            n--;
        }
        if (with_control || !tokenizer_is_control(t, ids[i]))
            str_append(out, p, n);
        begins = special;
    }
    return str_finish(out);
}

const char *tokenizer_kind_name(const struct tokenizer *t)
{
    return t->kind == VOCAB_BPE ? "BPE" : "SPM";
}

bool tokenizer_is_exact(const struct tokenizer *t, const char *text,
                        size_t bytes)
{
    if (t->strips || !has_all_bytes(t, text, bytes))
        return false;
    return t->kind == VOCAB_BPE || !memmem(text, bytes, "\xe2\x96\x81", 3);
}

uint32_t tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->n_vocab;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

int32_t tokenizer_eot(const struct tokenizer *t)
{
    return t->eot;
}

int32_t tokenizer_document_end(const struct tokenizer *t)
{
    return t->document_end;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->adds_bos;
}

bool tokenizer_adds_eos(const struct tokenizer *t)
{
    return t->adds_eos;
}

int32_t tokenizer_find_special(const struct tokenizer *t, const char *text)
{
    size_t n = strlen(text);
    for (uint32_t i = 0; i < t->n_specials; i++)
        if (t->specials[i].bytes == n &&
            memcmp(t->specials[i].text, text, n) == 0)
            return t->specials[i].id;
    return TOKEN_NONE;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (id == t->eos || id == t->eot || id == t->document_end);
}
