// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/serve_input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/record_pack.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "storage/blob.h"
#include "storage/store_model.h"
#include "storage/store_record.h"

void serve_input_init(struct serve_input *in)
{
    *in = (struct serve_input){.model_fd = -1,
                               .adapter_fd = -1,
                               .records_fd = -1,
                               .times_fd = -1};
}

void serve_input_finish(struct serve_input *in)
{
    int *fds[] = {&in->model_fd, &in->adapter_fd, &in->records_fd,
                  &in->times_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            (void) close(*fds[i]);
        *fds[i] = -1;
    }
    free(in->stream_of);
    free(in->streams);
    in->stream_of = NULL;
    in->streams = NULL;
}

// The adapter that was asked for: by name, `default` if it has an active
// version, or none. *has_adapter says which.
static int find_adapter(struct serve_input *in, struct store *s,
                        struct store_adapter *a, struct store_version *v,
                        bool *has_adapter, struct error *err)
{
    char name[STORE_NAME_SIZE] = "";
    int64_t version = codec_int(in->params, "version", 0);
    int rc = codec_get_cstr(in->params, "adapter", name, sizeof(name), err);
    bool is_named = rc == 0;

    *has_adapter = false;
    if (rc == -EINVAL || strcmp(name, "none") == 0)
        return rc == -EINVAL ? rc : 0;
    rc = store_adapter_get(s, is_named ? name : "default", a, err);
    if (rc == -ENOENT && !is_named && version == 0)
        return 0;
    if (rc < 0)
        return error_set(err, rc, "there is no adapter %s",
                         is_named ? name : "default");
    if (version == 0)
        version = a->active;
    if (version == 0 && !is_named)
        return 0;
    if (version == 0) {
        in->code = RPC_ERROR_NO_ADAPTER;
        return error_set(err, -ENOENT,
                         "adapter %s has no active version: name one, or train "
                         "first",
                         a->name);
    }
    rc = store_version_get(s, a->id, (uint32_t) version, v, err);
    if (rc < 0)
        return error_set(err, rc, "adapter %s has no version %lld", a->name,
                         (long long) version);
    if (v->state == STORE_VERSION_RETIRED) {
        in->code = RPC_ERROR_ERASED;
        return error_set(err, -ENOENT, "version %lld of %s is retired%s%.200s",
                         (long long) version, a->name, in->is_app ? "" : ": ",
                         in->is_app ? "" : v->reason);
    }
    *has_adapter = true;
    return 0;
}

static int find_model(struct serve_input *in, struct store *s,
                      struct store_model *m, const struct store_adapter *a,
                      struct error *err)
{
    char name[STORE_NAME_SIZE] = "";
    int rc = codec_get_cstr(in->params, "model", name, sizeof(name), err);

    if (rc == -EINVAL)
        return rc;
    if (a && name[0] && strcmp(name, a->model) != 0)
        return error_set(err, -EINVAL,
                         "adapter %s belongs to model %s, not to %s", a->name,
                         a->model, name);
    if (a)
        return store_model_get_id(s, a->model_id, m, err);
    if (name[0]) {
        rc = store_model_get(s, name, m, err);
        return rc < 0 ? error_set(err, rc, "there is no model %s", name) : 0;
    }
    rc = store_model_get_default(s, m, err);
    if (rc == -ENOENT) {
        in->code = RPC_ERROR_NO_MODEL;
        return error_set(err, rc,
                         "there is no base model: register one with `pockctl "
                         "model add FILE`");
    }
    return rc;
}

static int open_files(struct serve_input *in, struct store *s,
                      struct error *err)
{
    struct store_adapter a;
    struct store_version v;
    struct store_model m;
    struct stat st;
    bool has_adapter;
    int rc;

    if ((rc = find_adapter(in, s, &a, &v, &has_adapter, err)) < 0 ||
        (rc = find_model(in, s, &m, has_adapter ? &a : NULL, err)) < 0)
        return rc;
    memcpy(in->model, m.name, sizeof(in->model));
    memcpy(in->model_sha256, m.sha256, sizeof(in->model_sha256));
    in->model_bytes = m.bytes;
    memcpy(in->chat, m.chat_set, sizeof(in->chat));
    in->model_fd = open(m.path, O_RDONLY | O_CLOEXEC);
    if (in->model_fd < 0 || fstat(in->model_fd, &st) < 0 ||
        st.st_size != m.bytes) {
        in->code = RPC_ERROR_NO_MODEL;
        if (in->is_app)
            return error_set(err, -ENOENT, "the file of the model %s is gone",
                             m.name);
        return error_set(err, -ENOENT,
                         "the model %s is not at %.300s any more: put the file "
                         "back, or add it again",
                         m.name, m.path);
    }
    if (!has_adapter)
        return 0;
    memcpy(in->adapter, a.name, sizeof(in->adapter));
    in->version = v.version;
    memcpy(in->adapter_sha256, v.sha256, sizeof(in->adapter_sha256));
    rc = store_blob_open(s, v.sha256, (uint64_t) v.bytes, err);
    if (rc < 0)
        return rc;
    in->adapter_fd = rc;
    return 0;
}

static int pack_prompt(struct record_pack *k, const msgpack_object *params,
                       struct error *err)
{
    const msgpack_object *messages = codec_find(params, "messages");
    struct codec_bytes prompt = codec_str(params, "prompt");

    if ((messages != NULL) == (prompt.data != NULL))
        return error_set(err, -EINVAL,
                         "give exactly one of prompt and messages");
    return messages ? record_pack_chat(k, messages, err)
                    : record_pack_text(k, prompt, err);
}

static int pack_lists(struct record_pack *k, const msgpack_object *params,
                      struct error *err)
{
    const msgpack_object *texts = codec_find(params, "texts");
    const msgpack_object *pairs = codec_find(params, "pairs");
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < codec_count(texts); i++) {
        struct codec_bytes text;
        rc = codec_as_str(codec_at(texts, i), &text)
                 ? record_pack_text(k, text, err)
                 : error_set(err, -EINVAL, "texts[%u] is no string", i);
    }
    for (uint32_t i = 0; rc == 0 && i < codec_count(pairs); i++) {
        const msgpack_object *pair = codec_at(pairs, i);
        struct codec_bytes prompt = codec_str(pair, "prompt");
        struct codec_bytes completion = codec_str(pair, "completion");
        rc = prompt.data && completion.data
                 ? record_pack_pair(k, prompt, completion, err)
                 : error_set(err, -EINVAL,
                             "pairs[%u] needs prompt and completion", i);
    }
    return rc;
}

struct naming {
    struct serve_input *in;
    const struct record_pack *pack;
    size_t at;
};

static int stream_index(struct serve_input *in, const char *name)
{
    for (size_t i = 0; i < in->stream_count; i++)
        if (strcmp(in->streams[i], name) == 0)
            return (int) i;
    if (in->stream_count == SERVE_STREAMS_MAX)
        return SERVE_STREAMS_MAX - 1;
    snprintf(in->streams[in->stream_count], STORE_NAME_SIZE, "%s", name);
    return (int) in->stream_count++;
}

// Records come by id, as they were packed.
static int name_record(const struct store_record *r, void *user)
{
    struct naming *n = user;

    if (n->at < n->pack->count && n->pack->ids[n->at] == r->id)
        n->in->stream_of[n->at++] = (uint16_t) stream_index(n->in, r->stream);
    return 0;
}

static int pack_heldout(struct serve_input *in, struct record_pack *k,
                        struct store *s, struct error *err)
{
    struct store_filter all = {.trainable_ms = clock_unix_ms()};
    struct naming n = {.in = in, .pack = k};
    int rc = record_pack_store(k, s, &all, 0, true, err);

    if (rc < 0)
        return rc;
    if (k->count == 0)
        return error_set(err, -ENOENT,
                         "there are no held-out records: store more first");
    in->stream_of = fault_calloc(k->count, sizeof(*in->stream_of));
    in->streams = fault_calloc(SERVE_STREAMS_MAX, sizeof(*in->streams));
    if (!in->stream_of || !in->streams)
        return error_set(err, -ENOMEM, "out of memory");
    return store_record_each(s, &all, 0, 0, false, name_record, &n, err);
}

static int pack(struct serve_input *in, struct record_pack *k, struct store *s,
                struct error *err)
{
    bool has_heldout = codec_bool(in->params, "heldout", false);
    int lists = (codec_find(in->params, "texts") != NULL) +
                (codec_find(in->params, "pairs") != NULL) + has_heldout;

    if (!in->is_score)
        return pack_prompt(k, in->params, err);
    if (lists != 1)
        return error_set(err, -EINVAL,
                         "give exactly one of texts, pairs and heldout");
    return has_heldout ? pack_heldout(in, k, s, err)
                       : pack_lists(k, in->params, err);
}

int serve_input_gather(struct serve_input *in, struct store *s,
                       struct error *err)
{
    struct record_pack k = {0};
    int rc;

    if ((rc = open_files(in, s, err)) == 0 &&
        (rc = pack(in, &k, s, err)) == 0 &&
        (rc = record_pack_seal(&k, err)) >= 0) {
        in->records_fd = rc;
        in->count = k.count;
        rc = 0;
    }
    record_pack_finish(&k);
    return rc;
}
