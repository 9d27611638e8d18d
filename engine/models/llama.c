// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/op.h"
#include "engine/models/blocks.h"

// Touvron et al., arXiv 2302.13971: pre-normalised blocks of grouped-query
// attention with rotary positions, and SwiGLU. Llama 1 to 3, and all that was
// published in this shape: Mistral 7B, TinyLlama, SmolLM. Rows of Q and K
// stand in the file as ROPE_PAIRS wants them.
int llama_read(struct model_config *m, const struct gguf *f, struct error *err)
{
    m->rope_mode = ROPE_PAIRS;
    return blocks_read(m, f, err);
}
