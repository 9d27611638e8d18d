// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Memory behind programs, for tests
 *
 * Weights and states by name. What a program asks for first is made then:
 * weights and adapters get random values that follow from the name and the
 * seed, everything else zeros. Programs on one bank share its storage.
 */

#include "engine/exec/program.h"

struct bank_item {
    char name[96];
    struct program_slot slot;
    void *data; // the host's copy of a weight
    struct buffer *buffer;
};

struct bank {
    const struct backend *backend;
    struct device *dev;
    uint64_t seed;
    struct bank_item items[512];
    uint32_t n;
};

void bank_init(struct bank *b, const struct backend *backend,
               struct device *dev, uint64_t seed);
void bank_finish(struct bank *b);

struct executor_params bank_executor_params(struct bank *b);

struct bank_item *bank_find(struct bank *b, const char *name); // NULL
void bank_read(struct bank *b, const char *name, float *out);
void bank_write(struct bank *b, const char *name, const float *data);
size_t bank_count(struct bank *b, const char *name); // floats
