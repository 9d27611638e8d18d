// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Vocabulary
 *
 * What a tokenizer is made of, as a GGUF file or a tokenizer.json says it:
 * tokens with their kinds and scores, merges, the ids with a meaning, and how
 * text is cut into words. It lives while a tokenizer is made or a file is
 * converted; the tokenizer keeps less.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct error;
struct gguf;
struct gguf_writer;
struct pretokenizer; // engine/tokenizer/pretokenize.h

enum { VOCAB_TOKENS_MAX = 1 << 20 };

enum vocab_kind {
    VOCAB_BPE, // byte-level BPE: "gpt2" in GGUF
    VOCAB_SPM, // SentencePiece BPE with byte fallback: "llama" in GGUF
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

// Blanks beside a special token that belong to it.
enum { VOCAB_STRIP_LEFT = 1, VOCAB_STRIP_RIGHT = 2 };

struct vocab_token {
    const char *name; // as GGUF writes it; not NUL-terminated
    float score;      // of SPM: the higher, the earlier it is made
    uint16_t bytes;   // 0: no text gives it
    uint8_t type;     // enum token_type
    uint8_t strip;
};

// In the order of their ranks.
struct vocab_merge {
    int32_t left, right, id;
};

struct vocab {
    struct arena *arena;
    enum vocab_kind kind;
    const struct pretokenizer *pre; // of BPE, else NULL
    const char *pre_name;           // as tokenizer.ggml.pre says it
    struct vocab_token *tokens;
    uint32_t n_tokens;
    struct vocab_merge *merges; // of BPE
    uint32_t n_merges;
    int32_t bos, eos, eot, unk, pad; // TOKEN_NONE where there is none
    bool adds_bos, adds_eos;         // around a whole text
    bool adds_space;           // SPM: in front of text that follows no text
    bool ignore_merges;        // BPE: a word that is a token is that token
    const char *chat_template; // as the file has it, or NULL
};

// Borrows the names of the tokens from the file.
int vocab_read_gguf(struct vocab **out, const struct gguf *file,
                    struct error *err);

struct vocab_json_params {
    const char *tokenizer; // tokenizer.json
    size_t tokenizer_bytes;
    const char *config; // tokenizer_config.json, or NULL
    size_t config_bytes;
    // config.json's bos_token_id and eos_token_id, used where
    // tokenizer_config.json names no token; negative: none.
    int64_t bos, eos;
};

// Borrows the texts until vocab_destroy(). NFC normalization is left out, as
// llama.cpp leaves it out: text that is in NFC gives the ids of the library.
int vocab_read_json(struct vocab **out, const struct vocab_json_params *params,
                    struct error *err);
void vocab_destroy(struct vocab *v);

// tokenizer.ggml.* and tokenizer.chat_template, as llama.cpp reads them.
// Tokens are added up to n_vocab, which no text gives (the rows of the
// embedding may be more than there are tokens). -ENOMEM.
int vocab_write_gguf(const struct vocab *v, struct gguf_writer *w,
                     uint32_t n_vocab);
