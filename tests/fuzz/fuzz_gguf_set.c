// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes as the parts of a split GGUF model: pieces behind their lengths
 * (u16). Refused with a sentence, or a set all of whose tensors can be read.
 */

#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/formats/gguf_set.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARTS_MAX = 8 };

static unsigned sum; // so that reads are not optimised away

static void read_set(struct gguf *const *parts, uint32_t n)
{
    struct error err = {0};
    struct gguf_set *set;

    if (gguf_set_create(&set, parts, n, &err) < 0) {
        if (err.text[0] == '\0')
            abort();
        return;
    }
    sum += gguf_n_pairs(gguf_set_first(set));
    for (uint32_t i = 0; i < gguf_set_n_tensors(set); i++) {
        const struct gguf_tensor *t = gguf_set_tensor_at(set, i);
        for (size_t k = 0; t->is_known && k < t->bytes; k++)
            sum += ((const unsigned char *) t->data)[k];
    }
    gguf_set_destroy(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *parts[PARTS_MAX];
    void *copies[PARTS_MAX];
    uint32_t n = 0, n_copies = 0;

    while (size >= 2 && n < PARTS_MAX && n_copies < PARTS_MAX) {
        size_t bytes = (size_t) data[0] | (size_t) data[1] << 8;
        data += 2;
        size -= 2;
        bytes = bytes < size ? bytes : size;
        void *copy = malloc(bytes ? bytes : 1);
        if (!copy)
            break;
        memcpy(copy, data, bytes);
        copies[n_copies++] = copy;
        n += gguf_load_part_memory(&parts[n], copy, bytes, NULL) == 0;
        data += bytes;
        size -= bytes;
    }
    read_set(parts, n);
    for (uint32_t i = 0; i < n; i++)
        gguf_destroy(parts[i]);
    for (uint32_t i = 0; i < n_copies; i++)
        free(copies[i]);
    return 0;
}
