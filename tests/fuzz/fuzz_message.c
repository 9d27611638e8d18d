// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * From bytes to a checked request, as the daemon does it: decode, shape,
 * parameters of the method, records inside. What is a message stays the same
 * when it is written again.
 */

#include "ipc/message.h"
#include "ipc/method.h"
#include "ipc/rpc_record.h"

#include <stdlib.h>
#include <string.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void try_record(const msgpack_object *o)
{
    struct rpc_record r, again;
    struct encoder e, body;
    struct codec_doc doc;
    struct error err;

    if (rpc_record_decode(&r, o, &err) < 0)
        return;
    encoder_init(&e, 0);
    encoder_init(&body, 0);
    rpc_record_encode(&e, &r);
    rpc_record_body_encode(&body, &r);
    check(encoder_finish(&e) == 0 && encoder_finish(&body) == 0);
    check(codec_decode(&doc, e.data, e.bytes, &frame_limits_full, &err) == 0);
    check(rpc_record_decode(&again, &doc.root, &err) == 0);
    check(again.bytes == r.bytes && again.kind == r.kind);
    codec_finish(&doc);
    check(codec_decode(&doc, body.data, body.bytes, &frame_limits_full, &err) ==
          0);
    check(rpc_record_body_decode(&again, &doc.root, &err) == 0);
    check(again.bytes == r.bytes);
    codec_finish(&doc);
    encoder_destroy(&body);
    encoder_destroy(&e);
}

static void try_request(const struct message *m)
{
    struct method_common common;
    struct error err;
    enum method method = method_from_name(m->method.data, m->method.bytes);

    if (method == METHOD_COUNT ||
        method_check_params(method, m->params, &common, &err) < 0)
        return;
    const msgpack_object *records = codec_find(m->params, "records");
    if (method == METHOD_data_put)
        try_record(codec_find(m->params, "record"));
    for (uint32_t i = 0; i < codec_count(records); i++)
        try_record(codec_at(records, i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct codec_doc doc;
    struct message m;
    struct message_item item;
    struct encoder e;
    struct error err;
    uint32_t id;

    if (codec_decode(&doc, data, size, &frame_limits_full, &err) < 0)
        return 0;
    encoder_init(&e, 2 * size + 4096);
    encoder_object(&e, &doc.root);
    check(encoder_finish(&e) == 0);
    if (message_decode(&m, &doc, &err) == 0) {
        if (m.type == MESSAGE_REQUEST)
            try_request(&m);
        if (m.type == MESSAGE_NOTIFICATION) {
            (void) message_item_decode(&item, &m, &err);
            (void) message_cancel_decode(&id, &m, &err);
        }
        struct codec_doc copy;
        struct message again;
        check(codec_decode(&copy, e.data, e.bytes, &frame_limits_full, &err) ==
              0);
        check(message_decode(&again, &copy, &err) == 0);
        check(again.type == m.type && again.id == m.id);
        codec_finish(&copy);
    }
    encoder_destroy(&e);
    codec_finish(&doc);
    return 0;
}
