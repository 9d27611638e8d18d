// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/message.h"

#include <errno.h>

static int bad(struct error *err, const char *what)
{
    return error_set(err, -EPROTO, "not a message: %s", what);
}

static int decode_id(uint32_t *out, const msgpack_object *o, struct error *err)
{
    int64_t v;

    if (!codec_as_int(o, &v) || v < 0 || v > UINT32_MAX)
        return bad(err, "its id must be an int of 32 bits");
    *out = (uint32_t) v;
    return 0;
}

// [map]
static int decode_params(struct message *m, const msgpack_object *o,
                         struct error *err)
{
    m->params = codec_at(o, 0);
    if (codec_count(o) != 1 || !m->params ||
        m->params->type != MSGPACK_OBJECT_MAP)
        return bad(err, "parameters must be an array of one map");
    return 0;
}

static int decode_method(struct message *m, const msgpack_object *o,
                         struct error *err)
{
    return codec_as_str(o, &m->method) ? 0
                                       : bad(err, "its method must be a str");
}

static int decode_error(struct message *m, const msgpack_object *o,
                        struct error *err)
{
    int64_t code;

    if (o->type != MSGPACK_OBJECT_MAP)
        return bad(err, "its error must be nil or a map");
    if (codec_get_int(o, "code", INT32_MIN, INT32_MAX, &code, NULL) < 0 ||
        code == 0)
        return bad(err, "its error has no code");
    m->error.code = (int) code;
    m->error.name = codec_str(o, "name");
    m->error.text = codec_str(o, "msg");
    m->error.data = codec_find(o, "data");
    m->error.retry_ms = codec_int(o, "retry_ms", 0);
    return 0;
}

static int decode_response(struct message *m, const msgpack_object *root,
                           struct error *err)
{
    const msgpack_object *error = codec_at(root, 2);
    const msgpack_object *result = codec_at(root, 3);

    if (error->type != MSGPACK_OBJECT_NIL)
        return decode_error(m, error, err);
    if (result->type != MSGPACK_OBJECT_MAP)
        return bad(err, "its result must be a map");
    m->result = result;
    return 0;
}

int message_decode(struct message *out, const struct codec_doc *doc,
                   struct error *err)
{
    static const uint32_t entries[] = {4, 4, 3};
    const msgpack_object *root = &doc->root;
    struct message m = {.id = 0};
    int64_t type;
    int rc;

    if (root->type != MSGPACK_OBJECT_ARRAY ||
        !codec_as_int(codec_at(root, 0), &type) || type < 0 || type > 2)
        return bad(err, "it must be an array that begins with 0, 1 or 2");
    if (codec_count(root) != entries[type])
        return bad(err, "it has a wrong number of entries");
    m.type = (enum message_type) type;
    if (m.type == MESSAGE_NOTIFICATION) {
        if ((rc = decode_method(&m, codec_at(root, 1), err)) < 0 ||
            (rc = decode_params(&m, codec_at(root, 2), err)) < 0)
            return rc;
        *out = m;
        return 0;
    }
    if ((rc = decode_id(&m.id, codec_at(root, 1), err)) < 0)
        return rc;
    if (m.type == MESSAGE_RESPONSE) {
        rc = decode_response(&m, root, err);
    } else {
        rc = decode_method(&m, codec_at(root, 2), err);
        if (rc == 0)
            rc = decode_params(&m, codec_at(root, 3), err);
    }
    if (rc == 0)
        *out = m;
    return rc;
}

int message_item_decode(struct message_item *out, const struct message *m,
                        struct error *err)
{
    struct message_item item = {.params = m->params};
    int rc = decode_id(&item.id, codec_find(m->params, "id"), err);

    if (rc < 0)
        return rc;
    if (codec_get_int(m->params, "seq", 0, INT64_MAX, &item.seq, NULL) < 0)
        return bad(err, "an item without seq");
    item.kind = codec_str(m->params, "kind");
    *out = item;
    return 0;
}

int message_cancel_decode(uint32_t *id, const struct message *m,
                          struct error *err)
{
    return decode_id(id, codec_find(m->params, "id"), err);
}

void message_begin_request(struct encoder *e, uint32_t id, const char *method)
{
    encoder_open_array(e);
    encoder_int(e, MESSAGE_REQUEST);
    encoder_int(e, id);
    encoder_cstr(e, method);
    encoder_open_array(e);
    encoder_open_map(e);
}

void message_begin_response(struct encoder *e, uint32_t id)
{
    encoder_open_array(e);
    encoder_int(e, MESSAGE_RESPONSE);
    encoder_int(e, id);
    encoder_nil(e);
    encoder_open_map(e);
}

static void begin_notification(struct encoder *e, const char *method)
{
    encoder_open_array(e);
    encoder_int(e, MESSAGE_NOTIFICATION);
    encoder_cstr(e, method);
    encoder_open_array(e);
    encoder_open_map(e);
}

void message_begin_item(struct encoder *e, uint32_t id, int64_t seq,
                        const char *kind)
{
    begin_notification(e, MESSAGE_ITEM);
    encoder_put_int(e, "id", id);
    encoder_put_int(e, "seq", seq);
    encoder_put_cstr(e, "kind", kind);
}

static void begin_error(struct encoder *e, uint32_t id, enum rpc_error code,
                        const char *text, int64_t retry_ms)
{
    encoder_open_array(e);
    encoder_int(e, MESSAGE_RESPONSE);
    encoder_int(e, id);
    encoder_open_map(e);
    encoder_put_int(e, "code", code);
    encoder_put_cstr(e, "name", rpc_error_name(code));
    encoder_put_cstr(e, "msg", text);
    if (retry_ms > 0)
        encoder_put_int(e, "retry_ms", retry_ms);
}

void message_begin_error(struct encoder *e, uint32_t id, enum rpc_error code,
                         const char *text, int64_t retry_ms)
{
    begin_error(e, id, code, text, retry_ms);
    encoder_put_map(e, "data");
}

int message_end(struct encoder *e)
{
    if (e->rc < 0)
        return e->rc;
    // An error map is the third entry and nil must follow it; a result map is
    // the fourth. Requests and notifications have an array there.
    const bool is_response = e->depth >= 2 && e->open[1].is_map;
    const bool is_error = is_response && e->open[0].count == 3;
    const uint32_t depth_max = is_response && !is_error ? 2 : 3;
    if (e->depth < 2 || e->depth > depth_max)
        return -EINVAL; // the caller left something open, or closed too much
    for (uint32_t n = e->depth; n > 1; n--)
        encoder_close(e);
    if (is_error)
        encoder_nil(e);
    encoder_close(e);
    return encoder_finish(e);
}

int message_encode_error(struct encoder *e, uint32_t id, enum rpc_error code,
                         const char *text, int64_t retry_ms)
{
    begin_error(e, id, code, text, retry_ms);
    return message_end(e);
}

int message_encode_cancel(struct encoder *e, uint32_t id)
{
    begin_notification(e, MESSAGE_CANCEL);
    encoder_put_int(e, "id", id);
    return message_end(e);
}
