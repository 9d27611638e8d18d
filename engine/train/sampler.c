// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/sampler.h"

#include "engine/base/rng.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

struct candidate {
    int32_t id;
    float logit;
    double weight;
};

struct sampler {
    struct sampler_params params;
    struct rng rng;
    uint32_t n_vocab;
    struct candidate *candidates; // (n_vocab)
};

int sampler_create(struct sampler **out, uint32_t n_vocab,
                   const struct sampler_params *params)
{
    struct sampler *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    s->candidates = calloc(n_vocab, sizeof *s->candidates);
    if (!s->candidates) {
        free(s);
        return -ENOMEM;
    }
    s->params = *params;
    s->n_vocab = n_vocab;
    rng_init(&s->rng, params->seed, 0);
    *out = s;
    return 0;
}

void sampler_destroy(struct sampler *s)
{
    if (!s)
        return;
    free(s->candidates);
    free(s);
}

static int32_t most_likely(const float *logits, uint32_t n)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t) best;
}

// Best first; of equals, the lower id, so that the order is total.
static int by_logit(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;

    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool is_better(const struct candidate *a, const struct candidate *b)
{
    return by_logit(a, b) < 0;
}

static void sift_down(struct candidate *heap, uint32_t n, uint32_t i)
{
    for (;;) {
        uint32_t worst = i;
        for (uint32_t child = 2 * i + 1; child <= 2 * i + 2; child++)
            if (child < n && is_better(&heap[worst], &heap[child]))
                worst = child;
        if (worst == i)
            return;
        const struct candidate c = heap[i];
        heap[i] = heap[worst];
        heap[worst] = c;
        i = worst;
    }
}

// The first of logits[i, n) above `least`; n if there is none. Most are not:
// eight are looked at together.
static uint32_t first_above(const float *logits, uint32_t i, uint32_t n,
                            float least)
{
    for (; i + 8 <= n; i += 8) {
        int any = 0;
        for (uint32_t j = i; j < i + 8; j++)
            any |= logits[j] > least;
        if (any)
            break;
    }
    while (i < n && !(logits[i] > least))
        i++;
    return i;
}

// The k best, best first: a heap with its worst on top keeps them. Equals of
// that come later, so they are not better.
static void keep_best(struct candidate *c, const float *logits, uint32_t n,
                      uint32_t k)
{
    for (uint32_t i = 0; i < k; i++)
        c[i] = (struct candidate){.id = (int32_t) i, .logit = logits[i]};
    for (uint32_t j = k / 2; j-- > 0;)
        sift_down(c, k, j);
    for (uint32_t i = k; (i = first_above(logits, i, n, c[0].logit)) < n; i++) {
        c[0] = (struct candidate){.id = (int32_t) i, .logit = logits[i]};
        sift_down(c, k, 0);
    }
    qsort(c, k, sizeof *c, by_logit);
}

int32_t sampler_pick(struct sampler *s, const float *logits)
{
    const struct sampler_params *p = &s->params;
    struct candidate *c = s->candidates;
    uint32_t k = p->top_k;
    double total = 0;

    if (!(p->temperature > 0))
        return most_likely(logits, s->n_vocab);
    if (k == 0 || k > s->n_vocab)
        k = s->n_vocab;
    keep_best(c, logits, s->n_vocab, k);
    for (uint32_t i = 0; i < k; i++) {
        c[i].weight = exp(((double) c[i].logit - c[0].logit) / p->temperature);
        total += c[i].weight;
    }
    if (p->top_p > 0 && p->top_p < 1) {
        const double enough = p->top_p * total;
        uint32_t n = 0;
        total = 0;
        while (n < k && total < enough)
            total += c[n++].weight;
        k = n;
    }
    double left = rng_uniform(&s->rng) * total;
    for (uint32_t i = 0; i + 1 < k; i++) {
        left -= c[i].weight;
        if (left < 0)
            return c[i].id;
    }
    return c[k - 1].id;
}
