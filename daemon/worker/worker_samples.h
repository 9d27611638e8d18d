// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Samples
 *
 * A records file as the engine sees it. This is the only door through which
 * text comes to the engine: the file is sealed, and everything in it checked.
 */

#include "engine/train/record.h"

#include <stddef.h>
#include <stdint.h>

struct error;
struct worker_records;

struct samples {
    struct record *records;
    size_t count;
    // All that follow are private.
    struct record_message *messages;
    struct worker_records *raw;
    const void *map;
    size_t map_bytes;
};

// `fd` is borrowed. `what` begins the sentence of a failure.
int samples_open(struct samples *out, int fd, const char *what,
                 struct error *err);
void samples_close(struct samples *s);
