// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker_audit.h"

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/base/memfile.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

// Which answers a request may get. `is_final` closes the request.
static const struct answer {
    enum worker_msg_type request;
    enum worker_msg_type answer;
    bool is_final;
} answers[] = {
    {WORKER_MSG_train_start, WORKER_MSG_progress, false},
    {WORKER_MSG_train_start, WORKER_MSG_restarted, false},
    {WORKER_MSG_train_start, WORKER_MSG_notice, false},
    {WORKER_MSG_train_start, WORKER_MSG_checkpoint, false},
    {WORKER_MSG_train_start, WORKER_MSG_stopped, true},
    {WORKER_MSG_train_start, WORKER_MSG_result, true},
    {WORKER_MSG_load, WORKER_MSG_done, true},
    {WORKER_MSG_unload, WORKER_MSG_done, true},
    {WORKER_MSG_gen, WORKER_MSG_gen_item, false},
    {WORKER_MSG_gen, WORKER_MSG_gen_done, true},
    {WORKER_MSG_score, WORKER_MSG_score_item, false},
    {WORKER_MSG_score, WORKER_MSG_score_done, true},
    {WORKER_MSG_inspect_model, WORKER_MSG_tool_progress, false},
    {WORKER_MSG_inspect_model, WORKER_MSG_model_info, true},
    {WORKER_MSG_detail_model, WORKER_MSG_model_details, true},
    {WORKER_MSG_convert_model, WORKER_MSG_tool_progress, false},
    {WORKER_MSG_convert_model, WORKER_MSG_model_converted, true},
    {WORKER_MSG_check_adapter, WORKER_MSG_adapter_info, true},
    {WORKER_MSG_convert_adapter, WORKER_MSG_converted, true},
    {WORKER_MSG_plan, WORKER_MSG_planned, true},
    {WORKER_MSG_search, WORKER_MSG_found, true},
    {WORKER_MSG_tune, WORKER_MSG_tuned, true},
    {WORKER_MSG_tokenize, WORKER_MSG_tokens, true},
    {WORKER_MSG_mask, WORKER_MSG_masked, true},
    {WORKER_MSG_look, WORKER_MSG_devices, true},
    {WORKER_MSG_merge, WORKER_MSG_converted, true},
    {WORKER_MSG_diff, WORKER_MSG_differed, true},
    {WORKER_MSG_tokenize_text, WORKER_MSG_tokens, true},
};
enum { N_ANSWERS = sizeof(answers) / sizeof(answers[0]) };

static bool is_request(enum worker_msg_type type)
{
    for (int i = 0; i < N_ANSWERS; i++)
        if (answers[i].request == type)
            return true;
    return false;
}

static const struct answer *answer_find(enum worker_msg_type request,
                                        enum worker_msg_type answer)
{
    for (int i = 0; i < N_ANSWERS; i++)
        if (answers[i].request == request && answers[i].answer == answer)
            return &answers[i];
    return NULL;
}

static uint32_t open_find(const struct worker_audit *a, uint64_t req)
{
    uint32_t i = 0;

    while (i < a->n_open && a->open[i].req != req)
        i++;
    return i;
}

int worker_audit_request(struct worker_audit *a, const struct worker_msg *m,
                         struct error *err)
{
    if (!is_request(m->type))
        return 0;
    // All requests begin with their number.
    uint64_t req = m->load.req;
    if (req == 0)
        return error_set(err, -EINVAL, "requests are numbered from 1");
    if (open_find(a, req) < a->n_open)
        return error_set(err, -EEXIST,
                         "request %" PRIu64 " is already with the worker", req);
    if (a->n_open == WORKER_AUDIT_OPEN_MAX)
        return error_set(err, -EAGAIN,
                         "the worker has %d requests waiting: try again when "
                         "some are done",
                         WORKER_AUDIT_OPEN_MAX);
    a->open[a->n_open].req = req;
    a->open[a->n_open].type = m->type;
    a->n_open++;
    return 0;
}

int worker_audit_answer(struct worker_audit *a, const struct worker_msg *m,
                        struct error *err)
{
    bool is_error = m->type == WORKER_MSG_error;
    uint64_t req = m->error.req; // the first field of every answer

    if (is_error && req == 0)
        return 0;
    uint32_t at = open_find(a, req);
    if (at == a->n_open)
        return error_set(err, -EPROTO,
                         "the worker sent %s for request %" PRIu64
                         ", which is not open",
                         worker_msg_name(m->type), req);
    const struct answer *ans = answer_find(a->open[at].type, m->type);
    if (!is_error && !ans)
        return error_set(err, -EPROTO, "the worker answered %s with %s",
                         worker_msg_name(a->open[at].type),
                         worker_msg_name(m->type));
    if (is_error || ans->is_final)
        a->open[at] = a->open[--a->n_open];
    return 0;
}

// The files of a message, with what it says about them.
struct claim {
    const char *what;
    int fd;
    uint64_t bytes;
    const uint8_t *sha256; // NULL: not said
};

static int claims(struct claim out[2], const struct worker_msg *m)
{
    int n = 0;

    if (m->type == WORKER_MSG_checkpoint) {
        out[n++] = (struct claim){"the checkpoint", m->checkpoint.file_fd,
                                  m->checkpoint.bytes, m->checkpoint.sha256};
    } else if (m->type == WORKER_MSG_result) {
        out[n++] = (struct claim){"the adapter", m->result.file_fd,
                                  m->result.bytes, m->result.sha256};
        out[n++] =
            (struct claim){"the list of used records", m->result.used_fd,
                           m->result.used_records, m->result.used_sha256};
    } else if (m->type == WORKER_MSG_converted) {
        out[n++] = (struct claim){"the converted adapter", m->converted.file_fd,
                                  m->converted.bytes, m->converted.sha256};
        if (m->converted.config_fd >= 0)
            out[n++] = (struct claim){"the adapter's configuration",
                                      m->converted.config_fd,
                                      m->converted.config_bytes, NULL};
    } else if (m->type == WORKER_MSG_planned && m->planned.file_fd >= 0) {
        out[n++] = (struct claim){"the drawing", m->planned.file_fd,
                                  m->planned.bytes, NULL};
    } else if (m->type == WORKER_MSG_tokens) {
        out[n++] = (struct claim){"the list of tokens", m->tokens.file_fd,
                                  m->tokens.bytes, NULL};
    } else if (m->type == WORKER_MSG_masked && m->masked.file_fd >= 0) {
        out[n++] = (struct claim){"the tokens", m->masked.file_fd,
                                  m->masked.bytes, NULL};
    } else if (m->type == WORKER_MSG_differed) {
        out[n++] = (struct claim){"the comparison", m->differed.file_fd,
                                  m->differed.bytes, NULL};
    }
    return n;
}

bool worker_audit_has_files(const struct worker_msg *m)
{
    struct claim c[2];

    return claims(c, m) > 0;
}

static int claim_check(const struct claim *c, struct error *err)
{
    uint8_t digest[HASH_BYTES];
    uint64_t bytes;
    int rc;

    if ((rc = memfile_check(&bytes, c->fd, WORKER_FILE_BYTES_MAX, c->what,
                            err)) < 0)
        return rc;
    if (bytes != c->bytes)
        return error_set(err, -EPROTO,
                         "%s has %" PRIu64
                         " bytes, but the worker said %" PRIu64,
                         c->what, bytes, c->bytes);
    if (!c->sha256)
        return 0;
    if ((rc = hash_fd(digest, c->fd)) < 0)
        return error_set(err, rc, "%s cannot be read: %s", c->what,
                         strerror(-rc));
    if (memcmp(digest, c->sha256, HASH_BYTES) != 0)
        return error_set(err, -EPROTO,
                         "%s does not have the hash that the worker said",
                         c->what);
    return 0;
}

int worker_audit_files(const struct worker_msg *m, struct error *err)
{
    struct claim c[2];
    int n = claims(c, m);

    for (int i = 0; i < n; i++) {
        int rc = claim_check(&c[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}
