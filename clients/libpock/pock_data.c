// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_internal.h"
#include "engine/base/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

int pock_uid_make(uint8_t uid[POCK_UID_BYTES])
{
    uint8_t made[POCK_UID_BYTES];
    ssize_t n;

    // So few bytes come at once or, before the pool is ready, not at all.
    do
        n = getrandom(made, sizeof(made), 0);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t) sizeof(made))
        return n < 0 ? -errno : -EIO;
    memcpy(uid, made, sizeof(made));
    return 0;
}

static void set_text(struct pock_request *r, const char *key, const char *text,
                     size_t bytes)
{
    if (text)
        pock_set_text(r, key, text, bytes ? bytes : strlen(text));
}

static void set_messages(struct pock_request *r,
                         const struct pock_message *messages, size_t count)
{
    pock_open_list(r, "messages");
    for (size_t i = 0; i < count; i++) {
        pock_open_map(r, NULL);
        pock_set_str(r, "role", messages[i].role);
        pock_set_str(r, "content", messages[i].content);
        pock_close(r);
    }
    pock_close(r);
}

static int set_record(struct pock_request *r, const struct pock_record *record)
{
    static const uint8_t none[POCK_UID_BYTES];
    uint8_t uid[POCK_UID_BYTES];
    const char *kind = "text";
    int rc;

    memcpy(uid, record->uid, sizeof(uid));
    if (memcmp(uid, none, sizeof(uid)) == 0 && (rc = pock_uid_make(uid)) < 0)
        return rc;
    if (record->message_count > 0)
        kind = "chat";
    else if (record->completion)
        kind = record->feedback ? "feedback" : "pair";
    pock_open_map(r, NULL);
    pock_set_bytes(r, "uid", uid, sizeof(uid));
    pock_set_str(r, "kind", kind);
    pock_set_str(r, "stream", record->stream);
    pock_set_int(r, "time",
                 record->time_ms ? record->time_ms : clock_unix_ms());
    set_text(r, "text", record->text, record->text_bytes);
    if (record->completion)
        set_text(r, "prompt", record->prompt ? record->prompt : "",
                 record->prompt_bytes);
    set_text(r, "completion", record->completion, record->completion_bytes);
    if (record->completion && record->feedback)
        pock_set_bool(r, "accepted", record->feedback == POCK_ACCEPTED);
    if (record->message_count > 0)
        set_messages(r, record->messages, record->message_count);
    if (record->is_secret)
        pock_set_bool(r, "secret", true);
    pock_close(r);
    return 0;
}

int pock_put_request(struct pock_request **out, struct pock *p,
                     const struct pock_record *records, size_t count,
                     unsigned flags)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "data.put_many")) < 0)
        return rc;
    pock_open_list(r, "records");
    for (size_t i = 0; i < count; i++) {
        if ((rc = set_record(r, &records[i])) < 0) {
            pock_request_destroy(r);
            return rc;
        }
    }
    pock_close(r);
    if (flags & POCK_PUT_CREATE_STREAM)
        pock_set_bool(r, "create_stream", true);
    *out = r;
    return 0;
}

static size_t count_redacted(const struct pock_value *map)
{
    size_t n = 0;

    for (size_t i = 0; i < pock_count(map); i++)
        n += (size_t) pock_as_int(pock_at(map, i), 0);
    return n;
}

int pock_put_many(struct pock *p, const struct pock_record *records,
                  size_t count, unsigned flags, struct pock_put_result *out,
                  struct pock_error *err)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int rc;

    if ((rc = pock_put_request(&r, p, records, count, flags)) < 0)
        return pock_error_from_rc(err, rc, "data.put_many");
    if ((rc = pock_call(r, 0, &reply, err)) < 0)
        return rc;
    const struct pock_value *result = pock_result(reply);
    if (out)
        *out = (struct pock_put_result){
            .id = pock_as_int(pock_at(pock_get(result, "ids"), 0), 0),
            .added = (size_t) pock_get_int(result, "new", 0),
            .dropped = (size_t) pock_get_int(result, "dropped", 0),
            .redacted = count_redacted(pock_get(result, "redacted")),
        };
    pock_reply_destroy(reply);
    return 0;
}

int pock_put(struct pock *p, const struct pock_record *record, unsigned flags,
             struct pock_put_result *out, struct pock_error *err)
{
    return pock_put_many(p, record, 1, flags, out, err);
}

static void set_ids(struct pock_request *r, const int64_t *ids, size_t count)
{
    pock_open_list(r, "ids");
    for (size_t i = 0; i < count; i++)
        pock_set_int(r, NULL, ids[i]);
    pock_close(r);
}

void pock_set_filter(struct pock_request *r, const struct pock_filter *filter)
{
    if (!filter)
        return;
    pock_set_str(r, "stream", filter->stream);
    if (filter->after_ms)
        pock_set_int(r, "after", filter->after_ms);
    if (filter->before_ms)
        pock_set_int(r, "before", filter->before_ms);
    if (filter->id_count > 0)
        set_ids(r, filter->ids, filter->id_count);
}

int pock_data_list(struct pock *p, const struct pock_filter *filter,
                   int64_t cursor, int limit, struct pock_reply **out,
                   struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "data.list")) < 0)
        return pock_error_from_rc(err, rc, "data.list");
    pock_set_filter(r, filter);
    if (cursor > 0)
        pock_set_int(r, "cursor", cursor);
    if (limit > 0)
        pock_set_int(r, "limit", limit);
    pock_set_bool(r, "preview", true);
    return pock_call(r, 0, out, err);
}

int pock_data_get(struct pock *p, const int64_t *ids, size_t count,
                  struct pock_reply **out, struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "data.get")) < 0)
        return pock_error_from_rc(err, rc, "data.get");
    set_ids(r, ids, count);
    return pock_call(r, 0, out, err);
}

int pock_data_count(struct pock *p, const struct pock_filter *filter,
                    struct pock_reply **out, struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "data.count")) < 0)
        return pock_error_from_rc(err, rc, "data.count");
    pock_set_filter(r, filter);
    return pock_call(r, 0, out, err);
}

int pock_data_export(struct pock *p, const struct pock_filter *filter, int fd,
                     struct pock_reply **out, struct pock_error *err)
{
    struct pock_send_options how = {.has_fd = true};
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "data.export")) < 0)
        return pock_error_from_rc(err, rc, "data.export");
    how.fd = fd;
    pock_set_filter(r, filter);
    return pock_call_with(r, &how, out, err);
}

int pock_data_erase(struct pock *p, const struct pock_filter *filter, bool all,
                    bool dry_run, struct pock_reply **out,
                    struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "data.erase")) < 0)
        return pock_error_from_rc(err, rc, "data.erase");
    pock_set_filter(r, filter);
    if (all)
        pock_set_bool(r, "all", true);
    if (dry_run)
        pock_set_bool(r, "dry_run", true);
    return pock_call(r, 0, out, err);
}
