// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Journal
 *
 * An adapter that was learned without gradients is known by where it began and
 * by a few numbers of each step: the directions are made again from counters
 * (engine/base/noise.h). Bytes, little-endian:
 *
 *   magic "pockjrnl", u32 version, u32 queries
 *   u64 steps, u64 steps until the adapter (its best)
 *   SHA-256 of the base model, of the start adapter (zeros: a new one), of the
 *   adapter's values
 *   recipe as text, RECIPE_TEXT_BYTES, zeros behind it
 *   SHA-256 of all before
 *   for each step: u32 number from 0, f32 rate, f32 eps, f32 g[queries], u32
 *   check: the first bytes of SHA-256 of the check before it and this record
 *
 * The seed, which is the key of all noise, is in the recipe.
 */

#include "engine/base/hash.h"

#include <stddef.h>
#include <stdint.h>

struct adapter;
struct base_model;
struct error;
struct recipe;

struct journal {
    uint32_t queries;
    uint64_t steps;
    uint64_t steps_best;
    uint8_t base[HASH_BYTES], start[HASH_BYTES], values[HASH_BYTES];
    uint8_t *records; // (steps, journal_record_bytes())
    size_t size;      // of what is allocated
};

struct journal_step {
    float rate, eps;
    const float *g; // (queries)
};

void journal_init(struct journal *j, uint32_t queries);
void journal_finish(struct journal *j);
size_t journal_record_bytes(uint32_t queries);
int journal_append(struct journal *j, const struct journal_step *s);
// Records that came from elsewhere are checked: -EBADMSG and a sentence that
// names the step.
int journal_take(struct journal *j, const void *records, uint64_t steps,
                 struct error *err);
struct journal_step journal_step(const struct journal *j, uint64_t i);

// malloc'ed bytes.
int journal_encode(void **out, size_t *bytes, const struct journal *j,
                   const struct recipe *r);
// On success the caller ends it with journal_finish().
int journal_decode(struct journal *out, struct recipe *r, const void *data,
                   size_t bytes, struct error *err);

// The bytes as text, and back. The text is malloc'ed; -E2BIG when it is longer
// than a file of an adapter holds.
int journal_print(char **out, const struct journal *j, const struct recipe *r);
int journal_parse(struct journal *out, struct recipe *r, const char *text,
                  struct error *err);

// The adapter's values, made again and compared. `start` as the run had it;
// NULL: a new one. -EBADMSG and a sentence when they are not the same.
int journal_replay(struct adapter **out, struct base_model *base,
                   const struct journal *j, const struct recipe *r,
                   const struct adapter *start, struct error *err);
