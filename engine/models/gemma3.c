// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/op.h"
#include "engine/models/blocks.h"

#include <math.h>

// The largest model's scores are those of heads of width / heads values.
enum { BLOCKS_27B = 62 };

// Gemma Team, arXiv 2503.19786: Gemma 2 with heads of Q and K normalised
// instead of capped. Five blocks of six have a window, and a rotation of their
// own: of base 10,000, and never stretched.
int gemma3_read(struct model_config *m, const struct gguf *f, struct error *err)
{
    int rc;

    m->rope_mode = ROPE_HALVES;
    m->norms = MODEL_NORMS_BOTH;
    m->qk_norms = MODEL_QK_HEADS;
    m->is_gelu = true;
    if ((rc = blocks_read(m, f, err)) < 0)
        return rc;
    m->embed_scale = sqrtf((float) m->width);
    if (m->n_blocks == BLOCKS_27B)
        m->score_scale = 1.0f / sqrtf((float) m->width / (float) m->n_heads);
    m->window_period = 6;
    m->local_rope_base = 10000.0f;
    if ((rc = blocks_read_window(m, f, err)) < 0 ||
        (rc = blocks_read_f32(&m->local_rope_base, m, f, "rope.freq_base_swa",
                              err)) < 0)
        return rc;
    return blocks_read_f32(&m->logit_cap, m, f, "final_logit_softcapping", err);
}
