// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/job_text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    BAR_COLUMNS = 30,
    REDRAW_NS = 100000000,
};

static bool is_state(const struct pock_value *job, const char *state)
{
    return strcmp(pock_get_str(job, "state", ""), state) == 0;
}

bool job_is_final(const struct pock_value *job)
{
    return is_state(job, "done") || is_state(job, "failed") ||
           is_state(job, "cancelled");
}

double job_part(const struct pock_value *job)
{
    double steps = (double) pock_get_int(job, "steps", 0);
    double step = (double) pock_get_int(job, "step", 0);

    if (steps <= 0)
        return 0;
    return step < steps ? step / steps : 1;
}

// "training" says more than "running".
static const char *state_word(const struct pock_value *job)
{
    const char *phase = pock_get_str(job, "phase", "");

    if (!is_state(job, "running"))
        return pock_get_str(job, "state", "?");
    if (strcmp(phase, "evaluate") == 0)
        return "evaluating";
    return strcmp(phase, "prepare") == 0 ? "preparing" : "training";
}

static void add_numbers(struct str *s, const struct pock_value *job)
{
    double loss = pock_get_float(job, "loss", NAN);
    double best = pock_get_float(job, "heldout_best", NAN);
    int64_t eta = pock_get_int(job, "eta_s", -1);
    char left[OUT_TIME_BYTES];

    if (pock_get_int(job, "steps", 0) > 0)
        str_printf(s, ", step %" PRId64 " of %" PRId64,
                   pock_get_int(job, "step", 0), pock_get_int(job, "steps", 0));
    if (isfinite(loss))
        str_printf(s, ", loss %.3f", loss);
    if (isfinite(best))
        str_printf(s, ", held out %.3f", best);
    if (eta > 0 && is_state(job, "running")) {
        out_duration_format(left, eta * 1000);
        str_printf(s, ", %s left", left);
    }
}

static void store(char out[JOB_TEXT_BYTES], struct str *s)
{
    snprintf(out, JOB_TEXT_BYTES, "%s",
             str_finish(s) == 0 && s->data ? s->data : "");
    str_free(s);
}

void job_text(char out[JOB_TEXT_BYTES], const struct pock_value *job)
{
    const char *reason = pock_get_str(job, "stop_reason", "NONE");
    struct str s = {.limit = JOB_TEXT_BYTES - 1};

    str_printf(&s, "%s %s on %s", state_word(job),
               pock_get_str(job, "adapter", "?"),
               pock_get_str(job, "model", "?"));
    if (!is_state(job, "running") && strcmp(reason, "NONE") != 0)
        str_printf(&s, " (%s)", reason);
    add_numbers(&s, job);
    store(out, &s);
}

void job_result_text(char out[JOB_TEXT_BYTES], const struct pock_value *job)
{
    double start = pock_get_float(job, "heldout_start", NAN);
    double best = pock_get_float(job, "heldout_best", NAN);
    const char *message = pock_get_str(job, "message", "");
    int64_t version = pock_get_int(job, "version", 0);
    struct str s = {.limit = JOB_TEXT_BYTES - 1};

    str_puts(&s, pock_get_str(job, "state", "?"));
    if (version > 0)
        str_printf(&s, ": made %s:%" PRId64, pock_get_str(job, "adapter", "?"),
                   version);
    // The daemon's sentence has the numbers, where there are any.
    if (*message)
        str_printf(&s, ": %s", message);
    else if (isfinite(start) && isfinite(best))
        str_printf(&s, ": held-out loss %.3f -> %.3f", start, best);
    store(out, &s);
}

void job_bar_init(struct job_bar *b, struct ctl *c)
{
    *b = (struct job_bar){
        .ctl = c,
        .file = stderr,
        .has_cursor = c->err.has_cursor,
        .columns = c->err.columns,
        .last_tenth = -1,
    };
}

// Ends the picture's line, so that another line can be written.
static void leave_bar(struct job_bar *b)
{
    if (b->is_drawn)
        fputc('\n', b->file);
    b->is_drawn = false;
}

void job_bar_finish(struct job_bar *b)
{
    leave_bar(b);
    (void) fflush(b->file);
}

// How much of a picture fits: whole parts of it, which commas divide.
static size_t fit_parts(const struct str *s, size_t columns)
{
    const size_t bytes = term_fit(s->data, s->bytes, columns);
    size_t n = bytes;

    while (n > 0 && n < s->bytes && s->data[n] != ',')
        n--;
    return n > 0 ? n : bytes;
}

static void draw(struct job_bar *b, const struct pock_value *job)
{
    double part = job_part(job);
    int full = (int) (part * BAR_COLUMNS);
    struct str s = {.limit = 4096};
    double speed = pock_get_float(job, "tokens_s", NAN);

    str_putc(&s, '[');
    for (int i = 0; i < BAR_COLUMNS; i++)
        str_putc(&s, i < full ? '#' : '.');
    str_printf(&s, "] %3.0f %%", part * 100);
    add_numbers(&s, job);
    if (isfinite(speed) && is_state(job, "running"))
        str_printf(&s, ", %.0f tokens/s", speed);
    if (str_finish(&s) == 0) {
        size_t bytes = s.bytes;
        if (b->columns > 1)
            bytes = fit_parts(&s, (size_t) b->columns - 1);
        fprintf(b->file, "\r%.*s\033[K", (int) bytes, s.data);
        b->is_drawn = true;
    }
    str_free(&s);
}

static void write_tenth(struct job_bar *b, const struct pock_value *job)
{
    int tenth = (int) (job_part(job) * 10);
    struct str s = {.limit = 4096};

    if (pock_get_int(job, "steps", 0) == 0 || tenth <= b->last_tenth)
        return;
    b->last_tenth = tenth;
    str_printf(&s, "%3d %%", tenth * 10);
    add_numbers(&s, job);
    if (str_finish(&s) == 0)
        fprintf(b->file, "%s\n", s.data);
    str_free(&s);
}

// "job 1: training", "job 1: queued (POWER): on battery"
static void tell_state(struct job_bar *b, const struct pock_value *job)
{
    const char *word = state_word(job);
    const char *reason = pock_get_str(job, "stop_reason", "NONE");
    const char *message = pock_get_str(job, "message", "");
    bool is_running = is_state(job, "running") || is_state(job, "starting");

    if (is_running || strcmp(reason, "NONE") == 0)
        reason = "";
    if (job_is_final(job) ||
        (strcmp(word, b->state) == 0 && strcmp(reason, b->reason) == 0))
        return;
    snprintf(b->state, sizeof(b->state), "%s", word);
    snprintf(b->reason, sizeof(b->reason), "%s", reason);
    leave_bar(b);
    fprintf(b->file, "job %" PRId64 ": %s", pock_get_int(job, "id", 0), word);
    if (*reason)
        fprintf(b->file, " (%s)", reason);
    if (*message && !is_running)
        fprintf(b->file, ": %s", message);
    fputc('\n', b->file);
}

void job_bar_update(struct job_bar *b, const struct pock_value *job,
                    uint64_t now_ns)
{
    tell_state(b, job);
    if (!b->has_cursor) {
        write_tenth(b, job);
    } else if (is_state(job, "running") && pock_get_int(job, "steps", 0) > 0 &&
               (!b->is_drawn || now_ns - b->drawn_ns >= REDRAW_NS ||
                job_part(job) >= 1)) {
        draw(b, job);
        b->drawn_ns = now_ns;
    }
    (void) fflush(b->file);
}

void remerge_text(char out[JOB_TEXT_BYTES], const struct pock_value *remerge)
{
    const char *first = pock_get_str(remerge, "waits_for", NULL);

    snprintf(out, JOB_TEXT_BYTES,
             "%s:%" PRId64 " went with an erase, and is merged again %s%s",
             pock_get_str(remerge, "adapter", "?"),
             pock_get_int(remerge, "version", 0),
             first ? "when this one is clean: " : "now", first ? first : "");
}
