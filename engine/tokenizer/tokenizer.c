// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/tokenizer.h"

#include "engine/base/arena.h"
#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/str.h"
#include "engine/base/utf8.h"
#include "engine/formats/gguf.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/pretokenize.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    VOCAB_MAX = 1 << 20,
    MERGES_MAX = 1 << 20,
    MERGE_BYTES_MAX = 4096,
    ARENA_MAX = 256 << 20,
};

// As tokenizer.ggml.token_type counts them.
enum token_type {
    TOKEN_TYPE_NORMAL = 1,
    TOKEN_TYPE_UNKNOWN = 2,
    TOKEN_TYPE_CONTROL = 3,
    TOKEN_TYPE_USER_DEFINED = 4,
    TOKEN_TYPE_UNUSED = 5,
    TOKEN_TYPE_BYTE = 6,
};

// Small, because a vocabulary has a quarter of a million of them.
struct token {
    uint32_t name; // as in the vocabulary: where it begins among the letters
    uint32_t text; // the bytes it stands for, there too
    uint16_t name_bytes;
    uint16_t text_bytes;
    uint8_t type; // enum token_type
};

struct special {
    const struct token *token;
    const char *text;
    int32_t id;
};

struct tokenizer {
    struct arena *arena;
    struct token *tokens;
    uint32_t n_vocab;
    char *letters; // of all names and texts, one after the other
    uint32_t n_letters;
    struct bpe *bpe;
    // Tokens that are looked for in text before it is cut into words, sorted
    // by first byte, longest first; starts[b] is where those of byte b begin.
    struct special *specials;
    uint32_t n_specials;
    uint32_t starts[257];
    bool has_user_defined;
    int32_t bos, eos, eot, document_end;
    bool adds_bos;
};

/*
 * While a tokenizer is made: from the name of a token to its id. Gone when it
 * is done.
 */
struct names {
    const struct tokenizer *t;
    int32_t *slots; // TOKEN_NONE: empty
    uint32_t mask;
};

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "not enough memory for the tokenizer");
}

static const char *name_of(const struct tokenizer *t, const struct token *token)
{
    return t->letters + token->name;
}

static const char *text_of(const struct tokenizer *t, const struct token *token)
{
    return t->letters + token->text;
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

static int32_t *names_slot(const struct names *n, const char *name,
                           size_t bytes)
{
    uint64_t h = 0xcbf29ce484222325u; // FNV-1a
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (unsigned char) name[i]) * 0x100000001b3u;
    h ^= h >> 32;
    for (uint32_t i = (uint32_t) h & n->mask;; i = (i + 1) & n->mask) {
        int32_t id = n->slots[i];
        if (id == TOKEN_NONE)
            return &n->slots[i];
        const struct token *token = &n->t->tokens[id];
        if (token->name_bytes == bytes &&
            memcmp(name_of(n->t, token), name, bytes) == 0)
            return &n->slots[i];
    }
}

static int names_init(struct names *n, const struct tokenizer *t)
{
    size_t slots = 16;
    while (slots < 2 * (size_t) t->n_vocab)
        slots *= 2;
    n->t = t;
    n->mask = (uint32_t) (slots - 1);
    n->slots = fault_malloc(slots * sizeof(*n->slots));
    if (!n->slots)
        return -ENOMEM;
    for (size_t i = 0; i < slots; i++)
        n->slots[i] = TOKEN_NONE;
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        const struct token *token = &t->tokens[i];
        int32_t *slot = names_slot(n, name_of(t, token), token->name_bytes);
        if (*slot == TOKEN_NONE)
            *slot = (int32_t) i;
    }
    return 0;
}

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

// The bytes that a token's name stands for, behind the letters that are there.
// A name that is not written in byte characters stands for itself.
static void spell(struct tokenizer *t, struct token *token)
{
    const unsigned char *p = (const unsigned char *) name_of(t, token);
    char *text = t->letters + t->n_letters;
    uint16_t n = 0;

    token->text = token->name;
    token->text_bytes = token->name_bytes;
    if (is_special(token))
        return;
    for (size_t i = 0; i < token->name_bytes;) {
        size_t length = utf8_length(p + i, token->name_bytes - i);
        int byte = length ? byte_of(utf8_decode(p + i, length)) : -1;
        if (byte < 0)
            return;
        text[n++] = (char) byte;
        i += length;
    }
    if (n == token->name_bytes) // of ASCII only: the same letters
        return;
    token->text = t->n_letters;
    token->text_bytes = n;
    t->n_letters += n;
}

// Room for all names, and as much again for what they stand for.
static int make_letters(struct tokenizer *t, struct gguf_array names,
                        struct error *err)
{
    size_t cursor = 0, total = 0, bytes;

    for (uint64_t i = 0; i < names.count; i++) {
        (void) gguf_array_next(&names, &cursor, &bytes);
        if (bytes == 0 || bytes > UINT16_MAX)
            return error_set(err, -EINVAL,
                             "token %llu has %zu bytes, but must have 1 to %d",
                             (unsigned long long) i, bytes, UINT16_MAX);
        total += bytes;
    }
    t->letters =
        total < UINT32_MAX / 2 ? arena_alloc(t->arena, 2 * total) : NULL;
    return t->letters ? 0 : no_memory(err);
}

static int read_tokens(struct tokenizer *t, const struct gguf *file,
                       struct error *err)
{
    struct gguf_array names, kinds;
    size_t cursor = 0, bytes;
    int rc =
        gguf_get_array(&names, file, "tokenizer.ggml.tokens", GGUF_STR, err);
    if (rc < 0)
        return rc;
    rc = gguf_get_array(&kinds, file, "tokenizer.ggml.token_type", GGUF_I32,
                        err);
    if (rc < 0)
        return rc;
    if (names.count == 0 || names.count > VOCAB_MAX ||
        names.count != kinds.count)
        return error_set(err, -EINVAL,
                         "the vocabulary has %llu tokens and %llu token types: "
                         "they must be as many, and at most %d",
                         (unsigned long long) names.count,
                         (unsigned long long) kinds.count, VOCAB_MAX);
    t->n_vocab = (uint32_t) names.count;
    t->tokens = arena_calloc(t->arena, t->n_vocab, sizeof(*t->tokens));
    if (!t->tokens)
        return no_memory(err);

    if ((rc = make_letters(t, names, err)) < 0)
        return rc;

    for (uint32_t i = 0; i < t->n_vocab; i++) {
        struct token *token = &t->tokens[i];
        const char *p = gguf_array_next(&names, &cursor, &bytes);
        int32_t type = gguf_array_i32(&kinds, i);
        if (type < TOKEN_TYPE_NORMAL || type > TOKEN_TYPE_BYTE)
            return error_set(err, -EINVAL, "token %u is of unknown type %d", i,
                             type);
        memcpy(t->letters + t->n_letters, p, bytes);
        *token = (struct token){.name = t->n_letters,
                                .name_bytes = (uint16_t) bytes,
                                .type = (uint8_t) type};
        t->n_letters += (uint32_t) bytes;
        spell(t, token);
    }
    return 0;
}

// The token of each single byte, which every text is made of.
static int find_bytes(int32_t out[256], const struct tokenizer *t,
                      struct error *err)
{
    for (int b = 0; b < 256; b++)
        out[b] = TOKEN_NONE;
    for (uint32_t i = t->n_vocab; i-- > 0;) {
        const struct token *token = &t->tokens[i];
        const unsigned char *p = (const unsigned char *) name_of(t, token);
        size_t n = utf8_length(p, token->name_bytes);
        int byte = n == token->name_bytes ? byte_of(utf8_decode(p, n)) : -1;
        if (byte >= 0 && !is_special(token))
            out[byte] = (int32_t) i;
    }
    for (int b = 0; b < 256; b++)
        if (out[b] == TOKEN_NONE)
            return error_set(err, -EINVAL,
                             "the vocabulary has no token for the byte 0x%02x, "
                             "so it cannot write every text",
                             b);
    return 0;
}

static int bad_merge(uint64_t i, const char *why, struct error *err)
{
    return error_set(err, -EINVAL, "tokenizer.ggml.merges: number %llu %s",
                     (unsigned long long) i, why);
}

// One merge, "left right". Merges that involve a special token are left out:
// without them no text can become a control token, and user-defined ones,
// whose names are not written in byte characters, decode to what was encoded.
static int add_merge(struct tokenizer *t, const struct names *n, const char *p,
                     size_t bytes, uint64_t i, struct error *err)
{
    char joined[MERGE_BYTES_MAX];
    const char *space = bytes > 1 ? memchr(p + 1, ' ', bytes - 1) : NULL;

    if (!space || space + 1 == p + bytes)
        return bad_merge(i, "is not two tokens with a space between", err);
    if (bytes > sizeof(joined))
        return bad_merge(i, "is too long", err);
    size_t left_bytes = (size_t) (space - p);
    size_t right_bytes = bytes - left_bytes - 1;
    memcpy(joined, p, left_bytes);
    memcpy(joined + left_bytes, space + 1, right_bytes);

    int32_t left = *names_slot(n, p, left_bytes);
    int32_t right = *names_slot(n, space + 1, right_bytes);
    int32_t id = *names_slot(n, joined, bytes - 1);
    if (left == TOKEN_NONE || right == TOKEN_NONE || id == TOKEN_NONE)
        return bad_merge(i, "names a token that the vocabulary lacks", err);
    if (!is_special(&t->tokens[left]) && !is_special(&t->tokens[right]) &&
        !is_special(&t->tokens[id]))
        bpe_add_merge(t->bpe, left, right, id);
    return 0;
}

static int read_merges(struct tokenizer *t, const struct gguf *file,
                       struct error *err)
{
    struct gguf_array merges;
    struct names names = {0};
    int32_t bytes_ids[256];
    size_t cursor = 0, bytes;
    int rc =
        gguf_get_array(&merges, file, "tokenizer.ggml.merges", GGUF_STR, err);
    if (rc < 0)
        return rc;
    if (merges.count > MERGES_MAX)
        return error_set(err, -EINVAL,
                         "the vocabulary has %llu merges, at most %d are read",
                         (unsigned long long) merges.count, MERGES_MAX);
    if ((rc = find_bytes(bytes_ids, t, err)) < 0)
        return rc;
    if (bpe_create(&t->bpe, bytes_ids, (uint32_t) merges.count) < 0 ||
        names_init(&names, t) < 0)
        return no_memory(err);

    for (uint64_t i = 0; i < merges.count && rc == 0; i++) {
        const char *p = gguf_array_next(&merges, &cursor, &bytes);
        rc = add_merge(t, &names, p, bytes, i, err);
    }
    free(names.slots);
    return rc;
}

static int special_compare(const void *a, const void *b)
{
    const struct special *x = a, *y = b;
    unsigned char p = (unsigned char) x->text[0];
    unsigned char q = (unsigned char) y->text[0];
    if (p != q)
        return p < q ? -1 : 1;
    if (x->token->text_bytes != y->token->text_bytes)
        return x->token->text_bytes > y->token->text_bytes ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int collect_specials(struct tokenizer *t)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->n_vocab; i++)
        n += is_special(&t->tokens[i]);
    t->specials = arena_calloc(t->arena, n, sizeof(*t->specials));
    if (!t->specials)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        if (!is_special(&t->tokens[i]))
            continue;
        t->specials[t->n_specials++] =
            (struct special){&t->tokens[i], text_of(t, &t->tokens[i]),
                             (int32_t) i};
        if (t->tokens[i].type == TOKEN_TYPE_USER_DEFINED)
            t->has_user_defined = true;
    }
    qsort(t->specials, n, sizeof(*t->specials), special_compare);
    for (uint32_t b = 0, i = 0; b <= 256; b++) {
        while (i < n && (unsigned char) t->specials[i].text[0] < b)
            i++;
        t->starts[b] = i;
    }
    return 0;
}

// An id of the vocabulary, or TOKEN_NONE when the key is absent.
static int read_id(int32_t *out, const struct tokenizer *t,
                   const struct gguf *file, const char *key, struct error *err)
{
    uint32_t id;

    *out = TOKEN_NONE;
    if (!gguf_has(file, key))
        return 0;
    int rc = gguf_get_u32(&id, file, key, err);
    if (rc < 0)
        return rc;
    if (id >= t->n_vocab)
        return error_set(err, -EINVAL,
                         "%s is %u, but the vocabulary has %u tokens", key, id,
                         t->n_vocab);
    *out = (int32_t) id;
    return 0;
}

static int read_ids(struct tokenizer *t, const struct gguf *file,
                    struct error *err)
{
    int rc;
    if ((rc = read_id(&t->bos, t, file, "tokenizer.ggml.bos_token_id", err)) <
            0 ||
        (rc = read_id(&t->eos, t, file, "tokenizer.ggml.eos_token_id", err)) <
            0 ||
        (rc = read_id(&t->eot, t, file, "tokenizer.ggml.eot_token_id", err)) <
            0)
        return rc;
    t->document_end = tokenizer_find_special(t, "<|endoftext|>");
    if (t->document_end == TOKEN_NONE)
        t->document_end = t->eos;
    if (gguf_has(file, "tokenizer.ggml.add_bos_token"))
        rc = gguf_get_bool(&t->adds_bos, file, "tokenizer.ggml.add_bos_token",
                           err);
    if (rc == 0 && t->adds_bos && t->bos == TOKEN_NONE)
        rc = error_set(err, -EINVAL,
                       "tokenizer.ggml.add_bos_token is set, but there is no "
                       "tokenizer.ggml.bos_token_id");
    return rc;
}

static int check_kind(const struct gguf *file, struct error *err)
{
    // Names under which files state the regular expression of GPT-2.
    static const char *const aliases[] = {"gpt-2", "gpt2", "phi-2", "mpt",
                                          "olmo"};
    const char *model, *pre;
    int rc = gguf_get_str(&model, file, "tokenizer.ggml.model", err);
    if (rc < 0)
        return rc;
    if (strcmp(model, "gpt2") != 0)
        return error_set(err, -ENOTSUP,
                         "the tokenizer is of kind \"%.40s\", but only "
                         "\"gpt2\" (byte-level BPE) is supported yet",
                         model);
    if ((rc = gguf_get_str(&pre, file, "tokenizer.ggml.pre", err)) < 0)
        return rc;
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (strcmp(pre, aliases[i]) == 0)
            return 0;
    return error_set(err, -ENOTSUP,
                     "the pre-tokenizer is \"%.40s\", but only \"gpt-2\" is "
                     "supported yet",
                     pre);
}

int tokenizer_create(struct tokenizer **out, const struct gguf *file,
                     struct error *err)
{
    int rc = check_kind(file, err);
    if (rc < 0)
        return rc;
    struct tokenizer *t = fault_calloc(1, sizeof(*t));
    if (!t)
        return no_memory(err);
    if ((rc = arena_create(&t->arena, ARENA_MAX)) < 0) {
        no_memory(err);
        goto error;
    }
    if ((rc = read_tokens(t, file, err)) < 0 ||
        (rc = read_merges(t, file, err)) < 0)
        goto error;
    if ((rc = collect_specials(t)) < 0) {
        no_memory(err);
        goto error;
    }
    if ((rc = read_ids(t, file, err)) < 0)
        goto error;
    *out = t;
    return 0;

error:
    tokenizer_destroy(t);
    return rc;
}

void tokenizer_destroy(struct tokenizer *t)
{
    if (!t)
        return;
    bpe_destroy(t->bpe);
    arena_destroy(t->arena);
    free(t);
}

static int encode_plain(struct tokenizer *t, struct token_list *out,
                        const char *text, size_t bytes)
{
    int rc = 0;
    while (bytes > 0 && rc == 0) {
        size_t n = pretokenize_gpt2(text, bytes);
        rc = bpe_encode(t->bpe, out, text, n);
        text += n;
        bytes -= n;
    }
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
        if (s->token->text_bytes <= bytes &&
            memcmp(s->text, text, s->token->text_bytes) == 0 &&
            (with_control || !is_guarded(s->token)))
            return s;
    }
    return NULL;
}

static int encode_special(struct tokenizer *t, struct token_list *out,
                          const char *text, size_t bytes, bool with_control)
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
        if ((rc = encode_plain(t, out, text + from, i - from)) == 0)
            rc = token_list_add(out, s->id);
        i += s->token->text_bytes;
        from = i;
    }
    return rc < 0 ? rc : encode_plain(t, out, text + from, bytes - from);
}

int tokenizer_encode(struct tokenizer *t, struct token_list *out,
                     const char *text, size_t bytes, unsigned flags)
{
    bool with_control = flags & TOKENIZER_PARSE_CONTROL;
    size_t count = out->count;
    int rc = with_control || t->has_user_defined
                 ? encode_special(t, out, text, bytes, with_control)
                 : encode_plain(t, out, text, bytes);
    if (rc < 0)
        out->count = count;
    return rc;
}

const char *tokenizer_piece(const struct tokenizer *t, int32_t id,
                            size_t *bytes)
{
    if (id < 0 || (uint32_t) id >= t->n_vocab)
        return NULL;
    *bytes = t->tokens[id].text_bytes;
    return text_of(t, &t->tokens[id]);
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t) id < t->n_vocab && is_guarded(&t->tokens[id]);
}

int tokenizer_decode(const struct tokenizer *t, struct str *out,
                     const int32_t *ids, size_t count, bool with_control)
{
    for (size_t i = 0; i < count; i++) {
        size_t n;
        const char *p = tokenizer_piece(t, ids[i], &n);
        if (!p)
            return -EINVAL;
        if (with_control || !tokenizer_is_control(t, ids[i]))
            str_append(out, p, n);
    }
    return str_finish(out);
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

int32_t tokenizer_find_special(const struct tokenizer *t, const char *text)
{
    size_t n = strlen(text);
    for (uint32_t i = 0; i < t->n_specials; i++)
        if (t->specials[i].token->text_bytes == n &&
            memcmp(t->specials[i].text, text, n) == 0)
            return t->specials[i].id;
    return TOKEN_NONE;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (id == t->eos || id == t->eot || id == t->document_end);
}
