// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/convert/details.h"

#include "engine/base/utf8.h"
#include "engine/models/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Whole characters of a text; nothing where it is no UTF-8.
static size_t put_text(char *out, size_t size, const char *text, size_t bytes)
{
    size_t n = bytes < size - 1 ? bytes : size - 1;

    while (n > 0 && n < bytes && ((unsigned char) text[n] & 0xc0) == 0x80)
        n--;
    if (!utf8_is_valid(text, n))
        n = 0;
    memcpy(out, text, n);
    out[n] = '\0';
    return n;
}

static void put_value(char *out, size_t size, const struct gguf *f,
                      const char *key)
{
    const char *text;

    if (gguf_get_str(&text, f, key, NULL) == 0)
        (void) put_text(out, size, text, strlen(text));
}

static int bytes_compare(const void *a, const void *b)
{
    const struct model_details *d = NULL;
    const __typeof__(d->types[0]) *x = a, *y = b;

    return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

static void read_types(struct model_details *d, const struct gguf *f)
{
    for (uint32_t i = 0; i < gguf_n_tensors(f); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(f, i);
        const char *name = t->is_known ? dtype_infos[t->dtype].name : "other";
        uint32_t k = 0;
        while (k < d->n_types && strcmp(d->types[k].name, name) != 0)
            k++;
        if (k == DETAILS_TYPES_MAX)
            continue;
        if (k == d->n_types) {
            d->n_types++;
            (void) snprintf(d->types[k].name, sizeof(d->types[k].name), "%s",
                            name);
        }
        d->types[k].n_tensors++;
        d->types[k].bytes += t->bytes;
    }
    qsort(d->types, d->n_types, sizeof(d->types[0]), bytes_compare);
}

static void read_specials(struct model_details *d, const struct gguf *f)
{
    static const char *const list[][2] = {
        {"bos", "tokenizer.ggml.bos_token_id"},
        {"eos", "tokenizer.ggml.eos_token_id"},
        {"eot", "tokenizer.ggml.eot_token_id"},
        {"unk", "tokenizer.ggml.unknown_token_id"},
        {"pad", "tokenizer.ggml.padding_token_id"},
    };
    struct gguf_array tokens;

    if (gguf_get_array(&tokens, f, "tokenizer.ggml.tokens", GGUF_STR, NULL) < 0)
        return;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        const char *text = "";
        size_t cursor = 0, bytes = 0;
        uint32_t id;
        if (gguf_get_u32(&id, f, list[i][1], NULL) < 0 || id >= tokens.count)
            continue;
        for (uint32_t k = 0; k <= id; k++)
            text = gguf_array_next(&tokens, &cursor, &bytes);
        (void) snprintf(d->specials[d->n_specials].role,
                        sizeof(d->specials[0].role), "%s", list[i][0]);
        d->specials[d->n_specials].id = id;
        (void) put_text(d->specials[d->n_specials].text, DETAILS_TEXT_BYTES,
                        text, bytes);
        d->n_specials++;
    }
}

static void read_template(struct model_details *d, const struct gguf *f)
{
    const char *text;

    if (gguf_get_str(&text, f, "tokenizer.chat_template", NULL) < 0)
        return;
    d->template_bytes = strlen(text);
    d->template_head_bytes = put_text(d->template_head, DETAILS_TEMPLATE_BYTES,
                                      text, d->template_bytes);
}

void details_read(struct model_details *out, const struct gguf *file)
{
    char model[32] = "?", pre[32] = "";

    memset(out, 0, sizeof(*out));
    read_types(out, file);
    put_value(model, sizeof(model), file, "tokenizer.ggml.model");
    put_value(pre, sizeof(pre), file, "tokenizer.ggml.pre");
    (void) snprintf(out->tokenizer, sizeof(out->tokenizer), "%s%s%s", model,
                    pre[0] ? ", " : "", pre);
    put_value(out->license, sizeof(out->license), file, "general.license");
    read_specials(out, file);
    read_template(out, file);
}

uint64_t details_generate_bytes(const struct model_config *m)
{
    const uint64_t floats = sizeof(float), prompt = 256; // tokens at once
    const uint64_t cache = 2ull * m->n_blocks * m->n_kv_heads * m->head_dim;
    const uint64_t rows = 6ull * m->width + 3ull * m->ffn_width;

    return floats * (cache * m->context + rows * prompt + 2ull * m->n_vocab);
}
