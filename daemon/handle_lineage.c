// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/adapter_transfer.h"
#include "daemon/dbcall.h"
#include "daemon/handlers.h"
#include "daemon/manifest.h"
#include "engine/base/clock.h"
#include "engine/base/str.h"
#include "ipc/rpc_leaf.h"
#include "storage/store_record.h"

/*
 * What a version learned, and proofs of it. A proof is JSON:
 *
 *   {"pockd_proof":1, "claim":"learned"|"not_learned", "of":"record"|"text",
 *    "key":HEX, "salt":HEX (learned), "path":[HEX or "" for nothing, ...],
 *    "manifest":TEXT, "signature":HEX}
 */

enum { PROOF_BYTES_MAX = 128 << 10 };

/*
 * adapter.lineage
 */

static int put_month(const struct store_month *m, void *user)
{
    struct dbcall *c = user;

    encoder_open_map(&c->out);
    encoder_put_cstr(&c->out, "app", m->app);
    encoder_put_cstr(&c->out, "stream", m->stream);
    encoder_put_cstr(&c->out, "month", m->month);
    encoder_put_int(&c->out, "records", m->records);
    encoder_put_int(&c->out, "bytes", m->bytes);
    encoder_close(&c->out);
    c->number[0] += m->records;
    return 0;
}

static void put_manifest(struct encoder *e, const struct store_manifest *m)
{
    char hex[HASH_HEX], signature[SIGN_HEX];

    if (m->has_root) {
        hash_to_hex(hex, m->root);
        encoder_put_cstr(e, "root", hex);
        encoder_put_int(e, "leaves", m->leaves);
    }
    sign_to_hex(signature, m->signature);
    encoder_put_cstr(e, "manifest", m->json);
    encoder_put_cstr(e, "signature", signature);
}

static int run_lineage(struct store *s, struct dbcall *c, struct error *err)
{
    struct store_adapter a;
    struct store_version v;
    struct store_manifest m = {0};
    int rc = adapter_find_version(s, c, &a, &v, err);

    if (rc < 0)
        return rc;
    encoder_put_cstr(&c->out, "adapter", a.name);
    encoder_put_int(&c->out, "version", v.version);
    encoder_put_array(&c->out, "months");
    rc = store_lineage_months(s, a.id, v.version, put_month, c, err);
    encoder_close(&c->out);
    if (rc < 0)
        return rc;
    encoder_put_int(&c->out, "records", c->number[0]);
    encoder_put_array(&c->out, "merged_from");
    rc = store_merge_each(s, a.id, v.version, adapter_put_part, &c->out, err);
    encoder_close(&c->out);
    if (rc < 0)
        return rc;
    if ((rc = store_lineage_is_complete(s, a.id, v.version, err)) < 0)
        return rc;
    encoder_put_bool(&c->out, "complete", rc == 1);
    rc = store_manifest_get(s, a.id, v.version, &m, err);
    if (rc == 0)
        put_manifest(&c->out, &m);
    store_manifest_finish(&m);
    return rc == -ENOENT ? 0 : rc;
}

void handle_adapter_lineage(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_lineage});
}

/*
 * adapter.prove
 */

struct wanted {
    uint8_t key[HASH_BYTES];
    int rc;
};

static int key_of_record(const struct store_record *row, void *user)
{
    struct wanted *w = user;

    w->rc = manifest_record_key(w->key, row);
    return 0;
}

static int find_key(struct wanted *w, struct store *s, struct dbcall *c,
                    struct error *err)
{
    const struct codec_bytes text = codec_str(c->params, "text");
    const int64_t id = codec_int(c->params, "record", 0);

    if ((id > 0) == (text.data != NULL))
        return error_set(err, -EINVAL, "give a record or a text, one of them");
    if (text.data) {
        rpc_leaf_text(w->key, text.data, text.bytes);
        return 0;
    }
    int rc = store_record_get(s, id, key_of_record, w, err);
    if (rc == 0 && w->rc < 0)
        rc = error_set(err, -EUCLEAN, "record %lld is damaged in the store",
                       (long long) id);
    return rc;
}

static void put_hex(struct str *j, const char *key, const uint8_t *bytes,
                    size_t n)
{
    str_printf(j, ",\"%s\":\"", key);
    for (size_t i = 0; i < n; i++)
        str_printf(j, "%02x", bytes[i]);
    str_putc(j, '"');
}

static void put_path(struct str *j, const struct merkle_proof *p)
{
    uint8_t empty[HASH_BYTES];
    char hex[HASH_HEX];

    merkle_empty(empty);
    str_puts(j, ",\"path\":[");
    for (uint32_t d = 0; d < p->depth; d++) {
        hash_to_hex(hex, p->siblings[d]);
        str_printf(j, "%s\"%s\"", d ? "," : "",
                   memcmp(p->siblings[d], empty, HASH_BYTES) == 0 ? "" : hex);
    }
    str_putc(j, ']');
}

static int put_proof(struct dbcall *c, const struct wanted *w,
                     const struct merkle_proof *p,
                     const struct store_manifest *m, struct error *err)
{
    struct str j = {.limit = PROOF_BYTES_MAX};
    const bool is_text = codec_str(c->params, "text").data != NULL;

    str_printf(&j, "{\"pockd_proof\":1,\"claim\":\"%s\",\"of\":\"%s\"",
               p->is_member ? "learned" : "not_learned",
               is_text ? "text" : "record");
    put_hex(&j, "key", w->key, sizeof(w->key));
    if (p->is_member)
        put_hex(&j, "salt", p->salt, sizeof(p->salt));
    put_path(&j, p);
    str_puts(&j, ",\"manifest\":");
    str_json(&j, m->json, strlen(m->json));
    put_hex(&j, "signature", m->signature, sizeof(m->signature));
    str_puts(&j, "}\n");
    int rc = str_finish(&j);
    if (rc == 0)
        encoder_put_str(&c->out, "proof", j.data, j.bytes);
    else
        (void) error_set(err, rc, "cannot write the proof");
    str_free(&j);
    return rc;
}

// The tree as it was when the manifest was signed; that it still is shows by
// its root.
static int prove(struct merkle_proof *p, struct store *s, struct dbcall *c,
                 const struct store_version *v, const struct store_manifest *m,
                 const uint8_t key[HASH_BYTES], struct error *err)
{
    struct merkle_leaf *leaves = NULL;
    uint8_t root[HASH_BYTES];
    size_t n = 0;
    int rc =
        manifest_leaves(s, v->adapter_id, v->version, false, &leaves, &n, err);

    if (rc == 0)
        merkle_root(root, leaves, n);
    if (rc == -ENOENT || (rc == 0 && memcmp(root, m->root, HASH_BYTES) != 0)) {
        c->code = RPC_ERROR_ERASED;
        rc = error_set(err, -ENOENT,
                       "records that version %u learned were erased or "
                       "forgotten: nothing can be proved of it any more",
                       v->version);
    }
    if (rc == 0 && (rc = merkle_prove(p, leaves, n, key)) < 0)
        rc = error_set(err, rc, "this cannot be told from another record");
    free(leaves);
    return rc;
}

static int run_prove(struct store *s, struct dbcall *c, struct error *err)
{
    struct store_manifest m = {0};
    struct merkle_proof proof;
    struct wanted w = {0};
    struct store_adapter a;
    struct store_version v;
    int rc;

    if ((rc = adapter_find_version(s, c, &a, &v, err)) < 0 ||
        (rc = find_key(&w, s, c, err)) < 0)
        return rc;
    rc = store_manifest_get(s, a.id, v.version, &m, err);
    if (rc == -ENOENT || (rc == 0 && !m.has_root)) {
        c->code = RPC_ERROR_UNSUPPORTED;
        if (rc == 0)
            rc = error_set(err, -ENOTSUP,
                           "version %u comes of something that was imported, "
                           "or of records that were forgotten: nobody knows "
                           "all that it learned",
                           v.version);
    }
    if (rc == 0)
        rc = prove(&proof, s, c, &v, &m, w.key, err);
    if (rc == 0) {
        encoder_put_bool(&c->out, "learned", proof.is_member);
        rc = put_proof(c, &w, &proof, &m, err);
    }
    store_manifest_finish(&m);
    return rc;
}

void handle_adapter_prove(struct pockd *p, struct request *r)
{
    // Reads all records that the version learned: nothing for a transaction.
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_prove});
}

/*
 * data.used_by
 */

static int put_used_by(const struct store_used_by *u, void *user)
{
    struct encoder *e = user;

    encoder_open_map(e);
    encoder_put_cstr(e, "adapter", u->adapter);
    encoder_put_int(e, "version", u->version);
    encoder_put_bool(e, "active", u->is_active);
    encoder_close(e);
    return 0;
}

static int run_used_by(struct store *s, struct dbcall *c, struct error *err)
{
    const int64_t id = codec_int(c->params, "id", 0);
    const struct store_filter f = {.ids = &id, .n_ids = 1};
    struct store_erased found = {0};

    encoder_put_array(&c->out, "used_by");
    int rc = store_record_erase(s, &f, true, clock_unix_ms(), &found,
                                put_used_by, &c->out, err);
    encoder_close(&c->out);
    if (rc == 0 && found.records == 0)
        rc = error_set(err, -ENOENT, "there is no record %lld", (long long) id);
    return rc;
}

void handle_data_used_by(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_used_by});
}
