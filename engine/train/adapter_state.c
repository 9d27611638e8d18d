// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/adapter_state.h"

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/tensor/quant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Kernels want their operands at cache lines.
enum { ALIGNMENT = 64 };

static const char *const suffixes[ADAPTER_PARTS] = {"",   ".m",    ".v",
                                                    ".g", ".gain", ".half"};

struct adapter_state {
    const struct backend *backend;
    struct scheme scheme;
    uint32_t n_params;
    struct param *params;
    size_t *offsets; // bytes into each buffer; into HALF half of them
    size_t n_floats; // without the gaps
    struct buffer *parts[ADAPTER_PARTS];
};

static size_t param_floats(const struct param *p)
{
    return (size_t) p->ne[0] * (size_t) p->ne[1];
}

void adapter_state_destroy(struct adapter_state *s)
{
    if (!s)
        return;
    for (int i = 0; i < ADAPTER_PARTS; i++)
        s->backend->buffer_destroy(s->parts[i]);
    free(s->offsets);
    free(s->params);
    free(s);
}

static int lay_out(struct adapter_state *s, const struct model_config *config,
                   size_t *bytes)
{
    s->n_params = scheme_params(NULL, 0, config, &s->scheme);
    s->params = calloc(s->n_params + 1, sizeof *s->params);
    s->offsets = calloc(s->n_params + 1, sizeof *s->offsets);
    if (!s->params || !s->offsets)
        return -ENOMEM;
    (void) scheme_params(s->params, s->n_params, config, &s->scheme);

    size_t at = 0;
    for (uint32_t i = 0; i < s->n_params; i++) {
        const size_t n = param_floats(&s->params[i]);
        s->offsets[i] = at;
        s->n_floats += n;
        at += (n * sizeof(float) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    *bytes = at ? at : ALIGNMENT;
    return 0;
}

bool adapter_state_has_gains(const struct adapter_state *s)
{
    for (uint32_t i = 0; i < s->n_params; i++)
        if (s->params[i].kind == PARAM_MAGNITUDE)
            return true;
    return false;
}

static bool has_part(const struct adapter_state *s, int part,
                     const struct adapter_state_params *params)
{
    if (part == ADAPTER_PART_GAIN)
        return !params->has_optimizer && !params->is_forward &&
               adapter_state_has_gains(s);
    if (part == ADAPTER_PART_HALF)
        return !params->has_optimizer && !params->is_forward;
    return part <= params->n_moments || params->has_optimizer;
}

bool adapter_state_has(const struct adapter_state *s, enum adapter_part part)
{
    return s->parts[part] != NULL;
}

int adapter_state_create(struct adapter_state **out,
                         const struct adapter_state_params *params,
                         struct error *err)
{
    struct adapter_state *s = calloc(1, sizeof *s);
    size_t bytes = 0;
    int rc = -ENOMEM;

    if (!s)
        goto error;
    s->backend = params->backend;
    s->scheme = *params->scheme;
    if ((rc = lay_out(s, params->config, &bytes)) < 0)
        goto error;
    for (int i = 0; i < ADAPTER_PARTS; i++)
        if (has_part(s, i, params) &&
            (rc = s->backend->buffer_create(&s->parts[i], params->dev,
                                            i == ADAPTER_PART_HALF ? bytes / 2
                                                                   : bytes)) <
                0)
            goto error;
    *out = s;
    return 0;

error:
    adapter_state_destroy(s);
    return error_set(err, rc,
                     "adapter: the device has no %zu bytes left for it: %s; "
                     "use a lower rank or fewer targets",
                     bytes, strerror(-rc));
}

size_t adapter_state_floats(const struct adapter_state *s)
{
    return s->n_floats;
}

const struct scheme *adapter_state_scheme(const struct adapter_state *s)
{
    return &s->scheme;
}

static bool has_half(const struct param *p)
{
    return p->kind == PARAM_LORA_A || p->kind == PARAM_LORA_B;
}

static int write_halves(struct adapter_state *s, const float *values)
{
    int rc = 0;

    for (uint32_t i = 0; i < s->n_params && rc == 0; i++) {
        const size_t n = param_floats(&s->params[i]);
        if (has_half(&s->params[i])) {
            uint16_t *half = malloc((n + 1) * sizeof *half);
            if (!half)
                return -ENOMEM;
            quant_encode(DTYPE_bf16, half, values, (int64_t) n);
            rc = s->backend->buffer_write(s->parts[ADAPTER_PART_HALF],
                                          s->offsets[i] / 2, half,
                                          n * sizeof *half);
            free(half);
        }
        values += n;
    }
    return rc;
}

int adapter_state_write(struct adapter_state *s, enum adapter_part part,
                        const float *values)
{
    if (part == ADAPTER_PART_VALUE && s->parts[ADAPTER_PART_HALF]) {
        int rc = write_halves(s, values);
        if (rc < 0)
            return rc;
    }
    for (uint32_t i = 0; i < s->n_params; i++) {
        const size_t n = param_floats(&s->params[i]);
        int rc = s->backend->buffer_write(s->parts[part], s->offsets[i], values,
                                          n * sizeof *values);
        if (rc < 0)
            return rc;
        values += n;
    }
    return 0;
}

int adapter_state_read(const struct adapter_state *s, enum adapter_part part,
                       float *values)
{
    for (uint32_t i = 0; i < s->n_params; i++) {
        const size_t n = param_floats(&s->params[i]);
        int rc = s->backend->buffer_read(s->parts[part], s->offsets[i], values,
                                         n * sizeof *values);
        if (rc < 0)
            return rc;
        values += n;
    }
    return 0;
}

int adapter_state_zero(struct adapter_state *s, enum adapter_part part)
{
    float *zeros = calloc(s->n_floats + 1, sizeof *zeros);
    int rc;

    if (!zeros)
        return -ENOMEM;
    rc = adapter_state_write(s, part, zeros);
    free(zeros);
    return rc;
}

int adapter_state_take_gains(struct adapter_state *s, struct executor *x)
{
    char name[sizeof s->params->name + 8];
    int rc = 0;

    for (uint32_t i = 0; i < s->n_params && rc == 0; i++) {
        const size_t bytes = param_floats(&s->params[i]) * sizeof(float);
        if (s->params[i].kind != PARAM_MAGNITUDE)
            continue;
        float *values = malloc(bytes);
        if (!values)
            return -ENOMEM;
        (void) snprintf(name, sizeof name, "%s%s", s->params[i].name,
                        suffixes[ADAPTER_PART_GAIN]);
        if ((rc = executor_read(x, name, values, bytes)) == 0)
            rc = s->backend->buffer_write(s->parts[ADAPTER_PART_GAIN],
                                          s->offsets[i], values, bytes);
        free(values);
    }
    return rc;
}

static bool is_param(const struct param *p, const char *name, size_t bytes)
{
    return strlen(p->name) == bytes && memcmp(p->name, name, bytes) == 0;
}

int adapter_state_bind(struct binding *out, const struct adapter_state *s,
                       const struct program_slot *slot, struct error *err)
{
    size_t bytes = strlen(slot->name);
    int part = ADAPTER_PART_VALUE;

    for (int i = 1; i < ADAPTER_PARTS; i++) {
        const size_t n = strlen(suffixes[i]);
        if (bytes > n && strcmp(slot->name + bytes - n, suffixes[i]) == 0) {
            part = i;
            bytes -= n;
            break;
        }
    }
    const bool is_half = part == ADAPTER_PART_HALF;
    const size_t size = is_half ? sizeof(uint16_t) : sizeof(float);
    for (uint32_t i = 0; i < s->n_params; i++) {
        const struct param *p = &s->params[i];
        if (!s->parts[part] || !is_param(p, slot->name, bytes) ||
            (is_half && !has_half(p)) || slot->bytes != param_floats(p) * size)
            continue;
        *out = (struct binding){
            .buffer = s->parts[part],
            .offset = is_half ? s->offsets[i] / 2 : s->offsets[i],
        };
        return 0;
    }
    return error_set(err, -ENOENT, "adapter: it has no state \"%s\"",
                     slot->name);
}
