// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A vocabulary from the first bytes, a text from the rest: u16 length of the
 * text, the text, a GGUF file. What encodes must decode to the same bytes, and
 * hold no control token unless asked for.
 */

#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/tokenizer/chat.h"
#include "tests/fuzz/roundtrip.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(struct tokenizer *t, const struct gguf *g, const char *text,
                   size_t bytes, unsigned flags)
{
    struct chat c;
    struct token_list l = {.limit = 1 << 16};

    roundtrip_check(t, text, bytes, flags);
    chat_init(&c, t, g);
    (void) chat_render_text(&l, &c, text, bytes, NULL);
    const struct chat_message m = {CHAT_ROLE_USER, text, bytes};
    (void) chat_render_prompt(&l, &c, &m, 1, NULL);
    token_list_free(&l);
}

static void with_file(const void *file, size_t bytes, const char *text,
                      size_t text_bytes)
{
    struct gguf *g;
    struct tokenizer *t;
    struct error err = {0};

    if (gguf_load_memory(&g, file, bytes, NULL) < 0)
        return;
    if (tokenizer_create(&t, g, &err) == 0) {
        encode(t, g, text, text_bytes, 0);
        encode(t, g, text, text_bytes, TOKENIZER_PARSE_CONTROL);
        tokenizer_destroy(t);
    } else if (err.text[0] == '\0') {
        abort();
    }
    gguf_destroy(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t text_bytes = bits_load16(data);
    if (text_bytes > size - 2)
        return 0;
    size_t bytes = size - 2 - text_bytes;
    void *copy = malloc(bytes ? bytes : 1); // aligned
    if (!copy)
        return 0;
    memcpy(copy, data + 2 + text_bytes, bytes);
    with_file(copy, bytes, (const char *) data + 2, text_bytes);
    free(copy);
    return 0;
}
