// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Manifests of versions (database thread)
 *
 * What is written down and signed when a version is made: which file, from
 * which base model and parent or parts, by which recipe (seed included) and
 * program, how it was judged, and the root of the Merkle tree over all that it
 * and those that it comes of learned (ipc/rpc_leaf.h, engine/base/merkle.h).
 * The root binds pockd to a set of records without telling them; a proof shows
 * that one was in it or was not. Held-out records are not in it: nothing was
 * learned from them.
 */

#include "engine/base/merkle.h"
#include "engine/base/sign.h"
#include "storage/store_manifest.h"
#include "storage/store_merge.h"

#define MANIFEST_WORD "manifest" // of the signature

struct manifest_params {
    int64_t adapter_id;
    uint32_t version;
    const struct store_part *parts; // of a merged version
    size_t n_parts;
};

// In the transaction that makes the version, behind its lineage.
int manifest_make(struct store *s, const struct sign_key *key,
                  const struct manifest_params *p, struct error *err);

// The key of a stored record as a whole. Negative: it is damaged.
int manifest_record_key(uint8_t key[HASH_BYTES],
                        const struct store_record *row);

// The leaves of all that the version and those before it learned, sorted;
// malloc'ed. `make_salts`: for records that have none yet, which otherwise is
// -ENOENT.
int manifest_leaves(struct store *s, int64_t adapter_id, uint32_t version,
                    bool make_salts, struct merkle_leaf **out, size_t *count,
                    struct error *err);
