// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Versions merged from others (database thread)
 *
 * A merged version has in its own lineage every record that any of its parts,
 * or what those were trained from, had learned. So erasing a record reaches it
 * even when its parts, or their whole adapters, are gone.
 */

#include "storage/store_adapter.h"

struct store_part {
    char adapter[STORE_NAME_SIZE];
    int64_t adapter_id; // 0 on the way out
    uint32_t version;
    uint8_t sha256[STORE_HASH_BYTES]; // what was merged; zero on the way out
    double weight;
};

// Adds v->adapter_id's next version, its parts and its lineage in one
// transaction. -ESTALE with a sentence when a part was retired meanwhile, or is
// another file. -EEXIST as store_version_add().
int store_merge_add(struct store *s, const struct store_version *v,
                    const struct store_part *parts, size_t count,
                    uint32_t *version, struct error *err);

typedef int (*store_part_fn)(const struct store_part *p, void *user);
// In order. Nothing for a version that was not merged.
int store_merge_each(struct store *s, int64_t adapter_id, uint32_t version,
                     store_part_fn fn, void *user, struct error *err);
