// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Base model
 *
 * A model file on a device: its mapping as a read-only buffer, its sizes, its
 * tokenizer. Programs bind their weights to it; nothing ever writes to it.
 */

#include "engine/backend.h"
#include "engine/base/hash.h"
#include "engine/models/model.h"

#include <stdint.h>

struct error;
struct gguf;
struct program_slot;
struct tokenizer;

struct base_model {
    const struct backend *backend; // borrowed
    struct device *dev;            // borrowed
    struct gguf *file;
    struct buffer *weights; // the whole mapping
    struct model_config config;
    struct tokenizer *tokenizer;
    int fd;                   // for the hash, which is computed when asked
    char sha256[HASH_HEX];    // "" until then
    uint8_t hash[HASH_BYTES]; // of the file
};

int base_model_open(struct base_model **out, const struct backend *backend,
                    struct device *dev, int fd, struct error *err);
void base_model_close(struct base_model *m);

// Computes hash and sha256 the first time.
int base_model_hash(struct base_model *m, struct error *err);

int base_model_bind(struct binding *out, const struct base_model *m,
                    const struct program_slot *slot, struct error *err);
