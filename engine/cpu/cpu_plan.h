// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * How kernels cut their work and divide their scratch
 *
 * Pure functions of shapes and types, so that every number of threads does the
 * same sums in the same blocks, and a scratch fits every tier.
 */

#include "engine/backend.h"
#include "engine/tensor/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Products
 */

enum { CPU_MATMUL_TILE = 64 }; // columns of the widest tile of any tier

enum cpu_matmul_path {
    CPU_MATMUL_TILES, // pack both sides, then tiles of y
    CPU_MATMUL_GEMV,  // few rows: dot products straight from the rows of b
    CPU_MATMUL_DOTS,  // few columns: dot products of rows of a
    CPU_MATMUL_OUTER, // op(a) op(b) with few rows or columns, both stored (K,.)
};

struct cpu_matmul_plan {
    enum cpu_matmul_path path;
    bool is_a_packed;
    int64_t ms, ns, ks;        // what is packed at a time
    size_t a_floats, b_floats; // of scratch, a first
};

struct cpu_matmul_plan cpu_matmul_plan(int64_t m, int64_t n, int64_t k,
                                       bool trans_a, bool trans_b,
                                       enum dtype b_type);

// Does matmul round rows of a (M,K) to eight bits? With `precision` q8, few of
// them, and b (N,K) of a type below. Each block of 32 becomes d * q, where d is
// its largest magnitude / 127 and q the nearest integers to a * (127 / that
// magnitude), to even when in between; zeros below CPU_ROWS8_TINY.
bool cpu_rounds_rows(enum precision precision, int64_t m, int64_t k,
                     bool trans_a, bool trans_b, enum dtype b_type);
#define CPU_ROWS8_TINY 1e-30f
#define CPU_ROWS8_TYPES(X) \
    X(q8_0) X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q4_k) X(q5_k) X(q6_k)

// Floats between rows of a (M,K) when it is stored as pairs of bf16, and what
// all of it takes, in whichever way it is packed.
int64_t cpu_rounded_row(int64_t k);
size_t cpu_rounded_floats(int64_t m, int64_t k);

// How matmul_lora divides its scratch: room for a p^T (M,R), rows `ld` apart or
// fewer; then, of bf16 tiers, p as pairs; then that of products.
struct cpu_lora_plan {
    int64_t ld;
    size_t z_floats, p_floats;
    size_t floats; // in all
};
struct cpu_lora_plan cpu_lora_plan(int64_t m, int64_t n, int64_t k,
                                   int64_t rank, enum dtype b_type,
                                   enum dtype low_type,
                                   enum precision precision);

/*
 * Attention
 */

enum {
    CPU_ATTENTION_ROWS = 96,      // queries of a task
    CPU_ATTENTION_VALUES = 32768, // of p or ds that a task keeps, backward
};

// How attention_cached takes queries that share a key-value head together, and
// the floats that a thread needs for that.
struct cpu_cached_plan {
    int64_t queries; // at most CPU_CACHED_QUERIES
    int64_t ld;      // between rows of scores
    size_t floats;   // queries, scores, a panel of keys, what comes out
};
enum { CPU_CACHED_QUERIES = 48 };
struct cpu_cached_plan cpu_cached_plan(int64_t rows, int64_t length,
                                       int64_t group, int64_t head_dim);

/*
 * The loss
 */

// How many tokens' logits exist at a time, of how many rows of w, and where in
// the scratch the room of the products begins, in floats. Without dx the rows
// of w are read once for many tokens, some of them at a time; with it all of
// them for few.
struct cpu_xent_plan {
    int64_t chunk;
    int64_t width; // rows of w
    int64_t ld;    // between rows of logits
    int64_t dx_at; // or what is summed up without it: 4 floats of a token
    int64_t token_at, matmul_at;
    size_t floats; // in all
};

struct cpu_xent_plan cpu_xent_plan(int64_t rows, int64_t cols, int64_t vocab,
                                   enum dtype w_type, enum precision precision,
                                   bool has_dx);
