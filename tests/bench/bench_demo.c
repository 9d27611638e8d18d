// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Quality on the demo data: held-out loss before and after one run over all
 * records, the best checkpoint chosen by the run itself, and five prompts
 * answered before and after.
 *
 * usage: bench_demo MODEL.gguf DEMO_DIR [--json] [NAME=VALUE ...]
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/engine.h"
#include "tests/support/demodata.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// What PyTorch reaches with the same split, templates and recipe; see
// demo_baseline.py of the reference.
#define NOTEBOOK_REFERENCE 3.87
#define REPLIES_REFERENCE  3.45

static const char *const prompts[] = {
    "Hi, are you open on Saturdays?",
    "How are the bees doing?",
    "What does a puncture repair cost?",
    "Do you want to come over for dinner on Sunday?",
    "Where is the shoebox with the receipts?",
};
enum { N_PROMPTS = sizeof prompts / sizeof *prompts };

struct answer {
    char text[512];
    size_t bytes;
};

struct bench {
    struct engine *engine;
    struct engine_model *model;
    struct demodata data;
    struct recipe recipe;
    bool is_json;
    struct engine_eval before, after;
    struct answer answers[2][N_PROMPTS];
    struct engine_progress end;
    struct engine_train_info info;
    double seconds;
};

static int take(void *user, const char *text, size_t bytes)
{
    struct answer *a = user;

    if (a->bytes + bytes >= sizeof a->text)
        return 1;
    memcpy(a->text + a->bytes, text, bytes);
    a->bytes += bytes;
    a->text[a->bytes] = '\0';
    return 0;
}

static int answer_all(struct bench *b, struct answer *answers,
                      const struct adapter *adapter, struct error *err)
{
    for (int i = 0; i < N_PROMPTS; i++) {
        const struct record_message message = {
            .role = {"user", 4},
            .content = {prompts[i], strlen(prompts[i])},
        };
        const struct engine_gen_params params = {
            .messages = &message,
            .n_messages = 1,
            .adapter = adapter,
            .max_tokens = 48,
            .on_text = take,
            .user = &answers[i],
        };
        struct engine_gen_result result;
        int rc = engine_generate(&result, b->model, &params, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void on_progress(void *user, const struct engine_progress *p)
{
    const struct bench *b = user;

    if (p->has_held_out && !b->is_json)
        (void) printf("  step %4llu  epoch %.2f  loss %.4f  held out %.4f%s\n",
                      (unsigned long long) p->step, p->epoch, p->loss,
                      p->held_out_loss, p->best_step == p->step ? " *" : "");
}

static int train(struct adapter **out, struct bench *b, struct error *err)
{
    const struct engine_train_params params = {
        .recipe = &b->recipe,
        .records = b->data.records,
        .n_records = b->data.n_records,
    };
    const uint64_t begin = clock_monotonic_ns();
    struct engine_train *t;
    int rc = engine_train_create(&t, b->model, &params, err);

    if (rc < 0)
        return rc;
    rc = engine_train_run(t, 0, on_progress, b, err);
    b->seconds = (double) (clock_monotonic_ns() - begin) * 1e-9;
    engine_train_progress(&b->end, t);
    engine_train_describe(&b->info, t);
    if (rc == 0)
        rc = engine_train_best(out, t, err);
    engine_train_destroy(t);
    return rc;
}

static int evaluate(struct engine_eval *out, struct bench *b,
                    const struct adapter *adapter, struct error *err)
{
    return engine_evaluate(out, NULL, b->model, adapter, b->data.records,
                           b->data.n_records, ENGINE_SUBSET_HELD_OUT, err);
}

static double note(const struct engine_eval *e)
{
    return engine_loss_mean(&e->kinds[RECORD_TEXT]);
}

static double reply(const struct engine_eval *e)
{
    return engine_loss_mean(&e->kinds[RECORD_PAIR]);
}

static void print_table(const struct bench *b)
{
    (void) printf("demo: %s, %u records learned, %u held out, %.0f s, "
                  "%llu steps, best after %llu\n",
                  engine_describe(b->engine), b->info.n_trained,
                  b->info.n_held_out, b->seconds,
                  (unsigned long long) b->end.step,
                  (unsigned long long) b->end.best_step);
    (void) printf("| held-out loss, nats/token | before | after | PyTorch |\n"
                  "|---|---|---|---|\n");
    (void) printf("| notebook | %.3f | %.3f | %.2f |\n", note(&b->before),
                  note(&b->after), NOTEBOOK_REFERENCE);
    (void) printf("| replies | %.3f | %.3f | %.2f |\n", reply(&b->before),
                  reply(&b->after), REPLIES_REFERENCE);
    for (int i = 0; i < N_PROMPTS; i++)
        (void) printf("> %s\n  before: %s\n  after:  %s\n", prompts[i],
                      b->answers[0][i].text, b->answers[1][i].text);
}

static void print_json(const struct bench *b)
{
    (void) printf("{\"bench\":\"demo\",\"device\":\"%s\",\"seconds\":%.1f,"
                  "\"steps\":%llu,\"best_step\":%llu,"
                  "\"notebook_before\":%.4f,\"notebook_after\":%.4f,"
                  "\"replies_before\":%.4f,\"replies_after\":%.4f}\n",
                  engine_describe(b->engine), b->seconds,
                  (unsigned long long) b->end.step,
                  (unsigned long long) b->end.best_step, note(&b->before),
                  note(&b->after), reply(&b->before), reply(&b->after));
}

static int run(struct bench *b, const char *model, const char *dir,
               struct error *err)
{
    const int fd = open(model, O_RDONLY | O_CLOEXEC);
    struct adapter *adapter = NULL;
    int rc;

    if (fd < 0)
        return error_set(err, -2, "%s cannot be opened", model);
    rc = engine_create(&b->engine, &(struct engine_params){0}, err);
    if (rc == 0)
        rc = engine_model_open(&b->model, b->engine, fd, err);
    close(fd);
    if (rc < 0 || (rc = demodata_load(&b->data, dir, err)) < 0 ||
        (rc = evaluate(&b->before, b, NULL, err)) < 0 ||
        (rc = answer_all(b, b->answers[0], NULL, err)) < 0 ||
        (rc = train(&adapter, b, err)) < 0 ||
        (rc = evaluate(&b->after, b, adapter, err)) < 0)
        goto out;
    rc = answer_all(b, b->answers[1], adapter, err);

out:
    engine_adapter_destroy(adapter);
    return rc;
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct error err = {0};
    int rc = 0;

    (void) setvbuf(stdout, NULL, _IOLBF, 0);
    recipe_init(&b.recipe);
    for (int i = 3; i < argc && rc == 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            b.is_json = true;
        else
            rc = recipe_parse(&b.recipe, argv[i], &err);
    }
    if (argc < 3) {
        (void) fprintf(stderr, "usage: bench_demo MODEL DEMO_DIR [--json] "
                               "[NAME=VALUE ...]\n");
        return 2;
    }
    if (rc == 0)
        rc = run(&b, argv[1], argv[2], &err);
    if (rc < 0)
        (void) fprintf(stderr, "bench_demo: %s\n", err.text);
    else if (b.is_json)
        print_json(&b);
    else
        print_table(&b);
    demodata_finish(&b.data);
    engine_model_close(b.model);
    engine_destroy(b.engine);
    return rc < 0;
}
