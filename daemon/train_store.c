// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/train_store.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/auditlog.h"
#include "daemon/fdio.h"
#include "daemon/gate.h"
#include "daemon/manifest.h"
#include "daemon/prefix_file.h"
#include "daemon/record_pack.h"
#include "daemon/times_file.h"
#include "engine/base/clock.h"
#include "engine/base/seal.h"
#include "storage/blob.h"
#include "storage/store_adapter.h"
#include "storage/store_file.h"
#include "storage/store_lineage.h"
#include "storage/store_model.h"
#include "storage/store_policy.h"

enum {
    STREAMS_MAX = 64,
    USED_TRAINED = 1, // byte of a record that was trained on
};

void train_checkpoint_name(char out[64], int64_t job)
{
    snprintf(out, 64, "ckpt/job-%lld.ckpt", (long long) job);
}

void train_input_init(struct train_input *in)
{
    *in = (struct train_input){.model_fd = -1,
                               .records_fd = -1,
                               .probe_fd = -1,
                               .parent_fd = -1,
                               .checkpoint_fd = -1,
                               .prefix_fd = -1,
                               .times_fd = -1};
}

void train_input_finish(struct train_input *in)
{
    int *fds[] = {&in->model_fd,  &in->records_fd,    &in->probe_fd,
                  &in->parent_fd, &in->checkpoint_fd, &in->prefix_fd,
                  &in->times_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            (void) close(*fds[i]);
        *fds[i] = -1;
    }
    seal_wipe(in->prefix_key, sizeof(in->prefix_key));
    free(in->ids);
    in->ids = NULL;
    in->count = 0;
}

static int open_model(struct train_input *in, struct store *s,
                      const struct store_job *job, struct error *err)
{
    struct store_model m;
    struct stat st;
    int rc = store_model_get_id(s, job->model_id, &m, err);

    if (rc < 0)
        return rc;
    memcpy(in->chat, m.chat_set, sizeof(in->chat));
    in->model_fd = open(m.path, O_RDONLY | O_CLOEXEC);
    if (in->model_fd < 0) {
        rc = -errno;
        (void) store_model_set_state(s, m.id, STORE_MODEL_MISSING, NULL);
        return error_set(err, rc,
                         "cannot open the model %s at %s: %s: put the file "
                         "back, or add it again",
                         m.name, m.path, strerror(-rc));
    }
    if (fstat(in->model_fd, &st) < 0 || st.st_size != m.bytes) {
        (void) store_model_set_state(s, m.id, STORE_MODEL_CHANGED, NULL);
        return error_set(err, -EUCLEAN,
                         "the model %s at %s is not the file that was added: "
                         "add it again",
                         m.name, m.path);
    }
    return 0;
}

static int open_parent(struct train_input *in, struct store *s,
                       const struct store_job *job, struct error *err)
{
    struct store_adapter a;
    struct store_version v;
    int rc = store_adapter_get_id(s, job->adapter_id, &a, err);

    if (rc < 0 || a.active == 0)
        return rc;
    if ((rc = store_version_get(s, a.id, a.active, &v, err)) < 0)
        return rc;
    int fd = store_blob_open(s, v.sha256, (uint64_t) v.bytes, err);
    if (fd < 0)
        return fd;
    in->parent_fd = fd;
    in->parent = a.active;
    return 0;
}

// Names with a space between them.
static size_t split_streams(char *text, const char *names[STREAMS_MAX])
{
    size_t n = 0;
    char *save;

    for (char *w = strtok_r(text, " ", &save); w && n < STREAMS_MAX;
         w = strtok_r(NULL, " ", &save))
        names[n++] = w;
    return n;
}

static int gather_records(struct train_input *in, struct store *s,
                          const struct store_job *job, struct error *err)
{
    char text[sizeof(job->streams)];
    const char *names[STREAMS_MAX];
    struct record_pack pack = {.skip = in->skip,
                               .n_skip = in->n_skip,
                               .only = in->only,
                               .n_only = in->n_only};

    memcpy(text, job->streams, sizeof(text));
    size_t n = split_streams(text, names);
    struct store_filter f = {.streams = n ? names : NULL,
                             .n_streams = n,
                             .trainable_ms = clock_unix_ms(),
                             .has_before = job->has_before,
                             .before_ms = job->before_ms};
    // A checkpoint belongs to the records that the job began with; those that
    // came later have larger ids and wait for the next job.
    int64_t limit = in->checkpoint_fd >= 0 ? job->records : 0;
    int rc = record_pack_store(&pack, s, &f, limit, false, err);
    if (rc == 0 && pack.count == 0)
        rc = error_set(err, -ENODATA,
                       "there are no records to learn from: import some with "
                       "`pockctl data import`, or let apps give theirs "
                       "(`pockctl apps`)");
    if (rc == 0)
        rc = record_pack_seal(&pack, err);
    if (rc >= 0) {
        in->records_fd = rc;
        in->ids = pack.ids;
        in->count = pack.count;
        pack.ids = NULL;
        rc = 0;
    }
    record_pack_finish(&pack);
    return rc;
}

// A probe that cannot be read does not stop training, but then no version
// passes the gate.
static void gather_probe(struct train_input *in, const char *path)
{
    struct record_pack pack = {0};
    struct error err = {0};
    int rc = record_pack_probe(&pack, path, &err);

    if (rc == 0)
        rc = record_pack_seal(&pack, &err);
    if (rc >= 0)
        in->probe_fd = rc;
    else
        snprintf(in->probe_text, sizeof(in->probe_text), "%s", err.text);
    record_pack_finish(&pack);
}

int train_input_gather(struct train_input *in, struct store *s,
                       const struct store_job *job, const struct paths *paths,
                       const struct policy *policy, struct error *err)
{
    char name[64];
    int rc;

    // One that cannot be opened is as good as none.
    train_checkpoint_name(name, job->id);
    // It belongs to all of the records.
    rc = in->only ? -ENOENT
                  : store_file_open(s, name, WORKER_FILE_BYTES_MAX, NULL);
    in->checkpoint_fd = rc < 0 ? -1 : rc;
    if ((rc = open_model(in, s, job, err)) < 0 ||
        (rc = open_parent(in, s, job, err)) < 0 ||
        (rc = gather_records(in, s, job, err)) < 0)
        return rc;
    gather_probe(in, paths->probe);
    in->prefix_fd =
        prefix_file_open(s, paths, policy, &in->prefix_bytes, in->prefix_key);
    in->times_fd = times_file_open(paths);
    return 0;
}

int train_input_gather_records(struct train_input *in, struct store *s,
                               const struct store_job *job, struct error *err)
{
    int rc = open_model(in, s, job, err);

    return rc < 0 ? rc : gather_records(in, s, job, err);
}

static const struct worker_metric *find_metric(const struct worker_result *r,
                                               const char *kind)
{
    for (uint32_t i = 0; i < r->n_metrics; i++)
        if (strcmp(r->metrics[i].kind, kind) == 0)
            return &r->metrics[i];
    return NULL;
}

static uint32_t recipe_rank(const char *recipe)
{
    unsigned rank = 0;
    const char *at = strstr(recipe, "rank=");

    return at && sscanf(at, "rank=%u", &rank) == 1 ? rank : 0;
}

static void take_exposure(struct store_exposure *e,
                          const struct worker_result *r,
                          const struct train_input *in)
{
    e->sequences = r->audited;
    e->recited = r->recited < r->audited ? r->recited : r->audited;
    e->bits = r->exposure;
    e->bits_base = r->exposure_base;
    e->bits_drawn = r->exposure_drawn;
    if (r->audited > 0 && r->exposed_record < in->count)
        e->record_id = in->ids[r->exposed_record];
}

static void judge(struct store_version *v, const struct worker_result *result,
                  const struct policy *policy, const char *probe_text)
{
    const struct worker_metric *total = find_metric(result, "total");
    const struct worker_metric *probe = find_metric(result, "probe");
    char reason[GATE_REASON_BYTES];

    v->heldout_before = total ? total->active : NAN;
    v->heldout_after = total ? total->candidate : NAN;
    v->probe_before = probe ? probe->base : NAN;
    v->probe_after = probe ? probe->candidate : NAN;
    if (result->dp_epsilon > 0 && result->dp_delta > 0) {
        v->dp_epsilon = result->dp_epsilon;
        v->dp_delta = result->dp_delta;
    }
    bool passed =
        gate_passes(reason,
                    &(struct gate_input){
                        .heldout_before = v->heldout_before,
                        .heldout_after = v->heldout_after,
                        .heldout_tokens = total ? (int64_t) total->tokens : 0,
                        .probe_before = v->probe_before,
                        .probe_after = v->probe_after,
                        .exposure = v->exposure,
                    },
                    policy);
    v->gate = passed ? STORE_GATE_PASSED : STORE_GATE_FAILED;
    snprintf(v->reason, sizeof(v->reason), "%s%s%.200s", reason,
             probe_text[0] ? ": " : "", probe_text);
}

// Ids of the records that were trained on, from one byte for each record.
static int read_used(int64_t **ids, size_t *n, const struct train_input *in,
                     int fd, struct error *err)
{
    char *used = NULL;
    size_t bytes = 0;
    int rc = fdio_read_all(&used, &bytes, fd, in->count, err);

    if (rc < 0)
        return rc;
    if (bytes != in->count) {
        free(used);
        return error_set(err, -EPROTO,
                         "the worker names %zu records, but got %zu", bytes,
                         in->count);
    }
    *ids = malloc((in->count ? in->count : 1) * sizeof(**ids));
    *n = 0;
    for (size_t i = 0; *ids && i < bytes; i++)
        if (used[i] == USED_TRAINED)
            (*ids)[(*n)++] = in->ids[i];
    free(used);
    return *ids ? 0 : error_set(err, -ENOMEM, "out of memory");
}

// Or a version that did not pass, learned again as it was and judged by another
// policy: the new one takes its place, since manifests are never changed. 1
// when there is room.
static int make_room(struct store *s, const struct store_version *v,
                     uint32_t version, struct error *err)
{
    struct store_version old;
    int rc = store_version_get(s, v->adapter_id, version, &old, err);

    if (rc < 0 || v->gate != STORE_GATE_PASSED || old.gate != STORE_GATE_FAILED)
        return rc;
    rc = store_version_retire(
        s, v->adapter_id, version,
        "it was learned again, and passed the gate this time", err);
    return rc < 0 ? rc : 1;
}

static int add_version(struct train_output *out, struct store *s,
                       const struct store_version *v, const int64_t *ids,
                       size_t n, const struct sign_key *key, struct error *err)
{
    size_t lost = 0;
    int rc = store_version_add(s, v, &out->version, err);

    // The same bytes again: a daemon that was killed after it stored them.
    if (rc == -EEXIST && (rc = make_room(s, v, out->version, err)) <= 0)
        return rc;
    if (rc > 0)
        rc = store_version_add(s, v, &out->version, err);
    if (rc < 0 || (rc = store_lineage_add(s, v->adapter_id, out->version, ids,
                                          n, &lost, err)) < 0)
        return rc;
    if (lost > 0) {
        out->is_lost = true;
        return error_set(err, -ESTALE, "records were erased meanwhile");
    }
    return manifest_make(s, key,
                         &(struct manifest_params){.adapter_id = v->adapter_id,
                                                   .version = out->version},
                         err);
}

static void known_key(char out[64], int64_t adapter_id)
{
    snprintf(out, 64, "state.known.%lld", (long long) adapter_id);
}

int64_t train_known_records(struct store *s, int64_t adapter_id)
{
    char key[64];
    char value[32];

    known_key(key, adapter_id);
    if (store_policy_get(s, key, value, sizeof(value), NULL) < 0)
        return 0;
    return strtoll(value, NULL, 10);
}

static int keep_known(struct store *s, const struct store_version *v,
                      int64_t known, struct error *err)
{
    char key[64];
    char value[32];

    known_key(key, v->adapter_id);
    snprintf(value, sizeof(value), "%lld", (long long) known);
    return store_policy_set(s, key, value, v->created_ms, err);
}

// Who trained what of how many records, and made it active: pockd.
static int keep_account(struct store *s, const struct store_version *v,
                        const char *adapter, const struct train_output *out,
                        struct error *err)
{
    char text[96];

    snprintf(text, sizeof(text), "%s:%u", adapter, out->version);
    int rc =
        auditlog_own(s, "train.version", v->records, text, v->created_ms, err);
    return rc < 0 || !out->is_active ? rc
                                     : auditlog_own(s, "adapter.activate", 1,
                                                    text, v->created_ms, err);
}

static int store_all(struct train_output *out, struct store *s,
                     const struct store_version *v, const int64_t *ids,
                     size_t n, size_t seen, const char *adapter,
                     const struct sign_key *key, struct error *err)
{
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    if ((rc = add_version(out, s, v, ids, n, key, err)) == 0 &&
        (rc = keep_known(s, v, (int64_t) (seen - n), err)) == 0 &&
        v->gate == STORE_GATE_PASSED) {
        rc = store_adapter_activate(s, v->adapter_id, out->version, false,
                                    v->created_ms, err);
        out->is_active = rc == 0;
    }
    if (rc == 0)
        rc = keep_account(s, v, adapter, out, err);
    if (rc == 0)
        rc = store_commit(s, err);
    if (rc < 0)
        store_rollback(s);
    return rc;
}

int train_output_store(struct train_output *out, struct store *s,
                       const struct store_job *job,
                       const struct train_input *in,
                       const struct worker_result *result,
                       const struct policy *policy, const struct sign_key *key,
                       struct error *err)
{
    struct store_version v;
    int64_t *ids = NULL;
    size_t n = 0;
    uint64_t bytes = 0;
    int rc;

    memset(out, 0, sizeof(*out));
    store_version_init(&v);
    v.adapter_id = job->adapter_id;
    v.parent = in->parent;
    v.job_id = job->id;
    v.created_ms = clock_unix_ms();
    v.rank = recipe_rank(job->recipe);
    take_exposure(&v.exposure, result, in);
    judge(&v, result, policy, in->probe_text);
    if ((rc = read_used(&ids, &n, in, result->used_fd, err)) < 0 ||
        (rc = store_blob_put_fd(s, result->file_fd, WORKER_FILE_BYTES_MAX,
                                v.sha256, &bytes, err)) < 0)
        goto out;
    v.bytes = (int64_t) bytes;
    v.records = (int64_t) n;
    snprintf(out->reason, sizeof(out->reason), "%s", v.reason);
    // Those that are left out are no news either.
    rc = store_all(out, s, &v, ids, n, in->count + in->n_skip, job->adapter,
                   key, err);
    if (out->is_lost)
        rc = 0;

out:
    free(ids);
    return rc;
}
