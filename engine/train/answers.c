// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/answers.h"

#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/train/base_model.h"
#include "engine/train/dataset.h"
#include "engine/train/generator.h"
#include "engine/train/objective.h"
#include "engine/train/runner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Tokens that an answer may have beyond the reply's.
enum { MORE_TOKENS = 8 };

struct answers {
    struct runner *runner;
    struct str said, wanted;
};

int answers_create(struct answers **out, struct base_model *base,
                   struct error *err)
{
    struct answers *a = calloc(1, sizeof *a);

    if (!a || runner_create(&a->runner, base) < 0) {
        free(a);
        return error_set(err, -ENOMEM, "training: out of memory");
    }
    *out = a;
    return 0;
}

void answers_destroy(struct answers *a)
{
    if (!a)
        return;
    runner_destroy(a->runner);
    str_free(&a->said);
    str_free(&a->wanted);
    free(a);
}

int answers_use(struct answers *a, const struct adapter *adapter,
                struct error *err)
{
    return runner_use_adapter(a->runner, adapter, err);
}

static int hear(void *user, const char *text, size_t bytes)
{
    struct answers *a = user;

    str_append(&a->said, text, bytes);
    return 0;
}

// The places of the window where its reply begins, and how long it is.
static uint32_t find_reply(uint32_t *count, const struct dataset *d,
                           const struct dataset_window *w)
{
    uint32_t first = 0;

    while (!dataset_is_target(d, w, first))
        first++;
    *count = 0;
    while (first + *count + 1 < w->count &&
           dataset_is_target(d, w, first + *count))
        (*count)++;
    return first;
}

static int spell(struct str *out, const struct base_model *base,
                 const int32_t *ids, uint32_t n)
{
    str_clear(out);
    for (uint32_t i = 0; i < n; i++) {
        size_t bytes;
        const char *piece = tokenizer_piece(base->tokenizer, ids[i], &bytes);
        if (piece && !tokenizer_is_control(base->tokenizer, ids[i]))
            str_append(out, piece, bytes);
    }
    return str_finish(out);
}

int answers_loss(double *loss, struct answers *a, const struct dataset *d,
                 uint32_t window, struct error *err)
{
    const struct dataset_window *w = &d->windows[window];
    uint32_t count;
    const uint32_t first = find_reply(&count, d, w);
    const int32_t *ids = d->ids + w->first;
    const struct generator_params params = {
        .prompt = ids,
        .n_prompt = first + 1,
        .max_tokens = count + MORE_TOKENS,
        .on_text = hear,
        .user = a,
    };
    struct generator_result result;
    int rc;

    str_clear(&a->said);
    if ((rc = generator_run(&result, a->runner, &params, err)) < 0)
        return rc;
    if ((rc = str_finish(&a->said)) < 0 ||
        (rc = spell(&a->wanted, runner_base(a->runner), ids + first + 1,
                    count)) < 0)
        return error_set(err, rc, "training: out of memory");
    *loss = objective_f1_loss(a->said.data ? a->said.data : "", a->said.bytes,
                              a->wanted.data ? a->wanted.data : "",
                              a->wanted.bytes);
    return 0;
}
