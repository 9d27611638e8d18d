// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/adapter_import.h"

#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/half.h"
#include "engine/ir/op.h"
#include "engine/train/adapter.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int adapter_import_init(struct adapter_import *in, const struct model_config *m,
                        struct error *err)
{
    *in = (struct adapter_import){.m = m};
    in->pieces =
        fault_calloc((size_t) m->n_blocks * MODEL_LINEARS * ADAPTER_SIDES,
                     sizeof(*in->pieces));
    if (!in->pieces)
        return error_set(err, -ENOMEM, "not enough memory for the adapter");
    return 0;
}

void adapter_import_finish(struct adapter_import *in)
{
    free(in->pieces);
}

static struct adapter_piece *piece_at(const struct adapter_import *in,
                                      uint32_t block, enum model_linear linear,
                                      enum adapter_side side)
{
    size_t i = (size_t) block * MODEL_LINEARS + linear;
    return &in->pieces[i * ADAPTER_SIDES + side];
}

static bool has_linear(const struct adapter_import *in, uint32_t block,
                       enum model_linear linear)
{
    return piece_at(in, block, linear, ADAPTER_A)->name ||
           piece_at(in, block, linear, ADAPTER_B)->name;
}

static int check_shape(const struct adapter_import *in,
                       const struct adapter_piece *p, enum model_linear linear,
                       enum adapter_side side, struct error *err)
{
    int64_t ne[2];
    int64_t rank = p->ne[side];
    model_linear_shape(ne, in->m, linear);
    int64_t want = side == ADAPTER_A ? ne[1] : ne[0];
    int64_t have = p->ne[!side];

    if (have != want)
        return error_set(err, -EINVAL,
                         "tensor %s has %lld %s, but this base model needs "
                         "%lld: the adapter was made for another model",
                         p->name, (long long) have,
                         side == ADAPTER_A ? "inputs" : "outputs",
                         (long long) want);
    if (rank < 1 || rank > LORA_RANK_MAX)
        return error_set(err, -EINVAL,
                         "tensor %s has rank %lld, but must have 1 to %d",
                         p->name, (long long) rank, LORA_RANK_MAX);
    return 0;
}

uint32_t adapter_piece_rank(const struct adapter_piece *p,
                            enum adapter_side side)
{
    return (uint32_t) p->ne[side];
}

int adapter_import_add(struct adapter_import *in, uint32_t block,
                       enum model_linear linear, enum adapter_side side,
                       const struct adapter_piece *piece, struct error *err)
{
    struct adapter_piece *p = piece_at(in, block, linear, side);

    if (p->name)
        return error_set(err, -EINVAL, "tensors %s and %s are the same one",
                         p->name, piece->name);
    if (piece->dtype != DTYPE_f32 && piece->dtype != DTYPE_f16 &&
        piece->dtype != DTYPE_bf16)
        return error_set(err, -ENOTSUP,
                         "tensor %s is of type %s, but an adapter's must be "
                         "f32, f16 or bf16",
                         piece->name, dtype_infos[piece->dtype].name);
    int rc = check_shape(in, piece, linear, side, err);
    if (rc < 0)
        return rc;
    *p = *piece;
    return 0;
}

// Both halves, of one rank.
static int check_halves(const struct adapter_piece *p, struct error *err)
{
    const struct adapter_piece *a = &p[ADAPTER_A], *b = &p[ADAPTER_B];

    if (!a->name || !b->name)
        return error_set(err, -EINVAL,
                         "tensor %s has no lora_%c beside it: both are needed",
                         a->name ? a->name : b->name, a->name ? 'b' : 'a');
    if (a->ne[ADAPTER_A] != b->ne[ADAPTER_B])
        return error_set(err, -EINVAL,
                         "tensor %s has rank %lld, but %s has %lld", b->name,
                         (long long) b->ne[ADAPTER_B], a->name,
                         (long long) a->ne[ADAPTER_A]);
    return 0;
}

static int find_scheme(struct scheme *out, const struct adapter_import *in,
                       float alpha, struct error *err)
{
    uint32_t rank = 0;
    int rc;

    scheme_init(out);
    out->scale = in->scale;
    for (uint32_t i = 0; i < in->m->n_blocks * MODEL_LINEARS; i++) {
        const uint32_t block = i / MODEL_LINEARS;
        const enum model_linear linear = (enum model_linear)(i % MODEL_LINEARS);
        const struct adapter_piece *p = piece_at(in, block, linear, ADAPTER_A);
        if (!has_linear(in, block, linear))
            continue;
        if ((rc = check_halves(p, err)) < 0)
            return rc;
        const uint32_t r = adapter_piece_rank(p, ADAPTER_A);
        if (alpha == 0 && rank != 0 && r != rank)
            return error_set(err, -ENOTSUP,
                             "tensor %s has rank %u, but others have %u: "
                             "an adapter of mixed ranks needs its alpha",
                             p->name, r, rank);
        rank = r;
        out->linears[block][linear] = (struct scheme_linear){
            .learn = LEARN_LORA,
            .rank = (uint16_t) r,
        };
    }
    if (rank == 0)
        return error_set(err, -EINVAL, "the adapter holds no tensors");
    out->alpha = alpha == 0 ? (float) rank : alpha;
    return 0;
}

static float load_value(const struct adapter_piece *p, int64_t i)
{
    const unsigned char *data = p->data;
    if (p->dtype == DTYPE_f32)
        return bits_to_f32(bits_load32(data + 4 * i));
    uint16_t h = bits_load16(data + 2 * i);
    return p->dtype == DTYPE_f16 ? half_to_f32(h) : bf16_to_f32(h);
}

int64_t adapter_gguf_row(const struct model_config *m, enum model_linear linear,
                         int64_t row)
{
    const int64_t D = m->head_dim;

    if ((linear != MODEL_LINEAR_q && linear != MODEL_LINEAR_k) ||
        m->rope_mode != ROPE_PAIRS)
        return row;
    int64_t head = row / D, half = row % D / (D / 2), i = row % (D / 2);
    return head * D + 2 * i + half;
}

static int copy_piece(float *out, const struct adapter_import *in,
                      const struct adapter_piece *p, enum model_linear linear,
                      enum adapter_side side, struct error *err)
{
    for (int64_t r = 0; r < p->ne[0]; r++) {
        bool moves = side == ADAPTER_B && in->has_hf_rows;
        int64_t to = moves ? adapter_gguf_row(in->m, linear, r) : r;
        for (int64_t c = 0; c < p->ne[1]; c++) {
            float x = load_value(p, r * p->ne[1] + c);
            if (!isfinite(x))
                return error_set(err, -EINVAL,
                                 "tensor %s holds a value that is not a finite "
                                 "number, in row %lld",
                                 p->name, (long long) r);
            out[to * p->ne[1] + c] = x;
        }
    }
    return 0;
}

int adapter_import_make(struct adapter **out, const struct adapter_import *in,
                        float alpha, const char *base_sha256, struct error *err)
{
    struct scheme scheme;
    struct adapter *a;
    uint32_t param = 0;
    int rc;

    if ((rc = find_scheme(&scheme, in, alpha, err)) < 0 ||
        (rc = adapter_create(&a, in->m, &scheme, base_sha256, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < in->m->n_blocks * MODEL_LINEARS && rc == 0; i++) {
        enum model_linear linear = (enum model_linear)(i % MODEL_LINEARS);
        if (!has_linear(in, i / MODEL_LINEARS, linear))
            continue;
        for (int side = 0; side < ADAPTER_SIDES && rc == 0; side++)
            rc = copy_piece(adapter_param(a, param++), in,
                            piece_at(in, i / MODEL_LINEARS, linear,
                                     (enum adapter_side) side),
                            linear, (enum adapter_side) side, err);
    }
    if (rc < 0) {
        adapter_destroy(a);
        return rc;
    }
    *out = a;
    return 0;
}
