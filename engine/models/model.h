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
// Rows (outputs) and columns (inputs) of a linear.
void model_linear_shape(int64_t ne[2], const struct model_config *m,
                        enum model_linear linear);

// The linears of a block that may carry LoRA, as bits 1 << enum model_linear.
enum lora_target {
    LORA_Q = 1 << 0,
    LORA_K = 1 << 1,
    LORA_V = 1 << 2,
    LORA_O = 1 << 3,
    LORA_GATE = 1 << 4,
    LORA_UP = 1 << 5,
    LORA_DOWN = 1 << 6,
    LORA_ALL = 127,
};

enum { LORA_RANK_MAX = 256 };

// y = x W^T + (alpha / rank) (x A^T) B^T, A (rank, in), B (out, rank).
// Hu et al., arXiv 2106.09685.
struct lora_spec {
    uint32_t rank; // 0: no adapter
    float alpha;
    uint32_t targets;     // enum lora_target bits
    uint32_t last_blocks; // 0: all; else only the last k blocks
};

// One trainable tensor of a scheme, in a fixed order: block by block, q k v o
// gate up down, A before B. Names: "blk.0.attn_q.weight.lora_a".
struct param {
    char name[64];
    int64_t ne[2]; // (rank, in) or (out, rank)
};

// -EINVAL and a sentence for a rank, scale, target or depth that cannot be.
int lora_check(const struct lora_spec *lora, const struct model_config *m,
               struct error *err);
// Does this linear of this block carry an adapter?
bool lora_has(const struct lora_spec *lora, const struct model_config *m,
              uint32_t block, enum model_linear linear);

// The first block that learns: what enters it depends on the model and the
// tokens alone. n_blocks when nothing learns.
uint32_t lora_first_block(const struct lora_spec *lora,
                          const struct model_config *m);

// How many params the scheme has; fills at most `max` of them.
uint32_t model_params(struct param *out, uint32_t max,
                      const struct model_config *m,
                      const struct lora_spec *lora);

enum model_phase {
    // inputs tokens pos start targets i32 (T), weights f32 (T), T = batch *
    // length; outputs loss (1), nll (T). With first_block: input hidden
    // f32 (T,C) instead of tokens, and only the blocks from there on
    MODEL_PHASE_LOSS,
    // inputs tokens pos i32 (length), rows i32 (n_rows); states cache.k.N,
    // cache.v.N (cache_length, G*D); output logits (n_rows, V)
    MODEL_PHASE_CACHED,
    // The blocks before first_block, without an adapter: inputs tokens pos
    // start i32 (T); output hidden f32 (T,C)
    MODEL_PHASE_PREFIX,
};

struct model_graph_params {
    enum model_phase phase;
    uint32_t batch;
    uint32_t length;
    uint32_t cache_length; // CACHED
    uint32_t n_rows;       // CACHED
    struct lora_spec lora; // rank 0: the base model alone
    uint32_t first_block;  // LOSS, PREFIX
};

int model_build(struct graph **out, const struct model_config *m,
                const struct model_graph_params *params, struct arena *a,
                struct error *err);
