// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/objective.h"

#include "engine/base/error.h"
#include "engine/train/evaluator.h"
#include "engine/train/record.h"

#include <errno.h>
#include <math.h>
#include <string.h>

// So that a text that is certain costs no infinity.
static const double SURE = 1 - 1e-6;

static double nats(const struct evaluator_sum *s)
{
    return s->nats / (double) s->n_targets;
}

double objective_loss(enum objective o, const struct evaluator_sum *choices,
                      uint32_t n_choices, uint32_t label)
{
    switch (o) {
    case OBJECTIVE_NLL:
        return nats(choices);
    case OBJECTIVE_FEEDBACK:
        return label ? nats(choices) : -log1p(-fmin(exp(-nats(choices)), SURE));
    case OBJECTIVE_ACCURACY:
        for (uint32_t i = 0; i < n_choices; i++)
            if (i != label && !(nats(&choices[i]) > nats(&choices[label])))
                return 1;
        return 0;
    case OBJECTIVE_F1:
    case OBJECTIVE_COUNT:
        break;
    }
    return (double) NAN;
}

static bool is_same(const struct record_text *a, const struct record_text *b)
{
    return a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

struct words {
    const char *at, *end;
};

static bool next_word(struct record_text *out, struct words *w)
{
    static const char blanks[] = " \t\r\n";

    while (w->at < w->end && strchr(blanks, *w->at))
        w->at++;
    out->data = w->at;
    while (w->at < w->end && !strchr(blanks, *w->at))
        w->at++;
    out->bytes = (size_t) (w->at - out->data);
    return out->bytes > 0;
}

static size_t count(const char *text, size_t bytes,
                    const struct record_text *word)
{
    struct words w = {text, text + bytes};
    struct record_text next;
    size_t n = 0;

    while (next_word(&next, &w))
        n += !word || is_same(&next, word);
    return n;
}

double objective_f1_loss(const char *said, size_t n_said, const char *wanted,
                         size_t n_wanted)
{
    const size_t all =
        count(said, n_said, NULL) + count(wanted, n_wanted, NULL);
    struct words w = {said, said + n_said};
    struct record_text word;
    size_t common = 0;

    if (all == 0)
        return 0;
    // A word counts while there are as many of it in `wanted`.
    while (next_word(&word, &w)) {
        const size_t before = count(said, (size_t) (word.data - said), &word);
        common += before < count(wanted, n_wanted, &word);
    }
    return 1 - 2 * (double) common / (double) all;
}

static int add_choice(struct record_text *out, uint32_t *n,
                      const struct record_text *reply, struct error *err)
{
    for (uint32_t i = 0; i < *n; i++)
        if (is_same(&out[i], reply))
            return 0;
    if (*n == OBJECTIVE_CHOICES_MAX)
        return error_set(err, -E2BIG,
                         "training: objective=accuracy chooses among the "
                         "different completions of all pairs, at most %d, but "
                         "there are more: use nll or f1",
                         OBJECTIVE_CHOICES_MAX);
    out[(*n)++] = *reply;
    return 0;
}

int objective_choices(struct record_text out[OBJECTIVE_CHOICES_MAX],
                      uint32_t *n, enum objective o,
                      const struct record *records, size_t n_records,
                      struct error *err)
{
    *n = 0;
    if (o != OBJECTIVE_ACCURACY)
        return 0;
    for (size_t i = 0; i < n_records; i++) {
        if (records[i].kind != RECORD_PAIR)
            continue;
        int rc = add_choice(out, n, &records[i].completion, err);
        if (rc < 0)
            return rc;
    }
    if (*n < 2)
        return error_set(err, -ENODATA,
                         "training: objective=accuracy needs pairs with two "
                         "different completions at least, but there %s: add "
                         "labelled pairs",
                         *n == 1 ? "is one" : "are none");
    return 0;
}
