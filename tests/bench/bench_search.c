// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Does the search find better schemes than "the last K blocks"? For each seed
 * it searches within the memory of lora-last:K, learns with both, and compares
 * the held-out loss.
 *
 * usage: bench_search MODEL.gguf DEMO_DIR LAST [--json] [--seeds N]
 *        [NAME=VALUE ...]
 */

#include "engine/base/error.h"
#include "engine/engine.h"
#include "tests/support/demodata.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECIPE_BYTES = 512, SEEDS_MAX = 100 };

struct bench {
    struct engine *engine;
    struct engine_model *model;
    struct demodata data;
    char recipe[RECIPE_BYTES];
    uint32_t last, seeds, wins;
    bool is_json;
    double sum[2];
};

static int learn(double *loss, const struct recipe *r, struct bench *b,
                 struct error *err)
{
    const struct engine_train_params params = {
        .recipe = r,
        .records = b->data.records,
        .n_records = b->data.n_records,
    };
    struct engine_progress p;
    struct engine_train *t;
    int rc = engine_train_create(&t, b->model, &params, err);

    if (rc < 0)
        return rc;
    rc = engine_train_run(t, 0, NULL, NULL, err);
    engine_train_progress(&p, t);
    engine_train_destroy(t);
    *loss = p.best_loss;
    return rc < 0 ? rc : 0;
}

// One row in a micro-batch and every value kept, as the search counts.
static int memory_of(uint64_t *bytes, const struct recipe *r, struct bench *b,
                     struct error *err)
{
    struct engine_train_info info;
    struct recipe one = *r;
    int rc;

    one.batch = 1;
    one.memory_mib = 65536;
    rc = engine_train_plan(&info, b->model, &one, err);
    *bytes = info.arena_bytes + info.state_bytes;
    return rc;
}

static int run_seed(struct bench *b, uint32_t seed, struct error *err)
{
    struct engine_search_params params = {
        .records = b->data.records,
        .n_records = b->data.n_records,
    };
    struct engine_found found;
    struct recipe last;
    struct recipe own;
    char text[RECIPE_BYTES + 64];
    double loss[2];
    int rc;

    (void) snprintf(text, sizeof(text), "%s seed=%u scheme=lora-last:%u",
                    b->recipe, seed, b->last);
    recipe_init(&last);
    if ((rc = recipe_parse(&last, text, err)) < 0)
        return rc;
    own = last;
    params.recipe = &last;
    if ((rc = memory_of(&params.memory_bytes, &last, b, err)) < 0 ||
        (rc = engine_search(&found, b->model, &params, err)) < 0)
        return rc;
    if ((rc = recipe_set(&own, "scheme", found.scheme, err)) < 0 ||
        (rc = learn(&loss[0], &last, b, err)) < 0 ||
        (rc = learn(&loss[1], &own, b, err)) < 0)
        goto out;
    b->wins += loss[1] < loss[0];
    b->sum[0] += loss[0];
    b->sum[1] += loss[1];
    if (!b->is_json)
        (void) printf("seed %u: %.1f MiB: lora-last:%u %.4f, found %.4f "
                      "(%.1f MiB, %u made again, %.1f s to find): %s\n",
                      seed, (double) params.memory_bytes / 1048576, b->last,
                      loss[0], loss[1],
                      (double) (found.arena_bytes + found.state_bytes) /
                          1048576,
                      found.n_recomputed, found.search_seconds, found.scheme);
out:
    free(found.scheme);
    return rc;
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
    (void) close(fd);
    if (rc == 0)
        rc = demodata_load(&b->data, dir, err);
    for (uint32_t i = 1; i <= b->seeds && rc == 0; i++)
        rc = run_seed(b, i, err);
    return rc;
}

static int parse(struct bench *b, int argc, char **argv)
{
    b->seeds = 5;
    if (argc < 4)
        return -EINVAL;
    b->last = (uint32_t) strtoul(argv[3], NULL, 10);
    for (int i = 4; i < argc; i++) {
        const size_t used = strlen(b->recipe);
        if (strcmp(argv[i], "--json") == 0)
            b->is_json = true;
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            b->seeds = (uint32_t) strtoul(argv[++i], NULL, 10);
        else
            (void) snprintf(b->recipe + used, sizeof(b->recipe) - used, " %s",
                            argv[i]);
    }
    return b->last > 0 && b->seeds > 0 && b->seeds <= SEEDS_MAX ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct error err = {0};
    int rc;

    (void) setvbuf(stdout, NULL, _IOLBF, 0);
    if (parse(&b, argc, argv) < 0) {
        (void) fprintf(stderr, "usage: bench_search MODEL DEMO_DIR LAST "
                               "[--json] [--seeds N] [NAME=VALUE ...]\n");
        return 2;
    }
    rc = run(&b, argv[1], argv[2], &err);
    if (rc < 0)
        (void) fprintf(stderr, "bench_search: %s\n", err.text);
    else if (b.is_json)
        (void) printf("{\"bench\":\"search\",\"wins\":%u,\"seeds\":%u,"
                      "\"last\":%.4f,\"found\":%.4f}\n",
                      b.wins, b.seeds, b.sum[0] / b.seeds, b.sum[1] / b.seeds);
    else
        (void) printf("found schemes are better in %u of %u, %.4f against "
                      "%.4f nats/token on average\n",
                      b.wins, b.seeds, b.sum[1] / b.seeds, b.sum[0] / b.seeds);
    demodata_finish(&b.data);
    engine_model_close(b.model);
    engine_destroy(b.engine);
    return rc < 0;
}
