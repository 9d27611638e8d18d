// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Perplexity of a text as llama-perplexity counts it: pieces of N tokens, each
 * beginning with the token that begins sequences where the model wants it, of
 * which the later half counts. What is left at the end is left out.
 *
 * usage: bench_perplexity MODEL.gguf TEXT [--lora ADAPTER.gguf] [--length N]
 */

#include "engine/base/error.h"
#include "engine/engine_inside.h"
#include "engine/train/adapter.h"
#include "engine/train/dataset.h"
#include "engine/train/evaluator.h"
#include "engine/train/runner.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bench {
    struct engine *engine;
    struct engine_model *model;
    struct adapter *adapter;
    char *text;
    size_t bytes;
    uint32_t length;
};

static int open_file(const char *path, struct error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? error_set(err, -1, "cannot open %s", path) : fd;
}

static int open_all(struct bench *b, const char *model, const char *lora,
                    struct error *err)
{
    const struct engine_params params = {.threads = 2};
    int fd = open_file(model, err);
    int rc = fd < 0 ? fd : engine_create(&b->engine, &params, err);

    if (rc == 0)
        rc = engine_model_open(&b->model, b->engine, fd, err);
    if (fd >= 0)
        close(fd);
    if (rc < 0 || !lora)
        return rc;
    if ((fd = open_file(lora, err)) < 0)
        return fd;
    rc = engine_adapter_load(&b->adapter, b->model, fd, err);
    close(fd);
    return rc;
}

static int read_text(struct bench *b, const char *path, struct error *err)
{
    FILE *f = fopen(path, "rb");
    long size = -1;

    if (f && fseek(f, 0, SEEK_END) == 0)
        size = ftell(f);
    if (size > 0 && (b->text = malloc((size_t) size))) {
        rewind(f);
        b->bytes = fread(b->text, 1, (size_t) size, f);
    }
    if (f)
        fclose(f);
    return b->bytes > 0 ? 0 : error_set(err, -1, "cannot read %s", path);
}

// Pieces that do not overlap, each a window of its own record.
static int cut(struct dataset *d, const struct bench *b)
{
    const struct tokenizer *t = b->model->base->tokenizer;
    const size_t n = d->n_ids / b->length;

    d->marks = malloc(d->n_ids + 1);
    d->windows = calloc(n + 1, sizeof(*d->windows));
    if (!d->marks || !d->windows)
        return -1;
    memset(d->marks, 1, d->n_ids);
    for (size_t i = 0; i < n; i++) {
        const uint32_t half = b->length / 2;
        d->windows[i] = (struct dataset_window){
            .first = (uint32_t) i * b->length,
            .count = b->length,
            .first_target = half,
            .n_targets = b->length - 1 - half,
        };
        if (tokenizer_adds_bos(t))
            d->ids[i * b->length] = tokenizer_bos(t);
        d->n_tokens += b->length - 1;
        d->n_targets += d->windows[i].n_targets;
    }
    d->n_windows = n;
    d->n_records = 1;
    return n > 0 ? 0 : -1;
}

static int make_data(struct dataset **out, struct bench *b, struct error *err)
{
    struct tokenizer *t = b->model->base->tokenizer;
    struct dataset *d = calloc(1, sizeof(*d));
    struct token_list list = {0};
    int rc = d ? 0 : -1;

    if (rc == 0 && tokenizer_adds_bos(t))
        rc = token_list_add(&list, tokenizer_bos(t));
    if (rc == 0)
        rc = tokenizer_encode(t, &list, b->text, b->bytes, 0);
    if (rc == 0) {
        d->ids = list.ids;
        d->n_ids = list.count;
        free(list.marks);
        rc = cut(d, b);
    }
    if (rc < 0)
        return error_set(err, rc, "the text has no %u tokens", b->length);
    *out = d;
    return 0;
}

static int measure(struct bench *b, struct error *err)
{
    struct evaluator_sum sum = {0};
    struct dataset *d = NULL;
    struct runner *runner = b->model->runner;
    int rc = make_data(&d, b, err);

    if (rc < 0 || (rc = runner_use_adapter(runner, b->adapter, err)) < 0)
        return rc;
    const struct evaluator_params params = {
        .cache = runner_programs(runner),
        .scheme = runner_scheme(runner),
        .length = b->length,
        .rows = 1,
    };
    if ((rc = evaluator_run(&sum, d, &params, err)) == 0)
        printf("%.4f\n", exp(sum.nats / (double) sum.n_targets));
    dataset_destroy(d);
    return rc;
}

int main(int argc, char **argv)
{
    struct bench b = {.length = 256};
    const char *lora = NULL;
    struct error err = {0};

    for (int i = 3; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--lora") == 0)
            lora = argv[i + 1];
        else if (strcmp(argv[i], "--length") == 0)
            b.length = (uint32_t) strtoul(argv[i + 1], NULL, 10);
    }
    if (argc < 3 || b.length < 4) {
        fprintf(stderr, "usage: bench_perplexity MODEL.gguf TEXT [--lora "
                        "ADAPTER.gguf] [--length N]\n");
        return 2;
    }
    int rc = open_all(&b, argv[1], lora, &err);
    if (rc == 0)
        rc = read_text(&b, argv[2], &err);
    if (rc == 0)
        rc = measure(&b, &err);
    if (rc < 0)
        fprintf(stderr, "bench_perplexity: %s\n", err.text);
    engine_adapter_destroy(b.adapter);
    engine_model_close(b.model);
    engine_destroy(b.engine);
    free(b.text);
    return rc < 0 ? 1 : 0;
}
