// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/proof.h"

#include "engine/base/arena.h"
#include "engine/base/json.h"
#include "engine/base/merkle.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ARENA_BYTES = 4 << 20 };

static int no_proof(struct error *err, const char *what)
{
    return error_set(err, -EINVAL,
                     "this is no proof of `pockctl adapter prove`: %s", what);
}

static int take_hash(uint8_t out[HASH_BYTES], const struct json *from,
                     const char *key, struct error *err)
{
    const char *hex = json_get_text(from, key);

    return hex && hash_from_hex(out, hex) == 0
               ? 0
               : error_set(err, -EINVAL, "%s must be 64 hex digits", key);
}

static int take_salt(struct merkle_proof *p, const struct json *from,
                     struct error *err)
{
    const char *hex = json_get_text(from, "salt");
    char padded[HASH_HEX];
    uint8_t bytes[HASH_BYTES];

    memset(padded, '0', sizeof(padded) - 1);
    padded[sizeof(padded) - 1] = '\0';
    if (!hex || strlen(hex) != 2 * MERKLE_SALT_BYTES)
        return no_proof(err, "it has no salt");
    memcpy(padded, hex, 2 * MERKLE_SALT_BYTES);
    if (hash_from_hex(bytes, padded) < 0)
        return no_proof(err, "its salt must be 32 hex digits");
    memcpy(p->salt, bytes, MERKLE_SALT_BYTES);
    return 0;
}

static int take_path(struct merkle_proof *p, const struct json *from,
                     struct error *err)
{
    const struct json *path = json_get(from, "path");

    if (!path || path->type != JSON_ARRAY || path->count > MERKLE_DEPTH)
        return no_proof(err, "its path must be a list of at most 64 hashes");
    for (const struct json *j = path->first; j; j = j->next) {
        uint8_t *to = p->siblings[p->depth++];
        if (j->type != JSON_STRING)
            return no_proof(err, "its path must be a list of hashes");
        if (j->bytes == 0)
            merkle_empty(to);
        else if (strlen(j->text) != j->bytes || hash_from_hex(to, j->text) < 0)
            return no_proof(err, "a hash of its path has not 64 hex digits");
    }
    return 0;
}

static int64_t get_int(const struct json *from, const char *key)
{
    const struct json *j = json_get(from, key);

    return j && j->type == JSON_NUMBER && j->is_integer ? j->integer : 0;
}

static int take_proof(struct proof *out, struct merkle_proof *p,
                      const struct json *j, struct error *err)
{
    const char *claim = json_get_text(j, "claim");
    const char *of = json_get_text(j, "of");
    int rc;

    if (get_int(j, "pockd_proof") != 1)
        return no_proof(err, "it does not say \"pockd_proof\": 1");
    if (!claim || !of)
        return no_proof(err, "it does not say what it claims of what");
    out->is_learned = strcmp(claim, "learned") == 0;
    out->is_text = strcmp(of, "text") == 0;
    if ((!out->is_learned && strcmp(claim, "not_learned") != 0) ||
        (!out->is_text && strcmp(of, "record") != 0))
        return no_proof(err, "it claims something unknown");
    p->is_member = out->is_learned;
    if ((rc = take_hash(out->key, j, "key", err)) < 0 ||
        (p->is_member && (rc = take_salt(p, j, err)) < 0))
        return rc;
    return take_path(p, j, err);
}

static int take_manifest(struct proof *out, uint8_t root[HASH_BYTES],
                         const struct json *m, struct error *err)
{
    const struct json *records = json_get(m, "records");
    const struct json *complete = json_get(records, "complete");
    const char *adapter = json_get_text(m, "adapter");
    const char *sha256 = json_get_text(m, "sha256");
    int rc;

    if (get_int(m, "pockd_manifest") != 1 || !adapter || !sha256 || !records)
        return no_proof(err, "what was signed is no manifest");
    if (!complete || complete->type != JSON_BOOL || !complete->boolean)
        return error_set(err, -EBADMSG,
                         "nobody knows all that this version learned: nothing "
                         "can be proved of it");
    if ((rc = take_hash(out->signer, m, "key", err)) < 0 ||
        (rc = take_hash(root, records, "root", err)) < 0)
        return rc;
    (void) snprintf(out->adapter, sizeof(out->adapter), "%s", adapter);
    (void) snprintf(out->sha256, sizeof(out->sha256), "%s", sha256);
    out->version = get_int(m, "version");
    out->created_ms = get_int(m, "created");
    out->records = get_int(records, "count");
    return 0;
}

static int check(struct proof *out, struct arena *a, const char *text,
                 size_t bytes, struct error *err)
{
    struct merkle_proof p = {0};
    uint8_t signature[SIGN_BYTES], digest[HASH_BYTES], root[HASH_BYTES];
    const struct json *j, *manifest;
    struct error why;
    int rc;

    if ((rc = json_parse(&j, a, text, bytes, &why)) < 0)
        return rc == -ENOMEM ? error_set(err, rc, "%s", why.text)
                             : no_proof(err, why.text);
    const struct json *signed_text = json_get(j, "manifest");
    if ((rc = take_proof(out, &p, j, err)) < 0)
        return rc;
    if (!signed_text || signed_text->type != JSON_STRING ||
        sign_from_hex(signature, json_get_text(j, "signature")) < 0)
        return no_proof(err, "it has no signed manifest");
    if ((rc = json_parse(&manifest, a, signed_text->text, signed_text->bytes,
                         err)) < 0 ||
        (rc = take_manifest(out, root, manifest, err)) < 0)
        return rc;
    hash_bytes(digest, signed_text->text, signed_text->bytes);
    if (!sign_check(out->signer, "manifest", digest, signature))
        return error_set(err, -EBADMSG,
                         "the manifest is not as it was signed: this proves "
                         "nothing");
    if (merkle_check(root, out->key, &p) < 0)
        return error_set(err, -EBADMSG,
                         "the path does not lead to the manifest's root: this "
                         "proves nothing");
    return 0;
}

int proof_check(struct proof *out, const char *text, size_t bytes,
                struct error *err)
{
    struct proof found = {0};
    struct arena *a;
    int rc;

    if (bytes > PROOF_BYTES_MAX)
        return no_proof(err, "it is too long");
    if ((rc = arena_create(&a, ARENA_BYTES)) < 0)
        return error_set(err, rc, "out of memory");
    rc = check(&found, a, text, bytes, err);
    arena_destroy(a);
    if (rc == 0)
        *out = found;
    return rc == 0 || rc == -EBADMSG || rc == -ENOMEM ? rc : -EINVAL;
}
