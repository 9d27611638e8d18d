// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Checkpoint
 *
 * All that a run needs to go on with the same bytes as if it had never
 * stopped. The data position and the learning rate follow from the step, the
 * random numbers from the recipe's seed. Little-endian:
 *
 *   magic "pockckpt", u32 version, u32 n_kept
 *   SHA-256 of base model, recipe, data, start adapter
 *   counters and history (struct checkpoint, in this order)
 *   adapter, m, v, best adapter: n_floats f32 each
 *   what the run keeps beside them: n_kept f32
 *   the kernel times by which the run's programs are placed: times_bytes
 *   SHA-256 of all before
 */

#include <stddef.h>
#include <stdint.h>

struct error;

enum { CHECKPOINT_HASH_BYTES = 32 };

// What a checkpoint belongs to. The micro-batch is part of it because sums are
// rounded in its order.
struct checkpoint_key {
    uint8_t base[CHECKPOINT_HASH_BYTES];
    uint8_t recipe[CHECKPOINT_HASH_BYTES];
    uint8_t data[CHECKPOINT_HASH_BYTES];
    uint8_t start[CHECKPOINT_HASH_BYTES];
};

struct checkpoint_eval {
    uint64_t step;
    double loss;
};

enum { CHECKPOINT_EVALS_MAX = 1 << 20 };

struct checkpoint {
    struct checkpoint_key key;
    uint64_t step;
    uint64_t best_step;
    double best_loss;
    double step_loss; // of the newest step
    uint32_t evals_since_best;
    uint32_t end; // enum of the trainer
    uint32_t micro_rows;
    uint32_t n_evals;
    struct checkpoint_eval *evals; // n_evals, oldest first
    uint64_t n_floats;
    float *values; // adapter, m, v, best: 4 * n_floats
    uint32_t n_kept;
    float *kept; // n_kept
    // A timetable as bytes: a run keeps the kernels that it began with.
    uint64_t times_bytes; // 0: none
    void *times;
};

enum { CHECKPOINT_TIMES_MAX = 2 << 20 };

// malloc'ed bytes.
int checkpoint_encode(void **out, size_t *bytes, const struct checkpoint *c);
// -EBADMSG with a sentence when the bytes are not what was written. On success
// the caller ends it with checkpoint_finish().
int checkpoint_decode(struct checkpoint *out, const void *data, size_t bytes,
                      struct error *err);
void checkpoint_finish(struct checkpoint *c);
// Its times alone, malloc'ed; *bytes is 0 when it has none. -EBADMSG as above.
int checkpoint_times(void **out, size_t *bytes, const void *data, size_t size,
                     struct error *err);
// -ESTALE with a sentence that says what differs.
int checkpoint_match(const struct checkpoint *c,
                     const struct checkpoint_key *key, struct error *err);
