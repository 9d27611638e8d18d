// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Memory: what a training step of a model really takes beyond its mapped
 * weights, against what was planned, and how long compiling and finding a
 * compiled program take. Anonymous pages are looked at all the time, so that
 * the compiler's own memory counts too.
 *
 * usage: bench_plan NAME MODEL.gguf [--json] [RECIPE_NAME=VALUE ...]
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/engine.h"
#include "engine/train/base_model.h"
#include "engine/train/program_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { COMPILES = 5, LOOKUPS = 100, TEXT_BYTES = 1500 };

struct bench {
    const char *name;
    bool is_json;
    struct recipe recipe;
    struct trainplan plan;
    double compile_ms; // the fastest
    double lookup_us;
    double step_s;
    double loss;
    double before_mb; // anonymous memory with the model open
    double after_mb;  // after a step
};

/*
 * Anonymous memory, and its highest value
 */

static atomic_llong most_kb;
static atomic_bool is_done;

static long long anonymous_kb(void)
{
    char line[256];
    long long kb = -1;
    FILE *f = fopen("/proc/self/smaps_rollup", "re");

    while (f && kb < 0 && fgets(line, sizeof(line), f))
        if (sscanf(line, "Anonymous: %lld kB", &kb) != 1)
            kb = -1;
    if (f)
        (void) fclose(f);
    return kb;
}

static void *watch(void *unused)
{
    const struct timespec pause = {0, 5000000};

    while (!atomic_load(&is_done)) {
        const long long kb = anonymous_kb();
        if (kb > atomic_load(&most_kb))
            atomic_store(&most_kb, kb);
        (void) nanosleep(&pause, NULL);
    }
    return unused;
}

static double to_mb(long long kb)
{
    return (double) kb * 1024 * 1e-6;
}

/*
 * Measuring
 */

static int run_step(struct bench *b, struct engine_model *m, struct error *err)
{
    static char text[TEXT_BYTES];
    // One of two records is not held out, whatever its hash.
    const struct record records[2] = {
        {.id = 1, .kind = RECORD_TEXT, .text = {text, sizeof(text)}},
        {.id = 2, .kind = RECORD_TEXT, .text = {text, sizeof(text) - 2}},
    };
    const struct engine_train_params params = {
        .recipe = &b->recipe,
        .records = records,
        .n_records = 2,
    };
    struct engine_progress progress;
    struct engine_train *t;
    int rc;

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char) ('a' + i * i % 23);
    if ((rc = engine_train_create(&t, m, &params, err)) < 0)
        return rc;
    const uint64_t begin = clock_monotonic_ns();
    rc = engine_train_run(t, 1, NULL, NULL, err);
    b->step_s = (double) (clock_monotonic_ns() - begin) * 1e-9;
    engine_train_progress(&progress, t);
    b->loss = progress.loss;
    engine_train_destroy(t);
    return rc < 0 ? rc : 0;
}

static int make_plan(struct bench *b, struct engine_model *m, struct error *err)
{
    for (int i = 0; i < COMPILES; i++) {
        int rc = engine_plan(&b->plan, NULL, m, &b->recipe, err);
        if (rc < 0)
            return rc;
        const double ms = (double) b->plan.compile_us * 1e-3;
        b->compile_ms = i == 0 || ms < b->compile_ms ? ms : b->compile_ms;
    }
    return 0;
}

static int no_state(struct binding *out, const struct program_slot *slot,
                    void *user, struct error *err)
{
    return error_set(err, -ENOENT, "there is no %s", slot->name);
}

// The base model's evaluation has no states to bind.
static int find_program(struct bench *b, int fd, struct error *err)
{
    const struct device_params one = {.threads = 1};
    const struct program_params params = {.kind = PROGRAM_EVAL,
                                          .batch = 1,
                                          .length = b->plan.micro.length};
    struct program_cache *cache = NULL;
    struct base_model *base = NULL;
    struct device *dev = NULL;
    struct executor *x;
    int rc;

    if ((rc = cpu_backend.open(&dev, &one, err)) < 0 ||
        (rc = base_model_open(&base, &cpu_backend, dev, fd, err)) < 0 ||
        (rc = program_cache_create(&cache, base, no_state, NULL)) < 0 ||
        (rc = program_cache_get(&x, cache, &params, err)) < 0)
        goto out;
    const uint64_t begin = clock_monotonic_ns();
    for (int i = 0; i < LOOKUPS && rc == 0; i++)
        rc = program_cache_get(&x, cache, &params, err);
    b->lookup_us = (double) (clock_monotonic_ns() - begin) * 1e-3 / LOOKUPS;

out:
    program_cache_destroy(cache);
    base_model_close(base);
    if (dev)
        cpu_backend.close(dev);
    return rc;
}

static int run(struct bench *b, const char *path, struct error *err)
{
    const struct engine_params params = {0};
    struct engine_model *m = NULL;
    struct engine *e = NULL;
    pthread_t watcher;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened", path);
    if ((rc = engine_create(&e, &params, err)) < 0 ||
        (rc = engine_model_open(&m, e, fd, err)) < 0)
        goto out;
    b->before_mb = to_mb(anonymous_kb());
    if (pthread_create(&watcher, NULL, watch, NULL) != 0) {
        rc = error_set(err, -EAGAIN, "no thread");
        goto out;
    }
    rc = run_step(b, m, err);
    atomic_store(&is_done, true);
    (void) pthread_join(watcher, NULL);
    if (rc == 0)
        rc = make_plan(b, m, err);
    if (rc == 0)
        rc = find_program(b, fd, err);

out:
    engine_model_close(m);
    engine_destroy(e);
    (void) close(fd);
    return rc;
}

static void print(const struct bench *b)
{
    const struct microbatch *m = &b->plan.micro;
    const double arena = (double) m->arena_bytes * 1e-6;
    const double state = (double) b->plan.state_bytes * 1e-6;
    const double peak = to_mb(atomic_load(&most_kb));
    const double extra = 100.0 * (double) m->costs.flops_extra /
                         (double) (m->costs.flops - m->costs.flops_extra);

    if (b->is_json) {
        (void) printf("{\"bench\":\"plan_%s\",\"rows\":%u,\"length\":%u,"
                      "\"arena_mb\":%.1f,\"state_mb\":%.1f,\"planned_mb\":%.1f,"
                      "\"kept_mb\":%.1f,\"bound_pct\":%.2f,\"again_pct\":%.1f,"
                      "\"peak_mb\":%.1f,\"open_mb\":%.1f,\"compile_ms\":%.1f,"
                      "\"lookup_us\":%.2f,\"step_s\":%.2f,\"loss\":%.3f}\n",
                      b->name, m->rows, m->length, arena, state, arena + state,
                      (double) m->costs.kept_bytes * 1e-6,
                      100.0 * ((double) m->arena_bytes /
                                   (double) m->costs.live_bytes -
                               1),
                      extra, peak, b->before_mb, b->compile_ms, b->lookup_us,
                      b->step_s, b->loss);
        return;
    }
    (void) printf("| %s, %u x %u tokens | |\n|---|---|\n", b->name, m->rows,
                  m->length);
    (void)
        printf("| arena, MB | %.1f |\n| adapter and optimizer, MB | %.1f |\n",
               arena, state);
    (void) printf("| both, MB | %.1f |\n", arena + state);
    (void) printf("| arena if all were kept, MB | %.1f |\n",
                  (double) m->costs.kept_bytes * 1e-6);
    (void) printf("| made again, %% of the work | %.1f |\n", extra);
    (void) printf("| anonymous memory, peak, MB | %.1f |\n", peak);
    (void) printf("| of that before training, MB | %.1f |\n", b->before_mb);
    (void) printf("| compile, ms | %.1f |\n| find compiled, us | %.2f |\n",
                  b->compile_ms, b->lookup_us);
    (void) printf("| step, s | %.2f |\n| loss | %.3f |\n", b->step_s, b->loss);
    (void) printf("%s\n", m->why);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct error err = {0};
    int rc;

    recipe_init(&b.recipe);
    rc = recipe_parse(&b.recipe, "batch=1 length=256 eval_every=1000000", &err);
    if (argc < 3) {
        (void) fprintf(stderr, "usage: bench_plan NAME MODEL.gguf [--json] "
                               "[RECIPE_NAME=VALUE ...]\n");
        return 2;
    }
    b.name = argv[1];
    for (int i = 3; i < argc && rc == 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            b.is_json = true;
        else
            rc = recipe_parse(&b.recipe, argv[i], &err);
    }
    if (rc == 0)
        rc = run(&b, argv[2], &err);
    if (rc < 0) {
        (void) fprintf(stderr, "bench_plan: %s\n", err.text);
        return 1;
    }
    print(&b);
    return 0;
}
