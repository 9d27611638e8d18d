// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/audit.h"

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/train/canary.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    FEW = 16,   // others, for a first look
    MANY = 112, // for those that none of the few is likelier than
    ANSWER_BYTES = 512,
};

struct audit {
    struct engine_model *m;
    const struct adapter *a;
    const struct record *records;
    struct rng rng;
    // The sequence and others of its form, as records.
    struct record row[MANY + 1];
    struct canary_room room[MANY + 1];
    char text[MANY + 1][CANARY_BYTES_MAX];
    struct engine_loss loss[MANY + 1];
    double with[MANY + 1], without[MANY + 1];
};

static void make_rows(struct audit *x, const struct canary *c)
{
    const struct record_text own = canary_text(c, x->records);

    for (int i = 0; i <= MANY; i++) {
        if (i == 0)
            memcpy(x->text[i], own.data, own.bytes);
        else
            canary_draw(x->text[i], c, x->records, &x->rng);
        canary_record(&x->row[i], &x->room[i], c, x->records, x->text[i]);
    }
}

// Losses of rows from .. to - 1.
static int measure(struct audit *x, double *losses, const struct adapter *a,
                   size_t from, size_t to, struct error *err)
{
    struct engine_eval sum;
    int rc = engine_evaluate(&sum, x->loss, x->m, a, x->row + from, to - from,
                             ENGINE_SUBSET_ALL, err);

    for (size_t i = from; rc == 0 && i < to; i++)
        losses[i] = x->loss[i - from].nats;
    return rc;
}

/*
 * Does it say it of itself?
 */

struct answer {
    char text[ANSWER_BYTES];
    size_t bytes, wanted;
};

static int on_text(void *user, const char *text, size_t bytes)
{
    struct answer *to = user;
    const size_t room = sizeof(to->text) - to->bytes;
    const size_t n = bytes < room ? bytes : room;

    memcpy(to->text + to->bytes, text, n);
    to->bytes += n;
    return to->bytes >= to->wanted;
}

static bool has(const struct answer *in, const char *text, size_t bytes)
{
    for (size_t i = 0; i + bytes <= in->bytes; i++)
        if (memcmp(in->text + i, text, bytes) == 0)
            return true;
    return false;
}

// A text is gone on with from where the sequence begins; a conversation is
// answered from its question.
static int recite(struct audit *x, bool *out, const struct canary *c,
                  const struct adapter *a, struct error *err)
{
    const struct record *r = &x->row[0];
    const struct record_message ask = {{"user", 4}, r->prompt};
    struct answer answer = {.bytes = 0};
    struct engine_gen_params params = {.adapter = a,
                                       .on_text = on_text,
                                       .user = &answer};
    struct engine_gen_result result;
    size_t before = 0;

    *out = false;
    if (r->kind == RECORD_TEXT) {
        params.prompt =
            (struct record_text){r->text.data, r->text.bytes - c->bytes};
        // The blank belongs to the token behind it.
        while (params.prompt.bytes > 0 &&
               params.prompt.data[params.prompt.bytes - 1] == ' ')
            params.prompt.bytes--;
        if (params.prompt.bytes == 0)
            return 0;
    } else if (r->kind != RECORD_CHAT) {
        params.messages = &ask;
        params.n_messages = 1;
        before = r->completion.bytes;
    } else {
        params.messages = r->messages;
        params.n_messages = r->n_messages - 1;
        before = r->messages[r->n_messages - 1].content.bytes;
        if (params.n_messages == 0)
            return 0;
    }
    answer.wanted = before + c->bytes + 8;
    if (answer.wanted > sizeof(answer.text))
        answer.wanted = sizeof(answer.text);
    params.max_tokens = (uint32_t) answer.wanted;
    int rc = engine_generate(&result, x->m, &params, err);
    // It does not fit: nothing was said.
    if (rc == -E2BIG || rc == -ENOTSUP)
        return 0;
    *out = rc == 0 && has(&answer, x->text[0], c->bytes);
    return rc;
}

/*
 * One sequence
 */

static size_t likelier(const double *losses, size_t n)
{
    size_t count = 0;

    for (size_t i = 1; i <= n; i++)
        count += losses[i] <= losses[0];
    return count;
}

static int look_at(struct audit *x, struct engine_audited *out,
                   const struct canary *c, struct error *err)
{
    bool is_known = false;
    size_t n = FEW;
    int rc;

    make_rows(x, c);
    if ((rc = measure(x, x->with, x->a, 0, FEW + 1, err)) < 0)
        return rc;
    if (likelier(x->with, FEW) == 0) {
        n = MANY;
        if ((rc = measure(x, x->with, x->a, FEW + 1, MANY + 1, err)) < 0 ||
            (rc = recite(x, &out->is_recited, c, x->a, err)) < 0)
            return rc;
    }
    if (out->is_recited && (rc = recite(x, &is_known, c, NULL, err)) < 0)
        return rc;
    if ((rc = measure(x, x->without, NULL, 0, n + 1, err)) < 0)
        return rc;
    out->is_recited = out->is_recited && !is_known;
    out->record = c->record;
    out->times = c->times;
    out->bits = c->bits;
    out->exposure = canary_exposure(x->with[0], x->with + 1, n, c->bits);
    out->exposure_base =
        canary_exposure(x->without[0], x->without + 1, n, c->bits);
    // One that was drawn, among the others.
    out->control = canary_exposure(x->with[1], x->with + 2, n - 1, c->bits);
    return 0;
}

static void sum_up(struct engine_audit *out)
{
    double control = 0, most = -1;

    for (uint32_t i = 0; i < out->n; i++) {
        const struct engine_audited *e = &out->each[i];
        // Recited ones first, then what was learned here.
        const double rise = e->exposure - e->exposure_base;
        const double weight = e->is_recited ? 1e6 + rise : rise;
        control += e->control / out->n;
        out->n_recited += e->is_recited;
        if (i > 0 && weight <= most)
            continue;
        most = weight;
        out->exposure = e->exposure;
        out->exposure_base = e->exposure_base;
        out->record = e->record;
    }
    if (out->n > 0)
        out->control = control;
}

int engine_audit(struct engine_audit *out, struct engine_model *m,
                 const struct adapter *a, const struct record *records,
                 size_t n_records, const struct engine_audit_params *params,
                 struct error *err)
{
    const uint64_t begin_ns = clock_monotonic_ns();
    struct audit *x = calloc(1, sizeof *x);
    struct canary *canaries = NULL;
    size_t n = 0;
    int rc = -ENOMEM;

    memset(out, 0, sizeof *out);
    out->exposure = out->exposure_base = out->control = (double) NAN;
    if (!x ||
        canary_find(&canaries, &n, records, n_records, ENGINE_AUDIT_MAX) < 0) {
        error_set(err, rc, "audit: out of memory");
        goto out;
    }
    x->m = m;
    x->a = a;
    x->records = records;
    rc = 0;
    for (size_t i = 0; i < n; i++) {
        const double s = (double) (clock_monotonic_ns() - begin_ns) * 1e-9;
        if (params->seconds > 0 && s > params->seconds)
            break;
        rng_init(&x->rng, params->seed, i);
        if ((rc = look_at(x, &out->each[i], &canaries[i], err)) < 0)
            goto out;
        out->n++;
    }
    sum_up(out);

out:
    free(canaries);
    free(x);
    return rc;
}
