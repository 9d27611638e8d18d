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
};

// Reads and checks metadata, and that every tensor is there with the right
// shape and a known type. Every refusal names the key or tensor.
int model_config_read(struct model_config *out, const struct gguf *file,
                      struct error *err);

// The linears of a block that may carry LoRA, as bits.
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

// How many params the scheme has; fills at most `max` of them.
uint32_t model_params(struct param *out, uint32_t max,
                      const struct model_config *m,
                      const struct lora_spec *lora);

enum model_phase {
    // inputs tokens pos start targets i32 (T), weights f32 (T), T = batch *
    // length; outputs loss (1), nll (T)
    MODEL_PHASE_LOSS,
    // inputs tokens pos i32 (length), rows i32 (n_rows); states cache.k.N,
    // cache.v.N (cache_length, G*D); output logits (n_rows, V)
    MODEL_PHASE_CACHED,
};

struct model_graph_params {
    enum model_phase phase;
    uint32_t batch;
    uint32_t length;
    uint32_t cache_length; // CACHED
    uint32_t n_rows;       // CACHED
    struct lora_spec lora; // rank 0: the base model alone
};

int model_build(struct graph **out, const struct model_config *m,
                const struct model_graph_params *params, struct arena *a,
                struct error *err);
