// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Signal table
 *
 * The fields of a snapshot by name: read as values, written from values, told
 * as text, compared. One row for each of signals.def. Pure.
 */

#include "daemon/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum signal_type {
    SIGNAL_TYPE_NONE, // not known
    SIGNAL_TYPE_BOOL,
    SIGNAL_TYPE_INT,
    SIGNAL_TYPE_NUM,
    SIGNAL_TYPE_TEXT,
};

struct signal_value {
    enum signal_type type;
    bool flag;
    int64_t integer;
    double number;
    const char *text; // points into the snapshot, or lives for ever
};

enum { SIGNAL_TEXT_BYTES = 128 };

const char *signal_name(enum signal g);
const char *signal_unit(enum signal g); // "" without one
const char *signal_doc(enum signal g);
enum signal signal_find(const char *name); // SIGNAL_COUNT: there is none

const char *signal_source_name(enum signal_source s);
// SIGNAL_SOURCE_COUNT: there is none.
enum signal_source signal_source_find(const char *name);

struct signal_value signal_get(const struct snapshot *s, enum signal g);
// False, and nothing is changed, when the value is of another type or cannot
// be. NONE makes it unknown. An integer serves where a number is meant.
bool signal_set(struct snapshot *s, enum signal g,
                const struct signal_value *v);
bool signal_is_same(const struct snapshot *a, const struct snapshot *b,
                    enum signal g);
// As a person reads it: "80 %", "not known". now_ms: monotonic.
const char *signal_text(char out[SIGNAL_TEXT_BYTES], const struct snapshot *s,
                        enum signal g, int64_t now_ms);

// The source of a field that was just read: `source`, or NONE when it is
// unknown.
void signal_mark(struct snapshot *s, enum signal g, enum signal_source source);
// What is in use, and why, by screens and sessions: is_in_use, is_use_known
// and use_source.
void signal_judge_use(struct snapshot *s);
