// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Models
 *
 * What a model file says about its architecture, checked, and the forward
 * graph that follows from it. An architecture is one row of models.def and one
 * file with its builder.
 */

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct error;
struct gguf;
struct graph;
struct kept;
struct scheme;

enum {
    MODEL_BLOCKS_MAX = 256,
    MODEL_LENGTH_MAX = 1 << 20, // tokens of one sequence, rows of one program
};

// The linears of a block, in the order of block_tensors.def.
enum model_linear {
#define BLOCK_LINEAR(id, stem, rows, columns) MODEL_LINEAR_##id,
#include "engine/models/block_tensors.def"
#undef BLOCK_LINEAR
    MODEL_LINEARS
};

struct model_config {
    char arch[32];
    uint32_t n_blocks;
    uint32_t width;      // C
    uint32_t n_heads;    // H
    uint32_t n_kv_heads; // G
    uint32_t head_dim;   // D
    uint32_t ffn_width;
    uint32_t n_vocab; // V
    uint32_t context; // longest sequence
    uint32_t rope_dims;
    float rms_eps;
    float rope_base;
    bool is_tied; // the head is token_embd.weight
    // Storage types (enum dtype). Norms are f32.
    uint8_t embed_dtype;
    uint8_t head_dtype;
    uint8_t linear_dtypes[MODEL_BLOCKS_MAX][MODEL_LINEARS];
};

// Reads and checks metadata, and that every tensor is there with the right
// shape and a known type. Every refusal names the key or tensor.
int model_config_read(struct model_config *out, const struct gguf *file,
                      struct error *err);

// "blk.0.attn_q.weight" into `out`, which it returns.
enum { MODEL_NAME_BYTES = 64 };
const char *model_linear_name(char out[MODEL_NAME_BYTES], uint32_t block,
                              enum model_linear linear);
// "blk.0.attn_norm.weight", or "blk.0.ffn_norm.weight" for norm 1.
const char *model_norm_name(char out[MODEL_NAME_BYTES], uint32_t block,
                            int norm);
// Rows (outputs) and columns (inputs) of a linear.
void model_linear_shape(int64_t ne[2], const struct model_config *m,
                        enum model_linear linear);

/*
 * Branches of the residual stream whose backward pass is left out: attention is
 * branch 2 * block, feed-forward 2 * block + 1. The forward pass is the same;
 * the gradient passes by on the identity path, and what learns in the branch
 * is left as it is. DropBP, arXiv 2402.17812.
 */
struct model_drop {
    uint64_t bits[2 * MODEL_BLOCKS_MAX / 64];
};

static inline bool model_drop_has(const struct model_drop *d, uint32_t branch)
{
    return d->bits[branch / 64] >> branch % 64 & 1;
}

enum model_phase {
    // inputs tokens pos start targets i32 (T), weights f32 (T), T = batch *
    // length; outputs loss (1), nll (T). With first_block: input hidden
    // f32 (T,C) instead of tokens, and only the blocks from there on. Where
    // tokens are chosen for gradients, token_norms f32 (T), draw i32 (4)
    MODEL_PHASE_LOSS,
    // inputs tokens pos i32 (length), rows i32 (n_rows); states cache.k.N,
    // cache.v.N (cache_length, G*D), NAME.magnitude.gain (O) instead of
    // NAME.magnitude; output logits (n_rows, V)
    MODEL_PHASE_CACHED,
    // The blocks before first_block, without an adapter: inputs tokens pos
    // start i32 (T); output hidden f32 (T,C)
    MODEL_PHASE_PREFIX,
    // What the rows of each weight with a magnitude are multiplied with, which
    // CACHED takes as states of these names: outputs NAME.magnitude.gain (O)
    MODEL_PHASE_GAINS,
};

struct model_graph_params {
    enum model_phase phase;
    uint32_t batch;
    uint32_t length;
    uint32_t cache_length;       // CACHED
    uint32_t n_rows;             // CACHED
    const struct scheme *scheme; // borrowed; NULL: the base model alone
    uint32_t first_block;        // LOSS, PREFIX
    struct model_drop drop;      // LOSS
    // LOSS, where gradients follow; borrowed. NULL: inputs stay whole
    const struct kept *kept;
};

int model_build(struct graph **out, const struct model_config *m,
                const struct model_graph_params *params, struct arena *a,
                struct error *err);
