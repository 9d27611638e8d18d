// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/rpc_record.h"

#include <errno.h>
#include <string.h>

static const char *const kind_names[] = {
    [RPC_RECORD_KIND_TEXT] = "text",
    [RPC_RECORD_KIND_PAIR] = "pair",
    [RPC_RECORD_KIND_CHAT] = "chat",
    [RPC_RECORD_KIND_FEEDBACK] = "feedback",
};

const char *rpc_record_kind_name(enum rpc_record_kind kind)
{
    return kind >= RPC_RECORD_KIND_TEXT && kind <= RPC_RECORD_KIND_FEEDBACK
               ? kind_names[kind]
               : NULL;
}

bool rpc_record_name_is_valid(const char *name, size_t bytes)
{
    if (bytes == 0 || bytes > RPC_RECORD_NAME_MAX)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        const char c = name[i];
        const bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        const bool is_mark = c == '.' || c == '_' || c == '-';
        if (!is_plain && !(is_mark && i > 0))
            return false;
    }
    return true;
}

// A required str of a map.
static int get_text(const msgpack_object *map, const char *key,
                    struct codec_bytes *out, struct error *err)
{
    int rc = codec_get_str(map, key, out, err);

    return rc == -ENOENT ? error_set(err, -EINVAL, "`%s` is missing", key) : rc;
}

static int get_learned_text(const msgpack_object *map, const char *key,
                            struct codec_bytes *out, struct error *err)
{
    int rc = get_text(map, key, out, err);

    if (rc == 0 && out->bytes == 0)
        rc = error_set(err, -EINVAL, "`%s` is empty", key);
    return rc;
}

static int decode_message(const msgpack_object *o, struct codec_bytes *role,
                          struct codec_bytes *content, struct error *err)
{
    int rc;

    if (o->type != MSGPACK_OBJECT_MAP)
        return error_set(err, -EINVAL, "it must be a map");
    if ((rc = get_text(o, "role", role, err)) < 0 ||
        (rc = get_text(o, "content", content, err)) < 0)
        return rc;
    if (!codec_bytes_equal(*role, "system") &&
        !codec_bytes_equal(*role, "user") &&
        !codec_bytes_equal(*role, "assistant"))
        return error_set(err, -EINVAL,
                         "`role` must be system, user or assistant");
    return codec_check_critical(o, NULL, err);
}

static int decode_chat(struct rpc_record *r, const msgpack_object *map,
                       struct error *err)
{
    struct codec_bytes role = {0}, content = {0};
    int rc = codec_get_array(map, "messages", &r->messages, err);

    if (rc == -ENOENT)
        return error_set(err, -EINVAL, "`messages` is missing");
    if (rc < 0)
        return rc;
    const uint32_t n = codec_count(r->messages);
    if (n == 0 || n > RPC_RECORD_MESSAGES_MAX)
        return error_set(err, -EINVAL,
                         "`messages` has %u entries, but must have 1 to %d", n,
                         RPC_RECORD_MESSAGES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        rc = decode_message(codec_at(r->messages, i), &role, &content, err);
        if (rc < 0)
            return error_prefix(err, rc, "`messages`[%u]", i);
        r->bytes += role.bytes + content.bytes;
    }
    if (!codec_bytes_equal(role, "assistant") || content.bytes == 0)
        return error_set(err, -EINVAL,
                         "the last of `messages` must be by the assistant and "
                         "not empty: it is what is learned");
    return 0;
}

static int decode_pair(struct rpc_record *r, const msgpack_object *map,
                       struct error *err)
{
    int rc = get_text(map, "prompt", &r->prompt, err);

    if (rc == 0)
        rc = get_learned_text(map, "completion", &r->completion, err);
    r->bytes = r->prompt.bytes + r->completion.bytes;
    return rc;
}

// The texts of r->kind.
static int decode_texts(struct rpc_record *r, const msgpack_object *map,
                        struct error *err)
{
    int rc = 0;

    switch (r->kind) {
    case RPC_RECORD_KIND_TEXT:
        rc = get_learned_text(map, "text", &r->text, err);
        r->bytes = r->text.bytes;
        return rc;
    case RPC_RECORD_KIND_FEEDBACK:
        rc = codec_get_bool(map, "accepted", &r->is_accepted, err);
        if (rc == -ENOENT)
            return error_set(err, -EINVAL, "`accepted` is missing");
        if (rc < 0)
            return rc;
        return decode_pair(r, map, err);
    case RPC_RECORD_KIND_PAIR:
        return decode_pair(r, map, err);
    case RPC_RECORD_KIND_CHAT:
        return decode_chat(r, map, err);
    }
    return error_set(err, -EINVAL, "a record of an unknown kind");
}

static int decode_kind(struct rpc_record *r, const msgpack_object *map,
                       struct error *err)
{
    struct codec_bytes kind;
    int rc = get_text(map, "kind", &kind, err);

    if (rc < 0)
        return rc;
    for (int k = RPC_RECORD_KIND_TEXT; k <= RPC_RECORD_KIND_FEEDBACK; k++) {
        if (codec_bytes_equal(kind, kind_names[k])) {
            r->kind = (enum rpc_record_kind) k;
            return 0;
        }
    }
    return error_set(err, -EINVAL,
                     "`kind` must be text, pair, chat or feedback");
}

static int decode_head(struct rpc_record *r, const msgpack_object *map,
                       struct error *err)
{
    struct codec_bytes uid;
    int rc = codec_get_bin(map, "uid", &uid, err);

    if (rc == -ENOENT)
        return error_set(err, -EINVAL,
                         "`uid` is missing: make 16 random bytes once for each "
                         "record, and send the same ones again in a retry");
    if (rc < 0)
        return rc;
    if (uid.bytes != RPC_RECORD_UID_BYTES)
        return error_set(err, -EINVAL, "`uid` has %zu bytes, but must have %d",
                         uid.bytes, RPC_RECORD_UID_BYTES);
    memcpy(r->uid, uid.data, RPC_RECORD_UID_BYTES);
    if ((rc = get_text(map, "stream", &r->stream, err)) < 0)
        return rc;
    if (!rpc_record_name_is_valid(r->stream.data, r->stream.bytes))
        return error_set(err, -EINVAL,
                         "`stream` must be 1 to %d of a-z 0-9 . _ -, and begin "
                         "with a letter or digit",
                         RPC_RECORD_NAME_MAX);
    rc = codec_get_int(map, "time", 0, RPC_RECORD_TIME_MAX, &r->time_ms, err);
    return rc == -ENOENT ? error_set(err, -EINVAL, "`time` is missing") : rc;
}

int rpc_record_decode(struct rpc_record *out, const msgpack_object *map,
                      struct error *err)
{
    struct rpc_record r = {.id = 0};
    int rc;

    if (!map || map->type != MSGPACK_OBJECT_MAP)
        return error_set(err, -EINVAL, "a record must be a map");
    if ((rc = codec_check_critical(map, NULL, err)) < 0 ||
        (rc = decode_head(&r, map, err)) < 0 ||
        (rc = decode_kind(&r, map, err)) < 0 ||
        (rc = decode_texts(&r, map, err)) < 0)
        return rc;
    if (r.bytes > RPC_RECORD_BYTES_MAX)
        return error_set(err, -E2BIG,
                         "the record's texts have %zu bytes, but may have at "
                         "most %d: split it",
                         r.bytes, RPC_RECORD_BYTES_MAX);
    r.id = codec_int(map, "id", 0);
    rc = codec_get_bool(map, "secret", &r.is_secret, err);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    *out = r;
    return 0;
}

bool rpc_record_message(const struct rpc_record *r, uint32_t i,
                        struct codec_bytes *role, struct codec_bytes *content)
{
    const msgpack_object *o = codec_at(r->messages, i);

    if (!o)
        return false;
    *role = codec_str(o, "role");
    *content = r->contents ? r->contents[i] : codec_str(o, "content");
    return true;
}

static void put_texts(struct encoder *e, const struct rpc_record *r)
{
    struct codec_bytes role, content;

    switch (r->kind) {
    case RPC_RECORD_KIND_TEXT:
        encoder_put_str(e, "text", r->text.data, r->text.bytes);
        return;
    case RPC_RECORD_KIND_PAIR:
    case RPC_RECORD_KIND_FEEDBACK:
        encoder_put_str(e, "prompt", r->prompt.data, r->prompt.bytes);
        encoder_put_str(e, "completion", r->completion.data,
                        r->completion.bytes);
        if (r->kind == RPC_RECORD_KIND_FEEDBACK)
            encoder_put_bool(e, "accepted", r->is_accepted);
        return;
    case RPC_RECORD_KIND_CHAT:
        encoder_put_array(e, "messages");
        for (uint32_t i = 0; rpc_record_message(r, i, &role, &content); i++) {
            encoder_open_map(e);
            encoder_put_str(e, "role", role.data, role.bytes);
            encoder_put_str(e, "content", content.data, content.bytes);
            encoder_close(e);
        }
        encoder_close(e);
        return;
    }
}

void rpc_record_encode(struct encoder *e, const struct rpc_record *r)
{
    encoder_open_map(e);
    if (r->id != 0)
        encoder_put_int(e, "id", r->id);
    encoder_put_bin(e, "uid", r->uid, sizeof(r->uid));
    encoder_put_cstr(e, "kind", rpc_record_kind_name(r->kind));
    encoder_put_str(e, "stream", r->stream.data, r->stream.bytes);
    encoder_put_int(e, "time", r->time_ms);
    put_texts(e, r);
    encoder_close(e);
}

void rpc_record_body_encode(struct encoder *e, const struct rpc_record *r)
{
    encoder_open_map(e);
    put_texts(e, r);
    encoder_close(e);
}

int rpc_record_body_decode(struct rpc_record *r, const msgpack_object *body,
                           struct error *err)
{
    struct rpc_record copy = *r;

    copy.bytes = 0;
    int rc = decode_texts(&copy, body, err);
    if (rc == 0)
        *r = copy;
    return rc;
}
