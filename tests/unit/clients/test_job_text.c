// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/job_text.h"

#include "clients/libpock/pock_value.h"
#include "ipc/encoder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct job {
    const char *state;
    const char *reason;
    const char *message;
    int64_t step;
    double loss;
};

static struct pock_reply *make(const struct job *j)
{
    struct pock_reply *r = NULL;
    struct encoder e;

    encoder_init(&e, 0);
    encoder_open_map(&e);
    encoder_put_int(&e, "id", 3);
    encoder_put_cstr(&e, "state", j->state);
    encoder_put_cstr(&e, "phase", "train");
    encoder_put_cstr(&e, "stop_reason", j->reason ? j->reason : "NONE");
    encoder_put_cstr(&e, "message", j->message);
    encoder_put_cstr(&e, "adapter", "default");
    encoder_put_cstr(&e, "model", "pock-16m");
    encoder_put_int(&e, "step", j->step);
    encoder_put_int(&e, "steps", 200);
    if (j->loss > 0)
        encoder_put_float(&e, "loss", j->loss);
    encoder_put_int(&e, "eta_s", 125);
    encoder_close(&e);
    assert_int_equal(encoder_finish(&e), 0);
    assert_int_equal(pock_reply_decode(&r, e.data, e.bytes, NULL), 0);
    encoder_destroy(&e);
    return r;
}

static void update(struct job_bar *b, uint64_t ms, const struct job *j)
{
    struct pock_reply *r = make(j);

    job_bar_update(b, r->message, ms * 1000000);
    pock_reply_destroy(r);
}

static void says_what_a_job_does_in_a_line(void **state)
{
    char text[JOB_TEXT_BYTES];
    struct pock_reply *r =
        make(&(struct job){.state = "running", .step = 50, .loss = 4.125});

    job_text(text, r->message);
    assert_string_equal(text, "training default on pock-16m, step 50 of 200, "
                              "loss 4.125, 2 min 5 s left");
    assert_true(job_part(r->message) == 0.25);
    assert_false(job_is_final(r->message));
    pock_reply_destroy(r);
    r = make(&(struct job){.state = "queued", .reason = "POWER", .step = 50});
    job_text(text, r->message);
    assert_string_equal(text,
                        "queued default on pock-16m (POWER), step 50 of 200");
    pock_reply_destroy(r);
}

static void writes_a_line_per_tenth_without_a_terminal(void **state)
{
    struct job_bar b = {.last_tenth = -1};
    char *text = NULL;
    size_t bytes;

    b.file = open_memstream(&text, &bytes);
    for (int step = 0; step <= 60; step++)
        update(&b, (uint64_t) step * 7,
               &(struct job){.state = "running", .step = step});
    update(&b, 900,
           &(struct job){.state = "queued",
                         .reason = "POWER",
                         .message = "external power was lost",
                         .step = 60});
    update(&b, 950, &(struct job){.state = "running", .step = 80});
    job_bar_finish(&b);
    fclose(b.file);
    assert_string_equal(text, "job 3: training\n"
                              "  0 %, step 0 of 200, 2 min 5 s left\n"
                              " 10 %, step 20 of 200, 2 min 5 s left\n"
                              " 20 %, step 40 of 200, 2 min 5 s left\n"
                              " 30 %, step 60 of 200, 2 min 5 s left\n"
                              "job 3: queued (POWER): external power was lost\n"
                              "job 3: training\n"
                              " 40 %, step 80 of 200, 2 min 5 s left\n");
    free(text);
}

static void redraws_a_bar_at_most_ten_times_a_second(void **state)
{
    struct job_bar b = {.has_cursor = true, .columns = 60, .last_tenth = -1};
    char *text = NULL;
    size_t bytes;
    int drawn = 0;

    b.file = open_memstream(&text, &bytes);
    for (int step = 0; step < 100; step++)
        update(&b, (uint64_t) step * 10,
               &(struct job){.state = "running", .step = step});
    job_bar_finish(&b);
    fclose(b.file);
    for (const char *p = text; (p = strchr(p, '\r')); p++) {
        drawn++;
        // Inside of the terminal's width, so that \r goes back to its start.
        assert_true(strcspn(p + 1, "\033") < 60);
    }
    assert_int_equal(drawn, 10);
    assert_non_null(strstr(text, "[#############"));
    // What does not fit is left out whole.
    assert_non_null(strstr(text, ", step 50 of 200\033[K"));
    assert_null(strstr(text, ", 2"));
    assert_int_equal(text[bytes - 1], '\n');
    free(text);
}

static void tells_how_it_ended(void **state)
{
    char text[JOB_TEXT_BYTES];
    struct pock_reply *r =
        make(&(struct job){.state = "failed",
                           .message = "the model file is gone: add it again"});

    assert_true(job_is_final(r->message));
    job_result_text(text, r->message);
    assert_string_equal(text, "failed: the model file is gone: add it again");
    pock_reply_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_a_job_does_in_a_line),
        cmocka_unit_test(writes_a_line_per_tenth_without_a_terminal),
        cmocka_unit_test(redraws_a_bar_at_most_ten_times_a_second),
        cmocka_unit_test(tells_how_it_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
