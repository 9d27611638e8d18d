// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Timetable
 *
 * How long instructions took on this device: a row for each shape, a column for
 * each target (a kernel and a number of threads). It belongs to one device and
 * one build, holds shapes of several models, forgets the oldest when it is
 * full, and is read as if somebody else had written it. As bytes, which are
 * little-endian:
 *
 *   magic "pocktime", u32 version, u32 targets, u32 rows, u32 models
 *   u32 threads at most, u32 zero, u64 wake_ns
 *   device (128), build (64): text, filled up with NUL
 *   models: 16 bytes of a hash, u64 when
 *   targets: kernel (16), u32 threads, u32 zero
 *   rows: shape, u64 when, u64 ns for each target (0: not timed)
 *   SHA-256 of all before
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct timetable;

enum {
    TIMETABLE_TARGETS_MAX = 40,
    TIMETABLE_ROWS_MAX = 4096,
    TIMETABLE_MODELS_MAX = 16,
    TIMETABLE_MODEL_BYTES = 16,
    TIMETABLE_KERNEL = 16, // bytes with the NUL
    TIMETABLE_DEVICE = 128,
    TIMETABLE_BUILD = 64,
    TIMETABLE_BYTES_MAX = 2 << 20,
    TIMETABLE_GAIN_PCT = 5, // less is noise of the measurement
};

struct timetable_target {
    char kernel[TIMETABLE_KERNEL]; // "avx2"
    uint32_t threads;
};

// Hashes that say what an instruction is: the shape itself; the same for any
// number of rows; the same operator. And its work, so that what was not timed
// can be told from what was.
struct timetable_shape {
    uint64_t exact;
    uint64_t family;
    uint64_t kind;
    uint64_t work;
};

struct timetable_params {
    const char *device;
    const char *build;
    uint32_t threads; // the most that a target has
    const struct timetable_target *targets;
    uint32_t n_targets;
};

// Without rows.
int timetable_create(struct timetable **out,
                     const struct timetable_params *params);
void timetable_destroy(struct timetable *t); // accepts NULL
int timetable_copy(struct timetable **out, const struct timetable *t);

// malloc'ed bytes. The same table gives the same bytes.
int timetable_encode(void **out, size_t *bytes, const struct timetable *t);
// -EBADMSG with a sentence when the bytes are not what was written.
int timetable_decode(struct timetable **out, const void *data, size_t bytes,
                     struct error *err);
// Of the table that these bytes begin with, as it says itself; 0: it does not
// say, or they are fewer.
size_t timetable_length(const void *data, size_t bytes);
// -ESTALE with a sentence when it was made on another device, by another build
// (NULL: any will do), or with fewer threads.
int timetable_match(const struct timetable *t, const char *device,
                    const char *build, uint32_t threads, struct error *err);

const char *timetable_device(const struct timetable *t);
const char *timetable_build(const struct timetable *t);
uint32_t timetable_threads(const struct timetable *t);
uint32_t timetable_rows(const struct timetable *t);
uint64_t timetable_when(const struct timetable *t); // newest row; 0: none
uint32_t timetable_targets(const struct timetable *t);
const struct timetable_target *timetable_target(const struct timetable *t,
                                                uint32_t i);
// What it takes until more threads work than before.
uint64_t timetable_wake_ns(const struct timetable *t);
void timetable_set_wake_ns(struct timetable *t, uint64_t ns);

// Models by a hash of their tensors' shapes.
bool timetable_has_model(const struct timetable *t,
                         const uint8_t model[TIMETABLE_MODEL_BYTES]);
void timetable_put_model(struct timetable *t,
                         const uint8_t model[TIMETABLE_MODEL_BYTES],
                         uint64_t when);

// ns (targets), 0 where it was not timed; at least one is not 0. Replaces the
// row of that shape.
int timetable_put(struct timetable *t, const struct timetable_shape *shape,
                  const uint64_t *ns, uint64_t when);
// Row i and its ns (targets); NULL behind the last.
const uint64_t *timetable_row(struct timetable_shape *out,
                              const struct timetable *t, uint32_t i);
bool timetable_has(const struct timetable *t,
                   const struct timetable_shape *shape);

enum timetable_source {
    TIMETABLE_NOTHING,  // not even the operator was timed
    TIMETABLE_SCALED,   // from the nearest by work
    TIMETABLE_MEASURED, // this very shape
};
// "avx2 120, c 27": kernels by how many shapes they are the fastest of, where
// what is usual, the first target that was timed, wins unless it takes
// TIMETABLE_GAIN_PCT longer.
void timetable_winners(char *out, size_t size, const struct timetable *t);

// ns (targets), INFINITY where nothing is known.
enum timetable_source timetable_find(double *ns, const struct timetable *t,
                                     const struct timetable_shape *shape);
