// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/formats/gguf.h"
#include "engine/ir/op.h"
#include "engine/models/blocks.h"

// Abdin et al., arXiv 2404.14219: a llama whose Q, K and V are one linear, and
// so are gate and up; its long contexts by factors of frequencies (longrope,
// arXiv 2402.13753). Every block has the window, where there is one.
int phi3_read(struct model_config *m, const struct gguf *f, struct error *err)
{
    int rc;

    m->rope_mode = ROPE_HALVES;
    m->is_qkv_fused = !gguf_find(f, "blk.0.attn_q.weight");
    m->is_gate_fused = true;
    if ((rc = blocks_read(m, f, err)) < 0)
        return rc;
    return blocks_read_window(m, f, err);
}
