// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes as a GGUF file: refused with a sentence, or everything that it
 * says can be read and decoded, and its metadata taken for a model's.
 */

#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/models/model.h"
#include "engine/tensor/quant.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned sum; // so that reads are not optimised away

static void read_metadata(const struct gguf *g)
{
    static const char *const keys[] = {"general.architecture",
                                       "general.alignment", "k", "list",
                                       "tokenizer.ggml.tokens"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        uint32_t u;
        float f;
        bool b;
        const char *s;
        struct gguf_array a;
        size_t cursor = 0, n = 0;
        (void) gguf_get_u32(&u, g, keys[i], NULL);
        (void) gguf_get_f32(&f, g, keys[i], NULL);
        (void) gguf_get_bool(&b, g, keys[i], NULL);
        if (gguf_get_str(&s, g, keys[i], NULL) == 0)
            sum += (unsigned) strlen(s);
        if (gguf_get_array(&a, g, keys[i], GGUF_STR, NULL) == 0)
            for (uint64_t k = 0; k < a.count; k++) {
                const char *p = gguf_array_next(&a, &cursor, &n);
                sum += n ? (unsigned char) p[n - 1] : 0;
            }
        if (gguf_get_array(&a, g, keys[i], GGUF_I32, NULL) == 0)
            for (uint64_t k = 0; k < a.count; k++)
                sum += (unsigned) gguf_array_i32(&a, k);
    }
}

// Any bits are a block of weights.
static void decode_block(const struct gguf_tensor *t)
{
    float x[QUANT_BLOCK_MAX];

    if (!dtype_is_weight(t->dtype) || t->bytes == 0)
        return;
    quant_decode(t->dtype, x, t->data, dtype_infos[t->dtype].block);
    sum += x[0] > 0;
}

static void read_tensors(const struct gguf *g)
{
    for (uint32_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i), *same;
        if (gguf_find(g, t->name) != t)
            abort();
        if (gguf_get_tensor(&same, g, t->name, NULL) < 0)
            continue;
        for (size_t k = 0; k < same->bytes; k++)
            sum += ((const unsigned char *) same->data)[k];
        decode_block(same);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *g;
    struct error err = {0};
    struct model_config m;
    void *copy = malloc(size ? size : 1); // aligned, of exactly this size

    if (!copy)
        return 0;
    memcpy(copy, data, size);
    if (gguf_load_memory(&g, copy, size, &err) == 0) {
        read_metadata(g);
        read_tensors(g);
        (void) model_config_read(&m, g, &err);
        gguf_destroy(g);
    } else if (err.text[0] == '\0') {
        abort();
    }
    free(copy);
    return 0;
}
