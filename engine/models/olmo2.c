// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/op.h"
#include "engine/models/blocks.h"

// OLMo Team, arXiv 2501.00656: norms stand behind attention and feed-forward,
// not before; all heads of Q, and of K, are normalised as one row. Files of
// OLMo 3 say that they are of this architecture: three of four blocks have a
// window, and are never stretched.
int olmo2_read(struct model_config *m, const struct gguf *f, struct error *err)
{
    int rc;

    m->rope_mode = ROPE_HALVES;
    m->norms = MODEL_NORMS_AFTER;
    m->qk_norms = MODEL_QK_ROWS;
    if ((rc = blocks_read(m, f, err)) < 0)
        return rc;
    m->window_period = 4;
    m->local_rope_base = m->rope_base;
    return blocks_read_window(m, f, err);
}
