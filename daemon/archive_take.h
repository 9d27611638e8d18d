// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A line of an archive becomes a row (database thread; archive_import.c's)
 */

#include "daemon/archive_import.h"
#include "engine/base/json.h"
#include "storage/store_adapter.h"

struct archive_id_pair {
    int64_t was;
    int64_t is;
};

// Numbers that could not stay as they were, by `was`.
struct archive_ids {
    struct archive_id_pair *list;
    size_t count;
    size_t size;
};

// An adapter of the archive that is here, too, over the same base.
struct archive_adapter {
    char name[65];
    int64_t id;
    int64_t model_id;
    uint32_t active; // to become so; 0: what is active here stays
};

struct archive_take {
    struct archive_reader *reader; // sorted; NULL: without files
    struct archive_result result;
    struct archive_ids records;  // whose id is another one; 0: not taken
    struct archive_ids jobs;     // all
    struct archive_ids versions; // that are here
    struct archive_adapter *adapters;
    size_t n_adapters;
};

void archive_take_finish(struct archive_take *t);
// In the open transaction. *is_new: it was not there. Negative, with a
// sentence: it cannot be taken.
int archive_take_line(struct archive_take *t, struct store *s,
                      enum archive_kind kind, const struct json *j,
                      bool *is_new, struct error *err);
// The adapter's file of a version, from the archive into the store, unless it
// is there. In one visit with the row that names it. Of archive_file.c.
int archive_take_file(struct archive_take *t, struct store *s,
                      const struct store_version *v, struct error *err);
