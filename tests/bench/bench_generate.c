// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Generation and reading of a prompt with any model file, in the lengths of
 * llama-bench's tg128 and pp512: 128 tokens after a short prompt, and a prompt
 * of 512 tokens, or of as many as the context has room for. Tokens are drawn,
 * which is part of the time.
 *
 * usage: bench_generate MODEL.gguf [--json] [--threads N] [--rounds N]
 */

#include "engine/base/error.h"
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROMPT = 512, MADE = 128, SPARE = 4, TRIES = 20 };

struct bench {
    struct engine *engine;
    struct engine_model *model;
    uint32_t threads, rounds;
    bool is_json;
    uint32_t prompt_tokens;
    double prompt_rate, made_rate; // tokens/s, of the best round
};

// The most letters that are at most so many tokens.
static int fit_text(size_t *out, const struct bench *b, const char *text,
                    size_t bytes, size_t tokens, struct error *err)
{
    size_t low = 1, high = bytes;

    while (low < high) {
        const size_t middle = (low + high + 1) / 2;
        int32_t *ids;
        size_t n;
        int rc = engine_tokenize(&ids, &n, b->model, text, middle, err);
        if (rc < 0)
            return rc;
        free(ids);
        if (n <= tokens)
            low = middle;
        else
            high = middle - 1;
    }
    *out = low;
    return 0;
}

static int read_prompts(struct bench *b, struct error *err)
{
    static char text[PROMPT * 8];
    struct engine_model_info info;
    size_t bytes, tokens = PROMPT - 1; // and one that begins it
    int rc = engine_model_describe(&info, b->model, err);

    if (rc < 0)
        return rc;
    if (info.config.context < PROMPT + SPARE)
        tokens = info.config.context - SPARE;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char) ('a' + i * i % 23);
    if ((rc = fit_text(&bytes, b, text, sizeof(text), tokens, err)) < 0)
        return rc;
    // The first round compiles.
    for (uint32_t i = 0; i <= b->rounds; i++) {
        const struct engine_gen_params params = {
            .prompt = {text, bytes},
            .max_tokens = 1,
        };
        struct engine_gen_result r;
        if ((rc = engine_generate(&r, b->model, &params, err)) < 0)
            return rc;
        const double rate =
            (double) r.prompt_tokens / ((double) r.prompt_ns * 1e-9);
        b->prompt_tokens = r.prompt_tokens;
        if (i > 0 && rate > b->prompt_rate)
            b->prompt_rate = rate;
    }
    return 0;
}

// Until as many tokens were made: a model may end a text early.
static int make_tokens(struct bench *b, uint64_t *seed, struct error *err)
{
    uint64_t tokens = 0, ns = 0;

    for (int i = 0; i < TRIES && tokens < MADE - 1; i++) {
        const struct engine_gen_params params = {
            .prompt = {"and then", 8},
            .temperature = 1.0F,
            .top_k = 40,
            .seed = (*seed)++,
            .max_tokens = MADE,
        };
        struct engine_gen_result r;
        int rc = engine_generate(&r, b->model, &params, err);
        if (rc < 0)
            return rc;
        // The first token comes with the prompt.
        tokens += r.tokens > 0 ? r.tokens - 1 : 0;
        ns += r.token_ns;
    }
    const double rate = ns > 0 ? (double) tokens / ((double) ns * 1e-9) : 0;
    b->made_rate = rate > b->made_rate ? rate : b->made_rate;
    return 0;
}

static int run(struct bench *b, const char *path, struct error *err)
{
    const struct engine_params params = {.threads = b->threads};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t seed = 1;
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened", path);
    rc = engine_create(&b->engine, &params, err);
    if (rc == 0)
        rc = engine_model_open(&b->model, b->engine, fd, err);
    (void) close(fd);
    if (rc == 0)
        rc = read_prompts(b, err);
    for (uint32_t i = 0; i < b->rounds && rc == 0; i++)
        rc = make_tokens(b, &seed, err);
    return rc;
}

static void print(const struct bench *b)
{
    if (b->is_json)
        (void) printf("{\"bench\":\"generate\",\"device\":\"%s\","
                      "\"prompt_tokens\":%u,\"prompt_tokens_per_s\":%.1f,"
                      "\"gen_tokens_per_s\":%.1f}\n",
                      engine_describe(b->engine), b->prompt_tokens,
                      b->prompt_rate, b->made_rate);
    else
        (void) printf("generate: %s, best of %u\n"
                      "| figure | tokens/s |\n|---|---|\n"
                      "| a prompt of %u tokens | %.1f |\n"
                      "| %d tokens made | %.1f |\n",
                      engine_describe(b->engine), b->rounds, b->prompt_tokens,
                      b->prompt_rate, MADE, b->made_rate);
}

int main(int argc, char **argv)
{
    static struct bench b = {.rounds = 3};
    struct error err = {0};

    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            b.threads = (uint32_t) atoi(argv[++i]);
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            b.rounds = (uint32_t) atoi(argv[++i]);
        else if (strcmp(argv[i], "--json") == 0)
            b.is_json = true;
        else
            argc = 1;
    }
    if (argc < 2) {
        (void) fprintf(stderr, "usage: bench_generate MODEL.gguf [--json] "
                               "[--threads N] [--rounds N]\n");
        return 2;
    }
    int rc = run(&b, argv[1], &err);
    if (rc < 0)
        (void) fprintf(stderr, "bench_generate: %s\n", err.text);
    else
        print(&b);
    engine_model_close(b.model);
    engine_destroy(b.engine);
    return rc < 0;
}
