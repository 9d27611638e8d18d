// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What matmul_bf16_vec.c asks of an instruction set: the file that holds its
 * share is chosen at the end, and has what is declared there.
 */

#include "engine/cpu/bf16.h"
#include "engine/cpu/ints.h"
#include "engine/cpu/matmul_bf16.h"

struct rounded {
    const struct rounded_product *p;
    const pair *pa;
    pair *room;
    int64_t lda;   // pairs between rows of pa, or what else lies side by side
    int64_t depth; // of a panel; a multiple of 32
    int64_t ldy;
    int64_t threads;
    uint32_t panels;
};

// Where the sums of a tile come from and go to: from t if this is not the first
// part of the depth, to t if it is not the last one.
struct place {
    float *t; // (ROWS,PANEL_COLS)
    bool is_first, is_last;
    float *y;
    const float *c; // or NULL
    int64_t ld;
    float alpha;
    struct ahead ahead;
};

// What follows is `lda` pairs from its neighbour in a, once that is packed, if
// rows go on with `low` values behind their k.
static int64_t packed_lda(const struct rounded_product *p);
// Rows of a that a task of packing takes.
static int64_t packed_unit(const struct rounded_product *p);
static void pack_a_task(void *ctx, uint32_t task, uint32_t worker);
// p->low->p as pairs.
static void pack_low(const struct rounded_product *p);

// Row i of a, a multiple of TILE_ROWS, from value k0 on.
ALWAYS_INLINE struct pair_strip strip_of(const struct rounded *r, int64_t i,
                                         int64_t k0);
// Steps of a strip with TILE_COLS columns of a panel: all, or some.
static void tile_full(const struct place *at, struct pair_strip s,
                      const pair *b, int64_t steps);
static void tile_edge(const struct place *at, struct pair_strip s,
                      const pair *b, int64_t steps, int64_t rows, int64_t cols);

#if defined(CPU_ISA_NEONBF16)
#include "engine/cpu/tiles_neonbf16.h"
#else
#include "engine/cpu/tiles_avx512bf16.h"
#endif
