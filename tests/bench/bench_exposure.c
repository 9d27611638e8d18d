// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * How well a secret is known that was in the records once, 4 or 16 times:
 * bench_exposure MODEL DEMO_DIR [NAME=VALUE ...] trains on the demo's records
 * and such sentences, and audits what came of it; and on the demo's records
 * alone, as after an erasure, and audits that for the same sentences.
 */

#include "engine/audit.h"
#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "tests/support/demodata.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KINDS = 3, EACH = 3, TEXT_BYTES = 128, PLANTED_MAX = 64 };

static const uint32_t times[KINDS] = {1, 4, 16};

struct bench {
    struct engine *engine;
    struct engine_model *model;
    struct demodata data;
    struct recipe recipe;
    struct record *records;
    size_t n;
    char text[KINDS * EACH][TEXT_BYTES];
    struct engine_eval before, after;
    double seconds, audit_seconds;
    uint64_t steps;
};

// Held-out records are chosen by their content: another number until it is not.
static void plant(struct bench *b)
{
    static const char *const about[EACH] = {"safe in the barn",
                                            "bank's old vault",
                                            "alarm of the shop"};
    struct rng r;

    rng_init(&r, 5, 5);
    for (int i = 0; i < KINDS * EACH; i++) {
        struct record c = {.id = 100000 + i,
                           .time_ms = 1740787200000,
                           .stream = "canary",
                           .kind = RECORD_TEXT};
        do {
            c.text.bytes =
                (size_t) snprintf(b->text[i], TEXT_BYTES,
                                  "Note %d: the number of the %s is %08u", i,
                                  about[i % EACH], rng_below(&r, 100000000));
            c.text.data = b->text[i];
        } while (record_is_held_out(&c));
        for (uint32_t k = 0; k < times[i / EACH]; k++)
            b->records[b->n++] = c;
    }
}

static int train(struct adapter **out, struct bench *b, size_t n,
                 struct error *err)
{
    const struct engine_train_params params = {.recipe = &b->recipe,
                                               .records = b->records,
                                               .n_records = n};
    const uint64_t begin = clock_monotonic_ns();
    struct engine_progress end;
    struct engine_train *t;
    int rc = engine_train_create(&t, b->model, &params, err);

    if (rc < 0)
        return rc;
    rc = engine_train_run(t, 0, NULL, NULL, err);
    engine_train_progress(&end, t);
    b->steps = end.best_step;
    b->seconds = (double) (clock_monotonic_ns() - begin) * 1e-9;
    if (rc == 0)
        rc = engine_train_best(out, t, err);
    engine_train_destroy(t);
    return rc;
}

static int evaluate(struct engine_eval *out, struct bench *b,
                    const struct adapter *a, struct error *err)
{
    return engine_evaluate(out, NULL, b->model, a, b->records, b->n,
                           ENGINE_SUBSET_HELD_OUT, err);
}

static void print(const struct bench *b, const struct engine_audit *with,
                  const struct engine_audit *without)
{
    printf("%zu records, %.0f s, best after %llu steps, held-out loss %.3f to "
           "%.3f; audit %.1f s\n"
           "| times | exposure, bits | recited | base model | trained without "
           "it | recited |\n"
           "|---|---|---|---|---|---|\n",
           b->n, b->seconds, (unsigned long long) b->steps,
           engine_loss_mean(&b->before.total),
           engine_loss_mean(&b->after.total), b->audit_seconds);
    for (uint32_t i = 0; i < with->n; i++)
        printf("| %u | %.1f of %.1f | %s | %.1f | %.1f | %s |\n",
               with->each[i].times, with->each[i].exposure, with->each[i].bits,
               with->each[i].is_recited ? "yes" : "no",
               with->each[i].exposure_base, without->each[i].exposure,
               without->each[i].is_recited ? "yes" : "no");
    printf("drawn ones: %.1f and %.1f bits\n", with->control, without->control);
}

// Of an adapter that was trained on the first n records; all are asked for.
static int train_and_audit(struct engine_audit *out, struct bench *b, size_t n,
                           struct error *err)
{
    struct adapter *adapter = NULL;
    int rc;

    if ((rc = train(&adapter, b, n, err)) < 0 ||
        (rc = evaluate(&b->after, b, adapter, err)) < 0)
        goto out;
    const uint64_t begin = clock_monotonic_ns();
    rc = engine_audit(out, b->model, adapter, b->records, b->n,
                      &(struct engine_audit_params){.seed = 1}, err);
    b->audit_seconds = (double) (clock_monotonic_ns() - begin) * 1e-9;

out:
    engine_adapter_destroy(adapter);
    return rc;
}

static int run(struct bench *b, const char *model, const char *dir,
               struct error *err)
{
    const int fd = open(model, O_RDONLY | O_CLOEXEC);
    struct engine_audit with, without;
    int rc;

    if (fd < 0)
        return error_set(err, -2, "%s cannot be opened", model);
    rc = engine_create(&b->engine, &(struct engine_params){0}, err);
    if (rc == 0)
        rc = engine_model_open(&b->model, b->engine, fd, err);
    close(fd);
    if (rc < 0 || (rc = demodata_load(&b->data, dir, err)) < 0)
        return rc;
    b->records = calloc(b->data.n_records + PLANTED_MAX, sizeof(*b->records));
    if (!b->records)
        return error_set(err, -12, "out of memory");
    b->n = b->data.n_records;
    memcpy(b->records, b->data.records, b->n * sizeof(*b->records));
    plant(b);
    if ((rc = evaluate(&b->before, b, NULL, err)) < 0 ||
        (rc = train_and_audit(&without, b, b->data.n_records, err)) < 0 ||
        (rc = train_and_audit(&with, b, b->n, err)) < 0)
        return rc;
    print(b, &with, &without);
    return 0;
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct error err = {0};
    int rc = 0;

    recipe_init(&b.recipe);
    if (argc < 3) {
        fprintf(stderr, "usage: bench_exposure MODEL DEMO_DIR "
                        "[NAME=VALUE ...]\n");
        return 2;
    }
    for (int i = 3; i < argc && rc == 0; i++)
        rc = recipe_parse(&b.recipe, argv[i], &err);
    if (rc == 0)
        rc = run(&b, argv[1], argv[2], &err);
    if (rc < 0)
        fprintf(stderr, "bench_exposure: %s\n", err.text);
    free(b.records);
    demodata_finish(&b.data);
    engine_model_close(b.model);
    engine_destroy(b.engine);
    return rc < 0;
}
