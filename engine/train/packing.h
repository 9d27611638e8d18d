// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Packing
 *
 * Puts windows side by side into rows of one length, so that few places are
 * padding. Each token sees only its own window (start), whose positions begin
 * at 0. First fit by decreasing size over a handful of row lengths; the length
 * that computes the fewest places wins, so that few shapes need a program.
 */

#include "engine/train/dataset.h"

#include <stddef.h>
#include <stdint.h>

enum { PACKING_LENGTHS = 4 }; // quarters of the longest row

struct packing_item {
    uint32_t window;
    uint32_t row;
    uint32_t at; // first place in the row
};

struct packing {
    uint32_t length; // places in a row
    uint32_t n_rows;
    struct packing_item *items; // by row, then by place
    uint32_t n_items;
    uint32_t items_size;
    uint64_t n_targets;
    uint64_t n_tokens; // places that are not padding
};

// The lengths that rows may have when the longest is `length`: ascending, at
// most PACKING_LENGTHS of them; returns their number.
uint32_t packing_lengths(uint32_t out[PACKING_LENGTHS], uint32_t length);

// Start from {0}; the items' memory is used again by the next call.
int packing_assign(struct packing *p, const struct dataset *d,
                   const uint32_t *windows, uint32_t n_windows,
                   uint32_t length_max);
void packing_finish(struct packing *p);

// Inputs of a program for some rows of a packing, (rows, length) each.
struct packing_rows {
    int32_t *tokens;
    int32_t *pos;
    int32_t *start;
    int32_t *targets;
    float *weights;
    int32_t *state; // its hidden state, where a program begins with those
    size_t places;  // that there is room for
};

int packing_rows_init(struct packing_rows *r, size_t places);
void packing_rows_finish(struct packing_rows *r);
// Rows [first, first + n): those beyond the packing's last are padding. Every
// target that counts weighs `weight`.
void packing_fill(struct packing_rows *r, const struct packing *p,
                  const struct dataset *d, uint32_t first, uint32_t n,
                  float weight);

// A permutation of 0 .. n - 1 for one epoch.
void packing_shuffle(uint32_t *order, uint32_t n, uint64_t seed,
                     uint64_t epoch);
