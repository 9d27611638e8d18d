// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Blocks of attention and feed-forward
 *
 * What all architectures have in common: reading metadata and checking that
 * every tensor is there, and the graph. What they differ in is said by struct
 * model_config; an architecture's own file sets it, and reads what it alone
 * has.
 */

#include "engine/models/model.h"

#include <stdbool.h>
#include <stdint.h>

struct builder;

// What the architectures' files read: optional keys "ARCH.KEY" of m->arch,
// which leave `out` as it is when they are not there. Floats must be positive.
int blocks_read_u32(uint32_t *out, const struct model_config *m,
                    const struct gguf *f, const char *key, uint32_t max,
                    struct error *err);
int blocks_read_f32(float *out, const struct model_config *m,
                    const struct gguf *f, const char *key, struct error *err);

// attention.sliding_window, where 0 is none, and attention.sliding_window_-
// pattern: the period, or a list of which blocks have the window, which must
// have one. Both stay as they are when they are not there.
int blocks_read_window(struct model_config *m, const struct gguf *f,
                       struct error *err);

// Sizes, heads and rotation from the metadata, then the tensors, according to
// what has been set of `m` already: norms, qk_norms, rope_mode, is_*_fused.
int blocks_read(struct model_config *m, const struct gguf *f,
                struct error *err);

// NAME_read() of each row of models.def: sets what the architecture is.
#define MODEL(name)                                               \
    int name##_read(struct model_config *m, const struct gguf *f, \
                    struct error *err);
#include "engine/models/models.def"
#undef MODEL

int blocks_build(struct builder *b, const struct model_config *m,
                 const struct model_graph_params *params);
