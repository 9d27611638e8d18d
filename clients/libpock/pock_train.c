// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_internal.h"

int pock_train_start(struct pock *p, const struct pock_train_params *params,
                     struct pock_reply **out, struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "train.start")) < 0)
        return pock_error_from_rc(err, rc, "train.start");
    pock_set_str(r, "adapter", params->adapter);
    pock_set_str(r, "model", params->model);
    if (params->stream) {
        pock_open_list(r, "streams");
        pock_set_str(r, NULL, params->stream);
        pock_close(r);
    }
    if (params->before_ms)
        pock_set_int(r, "before", params->before_ms);
    if (params->now)
        pock_set_bool(r, "now", true);
    return pock_call(r, 0, out, err);
}

int pock_train_status(struct pock *p, int64_t job, struct pock_reply **out,
                      struct pock_error *err)
{
    return pock_call_int(p, "train.status", "job", job, out, err);
}

int pock_train_cancel(struct pock *p, int64_t job, struct pock_reply **out,
                      struct pock_error *err)
{
    return pock_call_int(p, "train.cancel", "job", job, out, err);
}

int pock_train_pause(struct pock *p, int64_t job, struct pock_reply **out,
                     struct pock_error *err)
{
    return pock_call_int(p, "train.pause", "job", job, out, err);
}

int pock_train_resume(struct pock *p, int64_t job, struct pock_reply **out,
                      struct pock_error *err)
{
    return pock_call_int(p, "train.resume", "job", job, out, err);
}

int pock_train_history(struct pock *p, int limit, struct pock_reply **out,
                       struct pock_error *err)
{
    return pock_call_int(p, "train.history", "limit", limit, out, err);
}

int pock_inhibit_acquire(struct pock *p, const char *who, const char *why,
                         int64_t *token, struct pock_error *err)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int rc;

    if ((rc = pock_request_create(&r, p, "inhibit.acquire")) < 0)
        return pock_error_from_rc(err, rc, "inhibit.acquire");
    pock_set_str(r, "who", who);
    pock_set_str(r, "why", why);
    if ((rc = pock_call(r, 0, &reply, err)) < 0)
        return rc;
    if (token)
        *token = pock_get_int(pock_result(reply), "token", 0);
    pock_reply_destroy(reply);
    return 0;
}

int pock_inhibit_release(struct pock *p, int64_t token, struct pock_error *err)
{
    return pock_call_int(p, "inhibit.release", "token", token, NULL, err);
}
