// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/record.h"

#include "engine/base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(s)                             \
    {                                       \
        .data = (s), .bytes = sizeof(s) - 1 \
    }

static void a_tenth_is_held_out(void **state)
{
    int held_out = 0;

    for (int i = 0; i < 4000; i++) {
        char text[32];
        struct record r = {.kind = RECORD_TEXT, .text.data = text};
        r.text.bytes = (size_t) snprintf(text, sizeof text, "record %d", i);
        held_out += record_is_held_out(&r);
    }
    assert_in_range(held_out, 340, 480); // 406 expected, standard deviation 19
}

static void only_contents_decide_the_split(void **state)
{
    // SHA-256 of "15" starts with e6, that of "39" with 0b.
    const struct record_message chat[] = {
        {.role = TEXT("user"), .content = TEXT("3")},
        {.role = TEXT("assistant"), .content = TEXT("9")},
    };
    const struct record out = {.kind = RECORD_TEXT, .text = TEXT("39")};
    const struct record in = {.kind = RECORD_TEXT, .text = TEXT("15")};
    const struct record pair = {.kind = RECORD_PAIR,
                                .id = 9,
                                .prompt = TEXT("3"),
                                .completion = TEXT("9")};
    const struct record talk = {.kind = RECORD_CHAT,
                                .messages = chat,
                                .n_messages = 2};

    assert_true(record_is_held_out(&out));
    assert_false(record_is_held_out(&in));
    assert_true(record_is_held_out(&pair));
    assert_true(record_is_held_out(&talk));
}

static void bad_records_are_named(void **state)
{
    const struct record_message no_reply[] = {
        {.role = TEXT("user"), .content = TEXT("hello")},
    };
    const struct record_message bad_role[] = {
        {.role = TEXT("robot"), .content = TEXT("hello")},
    };
    const struct {
        struct record record;
        const char *says;
    } bad[] = {
        {{.kind = RECORD_TEXT}, "empty"},
        {{.kind = RECORD_TEXT, .text = TEXT("a\xff")}, "UTF-8"},
        {{.kind = RECORD_PAIR, .prompt = TEXT("q")}, "completion"},
        {{.kind = RECORD_PAIR,
          .prompt = TEXT("\xc0\x80"),
          .completion = TEXT("a")},
         "UTF-8"},
        {{.kind = RECORD_CHAT}, "assistant"},
        {{.kind = RECORD_CHAT, .messages = no_reply, .n_messages = 1},
         "assistant"},
        {{.kind = RECORD_CHAT, .messages = bad_role, .n_messages = 1}, "robot"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        assert_int_equal(record_check(&bad[i].record, CHAT_LOSS_ASSISTANT,
                                      &err),
                         -EINVAL);
        assert_non_null(strstr(err.text, bad[i].says));
        assert_non_null(strstr(err.text, "record 0"));
    }
}

static void something_must_count(void **state)
{
    const struct record_message asked[] = {
        {.role = TEXT("user"), .content = TEXT("hello")},
    };
    const struct record chat = {.kind = RECORD_CHAT,
                                .messages = asked,
                                .n_messages = 1};
    const struct record pair = {.kind = RECORD_PAIR, .prompt = TEXT("q")};
    const struct record reply = {.kind = RECORD_PAIR, .completion = TEXT("a")};
    struct error err = {0};

    assert_int_equal(record_check(&chat, CHAT_LOSS_USER, &err), 0);
    assert_int_equal(record_check(&chat, CHAT_LOSS_ALL, &err), 0);
    assert_int_equal(record_check(&pair, CHAT_LOSS_USER, &err), 0);
    assert_int_equal(record_check(&reply, CHAT_LOSS_ALL, &err), 0);
    assert_int_equal(record_check(&reply, CHAT_LOSS_USER, &err), -EINVAL);
    assert_non_null(strstr(err.text, "its prompt is empty"));
}

static void kinds_have_names(void **state)
{
    enum record_kind kind;

    for (int i = 0; i < RECORD_KINDS; i++) {
        const char *name = record_kind_name((enum record_kind) i);
        assert_int_equal(record_kind_parse(&kind, name), 0);
        assert_int_equal(kind, i);
    }
    assert_int_equal(record_kind_parse(&kind, "song"), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tenth_is_held_out),
        cmocka_unit_test(only_contents_decide_the_split),
        cmocka_unit_test(bad_records_are_named),
        cmocka_unit_test(something_must_count),
        cmocka_unit_test(kinds_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
