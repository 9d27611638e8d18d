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
#include "engine/tokenizer/chat.h"

#include <stdint.h>

struct error;
struct gguf;
struct program_slot;
struct timetable;

struct base_model {
    const struct backend *backend; // borrowed
    struct device *dev;            // borrowed
    struct gguf *file;
    struct buffer *weights; // the whole mapping
    struct model_config config;
    struct tokenizer *tokenizer;
    struct chat chat;      // how it holds conversations, and whose words count
    int fd;                // for the hash, which is computed when asked
    char sha256[HASH_HEX]; // "" until then
    uint8_t hash[HASH_BYTES]; // of the file
    // By which programs are placed; NULL: none. Programs that were compiled
    // before it changed are compiled again.
    struct timetable *times;
    uint32_t times_changes;
};

int base_model_open(struct base_model **out, const struct backend *backend,
                    struct device *dev, int fd, struct error *err);
void base_model_close(struct base_model *m);

// Computes hash and sha256 the first time; `progress` may be NULL.
int base_model_hash_told(struct base_model *m, hash_progress_fn progress,
                         void *user, struct error *err);
int base_model_hash(struct base_model *m, struct error *err);

// Takes `times`, which may be NULL, and gives back those before.
struct timetable *base_model_swap_times(struct base_model *m,
                                        struct timetable *times);
void base_model_set_times(struct base_model *m, struct timetable *times);
// A hash of names, types and shapes of all tensors: models that are equal in it
// take equally long.
void base_model_shape(uint8_t out[HASH_BYTES], const struct base_model *m);

// A device for programs that are compiled to be looked at: the model's own, or
// where it has several threads one of a single thread, so that what is planned
// does not hang on their number.
int base_model_borrow(struct device **out, const struct base_model *m,
                      struct error *err);
void base_model_give_back(const struct base_model *m, struct device *dev);

int base_model_bind(struct binding *out, const struct base_model *m,
                    const struct program_slot *slot, struct error *err);
