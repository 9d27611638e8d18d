// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/op.h"
#include "engine/models/blocks.h"

// Qwen Team, arXiv 2505.09388: each head of Q and K is normalised before it
// turns; heads have a size of their own.
int qwen3_read(struct model_config *m, const struct gguf *f, struct error *err)
{
    m->rope_mode = ROPE_HALVES;
    m->qk_norms = MODEL_QK_HEADS;
    return blocks_read(m, f, err);
}
