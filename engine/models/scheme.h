// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Schemes
 *
 * What learns, and how: for each linear of each block low-rank factors, a
 * difference to its weight, or nothing, and which gains of norms. Everything
 * else of the compiler follows: autodiff derives what a scheme's tensors need,
 * and an adapter is the values of these tensors.
 *
 * A scheme is plain data: copied by =, compared by scheme_equal(). Those who
 * keep programs, adapters or states have a copy; everyone else borrows.
 */

#include "engine/models/model.h"

enum learn {
    LEARN_NONE,
    LEARN_LORA,   // A and B. Hu et al., arXiv 2106.09685
    LEARN_LORA_B, // B; A stays as it began. LoRA-FA, arXiv 2308.03303
    LEARN_DORA,   // A, B and the length of each row. arXiv 2402.09353
    LEARN_DELTA,  // a difference to the weight, or to some of its columns
    LEARN_KINDS
};

struct scheme_linear {
    uint8_t learn; // enum learn
    // DELTA: which eighths of the input channels, as bits; 0: all of them.
    uint8_t part;
    uint16_t rank; // LORA, LORA_B, DORA
};

enum scheme_scale {
    SCHEME_SCALE_RANK, // alpha / rank
    SCHEME_SCALE_ROOT, // alpha / sqrt(rank). rsLoRA, arXiv 2312.03732
    SCHEME_SCALES
};

enum scheme_norm {
    SCHEME_ATTN_NORM = 1 << 0,
    SCHEME_FFN_NORM = 1 << 1,
    SCHEME_BOTH_NORMS = 3,
};

struct scheme {
    float alpha;
    float b_rate;     // learning rate of B in that of A. LoRA+, 2402.12354
    float delta_rate; // of whole weights, in that of the recipe
    // 0: the whole model; else it ends after so many blocks, with the last
    // norm and the head. EDGE-LLM, arXiv 2406.15758.
    uint32_t exit_block;
    uint8_t scale;                   // enum scheme_scale
    uint8_t output_norm;             // 1: the gain of the last norm learns
    uint8_t unused[2];               // zero
    uint8_t norms[MODEL_BLOCKS_MAX]; // enum scheme_norm: gains that learn
    struct scheme_linear linears[MODEL_BLOCKS_MAX][MODEL_LINEARS];
};

// Nothing learns; all else at its default.
void scheme_init(struct scheme *s);
bool scheme_equal(const struct scheme *a, const struct scheme *b);
// Does it fit the model, and does anything learn? -EINVAL and a sentence that
// names the tensor.
int scheme_check(const struct scheme *s, const struct model_config *m,
                 struct error *err);
// SHA-256 of what learns and how.
void scheme_hash(uint8_t out[32], const struct scheme *s);

// The blocks that programs of this scheme run: exit_block, or all.
uint32_t scheme_blocks(const struct scheme *s, const struct model_config *m);
// The lowest block in which anything learns; scheme_blocks() when none does.
// What runs before it is the same in every step.
uint32_t scheme_first_block(const struct scheme *s,
                            const struct model_config *m);
// What the product of A and B is multiplied with.
float scheme_lora_scale(const struct scheme *s, uint32_t rank);

/*
 * The most common scheme: one rank for the same linears of the last blocks.
 */

// The linears of a block as bits 1 << enum model_linear.
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

struct scheme_lora {
    uint32_t rank;
    float alpha;
    uint32_t targets;     // enum lora_target bits
    uint32_t last_blocks; // 0: all; else only the last k blocks
};

// -EINVAL and a sentence for a rank, scale, target or depth that cannot be.
int scheme_from_lora(struct scheme *out, const struct scheme_lora *lora,
                     const struct model_config *m, struct error *err);

/*
 * Tensors of a scheme
 */

enum param_kind {
    PARAM_LORA_A,    // (rank, inputs), starts normal with variance 1 / inputs
    PARAM_LORA_B,    // (outputs, rank), starts as zero, as do all below
    PARAM_MAGNITUDE, // (1, outputs): what a row's length is multiplied with, -
                     // 1
    PARAM_DELTA,     // (outputs, inputs, or some of them)
    PARAM_GAIN,      // (1, width): difference to the gain of a norm
};

// One tensor of a scheme, in a fixed order: block by block, in it q k v o gate
// up down, of each A, B, magnitude or delta, then the two norms; last the last
// norm. Names: "blk.0.attn_q.weight.lora_a", "blk.0.attn_norm.weight.delta".
struct param {
    char name[64];
    int64_t ne[2];  // rows, columns
    uint16_t block; // n_blocks: the last norm
    uint8_t linear; // enum model_linear; MODEL_LINEARS and above: a norm
    uint8_t kind;   // enum param_kind
    bool is_frozen; // part of the adapter, but does not learn
    float rate;     // its learning rate in that of the recipe
};

// How many tensors the scheme has, fixed ones too; fills at most `max`. NULL:
// none.
uint32_t scheme_params(struct param *out, uint32_t max,
                       const struct model_config *m, const struct scheme *s);
// Their floats.
uint64_t scheme_floats(const struct scheme *s, const struct model_config *m);
