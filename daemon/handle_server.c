// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <unistd.h>

#include "daemon/consent.h"
#include "daemon/dbcall.h"
#include "daemon/handlers.h"
#include "daemon/pockd.h"
#include "daemon/purpose.h"
#include "daemon/session.h"
#include "engine/base/clock.h"
#include "ipc/codec.h"
#include "storage/store.h"

enum {
    PROTO_MAJOR = 1,
    PROTO_MINOR = 0,
    BATCH_RECORDS = 1024,
};

static void put_proto(struct encoder *e)
{
    encoder_put_array(e, "proto");
    encoder_int(e, PROTO_MAJOR);
    encoder_int(e, PROTO_MINOR);
    encoder_close(e);
}

static void put_limits(struct encoder *e)
{
    encoder_put_map(e, "limits");
    encoder_put_int(e, "frame_bytes", FRAME_BYTES_MAX);
    encoder_put_int(e, "depth", FRAME_DEPTH);
    encoder_put_int(e, "objects", FRAME_OBJECTS_MAX);
    encoder_put_int(e, "string_bytes", FRAME_STRING_BYTES_MAX);
    encoder_put_int(e, "record_bytes", FRAME_RECORD_BYTES_MAX);
    encoder_put_int(e, "batch_records", BATCH_RECORDS);
    encoder_put_int(e, "in_flight", SESSION_IN_FLIGHT_MAX);
    encoder_put_int(e, "streams", SESSION_STREAMS_MAX);
    encoder_close(e);
}

static void put_rights(struct encoder *e, const struct pockd *p,
                       const struct request *r)
{
    const struct store_app *a = consent_of(p->consent, r);
    int64_t now = clock_unix_ms();

    encoder_put_cstr(e, "app", request_app(r));
    if (!a) {
        encoder_put_array(e, "grants");
        encoder_cstr(e, "owner");
        encoder_close(e);
        return;
    }
    purpose_put(e, "grants", consent_purposes(a, now));
    encoder_put_cstr(e, "consent", consent_state_name(a, now));
    if (a->expires_ms > 0)
        encoder_put_int(e, "expires", a->expires_ms);
}

void handle_hello(struct pockd *p, struct request *r)
{
    const msgpack_object *proto = codec_find(request_params(r), "proto");
    int64_t major = 0;

    (void) codec_as_int(codec_at(proto, 0), &major);
    if (major != PROTO_MAJOR) {
        struct encoder *e = request_begin_error(
            r, RPC_ERROR_VERSION,
            "this daemon speaks version 1 of the protocol: install a client "
            "of the same version",
            0);
        put_proto(e);
        request_end(r);
        return;
    }
    struct error err = {0};
    enum rpc_error code;
    if (consent_meet(p->consent, r, &code, &err) < 0) {
        request_fail(r, code, "%s", err.text);
        return;
    }
    struct encoder *e = request_begin(r);
    put_proto(e);
    encoder_put_cstr(e, "server", "pockd/" POCK_VERSION);
    encoder_put_int(e, "session", (int64_t) request_session(r));
    encoder_put_int(e, "uid", (int64_t) request_uid(r));
    put_rights(e, p, r);
    put_limits(e);
    encoder_put_array(e, "caps");
    encoder_close(e);
    encoder_put_array(e, "methods");
    for (int i = 0; i < METHOD_COUNT; i++)
        if (request_is_owner(r) || method_infos[i].scope == METHOD_SCOPE_APP)
            encoder_cstr(e, method_infos[i].name);
    encoder_close(e);
    request_end(r);
}

void handle_ping(struct pockd *p, struct request *r)
{
    (void) request_begin(r);
    request_end(r);
}

static int run_check(struct store *s, struct dbcall *c, struct error *err)
{
    const bool is_full = codec_bool(c->params, "full", false);
    const uint64_t start = clock_monotonic_ns();
    const int rc = store_check(s, is_full, err);

    if (rc < 0 && rc != -EUCLEAN)
        return rc;
    encoder_put_bool(&c->out, "ok", rc == 0);
    encoder_put_cstr(&c->out, "text", rc < 0 ? err->text : "");
    encoder_put_int(&c->out, "ms",
                    (int64_t) ((clock_monotonic_ns() - start) / 1000000));
    return 0;
}

void handle_store_check(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_check});
}

void handle_server_info(struct pockd *p, struct request *r)
{
    bool is_system = paths_is_system(p->config);
    struct encoder *e = request_begin(r);
    char key[HASH_HEX];

    encoder_put_cstr(e, "version", POCK_VERSION);
    put_proto(e);
    encoder_put_int(e, "pid", getpid());
    encoder_put_cstr(e, "mode", is_system ? "system" : "user");
    encoder_put_int(e, "started", p->started_unix_ms);
    if (request_is_owner(r)) {
        encoder_put_cstr(e, "state_dir", p->paths.state);
        encoder_put_cstr(e, "socket", p->paths.socket);
    }
    hash_to_hex(key, p->identity.public);
    encoder_put_cstr(e, "key", key);
    encoder_put_int(e, "owner",
                    is_system ? p->config->owner_uid : (int64_t) geteuid());
    encoder_put_cstr(e, "workers",
                     paths_worker_program(&p->paths) ? "children" : "units");
    encoder_put_int(e, "schema", STORE_SCHEMA);
    encoder_put_bool(e, "degraded", p->problem[0] != '\0');
    request_end(r);
}
