// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/op.h"
#include "engine/models/blocks.h"

#include <math.h>

// The largest model's scores are those of heads of width / heads values.
enum { BLOCKS_27B = 46 };

// Gemma Team, arXiv 2408.00118: norms before and behind, gates by gelu, scores
// and logits capped, every other block with a window. Gains of norms stand in
// the file as 1 + w.
int gemma2_read(struct model_config *m, const struct gguf *f, struct error *err)
{
    int rc;

    m->rope_mode = ROPE_HALVES;
    m->norms = MODEL_NORMS_BOTH;
    m->is_gelu = true;
    m->score_cap = 50;
    m->logit_cap = 30;
    if ((rc = blocks_read(m, f, err)) < 0)
        return rc;
    m->embed_scale = sqrtf((float) m->width);
    if (m->n_blocks == BLOCKS_27B)
        m->score_scale = 1.0f / sqrtf((float) m->width / (float) m->n_heads);
    m->window = 4096;
    m->window_period = 2;
    if ((rc = blocks_read_window(m, f, err)) < 0 ||
        (rc = blocks_read_f32(&m->score_cap, m, f, "attn_logit_softcapping",
                              err)) < 0)
        return rc;
    return blocks_read_f32(&m->logit_cap, m, f, "final_logit_softcapping", err);
}
