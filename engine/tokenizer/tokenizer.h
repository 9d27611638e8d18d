// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Tokenizer
 *
 * Text to token ids and back, as the model's vocabulary says: byte-level BPE
 * with any of the pre-tokenizers of pretokenizers.def, or SentencePiece BPE.
 * Any bytes encode, valid UTF-8 or not, and decoding gives exactly the same
 * bytes again, but where tokenizer_is_exact() says no.
 *
 * Control tokens (roles, ends) never come out of text unless the caller asks
 * for them, so that a record cannot pretend to be another speaker. Tokens that
 * the model calls user-defined are ordinary text and are always recognised.
 *
 * One thread at a time: encoding keeps a cache of words.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct gguf;
struct str;
struct tokenizer;
struct vocab;

enum { TOKEN_NONE = -1 };

/*
 * A growing list of ids, each with a mark that its maker gives a meaning
 * (chat.h: 1 where the loss counts). Start from {0}; zero limit means 16 Mi.
 */
struct token_list {
    int32_t *ids;
    uint8_t *marks;
    size_t count;
    size_t size;
    size_t limit;
    uint8_t mark; // given to what is appended
};

// 0, -ENOMEM, or -E2BIG past the limit.
int token_list_add(struct token_list *l, int32_t id);
void token_list_clear(struct token_list *l);
void token_list_free(struct token_list *l);

// Copies what it needs: the file may be destroyed after this.
int tokenizer_create(struct tokenizer **out, const struct gguf *file,
                     struct error *err);
int tokenizer_create_vocab(struct tokenizer **out, const struct vocab *v,
                           struct error *err);
void tokenizer_destroy(struct tokenizer *t);

enum tokenizer_flags {
    TOKENIZER_PARSE_CONTROL = 1, // "<|end|>" in the text is that token
    // The text goes on where other text stopped: SentencePiece puts no blank
    // in front.
    TOKENIZER_CONTINUES = 2,
};

// Appends to `out`; adds neither BOS nor EOS. On failure `out` is as before.
int tokenizer_encode(struct tokenizer *t, struct token_list *out,
                     const char *text, size_t bytes, unsigned flags);

// The bytes of one token, for streaming; a character may be spread over
// several. Control tokens have their name here ("<|end|>"), as written in the
// vocabulary. NULL for an id out of range. Borrowed from the tokenizer.
const char *tokenizer_piece(const struct tokenizer *t, int32_t id,
                            size_t *bytes);
bool tokenizer_is_control(const struct tokenizer *t, int32_t id);
// All bytes, but a blank that encoding put in front of text; control tokens are
// left out unless `with_control`.
int tokenizer_decode(const struct tokenizer *t, struct str *out,
                     const int32_t *ids, size_t count, bool with_control);

const char *tokenizer_kind_name(const struct tokenizer *t); // "BPE", "SPM"
// Does decoding give `text` again? Not where SentencePiece takes U+2581 for a
// blank, nor where special tokens swallow the blanks beside them, nor where a
// byte has no token and becomes U+FFFD.
bool tokenizer_is_exact(const struct tokenizer *t, const char *text,
                        size_t bytes);

uint32_t tokenizer_n_vocab(const struct tokenizer *t);
// TOKEN_NONE where the model has none.
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
int32_t tokenizer_eot(const struct tokenizer *t);
// What stands after a whole text: <|endoftext|>, or else eos.
int32_t tokenizer_document_end(const struct tokenizer *t);
bool tokenizer_adds_bos(const struct tokenizer *t);
bool tokenizer_adds_eos(const struct tokenizer *t);
// A control or user-defined token by its text, or TOKEN_NONE.
int32_t tokenizer_find_special(const struct tokenizer *t, const char *text);
// Ends a generation: eos, eot, or the end of a document.
bool tokenizer_is_end(const struct tokenizer *t, int32_t id);
