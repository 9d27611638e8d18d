// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Llama
 *
 * Touvron et al., arXiv 2302.13971: pre-normalised blocks of grouped-query
 * attention with rotary positions, and SwiGLU.
 */

#include "engine/models/model.h"

struct builder;

int llama_read(struct model_config *m, const struct gguf *f, struct error *err);
int llama_build(struct builder *b, const struct model_config *m,
                const struct model_graph_params *params);
