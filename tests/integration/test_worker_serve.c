// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The real serving worker on a tiny model: text, scores, cancellation.
 */

#include "engine/base/memfile.h"
#include "tests/integration/worker_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t next_req;

static void load(struct worker_fixture *f, int model_fd, const char *key,
                 int adapter_fd)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_load);
    m.load.req = ++next_req;
    m.load.model_fd = model_fd;
    m.load.adapter_fd = adapter_fd;
    (void) snprintf(m.load.key, sizeof(m.load.key), "%s", key);
    fixture_send(f, &m);
    worker_msg_finish(&m);
    fixture_wait(f, &m, WORKER_MSG_done);
    assert_int_equal(m.done.req, next_req);
}

static void start_loaded(struct worker_fixture *f)
{
    fixture_start(f, WORKER_KIND_SERVE);
    load(f, fixture_open_model(), "", -1);
}

static void gen_init(struct worker_msg *m, const char *adapter,
                     const char *prompt)
{
    worker_msg_init(m, WORKER_MSG_gen);
    m->gen.req = ++next_req;
    m->gen.tokens_max = 24;
    m->gen.temperature = 1;
    m->gen.seed = 5;
    (void) snprintf(m->gen.adapter, sizeof(m->gen.adapter), "%s", adapter);
    m->gen.prompt_fd = fixture_record(WORKER_RECORD_TEXT, prompt, NULL);
}

static void append(char *text, size_t size, const struct worker_gen_item *item)
{
    size_t at = strlen(text);

    assert_true(item->text.bytes > 0);
    assert_true(at + item->text.bytes < size);
    memcpy(text + at, item->text.data, item->text.bytes);
    text[at + item->text.bytes] = 0;
}

// All text of one request, to its end.
static void generate(struct worker_fixture *f, char text[1024],
                     struct worker_msg *request, struct worker_msg *done)
{
    text[0] = 0;
    fixture_send(f, request);
    worker_msg_finish(request);
    for (;;) {
        fixture_wait_any(f, done);
        if (done->type == WORKER_MSG_gen_done)
            return;
        if (done->type == WORKER_MSG_error)
            fail_msg("%s: %s", done->error.name, done->error.msg);
        assert_int_equal(done->type, WORKER_MSG_gen_item);
        append(text, 1024, &done->gen_item);
    }
}

static void the_same_request_gives_the_same_text(void **state)
{
    struct worker_fixture f;
    struct worker_msg m, done;
    char first[1024], second[1024], other[1024];

    start_loaded(&f);
    gen_init(&m, "", "Frost this morning");
    generate(&f, first, &m, &done);
    assert_true(done.gen_done.tokens > 0 && done.gen_done.tokens <= 24);
    assert_true(done.gen_done.prompt_tokens > 10);
    gen_init(&m, "", "Frost this morning");
    generate(&f, second, &m, &done);
    assert_string_equal(first, second);
    gen_init(&m, "", "Frost this morning");
    m.gen.seed = 6;
    generate(&f, other, &m, &done);
    assert_string_not_equal(first, other);
    fixture_finish(&f);
}

static void chats_and_pairs_are_prompts_too(void **state)
{
    struct worker_fixture f;
    struct worker_msg m, done;
    char text[1024];

    start_loaded(&f);
    gen_init(&m, "", "x");
    (void) close(m.gen.prompt_fd);
    m.gen.prompt_fd = fixture_record(WORKER_RECORD_PAIR, "Bees?", NULL);
    generate(&f, text, &m, &done);
    uint32_t pair_tokens = done.gen_done.prompt_tokens;
    gen_init(&m, "", "x");
    (void) close(m.gen.prompt_fd);
    m.gen.prompt_fd = fixture_record(WORKER_RECORD_CHAT, "Bees?", NULL);
    generate(&f, text, &m, &done);
    assert_int_equal(done.gen_done.prompt_tokens, pair_tokens);
    fixture_finish(&f);
}

static void expect_error(struct worker_fixture *f, uint64_t req,
                         const char *name)
{
    struct worker_msg m;

    do {
        fixture_wait_any(f, &m);
    } while (m.type == WORKER_MSG_gen_item);
    assert_int_equal(m.type, WORKER_MSG_error);
    (void) fprintf(stderr, "# %s: %s\n", m.error.name, m.error.msg);
    assert_string_equal(m.error.name, name);
    assert_int_equal(m.error.req, req);
}

static void says_what_must_be_loaded_first(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;

    fixture_start(&f, WORKER_KIND_SERVE);
    gen_init(&m, "", "Frost");
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    expect_error(&f, next_req, "NOT_LOADED");
    load(&f, fixture_open_model(), "", -1);
    gen_init(&m, "some adapter", "Frost");
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    expect_error(&f, next_req, "NOT_LOADED");
    worker_msg_init(&m, WORKER_MSG_inspect_model);
    m.inspect_model.req = ++next_req;
    m.inspect_model.model_fd = fixture_open_model();
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    expect_error(&f, next_req, "BAD_REQUEST");
    fixture_finish(&f);
}

static void refuses_a_prompt_that_does_not_fit(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    char prompt[500];

    memset(prompt, 'q', sizeof(prompt) - 1);
    prompt[sizeof(prompt) - 1] = 0;
    start_loaded(&f);
    gen_init(&m, "", prompt);
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    expect_error(&f, next_req, "TOO_LONG");
    fixture_finish(&f);
}

static void cancel(struct worker_fixture *f, uint64_t req)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_cancel);
    m.cancel.req = req;
    fixture_send(f, &m);
}

// Eight long scores, so that the last ones are still waiting when they are
// cancelled, then one request that must work as if nothing had been.
static void cancelled_requests_end_and_the_next_one_works(void **state)
{
    struct worker_fixture f;
    struct worker_msg m, done;
    char text[1024];
    int n_cancelled = 0, n_answers = 0;

    start_loaded(&f);
    int records_fd = fixture_records(1, 200);
    uint64_t first = next_req + 1;
    for (int i = 0; i < 8; i++) {
        worker_msg_init(&m, WORKER_MSG_score);
        m.score.req = ++next_req;
        m.score.records_fd = records_fd;
        fixture_send(&f, &m);
    }
    for (uint64_t req = first; req < first + 8; req++)
        cancel(&f, req);
    while (n_answers < 8) {
        fixture_wait_any(&f, &m);
        if (m.type == WORKER_MSG_error) {
            assert_string_equal(m.error.name, "CANCELLED");
            n_cancelled++;
        }
        n_answers +=
            m.type == WORKER_MSG_error || m.type == WORKER_MSG_score_done;
    }
    assert_true(n_cancelled >= 6);
    gen_init(&m, "", "Frost this morning");
    generate(&f, text, &m, &done);
    fixture_finish(&f);
    (void) close(records_fd);
}

static double score_all(struct worker_fixture *f, const char *adapter,
                        uint64_t *tokens)
{
    struct worker_msg m;
    double sum = 0;
    uint64_t n = 0;

    worker_msg_init(&m, WORKER_MSG_score);
    m.score.req = ++next_req;
    m.score.records_fd = fixture_records(5, 9);
    (void) snprintf(m.score.adapter, sizeof(m.score.adapter), "%s", adapter);
    fixture_send(f, &m);
    worker_msg_finish(&m);
    for (uint64_t id = 5; id < 14; id++) {
        fixture_wait(f, &m, WORKER_MSG_score_item);
        assert_int_equal(m.score_item.id, id);
        assert_true(m.score_item.tokens > 0);
        sum += m.score_item.nll;
        n += m.score_item.tokens;
    }
    fixture_wait(f, &m, WORKER_MSG_score_done);
    assert_int_equal(m.score_done.tokens, n);
    assert_true(fabs(m.score_done.nll - sum) < 1e-6 * sum);
    *tokens = n;
    return sum;
}

// An adapter from a short training run.
static int train_adapter(void)
{
    struct worker_fixture f;
    struct worker_msg m;

    fixture_start(&f, WORKER_KIND_TRAIN);
    worker_msg_init(&m, WORKER_MSG_train_start);
    m.train_start.req = 1;
    (void) snprintf(m.train_start.recipe, sizeof(m.train_start.recipe),
                    "rank=4 epochs=2 batch=4 length=96 lr=0.01 warmup=2");
    m.train_start.model_fd = fixture_open_model();
    m.train_start.records_fd = fixture_records(1, 48);
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    fixture_wait(&f, &m, WORKER_MSG_result);
    int fd = worker_fd_take(&m.result.file_fd);
    worker_msg_finish(&m);
    fixture_finish(&f);
    return fd;
}

static void an_adapter_changes_scores_and_can_be_unloaded(void **state)
{
    int adapter_fd = train_adapter();
    struct worker_fixture f;
    struct worker_msg m;
    uint64_t tokens, tokens_again;

    start_loaded(&f);
    double base = score_all(&f, "", &tokens);
    load(&f, -1, "a1", dup(adapter_fd));
    double with = score_all(&f, "a1", &tokens_again);
    assert_int_equal(tokens, tokens_again);
    assert_true(with < base);
    assert_true(score_all(&f, "", &tokens) == base);

    // Nine more: the worker keeps eight and drops the one not used for longest.
    for (int i = 0; i < 9; i++) {
        char key[8];
        (void) snprintf(key, sizeof(key), "b%d", i);
        load(&f, -1, key, dup(adapter_fd));
    }
    assert_true(score_all(&f, "b8", &tokens) == with);
    gen_init(&m, "a1", "Frost");
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    expect_error(&f, next_req, "NOT_LOADED");
    fixture_finish(&f);
    (void) close(adapter_fd);
}

static void refuses_records_that_are_not_sealed(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;

    start_loaded(&f);
    gen_init(&m, "", "Frost");
    (void) close(m.gen.prompt_fd);
    assert_int_equal(memfile_create(&m.gen.prompt_fd, "open"), 0);
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    expect_error(&f, next_req, "BAD_RECORDS");
    fixture_finish(&f);
}

static void ends_when_it_is_told_to(void **state)
{
    struct worker_fixture f;

    start_loaded(&f);
    worker_link_stop(f.link, "PREEMPT");
    fixture_wait_exit(&f);
    assert_true(f.exit.is_clean);
    fixture_finish(&f);
}

int main(int argc, char **argv)
{
    fixture_args(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_request_gives_the_same_text),
        cmocka_unit_test(chats_and_pairs_are_prompts_too),
        cmocka_unit_test(says_what_must_be_loaded_first),
        cmocka_unit_test(refuses_a_prompt_that_does_not_fit),
        cmocka_unit_test(cancelled_requests_end_and_the_next_one_works),
        cmocka_unit_test(an_adapter_changes_scores_and_can_be_unloaded),
        cmocka_unit_test(refuses_records_that_are_not_sealed),
        cmocka_unit_test(ends_when_it_is_told_to),
    };
    return cmocka_run_group_tests_name("worker/serve", tests, NULL, NULL);
}
