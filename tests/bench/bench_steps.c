// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Speed: optimizer steps of 4 rows of 256 tokens with LoRA of rank 8 on all
 * linears, the memory that takes, and generation. Medians over the steps; the
 * machine should be idle, and CPU time says whether it was.
 *
 * usage: bench_steps MODEL.gguf DEMO_DIR [--json] [--threads N] [NAME=VALUE
 * ...]
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/engine.h"
#include "tests/support/demodata.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { STEPS = 12, ROWS = 4, LENGTH = 256, GENERATED = 600, ROUNDS_MAX = 50 };

struct bench {
    struct engine *engine;
    struct engine_model *model;
    struct recipe recipe;
    uint32_t threads;
    bool is_json;
    struct engine_train_info info;
    double train_tokens_per_s;
    double cpu_seconds; // of all threads, for one step
    double compile_ms;
    double peak_mib;
    double gen_tokens_per_s;
    double prompt_tokens_per_s;
};

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *) a;
    const double y = *(const double *) b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_size);
    return values[n / 2];
}

// One long text: its windows fill their rows, so that no place is padding.
static int make_text(struct str *text, const char *dir, struct error *err)
{
    struct demodata data;
    int rc = demodata_load(&data, dir, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < data.n_notes; i++) {
        str_append(text, data.records[i].text.data, data.records[i].text.bytes);
        str_puts(text, "\n\n");
    }
    demodata_finish(&data);
    return str_finish(text);
}

static double now_s(void)
{
    return (double) clock_monotonic_ns() * 1e-9;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static int bench_train(struct bench *b, const struct str *text,
                       struct error *err)
{
    // The second half makes a record that is not held out, whatever its hash.
    const struct record records[2] = {
        {.id = 1, .kind = RECORD_TEXT, .text = {text->data, text->bytes}},
        {.id = 2, .kind = RECORD_TEXT, .text = {text->data, text->bytes - 2}},
    };
    const struct engine_train_params params = {
        .recipe = &b->recipe,
        .records = records,
        .n_records = 2,
    };
    double seconds[STEPS], cpu[STEPS];
    struct engine_train *t;
    double begin = now_s();
    int rc = engine_train_create(&t, b->model, &params, err);

    if (rc < 0)
        return rc;
    // The first step compiles.
    rc = engine_train_run(t, 1, NULL, NULL, err);
    b->compile_ms = (now_s() - begin) * 1e3;
    for (int i = 0; i < STEPS && rc == 1; i++) {
        const double cpu_begin = cpu_s();
        begin = now_s();
        rc = engine_train_run(t, 1, NULL, NULL, err);
        seconds[i] = now_s() - begin;
        cpu[i] = cpu_s() - cpu_begin;
    }
    engine_train_describe(&b->info, t);
    engine_train_destroy(t);
    if (rc < 0)
        return rc;
    b->train_tokens_per_s = ROWS * LENGTH / median(seconds, STEPS);
    b->cpu_seconds = median(cpu, STEPS);
    return 0;
}

// Texts that the model ends itself are short, so several are made.
static int bench_generate(struct bench *b, struct error *err)
{
    static const char prompt[] =
        "Saturday, so the shop ran nine to one. Four punctures at 80 crowns "
        "each, and all four owners asked if winter was over. I pointed at the "
        "window and put the kettle on, because";
    uint64_t tokens = 0, token_ns = 0, prompt_tokens = 0, prompt_ns = 0;

    for (uint64_t i = 0; i < ROUNDS_MAX && tokens < GENERATED; i++) {
        const struct engine_gen_params params = {
            .prompt = {prompt, sizeof prompt - 1},
            .temperature = 0.8F,
            .top_k = 40,
            .top_p = 0.95F,
            .seed = i,
            .max_tokens = GENERATED / 3,
        };
        struct engine_gen_result r;
        int rc = engine_generate(&r, b->model, &params, err);
        if (rc < 0)
            return rc;
        // The first token comes with the prompt; the first prompt compiles.
        tokens += r.tokens - 1;
        token_ns += r.token_ns;
        if (i > 0) {
            prompt_tokens += r.prompt_tokens;
            prompt_ns += r.prompt_ns;
        }
    }
    b->gen_tokens_per_s = (double) tokens / ((double) token_ns * 1e-9);
    b->prompt_tokens_per_s =
        (double) prompt_tokens / ((double) prompt_ns * 1e-9);
    return 0;
}

static int run(struct bench *b, const char *model, const char *dir,
               struct error *err)
{
    const struct engine_params params = {.threads = b->threads};
    const int fd = open(model, O_RDONLY | O_CLOEXEC);
    struct str text = {0};
    struct rusage usage;
    int rc;

    if (fd < 0)
        return error_set(err, -2, "%s cannot be opened", model);
    rc = engine_create(&b->engine, &params, err);
    if (rc == 0)
        rc = engine_model_open(&b->model, b->engine, fd, err);
    close(fd);
    if (rc == 0)
        rc = make_text(&text, dir, err);
    if (rc == 0)
        rc = bench_train(b, &text, err);
    (void) getrusage(RUSAGE_SELF, &usage);
    b->peak_mib = (double) usage.ru_maxrss / 1024;
    if (rc == 0)
        rc = bench_generate(b, err);
    str_free(&text);
    return rc;
}

static void print_table(const struct bench *b)
{
    (void) printf("steps: %s, %u x %u tokens in micro-batches of %u rows\n",
                  engine_describe(b->engine), ROWS, LENGTH, b->info.micro_rows);
    (void) printf("| figure | value | wanted |\n|---|---|---|\n");
    (void) printf("| training, tokens/s | %.0f | 2500 |\n",
                  b->train_tokens_per_s);
    (void) printf("| CPU time of a step, s | %.3f | |\n", b->cpu_seconds);
    (void) printf("| peak resident memory, MiB | %.0f | < 150 |\n",
                  b->peak_mib);
    (void) printf("| activations, MiB | %.1f | |\n",
                  (double) b->info.arena_bytes / (1 << 20));
    (void) printf("| until the first step is done, ms | %.0f | |\n",
                  b->compile_ms);
    (void) printf("| generation, tokens/s | %.0f | 300 |\n",
                  b->gen_tokens_per_s);
    (void) printf("| reading a prompt, tokens/s | %.0f | |\n",
                  b->prompt_tokens_per_s);
}

static void print_json(const struct bench *b)
{
    (void) printf("{\"bench\":\"steps\",\"device\":\"%s\","
                  "\"train_tokens_per_s\":%.1f,\"step_cpu_s\":%.4f,"
                  "\"peak_mib\":%.1f,"
                  "\"arena_bytes\":%zu,\"micro_rows\":%u,"
                  "\"first_step_ms\":%.1f,\"gen_tokens_per_s\":%.1f,"
                  "\"prompt_tokens_per_s\":%.1f}\n",
                  engine_describe(b->engine), b->train_tokens_per_s,
                  b->cpu_seconds, b->peak_mib, b->info.arena_bytes,
                  b->info.micro_rows, b->compile_ms, b->gen_tokens_per_s,
                  b->prompt_tokens_per_s);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct error err = {0};
    int rc;

    recipe_init(&b.recipe);
    // No evaluation in between: the steps are what is timed.
    rc = recipe_parse(&b.recipe,
                      "batch=4 length=256 epochs=100 eval_every=1000000", &err);
    for (int i = 3; i < argc && rc == 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            b.is_json = true;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            b.threads = (uint32_t) atoi(argv[++i]);
        else
            rc = recipe_parse(&b.recipe, argv[i], &err);
    }
    if (argc < 3) {
        (void) fprintf(stderr, "usage: bench_steps MODEL DEMO_DIR [--json] "
                               "[--threads N] [NAME=VALUE ...]\n");
        return 2;
    }
    if (rc == 0)
        rc = run(&b, argv[1], argv[2], &err);
    if (rc < 0)
        (void) fprintf(stderr, "bench_steps: %s\n", err.text);
    else if (b.is_json)
        print_json(&b);
    else
        print_table(&b);
    engine_model_close(b.model);
    engine_destroy(b.engine);
    return rc < 0;
}
