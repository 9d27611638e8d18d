// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/message.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct codec_doc doc;
static struct encoder enc;

static int decode(struct message *m, struct error *err)
{
    codec_finish(&doc);
    assert_int_equal(codec_decode(&doc, enc.data, enc.bytes, &frame_limits_full,
                                  err),
                     0);
    return message_decode(m, &doc, err);
}

static int setup(void **state)
{
    encoder_init(&enc, 0);
    return 0;
}

static int teardown(void **state)
{
    codec_finish(&doc);
    encoder_destroy(&enc);
    return 0;
}

static void carries_requests(void **state)
{
    struct message m;
    struct error err;

    message_begin_request(&enc, UINT32_MAX, "data.count");
    encoder_put_cstr(&enc, "stream", "notes");
    assert_int_equal(message_end(&enc), 0);
    assert_int_equal(decode(&m, &err), 0);
    assert_int_equal(m.type, MESSAGE_REQUEST);
    assert_int_equal(m.id, UINT32_MAX);
    assert_true(codec_bytes_equal(m.method, "data.count"));
    assert_true(codec_bytes_equal(codec_str(m.params, "stream"), "notes"));
}

static void carries_responses_and_errors(void **state)
{
    struct message m;
    struct error err;

    message_begin_response(&enc, 7);
    encoder_put_int(&enc, "records", 3);
    assert_int_equal(message_end(&enc), 0);
    assert_int_equal(decode(&m, &err), 0);
    assert_int_equal(m.type, MESSAGE_RESPONSE);
    assert_int_equal(m.error.code, 0);
    assert_int_equal(codec_int(m.result, "records", 0), 3);

    encoder_reset(&enc);
    assert_int_equal(message_encode_error(&enc, 8, RPC_ERROR_NOT_FOUND,
                                          "no stream `x`", 0),
                     0);
    assert_int_equal(decode(&m, &err), 0);
    assert_int_equal(m.error.code, RPC_ERROR_NOT_FOUND);
    assert_true(codec_bytes_equal(m.error.name, "NOT_FOUND"));
    assert_true(codec_bytes_equal(m.error.text, "no stream `x`"));
    assert_null(m.result);
    assert_null(m.error.data);

    encoder_reset(&enc);
    message_begin_error(&enc, 9, RPC_ERROR_BUSY, "later", 250);
    encoder_put_int(&enc, "index", 5);
    assert_int_equal(message_end(&enc), 0);
    assert_int_equal(decode(&m, &err), 0);
    assert_int_equal(m.error.retry_ms, 250);
    assert_int_equal(codec_int(m.error.data, "index", 0), 5);
}

static void carries_items_and_cancellations(void **state)
{
    struct message m;
    struct message_item item;
    struct error err;
    uint32_t id;

    message_begin_item(&enc, 4, 17, "text");
    encoder_put_cstr(&enc, "text", "and so");
    assert_int_equal(message_end(&enc), 0);
    assert_int_equal(decode(&m, &err), 0);
    assert_int_equal(m.type, MESSAGE_NOTIFICATION);
    assert_true(codec_bytes_equal(m.method, MESSAGE_ITEM));
    assert_int_equal(message_item_decode(&item, &m, &err), 0);
    assert_int_equal(item.id, 4);
    assert_int_equal(item.seq, 17);
    assert_true(codec_bytes_equal(item.kind, "text"));
    assert_true(codec_bytes_equal(codec_str(item.params, "text"), "and so"));

    encoder_reset(&enc);
    assert_int_equal(message_encode_cancel(&enc, 4), 0);
    assert_int_equal(decode(&m, &err), 0);
    assert_true(codec_bytes_equal(m.method, MESSAGE_CANCEL));
    assert_int_equal(message_cancel_decode(&id, &m, &err), 0);
    assert_int_equal(id, 4);
    assert_int_equal(message_item_decode(&item, &m, &err), -EPROTO);
}

static void refuses_to_end_what_is_not_complete(void **state)
{
    message_begin_response(&enc, 1);
    encoder_put_array(&enc, "jobs");
    assert_int_equal(message_end(&enc), -EINVAL);
    encoder_reset(&enc);
    message_begin_request(&enc, 1, "ping");
    encoder_put_map(&enc, "x");
    assert_int_equal(message_end(&enc), -EINVAL);
    encoder_reset(&enc);
    message_begin_request(&enc, 1, "ping");
    encoder_close(&enc);
    encoder_close(&enc);
    assert_int_equal(message_end(&enc), -EINVAL);
}

static void refuses_other_shapes(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {
#define CASE(s) {s, sizeof(s) - 1}
        CASE("\x80"),                       // a map
        CASE("\x90"),                       // nothing inside
        CASE("\x91\x03"),                   // an unknown type
        CASE("\x94\xff\x01\xa1m\x91\x80"),  // type -1
        CASE("\x93\x00\x01\xa1m"),          // a request without parameters
        CASE("\x94\x00\xa1x\xa1m\x91\x80"), // id no int
        CASE("\x94\x00\xff\xa1m\x91\x80"),  // id negative
        CASE("\x94\x00\xcf\0\0\0\1\0\0\0\0\xa1m\x91\x80"), // id of 33 bits
        CASE("\x94\x00\x01\xc0\x91\x80"),                  // method nil
        CASE("\x94\x00\x01\xa1m\x80"),         // parameters not in an array
        CASE("\x94\x00\x01\xa1m\x90"),         // no map in it
        CASE("\x94\x00\x01\xa1m\x92\x80\x80"), // two
        CASE("\x94\x00\x01\xa1m\x91\x01"),     // no map
        CASE("\x94\x01\x01\xc0\x01"),          // a result that is no map
        CASE("\x94\x01\x01\x01\xc0"),          // an error that is no map
        CASE("\x94\x01\x01\x80\xc0"),          // an error without code
        CASE("\x94\x02\xa1m\x91\x80\xc0"),     // a notification of four
    };
    struct message m;
    struct error err;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        codec_finish(&doc);
        assert_int_equal(codec_decode(&doc, cases[i].bytes, cases[i].n,
                                      &frame_limits_full, &err),
                         0);
        assert_int_equal(message_decode(&m, &doc, &err), -EPROTO);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(carries_requests),
        TEST(carries_responses_and_errors),
        TEST(carries_items_and_cancellations),
        TEST(refuses_to_end_what_is_not_complete),
        TEST(refuses_other_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
