// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Records as the model sees them: for each record the number of its tokens, as
 * four bytes, and for each token a byte of marks (1: counts, 2: special), its
 * length as two bytes, and its text. Little-endian.
 */

#include "daemon/worker/worker_samples.h"
#include "daemon/worker/worker_tool_inside.h"
#include "engine/base/bits.h"
#include "engine/base/memfile.h"
#include "engine/base/str.h"
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(struct tool *t, int rc, const char *name)
{
    return worker_failure_set(&t->failure, rc, name, WORKER_SEVERITY_PERMANENT);
}

static void put_token(struct str *out, const struct engine_shown *s)
{
    const size_t n = s->bytes < UINT16_MAX ? s->bytes : UINT16_MAX;
    const uint8_t head[3] = {
        (uint8_t) ((s->counts ? 1 : 0) | (s->is_special ? 2 : 0)),
        (uint8_t) n,
        (uint8_t) (n >> 8),
    };

    str_append(out, head, sizeof(head));
    str_append(out, s->text, n);
}

static int put_record(struct str *out, struct engine_model *model,
                      const struct record *r, uint32_t loss_on,
                      struct error *err)
{
    struct engine_shown *shown;
    size_t count;
    uint8_t n[4];
    int rc = engine_show(&shown, &count, model, r, loss_on, err);

    if (rc < 0)
        return rc;
    bits_store32(n, (uint32_t) count);
    str_append(out, n, sizeof(n));
    for (size_t i = 0; i < count; i++)
        put_token(out, &shown[i]);
    free(shown);
    return str_finish(out);
}

static int show(struct tool *t, struct worker_masked *out,
                const struct worker_mask *q, struct engine_model *model)
{
    struct str text = {.limit = (size_t) 16 << 20};
    struct error *err = &t->failure.err;
    struct samples in = {0};
    struct recipe recipe;
    int rc;

    recipe_init(&recipe);
    if (q->loss_on[0] &&
        (rc = recipe_set(&recipe, "loss_on", q->loss_on, err)) < 0)
        return fail(t, rc, "BAD_REQUEST");
    if ((rc = samples_open(&in, q->records_fd, "the records", err)) < 0)
        return fail(t, rc, "BAD_RECORDS");
    for (size_t i = 0; i < in.count && rc == 0; i++)
        rc = put_record(&text, model, &in.records[i], recipe.loss_on, err);
    samples_close(&in);
    if (rc == -E2BIG)
        (void) error_set(err, rc, "there is too much to show: name fewer");
    if (rc < 0)
        (void) fail(t, rc, "BAD_RECORDS");
    else if ((rc = memfile_from_bytes(&out->file_fd, "pock-mask", text.data,
                                      text.bytes)) < 0)
        (void) worker_failure_set(&t->failure, rc, "INTERNAL",
                                  WORKER_SEVERITY_TRANSIENT);
    out->bytes = text.bytes;
    str_free(&text);
    return rc;
}

int tool_mask(struct tool *t, const struct worker_mask *q)
{
    struct engine_model *model = NULL;
    struct error why = {0};
    struct worker_msg m;
    int rc = tool_open_model(&model, t, q->model_fd);

    if (rc < 0)
        return rc;
    worker_msg_init(&m, WORKER_MSG_masked);
    m.masked.req = q->req;
    if ((rc = engine_model_set_chat(model, q->chat, &t->failure.err)) < 0) {
        (void) fail(t, rc, "BAD_REQUEST");
        goto out;
    }
    (void) snprintf(m.masked.chat, sizeof(m.masked.chat), "%s",
                    engine_model_chat(model));
    if (engine_model_check_chat(model, &why) < 0)
        (void) snprintf(m.masked.msg, sizeof(m.masked.msg), "%s", why.text);
    if (q->records_fd >= 0 && (rc = show(t, &m.masked, q, model)) < 0)
        goto out;
    (void) worker_control_send(t->control, &m);

out:
    worker_msg_finish(&m);
    engine_model_close(model);
    return rc;
}
