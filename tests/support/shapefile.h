// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Model files of real shapes
 *
 * A GGUF of the llama architecture with random weights, in the shape of a model
 * that people use: what a program costs hangs on the shape alone. Nothing is
 * held but, for each type, as many bytes as the largest tensor has.
 */

#include <stddef.h>
#include <stdint.h>

struct error;

struct shapefile {
    const char *name;
    uint32_t n_blocks, width, n_heads, n_kv_heads, head_dim, ffn_width, n_vocab;
};

// mixed, of which rows of one linear are no whole blocks of 256; stories15m,
// llama29m, blocks32, smollm135m, qwen05b, qwen3_06b, llama1b, llama7b (whose
// head is tied here), 4b. All are llamas: those
// of other architectures have their sizes only.
extern const struct shapefile shapefiles[];
extern const size_t shapefile_count;
const struct shapefile *shapefile_find(const char *name); // NULL: none

// Matrices of `types`: a type of weights, which becomes another where rows are
// not whole blocks of it; or q4_k_m, the mixture of that name. Norms in f32,
// the head tied to the embedding. Written at the descriptor's position.
int shapefile_save(const struct shapefile *s, const char *types, uint64_t seed,
                   int fd, struct error *err);
// A descriptor of a file in memory, at its start. Asserts on failure.
int shapefile_create(const struct shapefile *s, const char *types,
                     uint64_t seed);
