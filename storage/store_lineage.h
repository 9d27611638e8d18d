// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Lineage (database thread)
 *
 * Which version learned from which record, ids only.
 */

#include "storage/store_record.h"

// Records that the version was trained on; ids that are not stored any more
// are left out: *lost (may be NULL) says how many. A caller that gets lost > 0
// holds a version made of records that were erased while it was trained.
int store_lineage_add(struct store *s, int64_t adapter_id, uint32_t version,
                      const int64_t *record_ids, size_t count, size_t *lost,
                      struct error *err);
// The records that a version was trained on, its ancestors' included, summed
// up a stream at a time.
int store_lineage_streams(struct store *s, int64_t adapter_id, uint32_t version,
                          store_stream_fn fn, void *user, struct error *err);
// How many records that pass the filter no version of this adapter has seen.
int store_lineage_unseen(struct store *s, int64_t adapter_id,
                         const struct store_filter *f, int64_t *count,
                         struct error *err);
