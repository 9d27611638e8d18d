// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The demo's records, read from notebook.jsonl and messages.jsonl of a
 * directory, for benchmarks.
 */

#include "engine/train/record.h"

#include <stddef.h>

struct arena;
struct error;

struct demodata {
    struct arena *arena;
    struct record *records; // notes, then messages
    size_t n_records;
    size_t n_notes;
    size_t size;
};

int demodata_load(struct demodata *d, const char *dir, struct error *err);
void demodata_finish(struct demodata *d);
