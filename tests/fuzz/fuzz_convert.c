// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes as a model's files: a byte that chooses the type to convert to,
 * then files, each behind the number of its name (u8) and its length (u16).
 * Refused with a sentence, or the result is a GGUF file that loads.
 */

#include "engine/base/error.h"
#include "engine/convert/convert.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILES_MAX = 8 };

static const char *const names[] = {
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "m.gguf",
};

enum { N_NAMES = sizeof(names) / sizeof(names[0]) };

static uint32_t cut(struct source_file *files, const uint8_t *data, size_t size)
{
    uint32_t n = 0;

    while (size >= 3 && n < FILES_MAX) {
        const char *name = names[data[0] % N_NAMES];
        size_t bytes = (size_t) data[1] | (size_t) data[2] << 8;
        data += 3;
        size -= 3;
        bytes = bytes < size ? bytes : size;
        void *copy = malloc(bytes ? bytes : 1);
        if (!copy)
            break;
        memcpy(copy, data, bytes);
        files[n++] = (struct source_file){name, copy, bytes};
        data += bytes;
        size -= bytes;
    }
    return n;
}

static void convert(const struct source_file *files, uint32_t n, unsigned type)
{
    const struct convert_params params = {.type = (enum convert_type)(
                                              type % CONVERT_TYPES),
                                          .name = "fuzz"};
    struct convert_result r;
    struct error err = {0};
    struct gguf *g;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd < 0)
        return;
    if (convert_files(&r, fd, files, n, &params, &err) < 0) {
        if (err.text[0] == '\0')
            abort();
    } else if (gguf_load_fd(&g, fd, &err) == 0) {
        struct model_details d;
        details_read(&d, g);
        gguf_destroy(g);
    } else if (r.n_tensors > 0) {
        abort();
    }
    (void) close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source_file files[FILES_MAX] = {0};

    if (size == 0)
        return 0;
    const uint32_t n = cut(files, data + 1, size - 1);
    convert(files, n, data[0]);
    for (uint32_t i = 0; i < n; i++)
        free((void *) (uintptr_t) files[i].data);
    return 0;
}
