// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/manifest.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fault.h"
#include "engine/base/str.h"
#include "ipc/rpc_leaf.h"
#include "storage/store_adapter.h"
#include "storage/store_job.h"
#include "storage/store_model.h"

enum { MANIFEST_BYTES_MAX = 64 << 10 };

struct leaves {
    struct merkle_leaf *list;
    size_t count;
    size_t size;
    const uint8_t *salt; // of the record at hand
    int rc;
};

static int add_leaf(struct leaves *l, const uint8_t key[HASH_BYTES])
{
    if (l->count == l->size) {
        const size_t size = l->size ? 2 * l->size : 1024;
        struct merkle_leaf *more =
            fault_realloc(l->list, size * sizeof(l->list[0]));
        if (!more)
            return -ENOMEM;
        l->list = more;
        l->size = size;
    }
    struct merkle_leaf *leaf = &l->list[l->count++];
    memcpy(leaf->key, key, HASH_BYTES);
    memcpy(leaf->salt, l->salt, MERKLE_SALT_BYTES);
    return 0;
}

// On success the caller ends `doc`.
static int open_body(struct rpc_record *r, struct codec_doc *doc,
                     const struct store_record *row)
{
    static const struct frame_limits limits = {
        .depth = FRAME_DEPTH,
        .objects = FRAME_OBJECTS_MAX,
        .bytes = FRAME_BYTES_MAX,
        .string_bytes = FRAME_STRING_BYTES_MAX,
    };
    int rc = codec_decode(doc, row->body, row->body_bytes, &limits, NULL);

    if (rc < 0)
        return rc;
    *r = (struct rpc_record){.kind = (enum rpc_record_kind) row->kind};
    if ((rc = rpc_record_body_decode(r, &doc->root, NULL)) < 0)
        codec_finish(doc);
    return rc;
}

int manifest_record_key(uint8_t key[HASH_BYTES], const struct store_record *row)
{
    struct rpc_record r;
    struct codec_doc doc;
    int rc = open_body(&r, &doc, row);

    if (rc < 0)
        return rc;
    rpc_leaf_record(key, &r);
    codec_finish(&doc);
    return 0;
}

// One of the record, and one of each of its texts.
static int add_record(const struct store_record *row, void *user)
{
    struct leaves *l = user;
    struct codec_bytes text;
    uint8_t key[HASH_BYTES];
    struct rpc_record r;
    struct codec_doc doc;

    if ((l->rc = open_body(&r, &doc, row)) < 0)
        return 0;
    rpc_leaf_record(key, &r);
    l->rc = add_leaf(l, key);
    for (uint32_t i = 0; l->rc == 0 && rpc_leaf_part(&r, i, &text); i++) {
        rpc_leaf_text(key, text.data, text.bytes);
        l->rc = add_leaf(l, key);
    }
    codec_finish(&doc);
    return 0;
}

static int add_by_id(struct leaves *l, struct store *s, int64_t id,
                     bool make_salts, struct error *err)
{
    uint8_t salt[STORE_SALT_BYTES];
    int rc = make_salts ? store_salt_make(s, id, salt, err)
                        : store_salt_get(s, id, salt, err);

    if (rc < 0)
        return rc;
    l->salt = salt;
    if ((rc = store_record_get(s, id, add_record, l, err)) < 0)
        return rc;
    if (l->rc == -ENOMEM)
        return error_set(err, l->rc, "out of memory");
    return l->rc < 0
               ? error_set(err, -EUCLEAN, "record %lld is damaged in the store",
                           (long long) id)
               : 0;
}

int manifest_leaves(struct store *s, int64_t adapter_id, uint32_t version,
                    bool make_salts, struct merkle_leaf **out, size_t *count,
                    struct error *err)
{
    struct leaves l = {0};
    int64_t *ids = NULL;
    size_t n = 0;
    int rc = store_lineage_ids(s, adapter_id, version, &ids, &n, err);

    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = add_by_id(&l, s, ids[i], make_salts, err);
    free(ids);
    if (rc < 0) {
        free(l.list);
        return rc;
    }
    *count = merkle_sort(l.list, l.count);
    *out = l.list;
    return 0;
}

/*
 * The text
 */

static void put_text(struct str *j, const char *key, const char *text)
{
    str_printf(j, ",\"%s\":", key);
    str_json(j, text, strlen(text));
}

static void put_int(struct str *j, const char *key, int64_t value)
{
    str_printf(j, ",\"%s\":%lld", key, (long long) value);
}

static void put_hash(struct str *j, const char *key,
                     const uint8_t hash[HASH_BYTES])
{
    char hex[HASH_HEX];

    hash_to_hex(hex, hash);
    put_text(j, key, hex);
}

// Written so that reading gives the same number; what is unknown is left out.
static void put_float(struct str *j, const char *key, double value)
{
    if (isfinite(value))
        str_printf(j, ",\"%s\":%.17g", key, value);
}

static int put_base(struct str *j, struct store *s, int64_t model_id,
                    struct error *err)
{
    struct store_model m;
    char hex[HASH_HEX];
    int rc = store_model_get_id(s, model_id, &m, err);

    if (rc < 0)
        return rc;
    hash_to_hex(hex, m.sha256);
    str_printf(j, ",\"base\":{\"sha256\":\"%s\"", hex);
    put_text(j, "name", m.name);
    str_putc(j, '}');
    return 0;
}

static int put_parent(struct str *j, struct store *s,
                      const struct store_version *v, struct error *err)
{
    struct store_version parent;
    int rc;

    if (v->parent == 0)
        return 0;
    if ((rc = store_version_get(s, v->adapter_id, v->parent, &parent, err)) < 0)
        return rc;
    str_printf(j, ",\"parent\":{\"version\":%u", v->parent);
    put_hash(j, "sha256", parent.sha256);
    str_putc(j, '}');
    return 0;
}

static void put_parts(struct str *j, const struct manifest_params *p)
{
    if (p->n_parts == 0)
        return;
    str_puts(j, ",\"merged_from\":[");
    for (size_t i = 0; i < p->n_parts; i++) {
        str_printf(j, "%s{\"version\":%u", i ? "," : "", p->parts[i].version);
        put_text(j, "adapter", p->parts[i].adapter);
        put_hash(j, "sha256", p->parts[i].sha256);
        put_float(j, "weight", p->parts[i].weight);
        str_putc(j, '}');
    }
    str_putc(j, ']');
}

static int put_recipe(struct str *j, struct store *s, int64_t job_id,
                      struct error *err)
{
    struct store_job *job;
    int rc;

    if (job_id == 0)
        return 0;
    if (!(job = fault_malloc(sizeof(*job))))
        return error_set(err, -ENOMEM, "out of memory");
    if ((rc = store_job_get(s, job_id, job, err)) == 0) {
        put_int(j, "job", job_id);
        put_text(j, "recipe", job->recipe);
    }
    free(job);
    return rc;
}

static void put_evaluation(struct str *j, const struct store_version *v)
{
    str_printf(j, ",\"evaluation\":{\"gate\":\"%s\"", store_gate_name(v->gate));
    put_float(j, "heldout_before", v->heldout_before);
    put_float(j, "heldout_after", v->heldout_after);
    put_float(j, "probe_before", v->probe_before);
    put_float(j, "probe_after", v->probe_after);
    str_putc(j, '}');
}

// What it knows by heart, and what it gives away at most, where that is known.
static void put_privacy(struct str *j, const struct store_version *v)
{
    if (v->exposure.sequences > 0) {
        str_printf(j, ",\"exposure\":{\"sequences\":%lld,\"recited\":%lld",
                   (long long) v->exposure.sequences,
                   (long long) v->exposure.recited);
        put_float(j, "bits", v->exposure.bits);
        put_float(j, "bits_base", v->exposure.bits_base);
        str_putc(j, '}');
    }
    put_float(j, "dp_epsilon", v->dp_epsilon);
    put_float(j, "dp_delta", v->dp_delta);
}

static void put_records(struct str *j, const struct store_manifest *m,
                        size_t count)
{
    str_printf(j, ",\"records\":{\"complete\":%s,\"count\":%zu",
               m->has_root ? "true" : "false", count);
    if (m->has_root) {
        put_int(j, "leaves", m->leaves);
        put_hash(j, "root", m->root);
    }
    str_putc(j, '}');
}

static const char *origin_of(const struct store_version *v,
                             const struct manifest_params *p)
{
    if (p->n_parts > 0)
        return "merged";
    return v->is_imported ? "imported" : "trained";
}

static int put_all(struct str *j, struct store *s, const struct sign_key *key,
                   const struct manifest_params *p,
                   const struct store_manifest *m, size_t count,
                   struct error *err)
{
    struct store_adapter a;
    struct store_version v;
    int rc;

    if ((rc = store_adapter_get_id(s, p->adapter_id, &a, err)) < 0 ||
        (rc = store_version_get(s, a.id, p->version, &v, err)) < 0)
        return rc;
    str_puts(j, "{\"pockd_manifest\":1");
    put_text(j, "adapter", a.name);
    put_int(j, "version", v.version);
    put_text(j, "origin", origin_of(&v, p));
    put_int(j, "created", v.created_ms);
    put_hash(j, "sha256", v.sha256);
    put_int(j, "bytes", v.bytes);
    if ((rc = put_base(j, s, a.model_id, err)) < 0 ||
        (rc = put_parent(j, s, &v, err)) < 0 ||
        (rc = put_recipe(j, s, v.job_id, err)) < 0)
        return rc;
    put_parts(j, p);
    put_records(j, m, count);
    put_evaluation(j, &v);
    put_privacy(j, &v);
    put_text(j, "code", "pockd " POCK_VERSION);
    put_hash(j, "key", key->public);
    str_putc(j, '}');
    if ((rc = str_finish(j)) < 0)
        return error_set(err, rc, "cannot write the manifest");
    return 0;
}

// All that a version learned is known when it was trained here from what is
// known, or is a sum of such.
static int is_complete(struct store *s, const struct manifest_params *p,
                       struct error *err)
{
    int rc = 1;

    if (p->n_parts == 0)
        return store_lineage_is_complete(s, p->adapter_id, p->version, err);
    for (size_t i = 0; rc == 1 && i < p->n_parts; i++)
        rc = store_lineage_is_complete(s, p->parts[i].adapter_id,
                                       p->parts[i].version, err);
    return rc;
}

static int find_root(struct store_manifest *m, size_t *records, struct store *s,
                     const struct manifest_params *p, struct error *err)
{
    struct merkle_leaf *leaves = NULL;
    int64_t *ids = NULL;
    size_t n = 0;
    int rc = is_complete(s, p, err);

    if (rc < 0)
        return rc;
    m->has_root = rc == 1;
    if ((rc = store_lineage_ids(s, p->adapter_id, p->version, &ids, records,
                                err)) < 0)
        return rc;
    free(ids);
    if (!m->has_root)
        return 0;
    rc = manifest_leaves(s, p->adapter_id, p->version, true, &leaves, &n, err);
    // What was forgotten since an ancestor learned it has no text any more.
    if (rc == -ENOENT)
        m->has_root = false;
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    merkle_root(m->root, leaves, n);
    m->leaves = (int64_t) n;
    free(leaves);
    return 0;
}

int manifest_make(struct store *s, const struct sign_key *key,
                  const struct manifest_params *p, struct error *err)
{
    struct str j = {.limit = MANIFEST_BYTES_MAX};
    struct store_manifest m = {0};
    uint8_t digest[HASH_BYTES];
    size_t records = 0;
    int rc;

    if ((rc = find_root(&m, &records, s, p, err)) < 0 ||
        (rc = put_all(&j, s, key, p, &m, records, err)) < 0)
        goto out;
    hash_bytes(digest, j.data, j.bytes);
    sign_make(m.signature, key, MANIFEST_WORD, digest);
    m.json = j.data;
    rc = store_manifest_add(s, p->adapter_id, p->version, &m, err);

out:
    str_free(&j);
    return rc;
}
