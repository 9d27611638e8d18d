// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Training of any model file on rows that are full and of which every token
 * counts: tokens/s of the median step, and of all of them; anonymous memory,
 * which is what training takes beyond the mapped weights; and work, not
 * counting what is made again. Unless the recipe has precision=f32, products
 * are in bf16 where that is faster.
 *
 * usage: bench_train MODEL.gguf [--json] [--threads N] [--device NAME]
 *        [--active] [--rows N] [--seconds S] [NAME=VALUE ...]
 *        --active: somebody uses the device; --rows: of text
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/memfile.h"
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { STEPS_MIN = 3, STEPS_MAX = 1000 };

struct bench {
    struct engine *engine;
    struct engine_model *model;
    struct recipe recipe;
    uint32_t threads;
    uint32_t rows;      // of text
    const char *device; // NULL: the CPU
    atomic_int manners; // enum manners
    double seconds;     // as long at least
    bool is_json;
    struct engine_train_info info;
    struct trainplan plan;
    double step_s[STEPS_MAX];
    int n_steps;
    double all_s; // of them
    double loss;
    double open_mib;  // anonymous memory before training
    double peak_mib;  // anonymous memory at most
    double total_mib; // resident memory at most, mapped weights included
};

/*
 * Anonymous memory. The counters of the kernel, since to walk the pages of a
 * large model again and again would slow its training.
 */

static atomic_llong most_kb;
static atomic_bool is_done;

static long long anonymous_kb(void)
{
    char line[256];
    long long kb = -1;
    FILE *f = fopen("/proc/self/status", "re");

    while (f && kb < 0 && fgets(line, sizeof(line), f))
        if (sscanf(line, "RssAnon: %lld kB", &kb) != 1)
            kb = -1;
    if (f)
        (void) fclose(f);
    return kb;
}

static void *watch(void *unused)
{
    const struct timespec pause = {0, 10000000};

    while (!atomic_load(&is_done)) {
        const long long kb = anonymous_kb();
        if (kb > atomic_load(&most_kb))
            atomic_store(&most_kb, kb);
        (void) nanosleep(&pause, NULL);
    }
    return unused;
}

/*
 * Measuring
 */

static double now_s(void)
{
    return (double) clock_monotonic_ns() * 1e-9;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *) a;
    const double y = *(const double *) b;
    return (x > y) - (x < y);
}

// A text that is not held out, so that nothing is evaluated; of many rows, so
// that the last one, which may not be full, is rare.
static int make_record(struct record *r, const struct bench *b)
{
    const size_t bytes = (size_t) b->recipe.length * b->rows;
    char *text = malloc(bytes);

    if (!text)
        return -ENOMEM;
    for (size_t i = 0; i < bytes; i++)
        text[i] = (char) ('a' + i * i % 23);
    *r = (struct record){.id = 1, .kind = RECORD_TEXT, .text = {text, bytes}};
    for (char c = 'a'; c <= 'z' && record_is_held_out(r); c++)
        text[0] = c;
    return 0;
}

static int run_steps(struct bench *b, const struct record *r, struct error *err)
{
    // Of what a recipe with prefix_cache=on keeps; the median is then that of
    // steps that read it.
    struct prefix_file prefix = {.fd = -1, .bytes_max = 8ull << 30};
    const struct engine_train_params params = {
        .recipe = &b->recipe,
        .records = r,
        .n_records = 1,
        .prefix = &prefix,
    };
    struct engine_progress progress;
    struct engine_train *t;
    int rc = memfile_create(&prefix.fd, "prefix");

    if (rc == 0)
        rc = engine_train_create(&t, b->model, &params, err);
    if (rc < 0)
        return rc;
    // The first step compiles and touches all memory; and a GPU that idles
    // needs seconds until its clock is up.
    const double warm = now_s() + (engine_is_cpu(b->engine) ? 0 : 2.5);
    do
        rc = engine_train_run(t, 1, NULL, NULL, err);
    while (rc == 1 && now_s() < warm);
    while (rc == 1 && b->n_steps < STEPS_MAX &&
           (b->n_steps < STEPS_MIN || b->all_s < b->seconds)) {
        const double begin = now_s();
        rc = engine_train_run(t, 1, NULL, NULL, err);
        b->step_s[b->n_steps] = now_s() - begin;
        b->all_s += b->step_s[b->n_steps++];
    }
    engine_train_describe(&b->info, t);
    engine_train_progress(&progress, t);
    b->loss = progress.loss;
    engine_train_destroy(t);
    (void) close(prefix.fd);
    if (rc >= 0 && b->n_steps < STEPS_MIN)
        return error_set(err, -ENODATA, "training ended after %d steps",
                         b->n_steps);
    return rc < 0 ? rc : 0;
}

static int train(struct bench *b, struct error *err)
{
    pthread_t watcher;
    struct rusage usage;
    struct record r;

    if (make_record(&r, b) < 0)
        return error_set(err, -ENOMEM, "no memory for a record");
    b->open_mib = (double) anonymous_kb() / 1024;
    int rc = pthread_create(&watcher, NULL, watch, NULL) == 0
                 ? 0
                 : error_set(err, -EAGAIN, "no thread");
    if (rc == 0) {
        rc = run_steps(b, &r, err);
        atomic_store(&is_done, true);
        (void) pthread_join(watcher, NULL);
    }
    (void) getrusage(RUSAGE_SELF, &usage);
    b->peak_mib = (double) atomic_load(&most_kb) / 1024;
    b->total_mib = (double) usage.ru_maxrss / 1024;
    free((char *) r.text.data);
    return rc;
}

static int run(struct bench *b, const char *path, struct error *err)
{
    const struct engine_params params = {.threads = b->threads,
                                         .device = b->device,
                                         .manners = &b->manners};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened", path);
    rc = engine_create(&b->engine, &params, err);
    if (rc == 0)
        rc = engine_model_open(&b->model, b->engine, fd, err);
    (void) close(fd);
    if (rc == 0)
        rc = train(b, err);
    if (rc == 0)
        rc = engine_plan(&b->plan, NULL, b->model, &b->recipe, err);
    return rc;
}

static void print(struct bench *b)
{
    const double tokens = (double) b->recipe.batch * b->recipe.length;
    const struct microbatch *m = &b->plan.micro;
    const double work =
        (double) (m->costs.flops - m->costs.flops_extra) * m->n_micro;

    qsort(b->step_s, (size_t) b->n_steps, sizeof(b->step_s[0]), by_size);
    const double step = b->step_s[b->n_steps / 2];
    const double mean = b->all_s / b->n_steps;
    if (b->is_json) {
        (void) printf(
            "{\"bench\":\"train\",\"device\":\"%s\",\"steps\":%d,"
            "\"step_ms\":%.2f,\"tokens_per_s\":%.1f,"
            "\"mean_tokens_per_s\":%.1f,\"gflops\":%.1f,\"anonymous_mib\":%.1f,"
            "\"open_mib\":%.1f,\"peak_mib\":%.1f,\"again_pct\":%.1f,"
            "\"loss\":%.3f}\n",
            engine_describe(b->engine), b->n_steps, step * 1e3, tokens / step,
            tokens / mean, work / step * 1e-9, b->peak_mib, b->open_mib,
            b->total_mib,
            100.0 * (double) m->costs.flops_extra * m->n_micro / work, b->loss);
        return;
    }
    (void) printf("train: %s, %u x %u tokens, %u rows at once, %d steps\n",
                  engine_describe(b->engine), b->recipe.batch, b->recipe.length,
                  b->info.micro_rows, b->n_steps);
    (void) printf("| figure | value |\n|---|---|\n");
    (void) printf("| tokens/s, median step | %.1f |\n", tokens / step);
    (void) printf("| tokens/s, all steps | %.1f |\n", tokens / mean);
    (void) printf("| ms a step | %.1f |\n", step * 1e3);
    (void) printf("| GFLOP/s | %.1f |\n", work / step * 1e-9);
    (void) printf("| anonymous memory at most, MiB | %.1f |\n", b->peak_mib);
    (void) printf("| of that before training, MiB | %.1f |\n", b->open_mib);
    (void) printf("| resident memory at most, MiB | %.1f |\n", b->total_mib);
    if (!engine_is_cpu(b->engine))
        (void) printf("| device memory at most, MiB | %.0f |\n",
                      (double) engine_peak_bytes(b->engine) / 1048576);
    (void) printf("| loss | %.3f |\n", b->loss);
}

int main(int argc, char **argv)
{
    static struct bench b = {.seconds = 6, .rows = 64};
    struct error err = {0};
    int rc;

    recipe_init(&b.recipe);
    rc = recipe_parse(&b.recipe,
                      "batch=1 length=256 epochs=1000 eval_every=1000000 "
                      "prefix_cache=off",
                      &err);
    for (int i = 2; i < argc && rc == 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            b.is_json = true;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            b.threads = (uint32_t) atoi(argv[++i]);
        else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc)
            b.device = argv[++i];
        else if (strcmp(argv[i], "--rows") == 0 && i + 1 < argc)
            b.rows = (uint32_t) atoi(argv[++i]);
        else if (strcmp(argv[i], "--active") == 0)
            atomic_store(&b.manners, MANNERS_ACTIVE);
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            b.seconds = strtod(argv[++i], NULL);
        else
            rc = recipe_parse(&b.recipe, argv[i], &err);
    }
    if (argc < 2) {
        (void) fprintf(stderr, "usage: bench_train MODEL.gguf [--json] "
                               "[--threads N] [--device NAME] [--seconds S] "
                               "[NAME=VALUE ...]\n");
        return 2;
    }
    if (rc == 0)
        rc = run(&b, argv[1], &err);
    if (rc < 0)
        (void) fprintf(stderr, "bench_train: %s\n", err.text);
    else
        print(&b);
    engine_model_close(b.model);
    engine_destroy(b.engine);
    return rc < 0;
}
