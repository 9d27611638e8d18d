// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Speed of generation without its sampler: 512 tokens of a prompt, then 128
 * tokens one by one, behind it and from the start (llama-bench's pp512, tg128
 * at depth 512 and tg128), without an adapter and with one of rank 8 on all
 * linears; the best of some rounds, in turns. With a text, what rounding costs:
 * the perplexity of both ways and the mean KL of rounded logits from exact
 * ones.
 *
 * usage: bench_decode MODEL.gguf [--threads N] [--cpu] [--text FILE]
 *        --cpu: by the CPU time of all threads, where others use the machine
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/train/adapter.h"
#include "engine/train/base_model.h"
#include "engine/train/program_cache.h"
#include "engine/train/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    PROMPT = 512,
    CHUNK = 128,
    GENERATED = 128,
    ROUNDS = 10,
    TEXT_BYTES = 1 << 14,
};

struct bench {
    struct device *dev;
    struct base_model *base;
    struct runner *runner;
    struct adapter *adapter;
    int32_t tokens[PROMPT + GENERATED];
    double best_s[3][2]; // of each part; without the adapter and with it
};

// What is timed: `count` tokens from position `at`, `step` at a time.
static const struct part {
    const char *name;
    uint32_t at, count, step;
} parts[] = {
    {"prompt of 512", 0, PROMPT, CHUNK},
    {"128 tokens behind it", PROMPT, GENERATED, 1},
    {"128 tokens from the start", 0, GENERATED, 1},
};

// `n` tokens at position `at`; logits of all of them, or of the last.
static int read_tokens(float *logits, struct runner *r, const int32_t *tokens,
                       uint32_t n, uint32_t at, uint32_t n_rows,
                       enum precision precision, struct error *err)
{
    const size_t vocab = runner_base(r)->config.n_vocab;
    uint32_t cache_length;
    int32_t pos[CHUNK], rows[CHUNK];
    struct executor *x;
    int rc;

    rc = runner_use_caches(&cache_length, r, PROMPT + GENERATED, err);
    if (rc < 0)
        return rc;
    const struct program_params params = {
        .kind = PROGRAM_CACHED,
        .batch = 1,
        .length = n,
        .cache_length = cache_length,
        .n_rows = n_rows,
        .scheme = runner_scheme(r),
        .precision = precision,
    };
    if ((rc = program_cache_get(&x, runner_programs(r), &params, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < n; i++)
        pos[i] = (int32_t) (at + i);
    for (uint32_t i = 0; i < n_rows; i++)
        rows[i] = (int32_t) (n - n_rows + i);
    if ((rc = executor_write(x, "tokens", tokens, n * sizeof *tokens)) < 0 ||
        (rc = executor_write(x, "pos", pos, n * sizeof *pos)) < 0 ||
        (rc = executor_write(x, "rows", rows, n_rows * sizeof *rows)) < 0 ||
        (rc = executor_run(x)) < 0 ||
        (rc = executor_read(x, "logits", logits,
                            n_rows * vocab * sizeof *logits)) < 0)
        return error_set(err, rc, "reading tokens: %s", strerror(-rc));
    return 0;
}

static bool is_cpu;

static double now_s(void)
{
    struct timespec t;

    if (!is_cpu)
        return (double) clock_monotonic_ns() * 1e-9;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static int time_part(struct bench *b, const struct part *part, float *logits,
                     double *best_s, struct error *err)
{
    const double begin = now_s();
    int rc = 0;

    for (uint32_t i = 0; i < part->count && rc == 0; i += part->step)
        rc = read_tokens(logits, b->runner, b->tokens + part->at + i,
                         part->step, part->at + i, 1,
                         program_cached_precision(part->step), err);
    const double s = now_s() - begin;
    if (*best_s == 0 || s < *best_s)
        *best_s = s;
    return rc;
}

static int time_round(struct bench *b, float *logits, struct error *err)
{
    int rc = 0;

    for (int i = 0; i < 6 && rc == 0; i++) {
        const int with = i % 2;
        rc = runner_use_adapter(b->runner, with ? b->adapter : NULL, err);
        if (rc == 0)
            rc = time_part(b, &parts[i / 2], logits, &b->best_s[i / 2][with],
                           err);
    }
    return rc;
}

static int time_all(struct bench *b, float *logits, struct error *err)
{
    static const struct scheme_lora lora = {8, 16, LORA_ALL, 0};
    struct scheme scheme;
    int rc;

    if ((rc = scheme_from_lora(&scheme, &lora, &b->base->config, err)) < 0 ||
        (rc = adapter_create(&b->adapter, &b->base->config, &scheme, NULL,
                             err)) < 0)
        return rc;
    for (size_t i = 0; i < adapter_floats(b->adapter); i++)
        b->adapter->data[i] = (float) (i % 17) * 1e-3F - 8e-3F;
    for (size_t i = 0; i < PROMPT + GENERATED; i++)
        b->tokens[i] = (int32_t) (i * 37 % b->base->config.n_vocab);
    for (int i = 0; i <= ROUNDS && rc == 0; i++) {
        if (i == 1) // the first round compiles
            memset(b->best_s, 0, sizeof b->best_s);
        rc = time_round(b, logits, err);
    }
    if (rc < 0)
        return rc;
    (void) printf("| tokens/s | base | with adapter | ratio |\n|---|---|---|"
                  "---|\n");
    for (int i = 0; i < 3; i++)
        (void) printf("| %s | %.1f | %.1f | %.3f |\n", parts[i].name,
                      parts[i].count / b->best_s[i][0],
                      parts[i].count / b->best_s[i][1],
                      b->best_s[i][0] / b->best_s[i][1]);
    return 0;
}

static void log_softmax(float *x, size_t n)
{
    double sum = 0;
    float most = x[0];

    for (size_t i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (size_t i = 0; i < n; i++)
        sum += exp((double) (x[i] - most));
    for (size_t i = 0; i < n; i++)
        x[i] -= most + (float) log(sum);
}

// tokens[0, n) in steps of `step`: sums of -log p of the next token, exact and
// rounded, and of KL.
static int compare(double sums[3], struct bench *b, const int32_t *tokens,
                   uint32_t n, uint32_t step, float *logits[2],
                   struct error *err)
{
    const size_t vocab = b->base->config.n_vocab;
    struct runner *rounded;
    int rc = runner_create(&rounded, b->base);

    if (rc < 0)
        return rc;
    (void) runner_use_adapter(b->runner, NULL, err);
    for (uint32_t at = 0; at + step < n && rc == 0; at += step) {
        rc = read_tokens(logits[0], b->runner, tokens + at, step, at, step,
                         PRECISION_F32, err);
        if (rc == 0)
            rc = read_tokens(logits[1], rounded, tokens + at, step, at, step,
                             program_cached_precision(step), err);
        for (uint32_t i = 0; i < step && rc == 0; i++) {
            float *p = logits[0] + i * vocab;
            float *q = logits[1] + i * vocab;
            log_softmax(p, vocab);
            log_softmax(q, vocab);
            sums[0] -= (double) p[tokens[at + i + 1]];
            sums[1] -= (double) q[tokens[at + i + 1]];
            for (size_t v = 0; v < vocab; v++)
                sums[2] += exp((double) p[v]) * (double) (p[v] - q[v]);
        }
    }
    runner_destroy(rounded);
    return rc;
}

static int compare_all(struct bench *b, const char *path, float *logits[2],
                       struct error *err)
{
    static char text[TEXT_BYTES];
    struct token_list list = {0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t bytes = fd < 0 ? -1 : read(fd, text, sizeof text);
    int rc;

    if (fd >= 0)
        close(fd);
    if (bytes <= 0)
        return error_set(err, -EIO, "%s cannot be read", path);
    rc = tokenizer_encode(b->base->tokenizer, &list, text, (size_t) bytes, 0);
    if (rc < 0)
        return error_set(err, rc, "%s is no text", path);
    for (uint32_t step = 1; step <= CHUNK && rc == 0; step *= CHUNK) {
        double sums[3] = {0};
        const uint32_t length = PROMPT + 1;
        uint32_t count = 0;
        for (size_t at = 0; at + length <= list.count && rc == 0;
             at += length - 1) {
            rc = compare(sums, b, list.ids + at, length, step, logits, err);
            count += length - 1;
        }
        (void) printf("steps of %u: %u tokens, perplexity %.4f exact, %.4f "
                      "rounded, KL %.3g\n",
                      step, count, exp(sums[0] / count), exp(sums[1] / count),
                      sums[2] / count);
    }
    token_list_free(&list);
    return rc;
}

static int run(struct bench *b, const char *model, const char *text,
               uint32_t threads, struct error *err)
{
    const struct device_params params = {.threads = threads};
    const int fd = open(model, O_RDONLY | O_CLOEXEC);
    float *logits[2] = {NULL, NULL};
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened", model);
    if ((rc = cpu_backend.open(&b->dev, &params, err)) < 0 ||
        (rc = base_model_open(&b->base, &cpu_backend, b->dev, fd, err)) < 0 ||
        (rc = runner_create(&b->runner, b->base)) < 0)
        goto out;
    for (int i = 0; i < 2 && rc == 0; i++) {
        logits[i] = malloc(CHUNK * b->base->config.n_vocab * sizeof(float));
        rc = logits[i] ? 0 : -ENOMEM;
    }
    (void) printf("decode: %s, %s\n", model, cpu_backend.describe(b->dev));
    if (rc == 0)
        rc = text ? compare_all(b, text, logits, err)
                  : time_all(b, logits[0], err);

out:
    close(fd);
    free(logits[0]);
    free(logits[1]);
    runner_destroy(b->runner);
    adapter_destroy(b->adapter);
    base_model_close(b->base);
    if (b->dev)
        cpu_backend.close(b->dev);
    return rc;
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct error err = {0};
    const char *text = NULL;
    uint32_t threads = 0;

    int i = 2;

    for (; i < argc; i++) {
        if (strcmp(argv[i], "--cpu") == 0)
            is_cpu = true;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            threads = (uint32_t) atoi(argv[++i]);
        else if (strcmp(argv[i], "--text") == 0 && i + 1 < argc)
            text = argv[++i];
        else
            break;
    }
    if (argc < 2 || i < argc) {
        (void) fprintf(stderr, "usage: bench_decode MODEL [--threads N] "
                               "[--cpu] [--text FILE]\n");
        return 2;
    }
    const int rc = run(&b, argv[1], text, threads, &err);
    if (rc < 0)
        (void) fprintf(stderr, "bench_decode: %s\n", err.text);
    return rc < 0;
}
