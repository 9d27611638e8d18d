// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What a frozen prefix saves: optimizer steps of 4 rows of 256 tokens with
 * LoRA of rank 8 on all blocks, and on the last K of them: with the whole
 * forward pass, in the epoch that fills the cache, and in those that read it.
 * The four take turns, so that a machine that is busy slows all of them; the
 * work of a step stands beside its time.
 *
 * usage: bench_prefix MODEL.gguf DEMO_DIR K [--json] [--threads N]
 *                     [NAME=VALUE ...]
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/memfile.h"
#include "engine/base/str.h"
#include "engine/engine.h"
#include "engine/exec/program.h"
#include "tests/support/demodata.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 12, ROWS = 4, LENGTH = 256, FILE_MIB = 1024 };

enum mode { MODE_ALL, MODE_LAST, MODE_FILL, MODE_READ, MODES };

static const char *const titles[MODES] = {
    [MODE_ALL] = "lora-all",
    [MODE_LAST] = "lora-last, whole forward pass",
    [MODE_FILL] = "lora-last, first epoch",
    [MODE_READ] = "lora-last, later epochs",
};

struct figures {
    double seconds[STEPS];
    uint32_t n;
    double gflop;
    double arena_mib;
};

struct bench {
    struct engine *engine;
    struct engine_model *model;
    struct model_config config;
    struct recipe recipe;
    struct prefix_file files[MODES]; // of those that keep states
    uint32_t threads;
    uint32_t last;
    bool is_json;
    struct figures figures[MODES];
};

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *) a;
    const double y = *(const double *) b;
    return (x > y) - (x < y);
}

static double median_ms(struct figures *f)
{
    qsort(f->seconds, f->n, sizeof *f->seconds, by_size);
    return f->n ? 1e3 * f->seconds[f->n / 2] : (double) NAN;
}

/*
 * Work
 */

static int count(double *gflop, const struct bench *b, enum program_kind kind,
                 const struct scheme *scheme, uint32_t first_block,
                 struct error *err)
{
    const struct device_params one = {.threads = 1};
    const struct program_params params = {
        .kind = kind,
        .batch = ROWS,
        .length = LENGTH,
        .scheme = scheme,
        .first_block = first_block,
    };
    struct program_costs costs;
    struct device *dev;
    struct program *p;
    int rc = cpu_backend.open(&dev, &one, err);

    if (rc < 0)
        return rc;
    rc = program_compile(&p, &b->config, &params, &cpu_backend, dev, err);
    if (rc == 0) {
        program_costs(&costs, p);
        *gflop += (double) costs.flops * 1e-9;
        program_destroy(p);
    }
    cpu_backend.close(dev);
    return rc;
}

static int count_all(struct bench *b, struct error *err)
{
    static struct scheme all, last;
    struct recipe r = b->recipe;
    int rc;

    r.last_blocks = 0;
    if ((rc = recipe_scheme(&all, &r, &b->config, err)) < 0)
        return rc;
    r.last_blocks = b->last;
    if ((rc = recipe_scheme(&last, &r, &b->config, err)) < 0)
        return rc;
    const uint32_t first = scheme_first_block(&last, &b->config);
    struct figures *f = b->figures;
    if ((rc = count(&f[MODE_ALL].gflop, b, PROGRAM_TRAIN, &all, 0, err)) < 0 ||
        (rc = count(&f[MODE_LAST].gflop, b, PROGRAM_TRAIN, &last, 0, err)) <
            0 ||
        (rc = count(&f[MODE_READ].gflop, b, PROGRAM_TRAIN, &last, first, err)) <
            0 ||
        (rc = count(&f[MODE_FILL].gflop, b, PROGRAM_PREFIX, NULL, first, err)) <
            0)
        return rc;
    f[MODE_FILL].gflop += f[MODE_READ].gflop;
    return 0;
}

/*
 * Time
 */

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

static int make_run(struct engine_train **out, struct bench *b, enum mode mode,
                    const struct str *text, struct error *err)
{
    // The second one is not held out if the first is: their hashes differ.
    const struct record records[2] = {
        {.id = 1, .kind = RECORD_TEXT, .text = {text->data, text->bytes}},
        {.id = 2, .kind = RECORD_TEXT, .text = {text->data, text->bytes - 2}},
    };
    struct recipe recipe = b->recipe;
    const struct engine_train_params params = {
        .recipe = &recipe,
        .records = records,
        .n_records = 2,
        .prefix = mode >= MODE_FILL ? &b->files[mode] : NULL,
    };

    recipe.last_blocks = mode == MODE_ALL ? 0 : b->last;
    if (mode == MODE_LAST)
        recipe.prefix_cache = PREFIX_VALUES_OFF;
    return engine_train_create(out, b->model, &params, err);
}

// f may be NULL: a step that does not count.
static int step(struct figures *f, struct engine_train *t, struct error *err)
{
    const uint64_t begin = clock_monotonic_ns();
    int rc = engine_train_run(t, 1, NULL, NULL, err);

    if (rc == 1 && f && f->n < STEPS)
        f->seconds[f->n++] = (double) (clock_monotonic_ns() - begin) * 1e-9;
    return rc < 0 ? rc : 0;
}

// As much of the text as makes an epoch of about STEPS steps.
static int cut_text(struct str *text, struct bench *b, struct error *err)
{
    struct engine_train_info info;
    struct engine_train *t;
    int rc = make_run(&t, b, MODE_ALL, text, err);

    if (rc < 0)
        return rc;
    engine_train_describe(&info, t);
    engine_train_destroy(t);
    if (info.steps_epoch > STEPS)
        text->bytes = text->bytes * STEPS / info.steps_epoch;
    return 0;
}

static int run_steps(struct bench *b, struct str *text, struct error *err)
{
    struct engine_train *runs[MODES] = {NULL};
    struct engine_train_info info;
    int rc = cut_text(text, b, err);

    for (int m = 0; m < MODES && rc == 0; m++)
        rc = make_run(&runs[m], b, (enum mode) m, text, err);
    if (rc < 0)
        goto out;
    engine_train_describe(&info, runs[MODE_READ]);
    for (uint64_t i = 0; i < info.steps_epoch && rc == 0; i++)
        rc = step(NULL, runs[MODE_READ], err);
    // The first step of each compiles. The last of an epoch has fewer rows.
    for (uint64_t i = 0; i + 1 < info.steps_epoch && rc == 0; i++)
        for (int m = 0; m < MODES && rc == 0; m++)
            rc = step(i > 0 ? &b->figures[m] : NULL, runs[m], err);
    for (int m = 0; m < MODES; m++) {
        engine_train_describe(&info, runs[m]);
        b->figures[m].arena_mib = (double) info.arena_bytes / (1 << 20);
    }

out:
    for (int m = 0; m < MODES; m++)
        engine_train_destroy(runs[m]);
    return rc;
}

static int run(struct bench *b, const char *model, const char *dir,
               struct error *err)
{
    const struct engine_params params = {.threads = b->threads};
    const int fd = open(model, O_RDONLY | O_CLOEXEC);
    struct engine_model_info info;
    struct str text = {0};
    int rc;

    if (fd < 0)
        return error_set(err, -2, "%s cannot be opened", model);
    for (int m = 0; m < MODES; m++) {
        b->files[m].bytes_max = (uint64_t) FILE_MIB << 20;
        if (memfile_create(&b->files[m].fd, "prefix") < 0)
            return error_set(err, -1, "there is no room for a file");
    }
    rc = engine_create(&b->engine, &params, err);
    if (rc == 0)
        rc = engine_model_open(&b->model, b->engine, fd, err);
    close(fd);
    if (rc == 0)
        rc = engine_model_describe(&info, b->model, err);
    if (rc == 0) {
        b->config = info.config;
        rc = count_all(b, err);
    }
    if (rc == 0)
        rc = make_text(&text, dir, err);
    if (rc == 0)
        rc = run_steps(b, &text, err);
    str_free(&text);
    for (int m = 0; m < MODES; m++)
        close(b->files[m].fd);
    return rc;
}

static void print(struct bench *b)
{
    const double all = median_ms(&b->figures[MODE_ALL]);

    if (b->is_json) {
        (void) printf("{\"bench\":\"prefix%u\",\"device\":\"%s\",\"last\":%u,"
                      "\"all_ms\":%.1f,\"last_ms\":%.1f,\"fill_ms\":%.1f,"
                      "\"read_ms\":%.1f",
                      b->config.n_blocks, engine_describe(b->engine), b->last,
                      all, median_ms(&b->figures[MODE_LAST]),
                      median_ms(&b->figures[MODE_FILL]),
                      median_ms(&b->figures[MODE_READ]));
        (void) printf(",\"last_ratio\":%.2f,\"read_ratio\":%.2f,"
                      "\"read_flop_ratio\":%.2f}\n",
                      all / median_ms(&b->figures[MODE_LAST]),
                      all / median_ms(&b->figures[MODE_READ]),
                      b->figures[MODE_ALL].gflop / b->figures[MODE_READ].gflop);
        return;
    }
    (void) printf("prefix: %s, %u x %u tokens, %u blocks, the last %u learn\n",
                  engine_describe(b->engine), ROWS, LENGTH, b->config.n_blocks,
                  b->last);
    (void) printf("| step | ms | times faster | GFLOP | times fewer | MiB |\n"
                  "|---|---|---|---|---|---|\n");
    for (int m = 0; m < MODES; m++) {
        struct figures *f = &b->figures[m];
        const double ms = median_ms(f);
        (void) printf("| %s | %.1f | %.2f | %.2f | %.2f | %.1f |\n", titles[m],
                      ms, all / ms, f->gflop,
                      b->figures[MODE_ALL].gflop / f->gflop, f->arena_mib);
    }
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct error err = {0};
    int rc;

    if (argc < 4) {
        (void) fprintf(stderr, "usage: bench_prefix MODEL DEMO_DIR K [--json] "
                               "[--threads N] [NAME=VALUE ...]\n");
        return 2;
    }
    b.last = (uint32_t) atoi(argv[3]);
    recipe_init(&b.recipe);
    // Nothing is made again, and nothing is evaluated in between.
    rc = recipe_parse(&b.recipe,
                      "batch=4 length=256 epochs=100 eval_every=1000000 "
                      "memory_mib=4096",
                      &err);
    for (int i = 4; i < argc && rc == 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            b.is_json = true;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            b.threads = (uint32_t) atoi(argv[++i]);
        else
            rc = recipe_parse(&b.recipe, argv[i], &err);
    }
    if (rc == 0)
        rc = run(&b, argv[1], argv[2], &err);
    if (rc < 0)
        (void) fprintf(stderr, "bench_prefix: %s\n", err.text);
    else
        print(&b);
    engine_model_close(b.model);
    engine_destroy(b.engine);
    return rc < 0;
}
