// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/archive_export.h"
#include "daemon/archive_import.h"
#include "daemon/auditlog.h"
#include "daemon/dbthread.h"
#include "daemon/events.h"
#include "daemon/fdio.h"
#include "daemon/handlers.h"
#include "daemon/pockd.h"
#include "daemon/request.h"
#include "engine/base/clock.h"
#include "storage/store_policy.h"

/*
 * Both go in tasks of some milliseconds on the database thread, between which
 * others have their turn, and end early when nobody waits any more.
 */

enum {
    TASK_NS = 20 * 1000 * 1000,
    PROGRESS_NS = 250 * 1000 * 1000,
};

enum phase {
    PHASE_BEGIN,
    PHASE_READ, // import: look at all of it
    PHASE_RUN,
    PHASE_END, // import: what the policy is now
};

struct archiving {
    struct pockd *p;
    struct request *r;
    int fd;
    bool is_import;
    bool is_dry_run;
    bool is_trusted;  // `trust` was given
    bool is_stranger; // another key signed it
    uint8_t trust[SIGN_KEY_BYTES];
    enum phase phase;
    struct archive_export *out;
    struct archive_reader reader;
    struct archive_import *in;
    struct policy policy;
    uint64_t told_ns;
};

static void destroy(struct archiving *x)
{
    archive_export_destroy(x->out);
    archive_import_destroy(x->in);
    archive_read_finish(&x->reader);
    (void) close(x->fd);
    free(x);
}

/*
 * Database thread
 */

static int begin(struct archiving *x, struct error *err)
{
    int rc;

    if (x->is_import) {
        x->phase = PHASE_READ;
        return archive_read_begin(&x->reader, x->fd, err);
    }
    x->phase = PHASE_RUN;
    if ((rc = fdio_check_writable(x->fd, err)) < 0)
        return rc;
    return archive_export_create(&x->out, x->fd, &x->p->identity, err);
}

// All of it was looked at. 0: that was all.
static int after_read(struct archiving *x, struct store *s, struct error *err)
{
    const uint8_t *signer = x->reader.signer;
    const bool is_own =
        memcmp(signer, x->p->identity.public, SIGN_KEY_BYTES) == 0;

    x->is_stranger = !is_own && !(x->is_trusted && memcmp(signer, x->trust,
                                                          SIGN_KEY_BYTES) == 0);
    if (x->is_stranger)
        return error_set(err, -ENOTUNIQ,
                         "another key than that of this pockd signed the "
                         "archive: trust it if it is yours");
    if (x->is_dry_run)
        return 0;
    x->phase = PHASE_RUN;
    int rc = archive_import_create(&x->in, &x->reader, err);
    if (rc == 0 && (rc = auditlog_note(s, x->r, 1, err)) == 0)
        rc = store_audit_flush(s, clock_unix_ms(), 0, false, err);
    return rc < 0 ? rc : 1;
}

static int load_policy(const char *key, const char *value, void *user)
{
    struct archiving *x = user;

    if (policy_find(key))
        (void) policy_set_text(&x->policy, key, value, NULL);
    return 0;
}

static int step(struct archiving *x, struct store *s, struct error *err)
{
    int rc = 0;

    switch (x->phase) {
    case PHASE_BEGIN:
        rc = begin(x, err);
        return rc < 0 ? rc : 1;
    case PHASE_READ:
        rc = archive_read_step(&x->reader, err);
        return rc == 0 ? after_read(x, s, err) : rc;
    case PHASE_RUN:
        if (!x->is_import)
            return archive_export_step(x->out, s, err);
        if ((rc = archive_import_step(x->in, s, err)) != 0)
            return rc;
        x->phase = PHASE_END;
        return 1;
    case PHASE_END:
        x->policy = x->p->config->policy;
        rc = store_policy_each(s, load_policy, x, err);
        break;
    }
    return rc;
}

static int run_steps(struct store *s, void *arg, struct error *err)
{
    const uint64_t start = clock_monotonic_ns();
    struct archiving *x = arg;
    int rc;

    do {
        rc = step(x, s, err);
    } while (rc > 0 && clock_monotonic_ns() - start < TASK_NS);
    return rc;
}

/*
 * Loop thread
 */

static void put_key(struct encoder *e, const char *key,
                    const uint8_t public[SIGN_KEY_BYTES])
{
    char hex[HASH_HEX];

    hash_to_hex(hex, public);
    encoder_put_cstr(e, key, hex);
}

static void put_kinds(struct encoder *e, const uint64_t *found,
                      const struct archive_result *result)
{
    encoder_put_array(e, "kinds");
    for (int i = 1; i < ARCHIVE_KIND_COUNT; i++) {
        encoder_open_map(e);
        encoder_put_cstr(e, "kind", archive_kind_name((enum archive_kind) i));
        encoder_put_int(e, "found", (int64_t) found[i]);
        if (result) {
            encoder_put_int(e, "taken", (int64_t) result->taken[i]);
            encoder_put_int(e, "refused", (int64_t) result->refused[i]);
        }
        encoder_close(e);
    }
    encoder_close(e);
}

static void answer_export(struct archiving *x)
{
    const struct archive_writer *w = archive_export_writer(x->out);
    struct encoder *e = request_begin(x->r);

    encoder_put_int(e, "bytes", (int64_t) w->bytes);
    encoder_put_int(e, "members", w->members);
    put_kinds(e, w->counts, NULL);
    put_key(e, "key", x->p->identity.public);
    request_end(x->r);
}

static void answer_import(struct archiving *x)
{
    static const struct archive_result nothing;
    const struct archive_result *result =
        x->in ? archive_import_result(x->in) : &nothing;
    struct encoder *e = request_begin(x->r);

    put_key(e, "signer", x->reader.signer);
    encoder_put_bool(e, "own",
                     memcmp(x->reader.signer, x->p->identity.public,
                            SIGN_KEY_BYTES) == 0);
    encoder_put_int(e, "created", x->reader.created_ms);
    encoder_put_int(e, "members", (int64_t) x->reader.count);
    put_kinds(e, result->found, result);
    encoder_put_array(e, "remarks");
    for (uint32_t i = 0; i < result->n_remarks; i++)
        encoder_cstr(e, result->remarks[i]);
    encoder_close(e);
    encoder_put_bool(e, "done", x->in != NULL);
    request_end(x->r);
}

// What the store holds now is what holds.
static void follow(struct archiving *x)
{
    if (!x->in)
        return;
    if (x->phase == PHASE_END)
        x->p->policy = x->policy;
    events_emit(x->p,
                &(struct event_params){.kind = "archive_imported",
                                       .text = "the owner took in an archive"});
    facts_refresh(x->p);
    pockd_reconsider(x->p);
}

static void fail(struct archiving *x, int rc, const struct error *err)
{
    struct encoder *e;

    if (x->is_stranger) {
        e = request_begin_error(x->r, RPC_ERROR_CONFLICT, err->text, 0);
        put_key(e, "signer", x->reader.signer);
        request_end(x->r);
    } else if (rc == -EBADMSG) {
        request_fail(x->r, RPC_ERROR_BAD_PARAMS, "%s", err->text);
    } else {
        request_fail_errno(x->r, rc, err);
    }
}

static void tell_progress(struct archiving *x)
{
    const uint64_t now = clock_monotonic_ns();
    struct encoder *e;

    if (!request_is_stream(x->r) || now - x->told_ns < PROGRESS_NS)
        return;
    x->told_ns = now;
    e = request_begin_item(x->r, "progress");
    encoder_put_cstr(e, "what",
                     !x->is_import            ? "write"
                     : x->phase == PHASE_READ ? "check"
                                              : "take");
    encoder_put_int(e, "done",
                    (int64_t) (x->out ? archive_export_writer(x->out)->bytes
                                      : x->reader.at));
    encoder_put_int(e, "total", (int64_t) x->reader.file_bytes);
    request_end_item(x->r);
}

static void on_steps(void *arg, int rc, const struct error *err)
{
    struct error stopped = {0};
    struct archiving *x = arg;

    if (rc > 0 && request_ended(x->r) != REQUEST_END_NONE)
        rc = error_set(&stopped, -ECANCELED, "cancelled");
    if (rc > 0) {
        tell_progress(x);
        rc = dbthread_submit_own(x->p->dbthread, DBTHREAD_ALONE, run_steps,
                                 on_steps, x);
        if (rc == 0)
            return;
        (void) error_set(&stopped, rc, "pockd is stopping");
    }
    // Whatever was taken before it ended stays.
    if (x->is_import)
        follow(x);
    if (rc < 0)
        fail(x, rc, stopped.text[0] ? &stopped : err);
    else if (x->is_import)
        answer_import(x);
    else
        answer_export(x);
    destroy(x);
}

static void start(struct pockd *p, struct request *r, bool is_import)
{
    const struct codec_bytes trust = codec_str(request_params(r), "trust");
    struct archiving *x = calloc(1, sizeof(*x));
    char hex[HASH_HEX] = "";

    if (!x) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    x->p = p;
    x->r = r;
    x->is_import = is_import;
    x->is_dry_run = codec_bool(request_params(r), "dry_run", false);
    x->is_trusted = trust.data != NULL;
    x->fd = request_take_fd(r);
    x->reader.fd = -1;
    if (trust.data && trust.bytes == HASH_HEX - 1)
        memcpy(hex, trust.data, trust.bytes);
    if (trust.data && hash_from_hex(x->trust, hex) < 0) {
        request_fail(r, RPC_ERROR_BAD_PARAMS, "trust must be 64 hex digits");
        destroy(x);
        return;
    }
    if (is_import && p->is_degraded) {
        request_fail(r, RPC_ERROR_DB, "%s", p->problem);
        destroy(x);
        return;
    }
    int rc =
        dbthread_submit(p->dbthread, DBTHREAD_ALONE, run_steps, on_steps, x);
    if (rc < 0) {
        request_fail(r, RPC_ERROR_BUSY, "too many requests wait for the store");
        destroy(x);
    }
}

void handle_archive_export(struct pockd *p, struct request *r)
{
    start(p, r, false);
}

void handle_archive_import(struct pockd *p, struct request *r)
{
    start(p, r, true);
}
