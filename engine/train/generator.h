// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Generator
 *
 * Goes on with a sequence of tokens, one at a time: the prompt is read in
 * chunks into the key-value caches, then each new token costs one run of a
 * program of length 1.
 */

#include "engine/train/sampler.h"
#include "engine/train/textstream.h"

#include <stddef.h>
#include <stdint.h>

struct error;
struct runner;

enum generator_end {
    GENERATOR_STOP,   // an end token, or a stop string
    GENERATOR_LENGTH, // max_tokens, or the context is full
    GENERATOR_CANCELLED,
};

struct generator_params {
    const int32_t *prompt;
    size_t n_prompt;
    struct sampler_params sampler;
    uint32_t max_tokens;
    const char *const *stops;
    uint32_t n_stops;
    textstream_fn *on_text;
    void *user;
};

struct generator_result {
    enum generator_end end;
    uint32_t n_tokens;
    uint64_t prompt_ns, token_ns;
};

// -E2BIG when the prompt fills the context, -EINTR when the device was stopped.
int generator_run(struct generator_result *out, struct runner *r,
                  const struct generator_params *params, struct error *err);
