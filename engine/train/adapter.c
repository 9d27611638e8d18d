// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/adapter.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/rng.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int adapter_create(struct adapter **out, const struct model_config *m,
                   const struct scheme *scheme, const char *base_sha256,
                   struct error *err)
{
    int rc = scheme_check(scheme, m, err);
    if (rc < 0)
        return rc;

    struct adapter *a = fault_calloc(1, sizeof(*a));
    if (!a)
        goto no_memory;
    a->scheme = *scheme;
    memcpy(a->arch, m->arch, sizeof(a->arch));
    a->is_qkv_fused = m->is_qkv_fused;
    a->is_gate_fused = m->is_gate_fused;
    a->norms = m->norms;
    (void) snprintf(a->base_sha256, sizeof(a->base_sha256), "%s",
                    base_sha256 ? base_sha256 : "");
    a->n_blocks = m->n_blocks;
    a->n_params = scheme_params(NULL, 0, m, scheme);
    a->params = fault_calloc(a->n_params, sizeof(*a->params));
    a->starts = fault_calloc(a->n_params + 1, sizeof(*a->starts));
    if (!a->params || !a->starts)
        goto no_memory;
    (void) scheme_params(a->params, a->n_params, m, scheme);
    for (uint32_t i = 0; i < a->n_params; i++)
        a->starts[i + 1] = a->starts[i] + (size_t) a->params[i].ne[0] *
                                              (size_t) a->params[i].ne[1];
    a->data = fault_calloc(a->starts[a->n_params], sizeof(*a->data));
    if (!a->data)
        goto no_memory;
    *out = a;
    return 0;

no_memory:
    adapter_destroy(a);
    return error_set(err, -ENOMEM, "not enough memory for the adapter");
}

void adapter_destroy(struct adapter *a)
{
    if (!a)
        return;
    free(a->params);
    free(a->starts);
    free(a->data);
    free(a->journal);
    free(a);
}

float *adapter_param(const struct adapter *a, uint32_t i)
{
    return a->data + a->starts[i];
}

size_t adapter_floats(const struct adapter *a)
{
    return a->starts[a->n_params];
}

static int refuse(struct error *err, const char *format, const char *tensor,
                  const char *what, const char *instead)
{
    return error_set(err, -ENOTSUP, "%s cannot hold %s of %s: export it as %s",
                     format, what, tensor, instead);
}

int adapter_check_lora(const struct adapter *a, const char *format,
                       struct error *err)
{
    static const char any[] = "merged, or as lora-svd";
    const struct scheme *s = &a->scheme;

    if (s->exit_block)
        return error_set(err, -ENOTSUP,
                         "%s cannot hold that the model ends after %u blocks: "
                         "export it as merged",
                         format, s->exit_block);
    for (uint32_t i = 0; i < a->n_params; i++) {
        const struct param *p = &a->params[i];
        switch ((enum param_kind) p->kind) {
        case PARAM_MAGNITUDE:
            return refuse(err, format, p->name, "the lengths (DoRA)", any);
        case PARAM_DELTA:
            return refuse(err, format, p->name, "a whole weight", any);
        case PARAM_GAIN:
            return refuse(err, format, p->name, "the gain",
                          p->block < a->n_blocks ? any : "merged");
        case PARAM_LORA_A:
            if (s->scale == SCHEME_SCALE_ROOT && p->ne[0] != a->params[0].ne[0])
                return refuse(err, format, p->name,
                              "one of several ranks, rank-stabilised,", any);
            break;
        case PARAM_LORA_B:
            break;
        }
    }
    return 0;
}

int adapter_check_peft(const struct adapter *a, struct error *err)
{
    struct adapter plain = *a;

    // It may say a rank for each linear, whatever the scale.
    plain.scheme.scale = SCHEME_SCALE_RANK;
    return adapter_check_lora(&plain, "PEFT", err);
}

int adapter_begin(float *values, const struct model_config *config,
                  const struct scheme *scheme, uint64_t seed)
{
    const uint32_t n = scheme_params(NULL, 0, config, scheme);
    struct param *params = calloc(n, sizeof *params);

    if (!params)
        return -ENOMEM;
    (void) scheme_params(params, n, config, scheme);
    for (uint32_t i = 0; i < n; i++) {
        const int64_t count = params[i].ne[0] * params[i].ne[1];
        const bool is_a = params[i].kind == PARAM_LORA_A;
        const double scale = 1 / sqrt((double) params[i].ne[1]);
        struct rng rng;
        rng_init(&rng, seed, i);
        for (int64_t j = 0; j < count; j++)
            *values++ = is_a ? (float) (scale * rng_normal(&rng)) : 0;
    }
    free(params);
    return 0;
}
