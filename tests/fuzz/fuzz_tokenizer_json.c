// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A tokenizer.json, and a text: u16 length of the text, the text, u16 length of
 * a tokenizer_config.json, that, the rest is the tokenizer. What encodes must
 * decode to the same bytes, and what was read must be read again from the GGUF
 * that it is written to.
 */

#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"
#include "tests/fuzz/roundtrip.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written(const struct vocab *v)
{
    struct gguf_writer *w;
    struct gguf *g;
    struct vocab *again;
    struct error err = {0};
    int fd = memfd_create("vocab", MFD_CLOEXEC);

    if (gguf_writer_create(&w) < 0)
        abort();
    if (vocab_write_gguf(v, w, 0) == 0 &&
        gguf_writer_save_fd(w, fd, &err) == 0 &&
        gguf_load_fd(&g, fd, &err) == 0) {
        // Names may coincide with what fills gaps; all else is as it was.
        if (vocab_read_gguf(&again, g, &err) == 0) {
            if (again->n_tokens != v->n_tokens ||
                again->n_merges != v->n_merges || again->kind != v->kind)
                abort();
            vocab_destroy(again);
        } else if (err.text[0] == '\0') {
            abort();
        }
        gguf_destroy(g);
    }
    gguf_writer_destroy(w);
    close(fd);
}

static void check(const struct vocab_json_params *p, const char *text,
                  size_t bytes)
{
    struct tokenizer *t;
    struct vocab *v;
    struct error err = {0};

    if (vocab_read_json(&v, p, &err) < 0) {
        if (err.text[0] == '\0')
            abort();
        return;
    }
    if (tokenizer_create_vocab(&t, v, &err) == 0) {
        roundtrip_check(t, text, bytes, 0);
        roundtrip_check(t, text, bytes, TOKENIZER_PARSE_CONTROL);
        roundtrip_check(t, text, bytes, TOKENIZER_CONTINUES);
        tokenizer_destroy(t);
    } else if (err.text[0] == '\0') {
        abort();
    }
    check_written(v);
    vocab_destroy(v);
}

// The part that a u16 length in front of it says; NULL when it is too long.
static const uint8_t *take(const uint8_t **data, size_t *size, size_t *bytes)
{
    const uint8_t *part = *data + 2;

    if (*size < 2)
        return NULL;
    *bytes = bits_load16(*data);
    if (*bytes > *size - 2)
        return NULL;
    *data += 2 + *bytes;
    *size -= 2 + *bytes;
    return part;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t text_bytes, config_bytes;
    const uint8_t *text = take(&data, &size, &text_bytes);
    const uint8_t *config = text ? take(&data, &size, &config_bytes) : NULL;

    if (!config)
        return 0;
    check(&(struct vocab_json_params){.tokenizer = (const char *) data,
                                      .tokenizer_bytes = size,
                                      .config = config_bytes > 0
                                                    ? (const char *) config
                                                    : NULL,
                                      .config_bytes = config_bytes,
                                      .bos = text_bytes,
                                      .eos = -1},
          (const char *) text, text_bytes);
    return 0;
}
