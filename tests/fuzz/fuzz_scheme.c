// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Whatever is accepted is a scheme of the model, and reads back as it prints.

#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/models/scheme_text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct model_config model = {
    .arch = "llama",
    .n_blocks = 4,
    .width = 20,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 6,
    .ffn_width = 29,
    .n_vocab = 37,
    .context = 64,
    .rope_dims = 4,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct scheme_defaults defaults = {8, 16};
    struct error err = {0};
    struct str text = {0};
    struct scheme s, again;

    if (scheme_parse(&s, (const char *) data, size, &defaults, &model, &err) <
        0) {
        if (err.text[0] == '\0')
            abort();
        return 0;
    }
    if (scheme_check(&s, &model, NULL) < 0 ||
        scheme_params(NULL, 0, &model, &s) == 0)
        abort();
    scheme_print(&text, &s, &model);
    if (str_finish(&text) < 0 ||
        scheme_parse(&again, text.data, text.bytes, &defaults, &model, NULL) <
            0 ||
        !scheme_equal(&s, &again))
        abort();
    str_free(&text);
    return 0;
}
