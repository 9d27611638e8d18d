// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/op.h"
#include "engine/models/blocks.h"

// Qwen Team, arXiv 2407.10671: a llama with biases of Q, K and V, which are
// found in the file. Rows of Q and K are in their own order.
int qwen2_read(struct model_config *m, const struct gguf *f, struct error *err)
{
    m->rope_mode = ROPE_HALVES;
    return blocks_read(m, f, err);
}
