// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/generator.h"

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/train/base_model.h"
#include "engine/train/program_cache.h"
#include "engine/train/runner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// A prompt is read in chunks of these lengths; the last one is filled up with
// tokens that nobody sees, at the positions behind it, which are written again
// before they are read.
static const uint32_t chunks[] = {1, 8, 32, 128};
enum {
    N_CHUNKS = sizeof chunks / sizeof *chunks,
    CHUNK_MAX = 128,
    // Caches of a small model are made once, for its whole context.
    CACHE_MIN = 1024,
};

struct generator {
    struct runner *runner;
    const struct generator_params *params;
    struct error *err;
    uint32_t cache_length;
    float *logits; // (V)
    struct sampler *sampler;
    struct textstream *text;
};

// tokens[0, n) at positions [at, at + n); logits are those after the last.
static int read_tokens(struct generator *g, const int32_t *tokens, uint32_t n,
                       uint32_t at, uint32_t length)
{
    const struct program_params params = {
        .kind = PROGRAM_CACHED,
        .batch = 1,
        .length = length,
        .cache_length = g->cache_length,
        .n_rows = 1,
        .scheme = runner_scheme(g->runner),
        .precision = program_cached_precision(length),
    };
    const int32_t row = (int32_t) n - 1;
    int32_t ids[CHUNK_MAX] = {0};
    int32_t pos[CHUNK_MAX];
    const size_t bytes = length * sizeof *ids;
    const size_t logits_bytes =
        runner_base(g->runner)->config.n_vocab * sizeof *g->logits;
    struct executor *x;
    int rc = program_cache_get(&x, runner_programs(g->runner), &params, g->err);

    if (rc < 0)
        return rc;
    memcpy(ids, tokens, n * sizeof *ids);
    for (uint32_t i = 0; i < length; i++)
        pos[i] = (int32_t) (at + i);
    if ((rc = executor_write(x, "tokens", ids, bytes)) < 0 ||
        (rc = executor_write(x, "pos", pos, bytes)) < 0 ||
        (rc = executor_write(x, "rows", &row, sizeof row)) < 0 ||
        (rc = executor_run(x)) < 0 ||
        (rc = executor_read(x, "logits", g->logits, logits_bytes)) < 0)
        return error_set(g->err, rc, "generation: %s", strerror(-rc));
    return 0;
}

// The shortest that holds all that is left, if the caches have room for it.
static uint32_t choose_chunk(uint32_t left, uint32_t room)
{
    uint32_t i = 0;

    while (i + 1 < N_CHUNKS && chunks[i] < left)
        i++;
    while (chunks[i] > room)
        i--;
    return chunks[i];
}

static int read_prompt(struct generator *g)
{
    const uint32_t n = (uint32_t) g->params->n_prompt;

    for (uint32_t at = 0; at < n;) {
        const uint32_t left = n - at;
        const uint32_t length = choose_chunk(left, g->cache_length - at);
        const uint32_t take = left < length ? left : length;
        int rc = read_tokens(g, g->params->prompt + at, take, at, length);
        if (rc < 0)
            return rc;
        at += take;
    }
    return 0;
}

static int write_tokens(struct generator_result *out, struct generator *g,
                        uint32_t max)
{
    const struct base_model *base = runner_base(g->runner);
    const struct tokenizer *t = base->tokenizer;
    uint32_t at = (uint32_t) g->params->n_prompt;
    int rc;

    out->end = GENERATOR_LENGTH;
    while (out->n_tokens < max) {
        const int32_t id = sampler_pick(g->sampler, g->logits);
        size_t bytes;
        const char *piece = tokenizer_piece(t, id, &bytes);

        out->n_tokens++;
        if (chat_is_end(&base->chat, id)) {
            out->end = GENERATOR_STOP;
            break;
        }
        // Other marks of a chat are no text; ids beyond the vocabulary are
        // padding of the embedding table.
        if (piece && !tokenizer_is_control(t, id) &&
            (rc = textstream_push(g->text, piece, bytes)) < 0)
            return error_set(g->err, rc, "generation: %s", strerror(-rc));
        if (textstream_state(g->text) != TEXTSTREAM_OPEN)
            break;
        if (out->n_tokens == max)
            break;
        if ((rc = read_tokens(g, &id, 1, at++, 1)) < 0)
            return rc;
    }
    if ((rc = textstream_end(g->text)) < 0)
        return error_set(g->err, rc, "generation: %s", strerror(-rc));
    if (textstream_state(g->text) == TEXTSTREAM_STOPPED)
        out->end = GENERATOR_STOP;
    if (textstream_state(g->text) == TEXTSTREAM_CANCELLED)
        out->end = GENERATOR_CANCELLED;
    return 0;
}

int generator_run(struct generator_result *out, struct runner *r,
                  const struct generator_params *params, struct error *err)
{
    const struct model_config *config = &runner_base(r)->config;
    struct generator g = {.runner = r, .params = params, .err = err};
    struct generator_result result = {0};
    uint32_t max = params->max_tokens;
    uint64_t begin;
    int rc;

    if (params->n_prompt == 0 || params->n_prompt >= config->context)
        return error_set(err, params->n_prompt ? -E2BIG : -EINVAL,
                         "generation: the prompt has %zu tokens, but must have "
                         "1 to %u to leave room for an answer",
                         params->n_prompt, config->context - 1);
    if (max > config->context - params->n_prompt)
        max = config->context - (uint32_t) params->n_prompt;
    uint32_t room = (uint32_t) params->n_prompt + max + CHUNK_MAX;
    if (room < CACHE_MIN)
        room = CACHE_MIN;
    if ((rc = runner_use_caches(&g.cache_length, r, room, err)) < 0 ||
        (rc = textstream_create(&g.text, params->stops, params->n_stops,
                                params->on_text, params->user, err)) < 0)
        goto out;
    g.logits = malloc(config->n_vocab * sizeof *g.logits);
    rc = sampler_create(&g.sampler, config->n_vocab, &params->sampler);
    if (!g.logits || rc < 0) {
        rc = error_set(err, -ENOMEM, "generation: out of memory");
        goto out;
    }
    begin = clock_monotonic_ns();
    if ((rc = read_prompt(&g)) < 0)
        goto out;
    result.prompt_ns = clock_monotonic_ns() - begin;
    begin = clock_monotonic_ns();
    if ((rc = write_tokens(&result, &g, max)) < 0)
        goto out;
    result.token_ns = clock_monotonic_ns() - begin;
    *out = result;

out:
    sampler_destroy(g.sampler);
    free(g.logits);
    textstream_destroy(g.text);
    return rc;
}
