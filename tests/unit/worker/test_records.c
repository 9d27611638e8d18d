// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "ipc/worker_records.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TURN(r, s)                                                   \
    {                                                                \
        .role = WORKER_ROLE_##r, .text = (s), .bytes = sizeof(s) - 1 \
    }

static const struct worker_turn text_turns[] = {
    TURN(ASSISTANT, "Frost tonight.")};
static const struct worker_turn pair_turns[] = {TURN(USER, "Open today?"),
                                                TURN(ASSISTANT, "Until four.")};
static const struct worker_turn chat_turns[] =
    {TURN(SYSTEM, "Short."), TURN(USER, "Bees?"), TURN(ASSISTANT, "Asleep."),
     TURN(USER, "All?"), TURN(ASSISTANT, "Seven hives.")};

static const struct worker_record three[] = {
    {1, 1740787200000, "notebook", WORKER_RECORD_TEXT, 1, text_turns},
    {2, 0, "messages", WORKER_RECORD_PAIR, 2, pair_turns},
    {INT64_MAX, -1, "", WORKER_RECORD_CHAT, 5, chat_turns},
};

static void write_three(struct worker_records_writer *w)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(worker_records_add(w, &three[i], NULL), 0);
    assert_int_equal(worker_records_finish(w, NULL), 0);
}

static void reads_back_what_was_written(void **state)
{
    struct worker_records_writer w = {0};
    struct worker_records *r;
    struct error err;

    write_three(&w);
    assert_int_equal(worker_records_open(&r, w.out.data, w.out.bytes, &err), 0);
    assert_int_equal(worker_records_count(r), 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct worker_record *got = worker_records_get(r, i);
        assert_int_equal(got->id, three[i].id);
        assert_int_equal(got->time_ms, three[i].time_ms);
        assert_string_equal(got->stream, three[i].stream);
        assert_int_equal(got->kind, three[i].kind);
        assert_int_equal(got->n_turns, three[i].n_turns);
        for (uint32_t k = 0; k < got->n_turns; k++) {
            assert_int_equal(got->turns[k].role, three[i].turns[k].role);
            assert_int_equal(got->turns[k].bytes, three[i].turns[k].bytes);
            assert_memory_equal(got->turns[k].text, three[i].turns[k].text,
                                got->turns[k].bytes);
        }
    }
    assert_null(worker_records_get(r, 3));
    worker_records_destroy(r);
    worker_records_free(&w);
}

static void an_empty_file_has_no_records(void **state)
{
    struct worker_records_writer w = {0};
    struct worker_records *r;

    assert_int_equal(worker_records_finish(&w, NULL), 0);
    assert_int_equal(w.out.bytes, WORKER_RECORDS_HEADER);
    assert_int_equal(worker_records_open(&r, w.out.data, w.out.bytes, NULL), 0);
    assert_int_equal(worker_records_count(r), 0);
    worker_records_destroy(r);
    worker_records_free(&w);
}

static void writer_names_a_bad_record_and_goes_on(void **state)
{
    static const struct worker_turn latin1[] = {TURN(USER, "caf\xe9")};
    static const struct worker_turn wrong[] = {TURN(ASSISTANT, "a"),
                                               TURN(USER, "b")};
    static const struct worker_record bad[] = {
        {7, 0, "s", WORKER_RECORD_TEXT, 1, latin1},
        {8, 0, "s", WORKER_RECORD_PAIR, 2, wrong},
        {9, 0, "s", WORKER_RECORD_TEXT, 0, NULL},
        {10, 0, "s", WORKER_RECORD_TEXT, 2, pair_turns},
    };
    static const char *const why[] = {
        "record 7 is not UTF-8",
        "record 8 is a pair, but its roles are not user and assistant",
        "record 9 has 0 turns",
        "record 10 has 2 turns",
    };
    struct worker_records_writer w = {0};
    struct worker_records *r;
    struct error err;

    for (int i = 0; i < 4; i++) {
        assert_int_equal(worker_records_add(&w, &bad[i], &err), -EINVAL);
        assert_string_equal(err.text, why[i]);
    }
    write_three(&w);
    assert_int_equal(worker_records_open(&r, w.out.data, w.out.bytes, NULL), 0);
    assert_int_equal(worker_records_count(r), 3);
    worker_records_destroy(r);
    worker_records_free(&w);
}

static void writer_refuses_a_record_over_a_megabyte(void **state)
{
    char *big = malloc(WORKER_RECORD_BYTES_MAX + 1);
    struct worker_records_writer w = {0};
    struct error err;

    assert_non_null(big);
    memset(big, 'a', WORKER_RECORD_BYTES_MAX + 1);
    struct worker_turn t = {WORKER_ROLE_USER, big, WORKER_RECORD_BYTES_MAX};
    struct worker_record r = {1, 0, "s", WORKER_RECORD_TEXT, 1, &t};
    assert_int_equal(worker_records_add(&w, &r, &err), 0);
    t.bytes++;
    assert_int_equal(worker_records_add(&w, &r, &err), -EINVAL);
    worker_records_free(&w);
    free(big);
}

/*
 * Lies. The hash is made right again, so that the reader gets to the lie.
 */

static void rehash(struct worker_records_writer *w)
{
    uint8_t *p = (uint8_t *) w->out.data;

    hash_bytes(p + 24, p + WORKER_RECORDS_HEADER,
               w->out.bytes - WORKER_RECORDS_HEADER);
}

static void expect_refusal(struct worker_records_writer *w, size_t bytes,
                           const char *why)
{
    struct worker_records *r = NULL;
    struct error err;

    assert_int_equal(worker_records_open(&r, w->out.data, bytes, &err),
                     -EPROTO);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
    assert_null(r);
}

static void refuses_headers_that_lie(void **state)
{
    struct worker_records_writer w = {0};

    write_three(&w);
    size_t n = w.out.bytes;
    expect_refusal(&w, 0, "less than a header");
    expect_refusal(&w, 63, "less than a header");
    expect_refusal(&w, n - 1, "header says");
    w.out.data[0] ^= 1;
    expect_refusal(&w, n, "magic");
    w.out.data[0] ^= 1;
    w.out.data[8] = 4;
    expect_refusal(&w, n, "record 4 of 4 is cut off");
    w.out.data[8] = 2;
    expect_refusal(&w, n, "bytes after the last one");
    w.out.data[10] = 1;
    expect_refusal(&w, n, "do not fit");
    w.out.data[10] = 0;
    w.out.data[8] = 3;
    w.out.data[60] = 1;
    expect_refusal(&w, n, "not zero");
    w.out.data[60] = 0;
    w.out.data[n - 1] ^= 1;
    expect_refusal(&w, n, "hash");
    worker_records_free(&w);
}

// Replace `from` in the payload by `to`, of the same length.
static void patch(struct worker_records_writer *w, const char *from,
                  const char *to, size_t bytes)
{
    char *at = memmem(w->out.data + WORKER_RECORDS_HEADER,
                      w->out.bytes - WORKER_RECORDS_HEADER, from, bytes);

    if (!at)
        fail_msg("no %s in the payload", from);
    memcpy(at, to, bytes);
    rehash(w);
}

static void refuses_payloads_that_lie(void **state)
{
    static const struct {
        const char *from, *to;
        size_t bytes;
        const char *why;
    } cases[] = {
        {"Frost", "Fr\xffst", 5, "record 1 of 3: "},
        {"\xa2id", "\xa2ie", 3, "lacks a key"},
        {"\xa4kind\x00", "\xa4kind\x05", 6, "lacks a key"},
        {"\xa4kind\x00", "\xa4kind\x01", 6, "its roles"},
        {"\xa4kind\x01", "\xa4kind\x00", 6, "has 2 turns"},
        {"\xa5turns\xdc\0\1", "\xa5turns\xdc\0\0", 9, "record 1 of 3"},
        {"\xdc\0\2\1", "\xdc\0\2\5", 4, "not a role and a text"},
        {"\xde\0\5\xa2id", "\xde\0\4\xa2id", 6, "record 1 of 3"},
        {"notebook", "note\0ook", 8, "stream name"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct worker_records_writer w = {0};
        write_three(&w);
        patch(&w, cases[i].from, cases[i].to, cases[i].bytes);
        expect_refusal(&w, w.out.bytes, cases[i].why);
        worker_records_free(&w);
    }
}

static void every_failed_allocation_is_survived(void **state)
{
    struct worker_records_writer w = {0};
    bool fired = true;

    write_three(&w);
    for (unsigned long n = 1; fired; n++) {
        struct worker_records *r = NULL;
        struct error err;
        fault_arm(FAULT_ALLOC, n);
        int rc = worker_records_open(&r, w.out.data, w.out.bytes, &err);
        fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        if (fired)
            assert_int_equal(rc, -ENOMEM);
        else
            assert_int_equal(rc, 0);
        worker_records_destroy(r);
    }
    worker_records_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_was_written),
        cmocka_unit_test(an_empty_file_has_no_records),
        cmocka_unit_test(writer_names_a_bad_record_and_goes_on),
        cmocka_unit_test(writer_refuses_a_record_over_a_megabyte),
        cmocka_unit_test(refuses_headers_that_lie),
        cmocka_unit_test(refuses_payloads_that_lie),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests_name("worker/records", tests, NULL, NULL);
}
