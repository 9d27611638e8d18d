// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/rpc_record.h"

#include <stdlib.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct codec_doc doc;
static struct encoder enc;

static int setup(void **state)
{
    encoder_init(&enc, 0);
    encoder_open_map(&enc);
    return 0;
}

static int teardown(void **state)
{
    codec_finish(&doc);
    encoder_destroy(&enc);
    return 0;
}

static int decode(struct rpc_record *r, struct error *err)
{
    encoder_close(&enc);
    assert_int_equal(encoder_finish(&enc), 0);
    codec_finish(&doc);
    // The test owns the frame until the next one.
    static uint8_t frame[FRAME_BYTES_MAX];
    memcpy(frame, enc.data, enc.bytes);
    assert_int_equal(codec_decode(&doc, frame, enc.bytes, &frame_limits_full,
                                  err),
                     0);
    encoder_reset(&enc);
    encoder_open_map(&enc);
    return rpc_record_decode(r, &doc.root, err);
}

static void put_head(const char *kind)
{
    encoder_put_bin(&enc, "uid", "0123456789abcdef", 16);
    encoder_put_cstr(&enc, "kind", kind);
    encoder_put_cstr(&enc, "stream", "notes");
    encoder_put_int(&enc, "time", 1740787200000);
}

static void put_turn(const char *role, const char *content)
{
    encoder_open_map(&enc);
    encoder_put_cstr(&enc, "role", role);
    encoder_put_cstr(&enc, "content", content);
    encoder_close(&enc);
}

static void assert_refused(int code, const char *why)
{
    struct rpc_record r;
    struct error err;

    assert_int_equal(decode(&r, &err), code);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void reads_each_kind(void **state)
{
    struct rpc_record r;
    struct error err;
    struct codec_bytes role, content;

    put_head("text");
    encoder_put_cstr(&enc, "text", "Seven hives.");
    assert_int_equal(decode(&r, &err), 0);
    assert_int_equal(r.kind, RPC_RECORD_KIND_TEXT);
    assert_int_equal(r.bytes, 12);
    assert_memory_equal(r.uid, "0123456789abcdef", 16);
    assert_true(codec_bytes_equal(r.stream, "notes"));
    assert_int_equal(r.time_ms, 1740787200000);

    put_head("pair");
    encoder_put_cstr(&enc, "prompt", "");
    encoder_put_cstr(&enc, "completion", "On the vice.");
    assert_int_equal(decode(&r, &err), 0);
    assert_true(codec_bytes_equal(r.completion, "On the vice."));

    put_head("chat");
    encoder_put_array(&enc, "messages");
    put_turn("system", "Be short.");
    put_turn("user", "Open?");
    put_turn("assistant", "Nine to one.");
    encoder_close(&enc);
    assert_int_equal(decode(&r, &err), 0);
    assert_int_equal(codec_count(r.messages), 3);
    assert_true(rpc_record_message(&r, 2, &role, &content));
    assert_true(codec_bytes_equal(content, "Nine to one."));
    assert_false(rpc_record_message(&r, 3, &role, &content));
}

// The same record, written from its decoded form, reads the same; its body is
// the same bytes whatever the order of keys was.
static void writes_what_it_reads(void **state)
{
    struct rpc_record r, again;
    struct error err;
    struct encoder body, body2;

    put_head("pair");
    encoder_put_cstr(&enc, "completion", "c");
    encoder_put_cstr(&enc, "prompt", "p");
    encoder_put_cstr(&enc, "extra", "ignored");
    assert_int_equal(decode(&r, &err), 0);
    r.id = 9;
    encoder_init(&body, 0);
    rpc_record_body_encode(&body, &r);
    assert_int_equal(encoder_finish(&body), 0);

    encoder_reset(&enc);
    rpc_record_encode(&enc, &r);
    assert_int_equal(encoder_finish(&enc), 0);
    struct codec_doc second;
    assert_int_equal(codec_decode(&second, enc.data, enc.bytes,
                                  &frame_limits_full, &err),
                     0);
    assert_int_equal(rpc_record_decode(&again, &second.root, &err), 0);
    assert_int_equal(again.id, 9);
    encoder_init(&body2, 0);
    rpc_record_body_encode(&body2, &again);
    assert_int_equal(body.bytes, body2.bytes);
    assert_memory_equal(body.data, body2.data, body.bytes);
    codec_finish(&second);

    struct rpc_record stored = {.kind = RPC_RECORD_KIND_PAIR};
    assert_int_equal(codec_decode(&second, body.data, body.bytes,
                                  &frame_limits_full, &err),
                     0);
    assert_int_equal(rpc_record_body_decode(&stored, &second.root, &err), 0);
    assert_true(codec_bytes_equal(stored.prompt, "p"));
    stored.kind = RPC_RECORD_KIND_TEXT;
    assert_int_equal(rpc_record_body_decode(&stored, &second.root, &err),
                     -EINVAL);
    codec_finish(&second);
    encoder_destroy(&body2);
    encoder_destroy(&body);
}

static void names_what_is_wrong(void **state)
{
    assert_refused(-EINVAL, "`uid` is missing");
    encoder_put_bin(&enc, "uid", "short", 5);
    assert_refused(-EINVAL, "`uid` has 5 bytes, but must have 16");
    encoder_put_cstr(&enc, "uid", "0123456789abcdef");
    assert_refused(-EINVAL, "`uid` must be a bin");
    put_head("poem");
    assert_refused(-EINVAL, "`kind` must be text, pair, chat or feedback");
    put_head("feedback");
    assert_refused(-EINVAL, "`accepted` is missing");
    put_head("feedback");
    encoder_put_int(&enc, "accepted", 1);
    assert_refused(-EINVAL, "`accepted`");
    put_head("feedback");
    encoder_put_bool(&enc, "accepted", true);
    assert_refused(-EINVAL, "`prompt` is missing");
    put_head("text");
    assert_refused(-EINVAL, "`text` is missing");
    put_head("text");
    encoder_put_cstr(&enc, "text", "");
    assert_refused(-EINVAL, "`text` is empty");
    put_head("text");
    encoder_put_cstr(&enc, "text", "x");
    encoder_put_bool(&enc, "!secret", true);
    assert_refused(-EINVAL, "`!secret`");
    put_head("chat");
    encoder_put_array(&enc, "messages");
    put_turn("assistant", "a");
    put_turn("user", "b");
    encoder_close(&enc);
    assert_refused(-EINVAL, "by the assistant");
    put_head("chat");
    encoder_put_array(&enc, "messages");
    put_turn("robot", "a");
    encoder_close(&enc);
    assert_refused(-EINVAL, "`messages`[0]: `role` must be");
    encoder_put_bin(&enc, "uid", "0123456789abcdef", 16);
    encoder_put_cstr(&enc, "stream", "Bad Name");
    assert_refused(-EINVAL, "`stream` must be");
    encoder_put_bin(&enc, "uid", "0123456789abcdef", 16);
    encoder_put_cstr(&enc, "stream", "s");
    encoder_put_int(&enc, "time", -1);
    assert_refused(-EINVAL, "`time` is -1");
}

static void names_size_and_limit_of_a_large_record(void **state)
{
    static char text[200000];

    memset(text, 'x', sizeof(text));
    put_head("pair");
    encoder_put_str(&enc, "prompt", text, sizeof(text));
    encoder_put_str(&enc, "completion", text, sizeof(text));
    assert_refused(-E2BIG, "400000 bytes, but may have at most 262144");
}

static void knows_good_names(void **state)
{
    static const char *const good[] = {"a", "0", "notes", "my-app.v2_x"};
    static const char *const bad[] = {"",    "-a",  ".a",      "A",
                                      "a b", "a/b", "\xc3\xa9"};
    char longest[66];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(rpc_record_name_is_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(rpc_record_name_is_valid(bad[i], strlen(bad[i])));
    memset(longest, 'a', sizeof(longest));
    assert_true(rpc_record_name_is_valid(longest, 64));
    assert_false(rpc_record_name_is_valid(longest, 65));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(reads_each_kind),     TEST(writes_what_it_reads),
        TEST(names_what_is_wrong), TEST(names_size_and_limit_of_a_large_record),
        TEST(knows_good_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
