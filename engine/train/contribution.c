// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/contribution.h"

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/train/adapter_state.h"
#include "engine/train/base_model.h"
#include "engine/train/evaluator.h"
#include "engine/train/packing.h"
#include "engine/train/program_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct measure {
    struct base_model *base;
    const struct contribution_params *params;
    struct scheme scheme;
    struct param *tensors;
    uint32_t n_tensors;
    struct adapter_state *state;
    struct program_cache *cache;
    struct packing packing;
    struct packing_rows rows;
    float *values; // the probing adapter, then gradients of one B
    double *sums;  // of the gradients of all B, over the samples
    size_t n_floats;
    struct contribution *c;
};

static void finish(struct measure *m)
{
    program_cache_destroy(m->cache);
    adapter_state_destroy(m->state);
    packing_rows_finish(&m->rows);
    packing_finish(&m->packing);
    free(m->tensors);
    free(m->values);
    free(m->sums);
    free(m->c);
}

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct measure *m = user;
    return adapter_state_bind(out, m->state, slot, err);
}

// Only B learns; alpha / rank is 1.
static void set_scheme(struct measure *m)
{
    scheme_init(&m->scheme);
    m->scheme.alpha = CONTRIBUTION_PARTS;
    for (uint32_t i = 0; i < m->base->config.n_blocks; i++)
        for (int l = 0; l < MODEL_LINEARS; l++)
            if (model_has_linear(&m->base->config, (enum model_linear) l))
                m->scheme.linears[i][l] = (struct scheme_linear){
                    .learn = LEARN_LORA_B,
                    .rank = CONTRIBUTION_PARTS,
                };
}

// Row j of A: signs in the eighth j of the channels.
static void set_signs(float *a, int64_t columns, uint64_t seed, uint64_t stream)
{
    struct rng rng;

    rng_init(&rng, seed, stream);
    memset(a, 0, (size_t) (columns * CONTRIBUTION_PARTS) * sizeof(*a));
    for (int64_t j = 0; j < CONTRIBUTION_PARTS; j++) {
        const int64_t from = columns * j / CONTRIBUTION_PARTS;
        const int64_t to = columns * (j + 1) / CONTRIBUTION_PARTS;
        for (int64_t i = from; i < to; i++)
            a[j * columns + i] = rng_u32(&rng) & 1 ? 1.0f : -1.0f;
    }
}

static int64_t count_of(const struct param *p)
{
    return p->ne[0] * p->ne[1];
}

static int make_state(struct measure *m, struct error *err)
{
    const struct adapter_state_params params = {
        .backend = m->base->backend,
        .dev = m->base->dev,
        .config = &m->base->config,
        .scheme = &m->scheme,
    };
    int rc = adapter_state_create(&m->state, &params, err);
    if (rc < 0)
        return rc;

    m->n_tensors = scheme_params(NULL, 0, &m->base->config, &m->scheme);
    m->n_floats = adapter_state_floats(m->state);
    m->tensors = calloc(m->n_tensors, sizeof(*m->tensors));
    m->values = calloc(m->n_floats, sizeof(*m->values));
    m->sums = calloc(m->n_floats, sizeof(*m->sums));
    m->c = calloc(1, sizeof(*m->c));
    if (!m->tensors || !m->values || !m->sums || !m->c)
        return -ENOMEM;
    scheme_params(m->tensors, m->n_tensors, &m->base->config, &m->scheme);
    float *at = m->values;
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        if (m->tensors[i].kind == PARAM_LORA_A)
            set_signs(at, m->tensors[i].ne[1], m->params->seed, i);
        at += count_of(&m->tensors[i]);
    }
    return adapter_state_write(m->state, ADAPTER_PART_VALUE, m->values);
}

static int init(struct measure *m, struct error *err)
{
    int rc;

    set_scheme(m);
    if ((rc = make_state(m, err)) < 0 ||
        (rc = program_cache_create(&m->cache, m->base, bind_state, m)) < 0)
        return rc;
    return packing_rows_init(&m->rows, m->params->length);
}

// Gradients of one window: their squares to the sums of each part.
static int add_gradients(struct measure *m, struct executor *x)
{
    double *sums = m->sums;
    char name[sizeof(m->tensors[0].name) + 8];
    int rc;

    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const struct param *p = &m->tensors[i];
        const int64_t n = count_of(p);
        if (p->kind == PARAM_LORA_B) {
            double *fisher = m->c->fisher[p->block][p->linear];
            (void) snprintf(name, sizeof(name), "grad.%s", p->name);
            rc = executor_read(x, name, m->values, (size_t) n * sizeof(float));
            if (rc < 0)
                return rc;
            for (int64_t k = 0; k < n; k++) {
                const double g = (double) m->values[k];
                fisher[k % CONTRIBUTION_PARTS] += g * g;
                sums[k] += g;
            }
        }
        sums += n;
    }
    return 0;
}

static int run_window(struct measure *m, uint32_t window, float weight,
                      struct error *err)
{
    struct program_params params = {.kind = PROGRAM_GRADIENT,
                                    .batch = 1,
                                    .scheme = &m->scheme,
                                    .precision = m->params->precision};
    struct executor *x;
    int rc = packing_assign(&m->packing, m->params->data, &window, 1,
                            m->params->length);
    if (rc < 0)
        return rc;

    params.length = m->packing.length;
    if ((rc = program_cache_get(&x, m->cache, &params, err)) < 0)
        return rc;
    packing_fill(&m->rows, &m->packing, m->params->data, 0, 1, weight);
    if ((rc = evaluator_inputs(x, &m->rows, m->packing.length, NULL)) < 0)
        return rc;
    const uint64_t begin = clock_monotonic_ns();
    if ((rc = executor_run(x)) < 0)
        return rc;
    m->c->seconds += (double) (clock_monotonic_ns() - begin) * 1e-9;
    m->c->places += m->packing.length;
    return add_gradients(m, x);
}

static void conclude(struct measure *m)
{
    const double n = m->c->n_samples;
    double *sums = m->sums;

    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const struct param *p = &m->tensors[i];
        double *fisher = m->c->fisher[p->block][p->linear];
        double *signal = m->c->signal[p->block][p->linear];
        const int64_t count = count_of(p);
        for (int64_t k = 0; p->kind == PARAM_LORA_B && k < count; k++)
            signal[k % CONTRIBUTION_PARTS] += sums[k] * sums[k];
        sums += count;
        if (p->kind != PARAM_LORA_B)
            continue;
        for (int j = 0; j < CONTRIBUTION_PARTS; j++) {
            const double own = signal[j] - fisher[j];
            signal[j] = n > 1 && own > 0 ? own / (n * (n - 1)) : 0;
            fisher[j] /= n;
        }
    }
}

static int run_all(struct measure *m, struct error *err)
{
    const struct dataset *d = m->params->data;
    const uint32_t n = (uint32_t) d->n_windows;
    const float weight = (float) n / (float) d->n_targets;
    uint32_t *order = calloc(n, sizeof(*order));
    int rc = order ? 0 : -ENOMEM;

    if (rc == 0)
        packing_shuffle(order, n, m->params->seed, 0);
    for (uint32_t i = 0; i < n && i < m->params->n_samples && rc == 0; i++) {
        rc = run_window(m, order[i], weight, err);
        m->c->n_samples += rc == 0;
    }
    free(order);
    if (rc == 0)
        conclude(m);
    return rc;
}

int contribution_measure(struct contribution **out, struct base_model *base,
                         const struct contribution_params *params,
                         struct error *err)
{
    struct measure m = {.base = base, .params = params};
    int rc;

    if (params->data->n_windows == 0)
        return error_set(err, -ENODATA,
                         "contributions: there are no records to measure with; "
                         "add some first");
    if ((rc = init(&m, err)) == 0 && (rc = run_all(&m, err)) == 0) {
        *out = m.c;
        m.c = NULL;
    }
    finish(&m);
    if (rc < 0 && rc != -EINTR && !(err && err->text[0]))
        return error_set(err, rc, "contributions: %s", strerror(-rc));
    return rc;
}
