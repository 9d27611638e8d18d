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

// Where RMS norms stand: before attention and feed-forward, behind, or both.
enum model_norms { MODEL_NORMS_BEFORE, MODEL_NORMS_AFTER, MODEL_NORMS_BOTH };

// What is normalised of Q and K before they turn: nothing, each head, or all
// heads as one row.
enum model_qk_norms { MODEL_QK_PLAIN, MODEL_QK_HEADS, MODEL_QK_ROWS };

// Tensors that divide the angles of rotation: none; rope_freqs.weight; or
// rope_factors_short.weight, and rope_factors_long.weight in programs of
// sequences longer than rope_context.
enum model_rope_factors {
    MODEL_ROPE_PLAIN,
    MODEL_ROPE_FREQS,
    MODEL_ROPE_LONG_SHORT,
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

    // What architectures differ in; all zero is a llama.
    uint8_t norms;        // enum model_norms
    uint8_t qk_norms;     // enum model_qk_norms
    uint8_t rope_mode;    // enum rope_mode, see op.h
    uint8_t rope_factors; // enum model_rope_factors
    bool is_qkv_fused;    // see block_tensors.def
    bool is_gate_fused;
    bool is_gelu;           // gates by gelu; else by silu
    float embed_scale;      // of embeddings; 0: 1
    float score_scale;      // of q.k; 0: 1 / sqrt(head_dim)
    float score_cap;        // of scores; 0: none
    float logit_cap;        // of logits; 0: none
    float rope_slower;      // what angles are divided by; 0: 1
    float rope_gain;        // what turned values are multiplied with; 0: 1
    uint32_t rope_context;  // LONG_SHORT: the longest of the short factors
    uint32_t window;        // latest tokens that are seen; 0: all
    uint32_t window_period; // every block of this number sees all; 0: none
    float local_rope_base;  // of blocks with a window, which are then not
                            // slower; 0: as the others
    uint8_t biases[MODEL_BLOCKS_MAX]; // bits 1 << enum model_linear

    // Storage types (enum dtype). Norms are f32.
    uint8_t embed_dtype;
    uint8_t head_dtype;
    uint8_t linear_dtypes[MODEL_BLOCKS_MAX][MODEL_LINEARS];
};

// Reads and checks metadata, and that every tensor is there with the right
// shape and a known type. Every refusal names the key or tensor.
int model_config_read(struct model_config *out, const struct gguf *file,
                      struct error *err);

static inline bool model_has_window(const struct model_config *m,
                                    uint32_t block)
{
    return m->window > 0 &&
           (m->window_period == 0 || (block + 1) % m->window_period != 0);
}

// Is it there? Not where it is a part of another.
bool model_has_linear(const struct model_config *m, enum model_linear linear);
// Bits 1 << enum model_linear: those that are there, in place of `linears`,
// which may be parts of them.
uint32_t model_whole_linears(const struct model_config *m, uint32_t linears);

// "blk.0.attn_q.weight" into `out`, which it returns.
enum { MODEL_NAME_BYTES = 64 };
const char *model_linear_name(char out[MODEL_NAME_BYTES],
                              const struct model_config *m, uint32_t block,
                              enum model_linear linear);
// "attn_q"
const char *model_linear_stem(const struct model_config *m,
                              enum model_linear linear);
// "blk.0.attn_q.bias"
const char *model_bias_name(char out[MODEL_NAME_BYTES],
                            const struct model_config *m, uint32_t block,
                            enum model_linear linear);
// "blk.0.attn_norm.weight", or "blk.0.ffn_norm.weight" for norm 1; where no
// norms stand before, those behind.
const char *model_norm_name(char out[MODEL_NAME_BYTES],
                            const struct model_config *m, uint32_t block,
                            int norm);
// "attn_norm"
const char *model_norm_stem(const struct model_config *m, int norm);
// Rows (outputs) and columns (inputs) of a linear that is there.
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
    // length; outputs loss (1), nll (T). With first_block: inputs hidden
    // f16 (T,C), state i32 (T), the row of it, instead of tokens, and only the
    // blocks from there on. Where
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
    bool has_halves;             // CACHED: LoRA's halves are NAME.half, bf16
    uint32_t first_block;        // LOSS, PREFIX
    struct model_drop drop;      // LOSS
    // LOSS: the batch is that many times `batch` rows, one copy after another;
    // 0: once. Input hidden is of one copy: what comes before first_block is
    // the same for all.
    uint32_t copies;
    // LOSS, where gradients follow; borrowed. NULL: inputs stay whole
    const struct kept *kept;
};

int model_build(struct graph **out, const struct model_config *m,
                const struct model_graph_params *params, struct arena *a,
                struct error *err);
