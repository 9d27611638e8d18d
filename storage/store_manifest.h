// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Manifests (database thread)
 *
 * What was written down and signed when a version was made (a JSON text; see
 * manifest.h of the daemon), and what the proofs over it need: which records a
 * version and those before it learned, and the salts of records.
 */

#include "storage/store_record.h"

enum { STORE_SALT_BYTES = 16, STORE_SIGNATURE_BYTES = 64 };

struct store_manifest {
    bool has_root; // all that it learned is known
    uint8_t root[STORE_HASH_BYTES];
    int64_t leaves;
    char *json; // malloc'ed on the way out: see store_manifest_finish()
    uint8_t signature[STORE_SIGNATURE_BYTES];
};

// -EEXIST: written once, never changed. -EBUSY: no such version.
int store_manifest_add(struct store *s, int64_t adapter_id, uint32_t version,
                       const struct store_manifest *m, struct error *err);
// -ENOENT: the version is older than manifests.
int store_manifest_get(struct store *s, int64_t adapter_id, uint32_t version,
                       struct store_manifest *out, struct error *err);
void store_manifest_finish(struct store_manifest *m);

// Records that the version or one it comes of was trained on, by id; malloc'ed.
int store_lineage_ids(struct store *s, int64_t adapter_id, uint32_t version,
                      int64_t **ids, size_t *count, struct error *err);
// Those of the version alone.
int store_lineage_own(struct store *s, int64_t adapter_id, uint32_t version,
                      int64_t **ids, size_t *count, struct error *err);
// 1: all that the version learned is in the lineage; 0: it, or one that it
// comes of, was imported, or is a sum that nobody wrote a manifest for, or
// records of it were forgotten.
int store_lineage_is_complete(struct store *s, int64_t adapter_id,
                              uint32_t version, struct error *err);

// Records of a stream and month ("2026-03"), of the line of a version.
struct store_month {
    char app[STORE_NAME_SIZE];
    char stream[STORE_NAME_SIZE];
    char month[16];
    int64_t records;
    int64_t bytes;
};
typedef int (*store_month_fn)(const struct store_month *m, void *user);
int store_lineage_months(struct store *s, int64_t adapter_id, uint32_t version,
                         store_month_fn fn, void *user, struct error *err);

// The record's salt; made when it has none. -ENOENT: no such record.
int store_salt_make(struct store *s, int64_t record_id,
                    uint8_t salt[STORE_SALT_BYTES], struct error *err);
// -ENOENT: it has none.
int store_salt_get(struct store *s, int64_t record_id,
                   uint8_t salt[STORE_SALT_BYTES], struct error *err);
// One that came with the record from elsewhere; another one that is there
// stays.
int store_salt_put(struct store *s, int64_t record_id,
                   const uint8_t salt[STORE_SALT_BYTES], struct error *err);
