// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_samples.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/memfile.h"
#include "ipc/worker_records.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TURN(r, s)                          \
    {                                       \
        WORKER_ROLE_##r, (s), sizeof(s) - 1 \
    }

static const struct worker_turn turns[] = {TURN(USER, "Bees?"),
                                           TURN(ASSISTANT, "Asleep."),
                                           TURN(SYSTEM, "Short.")};

static int records_file(void)
{
    static const struct worker_record all[] = {
        {3, 11, "notebook", WORKER_RECORD_TEXT, 1, turns},
        {4, 12, "messages", WORKER_RECORD_PAIR, 2, turns},
        {5, 13, "messages", WORKER_RECORD_PAIR, 1, turns},
        {6, 14, "chats", WORKER_RECORD_CHAT, 3, turns},
        {7, 15, "chats", WORKER_RECORD_CHAT, 2, turns},
    };
    struct worker_records_writer w = {0};
    int fd;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        assert_int_equal(worker_records_add(&w, &all[i], NULL), 0);
    assert_int_equal(worker_records_finish(&w, NULL), 0);
    assert_int_equal(memfile_from_bytes(&fd, "records", w.out.data,
                                        w.out.bytes),
                     0);
    worker_records_free(&w);
    return fd;
}

static void assert_text(struct record_text got, const char *want)
{
    assert_int_equal(got.bytes, strlen(want));
    assert_memory_equal(got.data, want, got.bytes);
}

static void gives_the_engine_what_the_file_holds(void **state)
{
    int fd = records_file();
    struct samples s;

    assert_int_equal(samples_open(&s, fd, "the test", NULL), 0);
    (void) close(fd);
    assert_int_equal(s.count, 5);
    assert_int_equal(s.records[0].id, 3);
    assert_int_equal(s.records[0].time_ms, 11);
    assert_string_equal(s.records[0].stream, "notebook");
    assert_int_equal(s.records[0].kind, RECORD_TEXT);
    assert_text(s.records[0].text, "Bees?");
    assert_int_equal(s.records[1].kind, RECORD_PAIR);
    assert_text(s.records[1].prompt, "Bees?");
    assert_text(s.records[1].completion, "Asleep.");
    assert_text(s.records[2].completion, "");
    assert_int_equal(s.records[3].kind, RECORD_CHAT);
    assert_int_equal(s.records[3].n_messages, 3);
    assert_text(s.records[3].messages[2].role, "system");
    assert_text(s.records[3].messages[2].content, "Short.");
    assert_text(s.records[4].messages[0].role, "user");
    assert_text(s.records[4].messages[1].role, "assistant");
    // The engine takes them as they are, but for the pair without an answer.
    assert_int_equal(record_check(&s.records[1], CHAT_LOSS_ASSISTANT, NULL), 0);
    assert_int_not_equal(record_check(&s.records[2], CHAT_LOSS_ASSISTANT, NULL),
                         0);
    samples_close(&s);
    assert_null(s.records);
}

static void refuses_a_file_that_could_change(void **state)
{
    struct samples s;
    struct error err;
    int fd;

    assert_int_equal(memfile_create(&fd, "open"), 0);
    assert_int_equal(samples_open(&s, fd, "the test", &err), -EPROTO);
    assert_non_null(strstr(err.text, "the test: not sealed"));
    (void) close(fd);
    assert_int_equal(memfile_from_bytes(&fd, "short", "pockrec1", 8), 0);
    assert_int_equal(samples_open(&s, fd, "the test", &err), -EPROTO);
    (void) close(fd);
}

static void every_failed_allocation_is_survived(void **state)
{
    int fd = records_file();
    bool fired = true;

    for (unsigned long n = 1; fired; n++) {
        struct samples s;
        fault_arm(FAULT_ALLOC, n);
        int rc = samples_open(&s, fd, "the test", NULL);
        fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        if (rc == 0)
            samples_close(&s);
    }
    (void) close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_engine_what_the_file_holds),
        cmocka_unit_test(refuses_a_file_that_could_change),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests_name("worker/samples", tests, NULL, NULL);
}
