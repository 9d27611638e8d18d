// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes as a safetensors file: refused with a sentence, or every tensor's
 * values can be read.
 */

#include "engine/base/error.h"
#include "engine/formats/safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *s;
    struct error err = {0};

    if (safetensors_load_memory(&s, data, size, &err) < 0) {
        if (err.text[0] == '\0')
            abort();
        return 0;
    }
    for (uint32_t i = 0; i < safetensors_n_tensors(s); i++) {
        const struct safetensors_tensor *t = safetensors_tensor_at(s, i);
        float *values = malloc(t->bytes * 2 + sizeof(*values));
        if (safetensors_find(s, t->name) != t)
            abort();
        if (values)
            (void) safetensors_read_f32(values, t, NULL);
        free(values);
    }
    (void) safetensors_metadata(s, "format");
    safetensors_destroy(s);
    return 0;
}
