// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_reply.h"

#include "engine/base/hash.h"
#include "engine/base/memfile.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int worker_failure_set(struct worker_failure *f, int rc, const char *name,
                       enum worker_severity severity)
{
    f->name = name;
    f->severity = severity;
    if (rc == -ENOMEM) {
        f->name = "NO_MEMORY";
        f->severity = WORKER_SEVERITY_TRANSIENT;
    } else if (rc == -EINTR) {
        f->name = "CANCELLED";
        f->severity = WORKER_SEVERITY_TRANSIENT;
        (void) error_set(&f->err, rc, "cancelled");
    }
    if (f->err.text[0] == 0)
        (void) error_set(&f->err, rc, "%s", strerror(-rc));
    return rc;
}

// Names from files may hold anything; a message must be UTF-8.
static void copy_text(char *out, size_t size, const char *text)
{
    (void) snprintf(out, size, "%s", text);
    while (!utf8_is_valid(out, strlen(out))) {
        size_t at = 0;
        while (utf8_length((const unsigned char *) out + at, strlen(out + at)) >
               0)
            at +=
                utf8_length((const unsigned char *) out + at, strlen(out + at));
        out[at] = '?';
    }
}

void worker_reply_failure(struct worker_control *c, uint64_t req,
                          const struct worker_failure *f)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_error);
    m.error.req = req;
    m.error.severity = f->severity;
    m.error.record_first = f->record_first;
    m.error.record_count = f->record_count;
    m.error.step = f->step;
    copy_text(m.error.name, sizeof(m.error.name),
              f->name ? f->name : "INTERNAL");
    copy_text(m.error.msg, sizeof(m.error.msg), f->err.text);
    (void) worker_control_send(c, &m);
}

void worker_reply_done(struct worker_control *c, uint64_t req)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_done);
    m.done.req = req;
    (void) worker_control_send(c, &m);
}

int worker_file_seal(int fd, uint64_t *bytes, uint8_t sha256[WORKER_HASH_BYTES],
                     struct error *err)
{
    int rc;

    if ((rc = memfile_seal(fd)) < 0)
        return error_set(err, rc, "a result cannot be sealed: %s",
                         strerror(-rc));
    if ((rc = memfile_check(bytes, fd, WORKER_FILE_BYTES_MAX, "a result",
                            err)) < 0)
        return rc;
    if ((rc = hash_fd(sha256, fd)) < 0)
        return error_set(err, rc, "a result cannot be read back: %s",
                         strerror(-rc));
    return 0;
}
