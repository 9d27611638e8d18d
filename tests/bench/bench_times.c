// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What a table of kernel times is worth: measures one, prints what the compiler
 * chooses by it, then runs steps without and with it in turns, and generation
 * likewise. Best and median of each; the machine should be idle.
 *
 * usage: bench_times MODEL.gguf DEMO_DIR [--device NAME] [--seconds N]
 *                    [--steps N] [--tokens N] [--rows] [NAME=VALUE ...]
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/engine.h"
#include "engine/plan/timetable.h"
#include "tests/support/demodata.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS_MAX = 100 };

struct side {
    const char *name;
    struct engine_model *model;
    struct engine_train *train;
    double step_ms[STEPS_MAX];
    double token_us[STEPS_MAX];
    double loss;
};

struct bench {
    struct engine *engine;
    struct recipe recipe;
    struct str text;
    double tune_seconds;
    int n_steps;
    uint32_t n_tokens; // to generate between steps
    bool has_rows;     // of the table, to print
    struct side sides[2];
};

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *) a;
    const double y = *(const double *) b;
    return (x > y) - (x < y);
}

static int open_sides(struct bench *b, const char *path, const char *dir,
                      struct error *err)
{
    struct demodata data;
    int rc = demodata_load(&data, dir, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < data.n_notes; i++) {
        str_append(&b->text, data.records[i].text.data,
                   data.records[i].text.bytes);
        str_puts(&b->text, "\n\n");
    }
    demodata_finish(&data);
    b->sides[0].name = "without";
    b->sides[1].name = "with";
    for (int i = 0; i < 2 && rc == 0; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        rc = fd < 0 ? error_set(err, -ENOENT, "there is no %s", path)
                    : engine_model_open(&b->sides[i].model, b->engine, fd, err);
        if (fd >= 0)
            close(fd);
    }
    return rc;
}

// What was timed on more than one target, the most work last: each target's us,
// and those of the usual one over the best.
static int print_rows(const struct bench *b, struct error *err)
{
    const struct engine_model *m = b->sides[1].model;
    struct timetable_shape shape;
    struct timetable *t;
    const uint64_t *ns;
    void *data;
    size_t bytes;
    int rc = engine_times_save(&data, &bytes, m);

    if (rc < 0 || (rc = timetable_decode(&t, data, bytes, err)) < 0)
        return rc;
    for (uint32_t i = 0; (ns = timetable_row(&shape, t, i)); i++) {
        uint64_t best = ns[0];
        int n = 0;
        for (uint32_t k = 0; k < timetable_targets(t); k++) {
            n += ns[k] > 0;
            best = ns[k] > 0 && ns[k] < best ? ns[k] : best;
        }
        if (n < 2 || ns[0] == 0)
            continue;
        printf("  %8.3f GFLOP", (double) shape.work * 1e-9);
        for (uint32_t k = 0; k < timetable_targets(t); k++)
            if (ns[k] > 0)
                printf("  %s %.1f", timetable_target(t, k)->kernel,
                       (double) ns[k] * 1e-3);
        printf("  %.2f\n", (double) ns[0] / (double) best);
    }
    timetable_destroy(t);
    free(data);
    return 0;
}

static int tune(struct bench *b, struct error *err)
{
    struct engine_model *m = b->sides[1].model;
    const struct engine_tune_params params = {
        .recipe = &b->recipe,
        .seconds = b->tune_seconds,
        .when = 1,
        .is_forced = true,
    };
    struct engine_times_info info;
    struct engine_tuned tuned;
    struct trainplan plan;
    int rc = engine_tune(&tuned, m, &params, err);

    if (rc < 0 || (rc = engine_plan(&plan, NULL, m, &b->recipe, err)) < 0)
        return rc;
    engine_times_describe(&info, m);
    printf("%s, %u threads: %u shapes, %u timed, %u left, %.1f s; waking "
           "%.0f us; others had %.0f %%\n",
           info.device, info.threads, tuned.n_shapes, tuned.n_timed,
           tuned.n_left, tuned.seconds, info.wake_us, tuned.others * 100);
    printf("fastest: %s\n", info.kernels);
    printf("predicted: %.1f ms a step; %u of %u instructions measured\n",
           plan.step_ms, plan.n_measured, plan.n_instrs);
    for (uint32_t i = 0; i < plan.n_steps; i++) {
        const struct trainplan_step *s = &plan.steps[i];
        printf("  %-44s %3u %-7s %u %8.2f ms   %-7s %u %8.2f ms\n", s->what,
               s->count, s->chosen.kernel, s->chosen.threads,
               s->chosen.ns * 1e-6, s->other.kernel, s->other.threads,
               s->other.ns * 1e-6);
    }
    return b->has_rows ? print_rows(b, err) : 0;
}

static int start(struct bench *b, struct side *s, struct error *err)
{
    // The second makes a record that is not held out, whatever its hash.
    const struct record records[2] = {
        {.id = 1, .kind = RECORD_TEXT, .text = {b->text.data, b->text.bytes}},
        {.id = 2,
         .kind = RECORD_TEXT,
         .text = {b->text.data, b->text.bytes - 2}},
    };
    const struct engine_train_params params = {
        .recipe = &b->recipe,
        .records = records,
        .n_records = 2,
    };
    int rc = engine_train_create(&s->train, s->model, &params, err);

    // The first step compiles; and a GPU that idles needs seconds until its
    // clock is up.
    const uint64_t begin = clock_monotonic_ns();
    const uint64_t warm_ns = engine_is_cpu(b->engine) ? 0 : 1500000000;
    while (rc >= 0) {
        rc = engine_train_run(s->train, 1, NULL, NULL, err);
        if (clock_monotonic_ns() - begin >= warm_ns)
            break;
    }
    return rc;
}

static int step(const struct bench *b, struct side *s, int i, struct error *err)
{
    const struct engine_gen_params params = {
        .prompt = {"Saturday, so the shop ran nine", 30},
        .max_tokens = b->n_tokens,
    };
    struct engine_gen_result r;
    struct engine_progress p;
    const uint64_t begin = clock_monotonic_ns();
    int rc = engine_train_run(s->train, 1, NULL, NULL, err);

    s->step_ms[i] = (double) (clock_monotonic_ns() - begin) * 1e-6;
    engine_train_progress(&p, s->train);
    s->loss = p.loss;
    if (rc < 0 || b->n_tokens == 0)
        return rc;
    if ((rc = engine_generate(&r, s->model, &params, err)) < 0)
        return rc;
    s->token_us[i] =
        r.tokens > 1 ? (double) r.token_ns * 1e-3 / (double) (r.tokens - 1) : 0;
    return 0;
}

static int run(struct bench *b, struct error *err)
{
    int rc = 0;

    for (int i = 0; i < 2; i++)
        if ((rc = start(b, &b->sides[i], err)) < 0)
            return rc;
    for (int i = 0; i < b->n_steps; i++)
        for (int k = 0; k < 2; k++)
            if ((rc = step(b, &b->sides[k], i, err)) < 0)
                return rc;
    printf("%-8s %10s %10s %12s %12s %10s\n", "table", "step ms", "median",
           "us a token", "median", "loss");
    for (int k = 0; k < 2; k++) {
        struct side *s = &b->sides[k];
        const size_t n = (size_t) b->n_steps;
        qsort(s->step_ms, n, sizeof(double), by_size);
        qsort(s->token_us, n, sizeof(double), by_size);
        printf("%-8s %10.1f %10.1f %12.0f %12.0f %10.6f\n", s->name,
               s->step_ms[0], s->step_ms[n / 2], s->token_us[0],
               s->token_us[n / 2], s->loss);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct bench b = {.n_steps = 12, .n_tokens = 100};
    struct engine_params params = {0};
    struct error err;
    int rc = 0;

    if (argc < 3) {
        fprintf(
            stderr,
            "usage: bench_times MODEL.gguf DEMO_DIR [--device NAME] "
            "[--seconds N] [--steps N] [--tokens N] [--rows] [NAME=VALUE ...]\n");
        return 2;
    }
    recipe_init(&b.recipe);
    b.recipe.batch = 4;
    b.recipe.length = 256;
    b.recipe.eval_every = 100000;
    for (int i = 3; i < argc && rc == 0; i++) {
        if (i + 1 < argc && strcmp(argv[i], "--device") == 0)
            params.device = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
            b.tune_seconds = strtod(argv[++i], NULL);
        else if (i + 1 < argc && strcmp(argv[i], "--steps") == 0)
            b.n_steps = (int) strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--rows") == 0)
            b.has_rows = true;
        else if (i + 1 < argc && strcmp(argv[i], "--tokens") == 0)
            b.n_tokens = (uint32_t) strtoul(argv[++i], NULL, 10);
        else
            rc = recipe_parse(&b.recipe, argv[i], &err);
    }
    if (b.n_steps < 1 || b.n_steps > STEPS_MAX)
        b.n_steps = STEPS_MAX;
    if (rc < 0 || (rc = engine_create(&b.engine, &params, &err)) < 0 ||
        (rc = open_sides(&b, argv[1], argv[2], &err)) < 0 ||
        (rc = tune(&b, &err)) < 0 || (rc = run(&b, &err)) < 0)
        fprintf(stderr, "bench_times: %s\n", err.text);
    for (int i = 0; i < 2; i++) {
        engine_train_destroy(b.sides[i].train);
        engine_model_close(b.sides[i].model);
    }
    engine_destroy(b.engine);
    str_free(&b.text);
    return rc < 0;
}
