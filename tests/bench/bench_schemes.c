// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The staircase: what a step costs, in time and memory, when less and less of
 * a model learns, and what is learned. Steps of all schemes take turns, so that
 * whatever else the machine does hits them alike; medians are compared.
 *
 * usage: bench_schemes MODEL.gguf DEMO_DIR LAST [--json] [--quality]
 *        [--rounds N] [NAME=VALUE ...]      LAST: blocks of the sparse schemes
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/memfile.h"
#include "engine/engine.h"
#include "engine/exec/program.h"
#include "engine/train/base_model.h"
#include "tests/support/demodata.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS_MAX = 64, RECIPE_BYTES = 512 };

static const struct {
    const char *name;
    const char *scheme; // %s: the blocks from the end
    const char *rate;
    const char *updates;
    int ratio_of;    // row that it is compared with
    bool recomputes; // in half of the arena that keeps everything
    bool has_prefix;
} rows[] = {
    {"all weights", "full", "1e-3", "late", 0, false, false},
    {"LoRA on all linears", "lora-all", "3e-3", "late", 0, false, false},
    {"LoRA, rank 16, last blocks", "lora-last:%s", "5e-3 rank=16", "late", 1,
     false, false},
    {"+ frozen prefix kept", "lora-last:%s", "5e-3 rank=16", "late", 1, false,
     true},
    {"PockEngine, last blocks", "pockengine:%s", "2e-3 epochs=2", "late", 0,
     false, false},
    {"+ reorder", "pockengine:%s", "2e-3 epochs=2", "early", 0, false, false},
    {"+ recompute", "pockengine:%s", "2e-3 epochs=2", "early", 0, true, false},
    {"+ frozen prefix kept", "pockengine:%s", "2e-3 epochs=2", "early", 0, true,
     true},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]), KEEPS_ALL = 4 };

struct row {
    struct recipe recipe;
    struct engine_train *train;
    struct engine_train_info info;
    double gflop;      // of a step of full rows
    size_t eval_bytes; // arena of an evaluation of as many rows
    struct prefix_file prefix;
    double ms[ROUNDS_MAX];
    uint32_t n;
    double best; // held-out loss
};

struct bench {
    struct engine *engine;
    struct engine_model *model;
    struct device *dev; // for compiling
    struct base_model *base;
    struct demodata data;
    char recipe[RECIPE_BYTES];
    uint32_t last, rounds;
    bool is_json, has_quality;
    double start; // held-out loss before anything was learned
    struct row rows[ROWS];
};

static void write_recipe(char out[RECIPE_BYTES], const struct bench *b, int i)
{
    const size_t mib =
        rows[i].recomputes ? b->rows[KEEPS_ALL].info.arena_bytes >> 21 : 4096;
    char scheme[32], last[16];

    (void) snprintf(last, sizeof(last), "%u", b->last);
    // Every format has one %s at most; those without one ignore it.
    const char *hole = strstr(rows[i].scheme, "%s");
    (void) snprintf(scheme, sizeof(scheme), "%.*s%s",
                    hole ? (int) (hole - rows[i].scheme) : 31, rows[i].scheme,
                    hole ? last : "");
    (void) snprintf(out, RECIPE_BYTES,
                    "batch=4 memory_mib=%zu prefix_cache=%s updates=%s "
                    "lr=%s %.200s scheme=%s",
                    mib < 16 ? 16 : mib, rows[i].has_prefix ? "f16" : "off",
                    rows[i].updates, rows[i].rate, b->recipe, scheme);
}

// Work of a step, and the arena that a forward pass alone would take.
static int weigh(struct bench *b, struct row *r, struct error *err)
{
    const struct program_params eval = {
        .kind = PROGRAM_EVAL,
        .batch = r->info.micro_rows,
        .length = r->info.row_length,
    };
    struct trainplan plan;
    struct program *p;
    int rc = trainplan_make(&plan, NULL, b->base, &r->recipe, err);

    if (rc < 0 || (rc = program_compile(&p, &b->base->config, &eval,
                                        &cpu_backend, b->dev, err)) < 0)
        return rc;
    r->gflop = (double) plan.micro.costs.flops * plan.micro.n_micro * 1e-9;
    r->eval_bytes = program_arena_bytes(p);
    program_destroy(p);
    return 0;
}

static int make_row(struct bench *b, int i, struct error *err)
{
    struct row *r = &b->rows[i];
    char text[RECIPE_BYTES];
    int rc;

    write_recipe(text, b, i);
    recipe_init(&r->recipe);
    if ((rc = recipe_parse(&r->recipe, text, err)) < 0)
        return rc;
    struct engine_train_params params = {
        .recipe = &r->recipe,
        .records = b->data.records,
        .n_records = b->data.n_records,
    };
    r->prefix = (struct prefix_file){.fd = -1, .bytes_max = 1 << 30};
    if (rows[i].has_prefix) {
        if ((rc = memfile_create(&r->prefix.fd, "prefix")) < 0)
            return error_set(err, rc, "no memory for a prefix cache");
        params.prefix = &r->prefix;
    }
    return engine_train_create(&r->train, b->model, &params, err);
}

static int step(struct row *r, struct error *err)
{
    const uint64_t begin = clock_monotonic_ns();
    const int rc = engine_train_run(r->train, 1, NULL, NULL, err);

    r->ms[r->n++] = (double) (clock_monotonic_ns() - begin) * 1e-6;
    return rc;
}

// A prefix cache pays from the second epoch on. The arena is as large as the
// programs that ran need it.
static int warm_up(struct row *r, struct error *err)
{
    engine_train_describe(&r->info, r->train);
    const uint64_t steps = r->prefix.fd >= 0 ? r->info.steps_epoch : 2;
    const int rc = engine_train_run(r->train, steps, NULL, NULL, err);
    engine_train_describe(&r->info, r->train);
    return rc < 0 ? rc : 0;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *) a;
    const double y = *(const double *) b;
    return (x > y) - (x < y);
}

static double median(struct row *r)
{
    qsort(r->ms, r->n, sizeof(r->ms[0]), compare);
    return r->n ? r->ms[r->n / 2] : 0;
}

static int learn(struct bench *b, struct row *r, struct error *err)
{
    struct engine_progress p;
    const int rc = engine_train_run(r->train, 0, NULL, NULL, err);

    if (rc < 0)
        return rc;
    engine_train_progress(&p, r->train);
    r->best = p.best_loss;
    b->start = p.start_loss;
    return 0;
}

static int run(struct bench *b, const char *model, const char *dir,
               struct error *err)
{
    const int fd = open(model, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s: %s", model, strerror(errno));
    rc = engine_create(&b->engine, &(struct engine_params){0}, err);
    if (rc == 0)
        rc = engine_model_open(&b->model, b->engine, fd, err);
    if (rc == 0)
        rc = cpu_backend.open(&b->dev, &(struct device_params){.threads = 1},
                              err);
    if (rc == 0)
        rc = base_model_open(&b->base, &cpu_backend, b->dev, fd, err);
    (void) close(fd);
    if (rc == 0)
        rc = demodata_load(&b->data, dir, err);
    for (int i = 0; i < ROWS && rc == 0; i++)
        if ((rc = make_row(b, i, err)) == 0 &&
            (rc = warm_up(&b->rows[i], err)) == 0)
            rc = weigh(b, &b->rows[i], err);
    for (uint32_t n = 0; n < b->rounds && rc >= 0; n++)
        for (int i = 0; i < ROWS && rc >= 0; i++)
            rc = step(&b->rows[i], err);
    for (int i = 0; i < ROWS && rc >= 0 && b->has_quality; i++)
        rc = learn(b, &b->rows[i], err);
    return rc < 0 ? rc : 0;
}

static double mib(size_t bytes)
{
    return (double) bytes / 1048576;
}

// Of the arena, what a forward pass alone would not need.
static double backward_mib(const struct row *r)
{
    return mib(r->info.arena_bytes) - mib(r->eval_bytes);
}

static double kept(const struct bench *b, const struct row *r)
{
    return 100 * (b->start - r->best) / (b->start - b->rows[1].best);
}

static void print(struct bench *b)
{
    double ms[ROWS];

    for (int i = 0; i < ROWS; i++)
        ms[i] = median(&b->rows[i]);
    (void) printf("schemes: %s, batches of 4 records, K = %u\n"
                  "| what learns | ms a step | faster | GFLOP, full rows | "
                  "arena, MiB | of it for backward | state, MiB |%s"
                  "\n|---|---|---|---|---|---|---|%s\n",
                  engine_describe(b->engine), b->last,
                  b->has_quality ? " held-out loss | gain kept |" : "",
                  b->has_quality ? "---|---|" : "");
    for (int i = 0; i < ROWS; i++) {
        const struct row *r = &b->rows[i];
        (void) printf("| %s | %.0f | %.2f x %s | %.0f | %.1f | %.1f | %.1f |",
                      rows[i].name, ms[i], ms[rows[i].ratio_of] / ms[i],
                      rows[rows[i].ratio_of].name, r->gflop,
                      mib(r->info.arena_bytes), backward_mib(r),
                      mib(r->info.state_bytes));
        if (b->has_quality)
            (void) printf(" %.3f | %.0f %% |", r->best, kept(b, r));
        (void) printf("\n");
    }
}

static void print_json(struct bench *b)
{
    (void) printf("{\"bench\":\"schemes\",\"device\":\"%s\",\"last\":%u,"
                  "\"start\":%.4f,\"rows\":[",
                  engine_describe(b->engine), b->last, b->start);
    for (int i = 0; i < ROWS; i++) {
        struct row *r = &b->rows[i];
        (void) printf("%s{\"name\":\"%s\",\"ms\":%.2f,\"gflop\":%.2f,"
                      "\"arena_mib\":%.2f,\"backward_mib\":%.2f,"
                      "\"state_mib\":%.2f,\"of\":%d",
                      i ? "," : "", rows[i].name, median(r), r->gflop,
                      mib(r->info.arena_bytes), backward_mib(r),
                      mib(r->info.state_bytes), rows[i].ratio_of);
        if (b->has_quality)
            (void) printf(",\"held_out\":%.4f,\"kept\":%.1f", r->best,
                          kept(b, r));
        (void) printf("}");
    }
    (void) printf("]}\n");
}

static int parse(struct bench *b, int argc, char **argv)
{
    b->rounds = 5;
    if (argc < 4)
        return -EINVAL;
    b->last = (uint32_t) strtoul(argv[3], NULL, 10);
    for (int i = 4; i < argc; i++) {
        const size_t used = strlen(b->recipe);
        if (strcmp(argv[i], "--json") == 0)
            b->is_json = true;
        else if (strcmp(argv[i], "--quality") == 0)
            b->has_quality = true;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            b->rounds = (uint32_t) strtoul(argv[++i], NULL, 10);
        else
            (void) snprintf(b->recipe + used, sizeof(b->recipe) - used, " %s",
                            argv[i]);
    }
    return b->last > 0 && b->rounds <= ROUNDS_MAX ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct error err = {0};
    int rc;

    if (parse(&b, argc, argv) < 0) {
        (void) fprintf(stderr,
                       "usage: bench_schemes MODEL DEMO_DIR LAST [--json] "
                       "[--quality] [--rounds N] [NAME=VALUE ...]\n");
        return 2;
    }
    rc = run(&b, argv[1], argv[2], &err);
    if (rc < 0)
        (void) fprintf(stderr, "bench_schemes: %s\n", err.text);
    else if (b.is_json)
        print_json(&b);
    else
        print(&b);
    for (int i = 0; i < ROWS; i++) {
        engine_train_destroy(b.rows[i].train);
        if (b.rows[i].train && b.rows[i].prefix.fd >= 0)
            (void) close(b.rows[i].prefix.fd);
    }
    demodata_finish(&b.data);
    base_model_close(b.base);
    if (b.dev)
        cpu_backend.close(b.dev);
    engine_model_close(b.model);
    engine_destroy(b.engine);
    return rc < 0;
}
