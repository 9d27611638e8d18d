// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * An adapter for a small base model: a GGUF file, or, after a first byte 'P',
 * adapter_config.json, a NUL byte and adapter_model.safetensors. What loads
 * can be saved, and loads again as the same.
 */

#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/train/adapter.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct model_config model = {
    .arch = "llama",
    .n_blocks = 2,
    .width = 8,
    .n_heads = 2,
    .n_kv_heads = 1,
    .head_dim = 4,
    .ffn_width = 12,
    .n_vocab = 10,
    .context = 16,
    .rope_dims = 4,
};

static void compare(const struct adapter *a, const struct adapter *b)
{
    if (!scheme_equal(&a->scheme, &b->scheme) ||
        memcmp(a->data, b->data, adapter_floats(a) * sizeof(float)) != 0)
        abort();
}

static void check(const struct adapter *a)
{
    struct adapter *b = NULL;
    struct str config = {0};
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    int peft = memfd_create("peft", MFD_CLOEXEC);

    if (fd < 0 || peft < 0)
        abort();
    if (adapter_save_gguf_fd(a, "x", fd, NULL) < 0 ||
        adapter_load_gguf_fd(&b, &model, NULL, fd, NULL) < 0)
        abort();
    compare(a, b);
    adapter_destroy(b);
    b = NULL;
    adapter_peft_config(a, "x", &config);
    if (adapter_check_peft(a, NULL) < 0)
        goto out;
    if (adapter_save_peft_fd(a, &model, peft, NULL) < 0)
        abort();
    // A scale that PEFT's configuration bounds more narrowly may be refused.
    if (adapter_load_peft_fd(&b, &model, NULL, config.data, config.bytes, peft,
                             NULL) == 0) {
        // PEFT's files have no word for how fast B learned.
        b->scheme.b_rate = a->scheme.b_rate;
        b->scheme.delta_rate = a->scheme.delta_rate;
        compare(a, b);
    }

out:
    adapter_destroy(b);
    str_free(&config);
    close(fd);
    close(peft);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct adapter *a = NULL;
    struct error err = {0};
    int rc;

    if (size > 0 && data[0] == 'P') {
        const char *config = (const char *) data + 1;
        size_t n = strnlen(config, size - 1);
        size_t used = 1 + n + (n < size - 1);
        rc = adapter_load_peft_memory(&a, &model, NULL, config, n, data + used,
                                      size - used, &err);
    } else {
        void *copy = malloc(size ? size : 1); // aligned
        if (!copy)
            return 0;
        memcpy(copy, data, size);
        rc = adapter_load_gguf_memory(&a, &model, NULL, copy, size, &err);
        free(copy);
    }
    if (rc == 0)
        check(a);
    else if (err.text[0] == '\0')
        abort();
    adapter_destroy(a);
    return 0;
}
