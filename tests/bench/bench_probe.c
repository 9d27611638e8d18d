// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Learning without gradients: what a query costs when all copies of the
 * adapter share a sweep of the weights (dual), against one copy at a time
 * (sequential); with the first blocks shared by the copies of a batch, or not
 * run at all; and the memory of each. A query is two passes, and its share of
 * the update. Best of the rounds.
 *
 * usage: bench_probe MODEL.gguf [--queries N] [--rounds N] [--rank N]
 *                    [--last K] [--threads N] [--bf16] ROWSxLENGTH...
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/train/adapter_state.h"
#include "engine/train/base_model.h"
#include "engine/train/program_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bench {
    struct device *dev;
    struct base_model *base;
    struct scheme scheme;
    struct adapter_state *state;
    struct program_cache *programs;
    uint32_t queries, rounds, rank, last, threads;
    enum precision precision;
};

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct bench *b = user;
    return adapter_state_bind(out, b->state, slot, err);
}

static int open_all(struct bench *b, const char *path, struct error *err)
{
    const struct device_params device = {.threads = b->threads};
    const struct scheme_lora lora = {b->rank, 16, LORA_ALL, b->last};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened", path);
    if ((rc = cpu_backend.open(&b->dev, &device, err)) == 0)
        rc = base_model_open(&b->base, &cpu_backend, b->dev, fd, err);
    close(fd);
    if (rc < 0)
        return rc;
    const struct model_config *m = &b->base->config;
    if ((rc = scheme_from_lora(&b->scheme, &lora, m, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < m->n_blocks; i++)
        for (int k = 0; k < MODEL_LINEARS; k++)
            if (b->scheme.linears[i][k].learn == LEARN_LORA)
                b->scheme.linears[i][k].learn = LEARN_LORA_B;
    const struct adapter_state_params params = {.backend = &cpu_backend,
                                                .dev = b->dev,
                                                .config = m,
                                                .scheme = &b->scheme};
    if ((rc = adapter_state_create(&b->state, &params, err)) < 0)
        return rc;
    return program_cache_create(&b->programs, b->base, bind_state, b);
}

static int write_rows(struct executor *x, const struct bench *b, uint32_t rows,
                      uint32_t length)
{
    const size_t n = (size_t) rows * length;
    int32_t *ints = calloc(n, 3 * sizeof *ints);
    float *floats = calloc(n * b->base->config.width, sizeof *floats);
    int rc = ints && floats ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && rc == 0; i++) {
        ints[i] = (int32_t) (i * 7919 % b->base->config.n_vocab);
        ints[n + i] = (int32_t) (i % length);
        ints[2 * n + i] = (int32_t) (i / length * length);
        floats[i] = 1;
    }
    const struct {
        const char *name;
        const void *data;
    } inputs[] = {{"tokens", ints},    {"targets", ints},
                  {"pos", ints + n},   {"start", ints + 2 * n},
                  {"weights", floats}, {"copy", ints + n}};
    for (size_t i = 0; i < 6 && rc == 0; i++)
        if (executor_has(x, inputs[i].name))
            rc = executor_write(x, inputs[i].name, inputs[i].data, n * 4);
    free(ints);
    free(floats);
    return rc;
}

// Best seconds of a program; its arena.
static int time_program(double *seconds, size_t *arena, struct bench *b,
                        const struct program_params *params, uint32_t rows,
                        struct error *err)
{
    const struct perturb *p = &params->perturb;
    const char *sizes = params->kind == PROGRAM_MOVE ? "coefs" : "sizes";
    const int32_t draw[4] = {1, 0, 1, 0};
    int32_t queries[PERTURB_COPIES_MAX];
    float size[PERTURB_COPIES_MAX];
    struct program *program;
    struct executor *x;
    int rc = program_compile(&program, &b->base->config, params, &cpu_backend,
                             b->dev, err);

    if (rc < 0)
        return rc;
    *arena = program_arena_bytes(program);
    program_destroy(program);
    if ((rc = program_cache_get(&x, b->programs, params, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < p->copies; i++) {
        queries[i] = (int32_t) (params->kind == PROGRAM_MOVE ? i : i / 2);
        size[i] = i % 2 ? -1e-2F : 1e-2F;
    }
    if (params->kind != PROGRAM_MOVE)
        rc = write_rows(x, b, rows, params->length);
    if (rc == 0 && p->copies > 0 &&
        ((rc = executor_write(x, "draw", draw, sizeof draw)) < 0 ||
         (rc = executor_write(x, "queries", queries, 4 * p->copies)) < 0))
        return rc;
    if (rc == 0 && p->copies > 0)
        rc = executor_write(x, sizes, size, 4 * p->copies);
    *seconds = 1e9;
    for (uint32_t i = 0; i <= b->rounds && rc == 0; i++) {
        const uint64_t begin = clock_monotonic_ns();
        rc = executor_run(x);
        const double s = (double) (clock_monotonic_ns() - begin) * 1e-9;
        *seconds = i > 0 && s < *seconds ? s : *seconds;
    }
    return rc;
}

static double mib(size_t bytes)
{
    return (double) bytes / (1 << 20);
}

static int bench_shape(struct bench *b, uint32_t rows, uint32_t length,
                       struct error *err)
{
    const uint32_t q = b->queries;
    struct program_params params = {.kind = PROGRAM_MOVE,
                                    .batch = rows,
                                    .length = length,
                                    .scheme = &b->scheme,
                                    .precision = b->precision,
                                    .perturb = {.copies = q, .queries = q}};
    const uint32_t first = scheme_first_block(&b->scheme, &b->base->config);
    double move, dual, one, eval, prefix = 0, rest = 0;
    size_t a_move, a_dual, a_one, a_eval, a;
    int rc;

    if ((rc = time_program(&move, &a_move, b, &params, rows, err)) < 0)
        return rc;
    params.kind = PROGRAM_PERTURBED;
    params.perturb.copies = 2 * q;
    if ((rc = time_program(&dual, &a_dual, b, &params, 2 * q * rows, err)) < 0)
        return rc;
    if (first > 0) {
        params.first_block = first;
        if ((rc = time_program(&rest, &a, b, &params, 2 * q * rows, err)) < 0)
            return rc;
        params.kind = PROGRAM_PREFIX;
        params.scheme = NULL;
        params.perturb = (struct perturb){0};
        if ((rc = time_program(&prefix, &a, b, &params, rows, err)) < 0)
            return rc;
        params.scheme = &b->scheme;
        params.first_block = 0;
        params.kind = PROGRAM_PERTURBED;
        params.perturb = (struct perturb){.queries = q};
    }
    params.perturb.copies = 1;
    if ((rc = time_program(&one, &a_one, b, &params, rows, err)) < 0)
        return rc;
    params.kind = PROGRAM_EVAL;
    params.perturb = (struct perturb){0};
    if ((rc = time_program(&eval, &a_eval, b, &params, rows, err)) < 0)
        return rc;
    const double each = (2 * q * one + move) / q * 1e3;
    const double all = (dual + move) / q * 1e3;
    (void) printf("| %u x %u | %.1f | %.1f | %.2f | %.1f | %.1f | %.1f | %.1f "
                  "| %.1f |\n",
                  rows, length, each, all, each / all, move * 1e3, mib(a_eval),
                  mib(a_one), mib(a_dual), eval * 1e3);
    if (first > 0)
        (void) printf("  last %u blocks: shared prefix %.1f ms (%.2fx), "
                      "cached %.1f ms (%.2fx)\n",
                      b->last, (rest + prefix + move) / q * 1e3,
                      all / ((rest + prefix + move) / q * 1e3),
                      (rest + move) / q * 1e3, all / ((rest + move) / q * 1e3));
    (void) a_move;
    return 0;
}

int main(int argc, char **argv)
{
    static struct bench b = {.queries = 8, .rounds = 3, .rank = 8};
    struct error err = {0};
    int rc = 0;
    int at = 2;

    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        if (strcmp(argv[at], "--bf16") == 0) {
            b.precision = PRECISION_BF16;
            continue;
        }
        uint32_t *value = strcmp(argv[at], "--queries") == 0   ? &b.queries
                          : strcmp(argv[at], "--rounds") == 0  ? &b.rounds
                          : strcmp(argv[at], "--rank") == 0    ? &b.rank
                          : strcmp(argv[at], "--last") == 0    ? &b.last
                          : strcmp(argv[at], "--threads") == 0 ? &b.threads
                                                               : NULL;
        if (!value || at + 1 >= argc)
            break;
        *value = (uint32_t) strtoul(argv[++at], NULL, 10);
    }
    if (at >= argc || b.queries < 1 || b.queries > PERTURB_COPIES_MAX / 2) {
        (void) fprintf(stderr, "usage: bench_probe MODEL [--queries N] "
                               "[--rounds N] [--rank N] [--last K] "
                               "[--threads N] [--bf16] ROWSxLENGTH...\n");
        return 2;
    }
    if ((rc = open_all(&b, argv[1], &err)) == 0)
        (void) printf(
            "probe: %s, %u queries\n"
            "| tokens | sequential, ms a query | dual | ratio | move, ms | "
            "MiB eval | one copy | dual | eval, ms |\n|---|---|---|---|---|---|"
            "---|---|---|\n",
            cpu_backend.describe(b.dev), b.queries);
    for (; at < argc && rc == 0; at++) {
        char *x;
        const uint32_t rows = (uint32_t) strtoul(argv[at], &x, 10);
        const uint32_t length = *x ? (uint32_t) strtoul(x + 1, NULL, 10) : 0;
        rc = bench_shape(&b, rows, length, &err);
        (void) fflush(stdout);
    }
    if (rc < 0)
        (void) fprintf(stderr, "bench_probe: %s\n",
                       err.text[0] ? err.text : strerror(-rc));
    program_cache_destroy(b.programs);
    adapter_state_destroy(b.state);
    base_model_close(b.base);
    if (b.dev)
        cpu_backend.close(b.dev);
    return rc < 0;
}
