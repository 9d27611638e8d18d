// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Import of adapters
 *
 * What the readers of all adapter files share. A reader names the linear of
 * each tensor that it finds; this checks that together they are an adapter of
 * the given base model, and makes it. Tensors' bytes are borrowed until then.
 */

#include "engine/models/scheme.h"
#include "engine/tensor/dtype.h"

#include <stdbool.h>
#include <stdint.h>

struct adapter;
struct error;

enum adapter_side {
    ADAPTER_A, // (rank, inputs)
    ADAPTER_B, // (outputs, rank)
    ADAPTER_SIDES
};

struct adapter_piece {
    const char *name; // in its file; NULL: not there
    const void *data; // at any address
    enum dtype dtype; // f32, f16, bf16
    int64_t ne[2];    // rows, columns
};

struct adapter_import {
    const struct model_config *m;
    struct adapter_piece *pieces; // of each block, linear and side
    uint8_t scale;                // enum scheme_scale
    bool has_hf_rows; // q and k come in the row order of Hugging Face
};

int adapter_import_init(struct adapter_import *in, const struct model_config *m,
                        struct error *err);
void adapter_import_finish(struct adapter_import *in);

int adapter_import_add(struct adapter_import *in, uint32_t block,
                       enum model_linear linear, enum adapter_side side,
                       const struct adapter_piece *piece, struct error *err);

// The rank of a piece of this side.
uint32_t adapter_piece_rank(const struct adapter_piece *p,
                            enum adapter_side side);
// alpha 0: the scale is 1, which one rank for all allows.
int adapter_import_make(struct adapter **out, const struct adapter_import *in,
                        float alpha, const char *base_sha256,
                        struct error *err);

// Where row `row` of q or k as Hugging Face stores it stands in GGUF: the two
// halves of a head are interleaved, because there RoPE turns neighbours.
// Other linears, and architectures that turn halves: the row itself.
int64_t adapter_gguf_row(const struct model_config *m, enum model_linear linear,
                         int64_t row);
