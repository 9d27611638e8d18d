// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Rows from elsewhere (database thread)
 *
 * What an archive brings keeps its numbers where they are free. Ids are given
 * by the sequences of their tables, so these are moved on, never back.
 */

#include "storage/store_adapter.h"
#include "storage/store_merge.h"

// So that the next record, or job, gets this id, when none so large was given
// yet.
int store_import_next_record(struct store *s, int64_t id, struct error *err);
int store_import_next_job(struct store *s, int64_t id, struct error *err);

// The version of that number and state (kept or retired; active is a switch of
// its own). -EEXIST: it is there, the same. -ENOTUNIQ: its number is another
// version's.
int store_import_version(struct store *s, const struct store_version *v,
                         struct error *err);
// One of what it was merged from.
int store_import_part(struct store *s, int64_t adapter_id, uint32_t version,
                      int place, const struct store_part *p, struct error *err);
// The job of this adapter that was made at that time. -ENOENT.
int store_import_find_job(struct store *s, int64_t adapter_id,
                          int64_t created_ms, int64_t *id, struct error *err);
