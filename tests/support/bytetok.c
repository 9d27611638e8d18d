// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/bytetok.h"

#include "engine/formats/gguf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 16 };

// The letters that stand for bytes in a byte-level vocabulary: printable
// Latin-1 for itself, the others from U+0100 on, in order.
void bytetok_letter(char out[3], int byte)
{
    static int shift[256];

    if (!shift[0])
        for (int b = 0, n = 0; b < 256; b++) {
            const int plain = (b > 32 && b < 127) || (b > 160 && b != 173);
            shift[b] = plain ? b : 256 + n++;
        }
    const int code = shift[byte];
    memset(out, 0, 3);
    if (code < 128) {
        out[0] = (char) code;
    } else {
        out[0] = (char) (0xc0 | code >> 6);
        out[1] = (char) (0x80 | (code & 63));
    }
}

static void name_token(char out[NAME_BYTES], uint32_t id)
{
    static const char *const control[] = {"<|endoftext|>", "<|user|>",
                                          "<|assistant|>", "<|end|>"};

    memset(out, 0, NAME_BYTES);
    if (id < 4)
        (void) snprintf(out, NAME_BYTES, "%s", control[id]);
    else if (id < 4 + 256)
        bytetok_letter(out, (int) id - 4);
    else if (id == 4 + 256)
        (void) snprintf(out, NAME_BYTES, "th");
    else
        (void) snprintf(out, NAME_BYTES, "<|%u|>", (unsigned) id);
}

void bytetok_add(struct gguf_writer *w, uint32_t n_vocab)
{
    enum { NORMAL = 1, CONTROL = 3 };
    static const char *const merges[] = {"t h"};
    char(*names)[NAME_BYTES] = calloc(n_vocab, sizeof(*names));
    const char **tokens = calloc(n_vocab, sizeof(*tokens));
    int32_t *kinds = calloc(n_vocab, sizeof(*kinds));

    assert(names && tokens && kinds && n_vocab >= BYTETOK_VOCAB);
    for (uint32_t i = 0; i < n_vocab; i++) {
        name_token(names[i], i);
        tokens[i] = names[i];
        kinds[i] = i >= 4 && i < BYTETOK_VOCAB ? NORMAL : CONTROL;
    }
    gguf_writer_str(w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_str(w, "tokenizer.ggml.pre", "gpt-2");
    gguf_writer_strs(w, "tokenizer.ggml.tokens", tokens, n_vocab);
    gguf_writer_i32s(w, "tokenizer.ggml.token_type", kinds, n_vocab);
    gguf_writer_strs(w, "tokenizer.ggml.merges", merges, 1);
    gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", 0);
    gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", 3);
    gguf_writer_u32(w, "tokenizer.ggml.eot_token_id", 3);
    gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", true);
    free(kinds);
    free(tokens);
    free(names);
}
