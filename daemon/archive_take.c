// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/archive_take.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/archive_row.h"
#include "daemon/policy.h"
#include "engine/base/arena.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "ipc/rpc_record.h"
#include "storage/store_import.h"
#include "storage/store_job.h"
#include "storage/store_lineage.h"
#include "storage/store_manifest.h"
#include "storage/store_metric.h"
#include "storage/store_model.h"
#include "storage/store_policy.h"
#include "storage/store_scheme.h"

// Ids go on above the largest that was ever given: no line may use them up.
#define ID_MAX (INT64_C(1) << 52)
enum { VERSION_MAX = 1 << 30 };

/*
 * Numbers
 */

void archive_take_finish(struct archive_take *t)
{
    free(t->records.list);
    free(t->jobs.list);
    free(t->versions.list);
    free(t->adapters);
}

static int remember(struct archive_ids *l, int64_t was, int64_t is)
{
    if (l->count == l->size) {
        const size_t size = l->size ? 2 * l->size : 256;
        struct archive_id_pair *more =
            fault_realloc(l->list, size * sizeof(*more));
        if (!more)
            return -ENOMEM;
        l->list = more;
        l->size = size;
    }
    // Lines come by id: mostly this is the end.
    size_t i = l->count++;
    for (; i > 0 && l->list[i - 1].was > was; i--)
        l->list[i] = l->list[i - 1];
    l->list[i] = (struct archive_id_pair){was, is};
    return 0;
}

// NULL: it was not remembered.
static const struct archive_id_pair *find_id(const struct archive_ids *l,
                                             int64_t was)
{
    size_t low = 0, high = l->count;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (l->list[mid].was < was)
            low = mid + 1;
        else
            high = mid;
    }
    return low < l->count && l->list[low].was == was ? &l->list[low] : NULL;
}

static int64_t get_int(const struct json *j, const char *key)
{
    const struct json *v = json_get(j, key);

    return v && v->type == JSON_NUMBER && v->is_integer ? v->integer : 0;
}

// A text of the line: never NULL.
static const char *get_text(const struct json *j, const char *key)
{
    const char *text = json_get_text(j, key);

    return text ? text : "";
}

static int get_hex(uint8_t *out, size_t bytes, const char *hex)
{
    char padded[HASH_HEX];
    uint8_t whole[HASH_BYTES];

    if (strlen(hex) != 2 * bytes)
        return -EINVAL;
    memset(padded, '0', sizeof(padded) - 1);
    padded[sizeof(padded) - 1] = '\0';
    memcpy(padded, hex, 2 * bytes);
    int rc = hash_from_hex(whole, padded);
    if (rc == 0)
        memcpy(out, whole, bytes);
    return rc;
}

/*
 * Records
 */

static bool is_app(const char *app)
{
    const size_t n = strlen(app);

    for (size_t i = 0; i < n; i++)
        if (app[i] <= ' ' || app[i] > '~')
            return false;
    return n > 0 && n < STORE_NAME_SIZE;
}

static int take_stream(struct store *s, const struct json *j, int64_t *id,
                       struct error *err)
{
    const char *app = get_text(j, "app");
    const char *name = get_text(j, "stream");

    if (!is_app(app) || !rpc_record_name_is_valid(name, strlen(name)))
        return error_set(err, -EINVAL, "a stream has no proper name");
    return store_stream_make(s, app, name, clock_unix_ms(), id, err);
}

static void put_json_str(struct encoder *e, const char *key,
                         const struct json *j)
{
    if (j && j->type == JSON_STRING)
        encoder_put_str(e, key, j->text, j->bytes);
}

static void put_messages(struct encoder *e, const struct json *list)
{
    if (!list || list->type != JSON_ARRAY)
        return;
    encoder_put_array(e, "messages");
    for (const struct json *m = list->first; m; m = m->next) {
        encoder_open_map(e);
        put_json_str(e, "role", json_get(m, "role"));
        put_json_str(e, "content", json_get(m, "content"));
        encoder_close(e);
    }
    encoder_close(e);
}

// The line as the map that an app would send: one set of rules for both.
static int encode_wire(struct encoder *e, const struct json *j,
                       struct error *err)
{
    uint8_t uid[STORE_UID_BYTES];

    if (get_hex(uid, sizeof(uid), get_text(j, "uid")) < 0)
        return error_set(err, -EINVAL, "a record has no uid");
    encoder_open_map(e);
    encoder_put_bin(e, "uid", uid, sizeof(uid));
    put_json_str(e, "kind", json_get(j, "kind"));
    put_json_str(e, "stream", json_get(j, "stream"));
    encoder_put_int(e, "time", get_int(j, "time"));
    put_json_str(e, "text", json_get(j, "text"));
    put_json_str(e, "prompt", json_get(j, "prompt"));
    put_json_str(e, "completion", json_get(j, "completion"));
    const struct json *accepted = json_get(j, "accepted");
    if (accepted && accepted->type == JSON_BOOL)
        encoder_put_bool(e, "accepted", accepted->boolean);
    put_messages(e, json_get(j, "messages"));
    encoder_close(e);
    int rc = encoder_finish(e);
    return rc < 0 ? error_set(err, rc, "a record is too large") : 0;
}

static int put_record(struct store *s, const struct rpc_record *r,
                      const struct json *j, int64_t *id, bool *is_new,
                      struct error *err)
{
    struct store_record row = {.kind = (uint32_t) r->kind,
                               .time_ms = r->time_ms,
                               .added_ms = get_int(j, "added"),
                               .bytes = (int64_t) r->bytes};
    struct encoder body;
    int rc;

    encoder_init(&body, 0);
    rpc_record_body_encode(&body, r);
    if ((rc = encoder_finish(&body)) < 0) {
        (void) error_set(err, rc, "a record is too large");
        goto out;
    }
    memcpy(row.uid, r->uid, sizeof(row.uid));
    row.body = body.data;
    row.body_bytes = body.bytes;
    if ((rc = take_stream(s, j, &row.stream_id, err)) == 0 &&
        (rc = store_import_next_record(s, get_int(j, "id"), err)) == 0)
        rc = store_record_put(s, &row, id, is_new, err);
    // That names the record of here, and each line's would be another remark.
    if (rc == -ENOTUNIQ)
        (void) error_set(err, rc,
                         "records have the uid of others that are here, with "
                         "other content: those of here stay");

out:
    encoder_destroy(&body);
    return rc;
}

static int store_line(struct store *s, const struct json *j, int64_t *id,
                      bool *is_new, struct error *err)
{
    static const struct frame_limits limits = {
        .depth = FRAME_DEPTH,
        .objects = FRAME_OBJECTS_MAX,
        .bytes = FRAME_BYTES_MAX,
        .string_bytes = FRAME_STRING_BYTES_MAX,
    };
    struct rpc_record r;
    struct codec_doc doc;
    struct encoder wire;
    int rc;

    encoder_init(&wire, 0);
    if ((rc = encode_wire(&wire, j, err)) < 0)
        goto out;
    rc = codec_decode(&doc, wire.data, wire.bytes, &limits, err);
    if (rc < 0) {
        rc = error_set(err, -EINVAL, "a record is no record");
        goto out;
    }
    if ((rc = rpc_record_decode(&r, &doc.root, err)) == 0)
        rc = put_record(s, &r, j, id, is_new, err);
    codec_finish(&doc);

out:
    encoder_destroy(&wire);
    return rc;
}

static int take_record(struct archive_take *t, struct store *s,
                       const struct json *j, bool *is_new, struct error *err)
{
    const int64_t was = get_int(j, "id");
    const char *hex = json_get_text(j, "salt");
    uint8_t salt[STORE_SALT_BYTES];
    int64_t id = 0;

    if (was < 1 || was > ID_MAX)
        return error_set(err, -EINVAL, "a record has no id");
    if (hex && get_hex(salt, sizeof(salt), hex) < 0)
        return error_set(err, -EINVAL, "a record has a damaged salt");
    int rc = store_line(s, j, &id, is_new, err);
    if (rc == 0 && hex)
        rc = store_salt_put(s, id, salt, err);
    if ((rc < 0 || id != was) &&
        remember(&t->records, was, rc < 0 ? 0 : id) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    return rc;
}

/*
 * Adapters
 */

static struct archive_adapter *find_adapter(const struct archive_take *t,
                                            const struct json *j,
                                            struct error *err)
{
    const char *name = get_text(j, "adapter");

    for (size_t i = 0; i < t->n_adapters; i++)
        if (strcmp(t->adapters[i].name, name) == 0)
            return &t->adapters[i];
    (void) error_set(err, -ENOENT, "adapter %.64s was not taken", name);
    return NULL;
}

// The adapter of that name, over that base; made if it is not there.
static int find_or_make(struct store *s, const struct store_adapter *in,
                        const struct store_model *m, struct store_adapter *a,
                        bool *is_new, struct error *err)
{
    int64_t id;
    int rc = store_adapter_get(s, in->name, a, err);

    if (rc == 0 && a->model_id != m->id)
        return error_set(err, -ENOTUNIQ,
                         "adapter %s is one of another base model here: it was "
                         "not taken",
                         in->name);
    if (rc != -ENOENT)
        return rc;
    *is_new = true;
    rc = store_adapter_add(s, in->name, m->id, in->created_ms, &id, err);
    return rc < 0 ? rc : store_adapter_get_id(s, id, a, err);
}

static int take_adapter(struct archive_take *t, struct store *s,
                        const struct json *j, bool *is_new, struct error *err)
{
    struct store_adapter in = {0}, a;
    uint8_t base[HASH_BYTES];
    struct store_model m;
    int rc = archive_row_read(&in, &archive_adapters, j, err);

    if (rc < 0)
        return rc;
    if (!rpc_record_name_is_valid(in.name, strlen(in.name)) ||
        strcmp(in.name, "none") == 0 ||
        hash_from_hex(base, get_text(j, "base")) < 0)
        return error_set(err, -EINVAL, "an adapter has no proper name");
    rc = store_model_get_hash(s, base, &m, err);
    if (rc == -ENOENT)
        return error_set(err, rc,
                         "adapter %s needs the base model %.64s, whose SHA-256 "
                         "begins with %.12s: add it with `pockctl model add` "
                         "and import again",
                         in.name, get_text(j, "base_name"),
                         get_text(j, "base"));
    if (rc < 0 || (rc = find_or_make(s, &in, &m, &a, is_new, err)) < 0)
        return rc;
    struct archive_adapter *more =
        fault_realloc(t->adapters, (t->n_adapters + 1) * sizeof(*more));
    if (!more)
        return error_set(err, -ENOMEM, "out of memory");
    t->adapters = more;
    more = &t->adapters[t->n_adapters++];
    *more = (struct archive_adapter){.id = a.id, .model_id = m.id};
    memcpy(more->name, in.name, sizeof(more->name));
    // What the owner chose here stays.
    more->active = a.active_ms == 0 ? in.active : 0;
    return 0;
}

/*
 * Jobs
 */

static int find_state(enum store_job_state *out, const char *name)
{
    for (int i = 0; i < STORE_JOB_STATE_COUNT; i++)
        if (strcmp(store_job_state_name((enum store_job_state) i), name) == 0) {
            *out = (enum store_job_state) i;
            return 0;
        }
    return -EINVAL;
}

static int add_job(struct store *s, struct store_job *job,
                   const struct archive_adapter *a, int64_t *id, bool *is_new,
                   struct error *err)
{
    int rc = store_import_find_job(s, a->id, job->created_ms, id, err);

    if (rc != -ENOENT)
        return rc;
    job->adapter_id = a->id;
    job->model_id = a->model_id;
    if ((rc = store_import_next_job(s, job->id, err)) < 0)
        return rc;
    *is_new = true;
    return store_job_add(s, job, id, err);
}

static int take_job(struct archive_take *t, struct store *s,
                    const struct json *j, bool *is_new, struct error *err)
{
    const struct archive_adapter *a = find_adapter(t, j, err);
    struct store_job *job;
    int64_t id = 0;
    int rc;

    if (!a)
        return -ENOENT;
    if (!(job = fault_malloc(sizeof(*job))))
        return error_set(err, -ENOMEM, "out of memory");
    store_job_init(job);
    if ((rc = archive_row_read(job, &archive_jobs, j, err)) < 0)
        goto out;
    if (job->id < 1 || job->id > ID_MAX ||
        find_state(&job->state, get_text(j, "state")) < 0) {
        rc = error_set(err, -EINVAL, "a job has no proper state");
        goto out;
    }
    // One that was under way when the archive was written has no end here.
    if (!store_job_is_finished(job->state))
        goto out;
    const int64_t was = job->id;
    rc = add_job(s, job, a, &id, is_new, err);
    if (rc == 0 && remember(&t->jobs, was, id) < 0)
        rc = error_set(err, -ENOMEM, "out of memory");

out:
    free(job);
    return rc;
}

static int take_point(struct archive_take *t, struct store *s,
                      const struct json *j, bool *is_new, struct error *err)
{
    const struct archive_id_pair *job = find_id(&t->jobs, get_int(j, "job"));
    struct store_point p = {.loss = (double) NAN,
                            .heldout = (double) NAN,
                            .rate = (double) NAN};

    if (!job)
        return error_set(err, -ENOENT, "figures of jobs that were not taken");
    int rc = archive_row_read(&p, &archive_points, j, err);
    *is_new = rc == 0;
    return rc < 0 ? rc : store_metric_put(s, job->is, &p, err);
}

/*
 * Versions
 */

static int find_gate(enum store_gate *out, const char *name)
{
    for (int i = 0; i <= STORE_GATE_FORCED; i++)
        if (strcmp(store_gate_name((enum store_gate) i), name) == 0) {
            *out = (enum store_gate) i;
            return 0;
        }
    return -EINVAL;
}

static int read_version(const struct archive_take *t, struct store_version *v,
                        const struct archive_adapter *a, const struct json *j,
                        struct error *err)
{
    const char *state = get_text(j, "state");
    int rc;

    store_version_init(v);
    if ((rc = archive_row_read(v, &archive_versions, j, err)) < 0)
        return rc;
    v->adapter_id = a->id;
    v->state = strcmp(state, "retired") == 0 ? STORE_VERSION_RETIRED
                                             : STORE_VERSION_KEPT;
    if (v->version < 1 || v->version > VERSION_MAX || v->bytes < 1 ||
        v->parent >= v->version || find_gate(&v->gate, get_text(j, "gate")) < 0)
        return error_set(err, -EINVAL, "a version of adapter %s is none",
                         a->name);
    const struct archive_id_pair *job = find_id(&t->jobs, v->job_id);
    v->job_id = job ? job->is : 0;
    // Of a record that has another number here, or is gone.
    const int64_t exposed = v->exposure.record_id;
    const struct archive_id_pair *record = find_id(&t->records, exposed);
    v->exposure.record_id = record ? record->is : exposed;
    return 0;
}

// That the parent of here is the one that it was made from.
static int check_parent(struct store *s, const struct store_version *v,
                        const struct archive_adapter *a, const struct json *j,
                        struct error *err)
{
    struct store_version parent;
    uint8_t sha256[HASH_BYTES];

    if (v->parent == 0)
        return 0;
    int rc = store_version_get(s, a->id, v->parent, &parent, err);
    if (rc == -ENOENT ||
        (rc == 0 && (hash_from_hex(sha256, get_text(j, "parent_sha256")) < 0 ||
                     memcmp(sha256, parent.sha256, sizeof(sha256)) != 0)))
        return error_set(err, -ENOENT,
                         "version %u of adapter %s comes of a version %u that "
                         "is not here: it was not taken",
                         v->version, a->name, v->parent);
    return rc;
}

static int read_manifest(struct store_manifest *m, bool *is_there,
                         const struct json *j, struct arena *arena,
                         struct error *err)
{
    const struct json *text = json_get(j, "manifest"), *parsed;
    uint8_t key[SIGN_KEY_BYTES], digest[HASH_BYTES];

    *is_there = text != NULL;
    if (!text)
        return 0;
    if (text->type != JSON_STRING || strlen(text->text) != text->bytes ||
        sign_from_hex(m->signature, get_text(j, "signature")) < 0 ||
        json_parse(&parsed, arena, text->text, text->bytes, NULL) < 0 ||
        hash_from_hex(key, get_text(parsed, "key")) < 0)
        return error_set(err, -EINVAL, "a version has a damaged manifest");
    hash_bytes(digest, text->text, text->bytes);
    if (!sign_check(key, "manifest", digest, m->signature))
        return error_set(err, -EINVAL,
                         "a version's manifest is not as it was signed");
    const struct json *records = json_get(parsed, "records");
    const char *root = json_get_text(records, "root");
    m->has_root = root && hash_from_hex(m->root, root) == 0;
    m->leaves = get_int(records, "leaves");
    m->json = (char *) (uintptr_t) text->text; // borrowed by the line
    return m->leaves < 0
               ? error_set(err, -EINVAL, "a version has a damaged manifest")
               : 0;
}

static int take_parts(struct store *s, const struct store_version *v,
                      const struct json *list, struct error *err)
{
    int place = 0, rc = 0;

    if (!list || list->type != JSON_ARRAY)
        return 0;
    for (const struct json *p = list->first; p && rc == 0; p = p->next) {
        struct store_part part = {0};
        const struct json *weight = json_get(p, "weight");
        const char *name = get_text(p, "adapter");
        const int64_t version = get_int(p, "version");
        if (strlen(name) >= sizeof(part.adapter) || name[0] == '\0' ||
            version < 1 || version > INT32_MAX || !weight ||
            weight->type != JSON_NUMBER)
            continue; // names for people only
        memcpy(part.adapter, name, strlen(name));
        part.version = (uint32_t) version;
        part.weight = weight->number;
        rc = store_import_part(s, v->adapter_id, v->version, place++, &part,
                               err);
    }
    return rc;
}

// Its manifest and parts, when it is new; and whether it is the active one.
static int add_version(struct store *s, const struct store_version *v,
                       const struct store_manifest *m, bool has_manifest,
                       const struct json *j, struct archive_adapter *a,
                       struct error *err)
{
    int rc = take_parts(s, v, json_get(j, "merged_from"), err);

    if (rc == 0 && has_manifest)
        rc = store_manifest_add(s, a->id, v->version, m, err);
    if (rc < 0 || v->version != a->active || v->state == STORE_VERSION_RETIRED)
        return rc;
    a->active = 0;
    return store_adapter_activate(s, a->id, v->version, true, clock_unix_ms(),
                                  err);
}

static int64_t version_key(const struct archive_adapter *a, int64_t version)
{
    return (int64_t) ((uint64_t) a->id << 32 | (uint64_t) version);
}

static int take_version(struct archive_take *t, struct store *s,
                        const struct json *j, bool *is_new, struct error *err)
{
    struct archive_adapter *a = find_adapter(t, j, err);
    struct store_manifest m = {0};
    struct store_version v, there;
    struct arena *arena = NULL;
    bool has_manifest = false;
    int rc;

    if (!a)
        return -ENOENT;
    if (arena_create(&arena, 1 << 20) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    if ((rc = read_version(t, &v, a, j, err)) < 0 ||
        (rc = read_manifest(&m, &has_manifest, j, arena, err)) < 0 ||
        (rc = check_parent(s, &v, a, j, err)) < 0)
        goto out;
    const bool is_there =
        store_version_get(s, a->id, v.version, &there, NULL) == 0;
    // Its file first: a row must not name one that is not there.
    if (!is_there && v.state != STORE_VERSION_RETIRED &&
        (rc = archive_take_file(t, s, &v, err)) < 0)
        goto out;
    rc = store_import_version(s, &v, err);
    if (rc == -ENOTUNIQ) {
        rc = error_set(err, rc,
                       "version %u of adapter %s is another one here: it was "
                       "not taken",
                       v.version, a->name);
    } else if (rc == -EEXIST) {
        rc = 0;
    } else if (rc == 0) {
        *is_new = true;
        rc = add_version(s, &v, &m, has_manifest, j, a, err);
    }

    if (rc == 0 && remember(&t->versions, version_key(a, v.version), 1) < 0)
        rc = error_set(err, -ENOMEM, "out of memory");

out:
    arena_destroy(arena);
    return rc;
}

static int take_lineage(struct archive_take *t, struct store *s,
                        const struct json *j, bool *is_new, struct error *err)
{
    const struct archive_adapter *a = find_adapter(t, j, err);
    const struct json *list = json_get(j, "records");
    const int64_t version = get_int(j, "version");
    size_t n = 0;
    int rc;

    if (!a)
        return -ENOENT;
    if (!list || list->type != JSON_ARRAY || version < 1 || version > INT32_MAX)
        return error_set(err, -EINVAL, "a line of the lineage is none");
    // That of another version of this number is none of its business.
    if (!find_id(&t->versions, version_key(a, version)))
        return error_set(err, -ENOENT,
                         "lineage of versions that were not "
                         "taken");
    int64_t *ids = fault_malloc((list->count + 1) * sizeof(*ids));
    if (!ids)
        return error_set(err, -ENOMEM, "out of memory");
    for (const struct json *i = list->first; i; i = i->next) {
        if (i->type != JSON_NUMBER || !i->is_integer)
            continue;
        const struct archive_id_pair *pair = find_id(&t->records, i->integer);
        const int64_t id = pair ? pair->is : i->integer;
        if (id > 0)
            ids[n++] = id;
    }
    rc = store_lineage_add(s, a->id, (uint32_t) version, ids, n, NULL, err);
    free(ids);
    *is_new = rc == 0;
    return rc;
}

/*
 * Settings
 */

static int take_scheme(struct store *s, const struct json *j, bool *is_new,
                       struct error *err)
{
    struct store_scheme *sc = fault_calloc(2, sizeof(*sc));
    int rc;

    if (!sc)
        return error_set(err, -ENOMEM, "out of memory");
    if ((rc = archive_row_read(&sc[0], &archive_schemes, j, err)) < 0)
        goto out;
    if (!rpc_record_name_is_valid(sc[0].name, strlen(sc[0].name))) {
        rc = error_set(err, -EINVAL, "a scheme has no proper name");
        goto out;
    }
    rc = store_scheme_get(s, sc[0].name, &sc[1], NULL);
    if (rc == -ENOENT) {
        *is_new = true;
        rc = store_scheme_put(s, &sc[0], err);
    } else if (rc < 0) {
        (void) error_set(err, rc, "cannot read the schemes");
    }

out:
    free(sc);
    return rc;
}

// What the owner set here stays. A hook is a command, and not to be had from a
// file.
static int take_policy(struct store *s, const struct json *j, bool *is_new,
                       struct error *err)
{
    const char *key = get_text(j, "key");
    const char *value = get_text(j, "value");
    struct policy p;
    char here[8];
    int rc;

    if (!policy_find(key))
        return error_set(err, -EINVAL, "this pockd has no policy key %.64s",
                         key);
    if (strncmp(key, "reload_", 7) == 0)
        return error_set(err, -EINVAL,
                         "hooks are not taken from archives: set %.64s "
                         "yourself",
                         key);
    policy_init(&p);
    if ((rc = policy_set_text(&p, key, value, err)) < 0)
        return rc;
    rc = store_policy_get(s, key, here, sizeof(here), err);
    if (rc == 0 || rc == -E2BIG)
        return 0;
    if (rc != -ENOENT)
        return rc;
    *is_new = true;
    return store_policy_set(s, key, value, clock_unix_ms(), err);
}

int archive_take_line(struct archive_take *t, struct store *s,
                      enum archive_kind kind, const struct json *j,
                      bool *is_new, struct error *err)
{
    int64_t id;

    if (j->type != JSON_OBJECT)
        return error_set(err, -EINVAL, "a line is no object");
    switch (kind) {
    case ARCHIVE_STREAMS:
        return take_stream(s, j, &id, err);
    case ARCHIVE_RECORDS:
        return take_record(t, s, j, is_new, err);
    case ARCHIVE_ADAPTERS:
        return take_adapter(t, s, j, is_new, err);
    case ARCHIVE_JOBS:
        return take_job(t, s, j, is_new, err);
    case ARCHIVE_METRICS:
        return take_point(t, s, j, is_new, err);
    case ARCHIVE_VERSIONS:
        return take_version(t, s, j, is_new, err);
    case ARCHIVE_LINEAGE:
        return take_lineage(t, s, j, is_new, err);
    case ARCHIVE_SCHEMES:
        return take_scheme(s, j, is_new, err);
    case ARCHIVE_POLICY:
        return take_policy(s, j, is_new, err);
    case ARCHIVE_README:
    case ARCHIVE_MODELS:
    case ARCHIVE_AUDIT:
    case ARCHIVE_FILES:
    case ARCHIVE_KIND_COUNT:
        break;
    }
    return 0; // for people
}
