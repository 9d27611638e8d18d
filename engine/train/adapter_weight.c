// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/adapter_weight.h"

#include "engine/formats/gguf.h"
#include "engine/ir/op.h"
#include "engine/tensor/quant.h"
#include "engine/train/adapter.h"

#include <math.h>
#include <string.h>

static const float *find(const struct adapter *a, uint32_t block,
                         uint32_t linear, enum param_kind kind)
{
    for (uint32_t i = 0; i < a->n_params; i++) {
        const struct param *p = &a->params[i];
        if (p->block == block && p->linear == linear && p->kind == kind)
            return adapter_param(a, i);
    }
    return NULL;
}

const float *adapter_gain(const struct adapter *a, uint32_t block, int norm)
{
    return find(a, block, MODEL_LINEARS + (uint32_t) norm, PARAM_GAIN);
}

bool adapter_weight_init(struct adapter_weight *w, const struct adapter *a,
                         const struct model_config *m, const struct gguf *base,
                         uint32_t block, enum model_linear linear)
{
    char name[MODEL_NAME_BYTES];
    int64_t ne[2];

    if (!model_has_linear(m, linear))
        return false;
    model_linear_name(name, m, block, linear);
    model_linear_shape(ne, m, linear);
    *w = (struct adapter_weight){
        .a = a,
        .base = gguf_find(base, name)->data,
        .dtype = m->linear_dtypes[block][linear],
        .rows = ne[0],
        .columns = ne[1],
        .how = &a->scheme.linears[block][linear],
        .lora_a = find(a, block, linear, PARAM_LORA_A),
        .lora_b = find(a, block, linear, PARAM_LORA_B),
        .magnitude = find(a, block, linear, PARAM_MAGNITUDE),
        .delta = find(a, block, linear, PARAM_DELTA),
    };
    if (w->lora_a)
        w->scale = scheme_lora_scale(&a->scheme, w->how->rank);
    return w->lora_a || w->delta;
}

static void add_low_rank(float *row, const struct adapter_weight *w, int64_t o)
{
    const int64_t rank = w->how->rank;

    for (int64_t k = 0; k < rank; k++) {
        const float b = w->scale * w->lora_b[o * rank + k];
        for (int64_t i = 0; i < w->columns; i++)
            row[i] += b * w->lora_a[k * w->columns + i];
    }
}

static void add_delta(float *row, const struct adapter_weight *w, int64_t o)
{
    const uint8_t part = w->how->part;
    const float *d = w->delta + o * op_part_columns(part, w->columns);
    int64_t from, to;

    for (int e = 0; e < 8; e++) {
        if (part != 0 && !(part >> e & 1))
            continue;
        op_part_range(&from, &to, w->columns, e);
        for (int64_t i = from; i < to; i++)
            row[i] += *d++;
    }
}

static double length(const float *row, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double) row[i] * row[i];
    return sqrt(sum);
}

void adapter_weight_row(float *plain, float *adapted,
                        const struct adapter_weight *w, int64_t row)
{
    const enum dtype type = (enum dtype) w->dtype;
    const char *from =
        w->base + (size_t) row * dtype_row_bytes(type, w->columns);

    if (plain)
        quant_decode(type, plain, from, w->columns);
    if (!adapted)
        return;
    quant_decode(type, adapted, from, w->columns);
    const double before = w->magnitude ? length(adapted, w->columns) : 0;
    if (w->lora_a)
        add_low_rank(adapted, w, row);
    if (w->delta)
        add_delta(adapted, w, row);
    if (w->magnitude) {
        const double after = length(adapted, w->columns);
        const double ratio = after > 0 ? before / after : 1;
        const float gain = (float) (ratio * (1 + (double) w->magnitude[row]));
        for (int64_t i = 0; i < w->columns; i++)
            adapted[i] *= gain;
    }
}
