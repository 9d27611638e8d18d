// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "daemon/train_recipe.h"
#include "daemon/training.h"

static void put_loss(struct encoder *e, const char *key, double v)
{
    if (isfinite(v))
        encoder_put_float(e, key, v);
}

static void put_count(struct encoder *e, const char *key, int64_t v)
{
    if (v > 0)
        encoder_put_int(e, key, v);
}

static void put_streams(struct encoder *e, const char *names)
{
    encoder_put_array(e, "streams");
    while (*names) {
        size_t n = strcspn(names, " ");
        if (n > 0)
            encoder_str(e, names, n);
        names += n + (names[n] == ' ');
    }
    encoder_close(e);
}

void training_encode_row(struct encoder *e, const struct store_job *j,
                         const struct training_speed *speed)
{
    encoder_open_map(e);
    encoder_put_int(e, "id", j->id);
    encoder_put_cstr(e, "state", store_job_state_name(j->state));
    if (j->phase[0])
        encoder_put_cstr(e, "phase", j->phase);
    encoder_put_cstr(e, "stop_reason",
                     j->stop_reason[0] ? j->stop_reason : "NONE");
    if (j->message[0])
        encoder_put_cstr(e, "message", j->message);
    encoder_put_cstr(e, "adapter", j->adapter);
    encoder_put_cstr(e, "model", j->model);
    put_streams(e, j->streams);
    if (j->has_before)
        encoder_put_int(e, "before", j->before_ms);
    encoder_put_bool(e, "forced", j->is_forced);
    train_recipe_encode(e, j->recipe);
    encoder_put_int(e, "created", j->created_ms);
    put_count(e, "started", j->started_ms);
    put_count(e, "finished", j->finished_ms);
    encoder_put_int(e, "attempts", j->attempts);
    encoder_put_int(e, "step", j->step);
    encoder_put_int(e, "steps", j->steps);
    encoder_put_float(e, "epoch", isfinite(j->epoch) ? j->epoch : 0);
    encoder_put_int(e, "tokens", j->tokens);
    put_count(e, "records", j->records);
    put_count(e, "heldout_records", j->heldout_records);
    put_loss(e, "loss", j->loss);
    put_loss(e, "heldout_start", j->heldout_start);
    put_loss(e, "heldout_best", j->heldout_best);
    if (isfinite(j->heldout_best))
        encoder_put_int(e, "heldout_step", j->heldout_step);
    if (speed) {
        put_loss(e, "tokens_s", speed->tokens_s);
        if (speed->eta_s >= 0)
            encoder_put_int(e, "eta_s", speed->eta_s);
    }
    encoder_put_int(e, "run_ms", j->run_ms);
    put_count(e, "version", j->version);
    encoder_close(e);
}
