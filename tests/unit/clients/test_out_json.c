// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/out_json.h"

#include "clients/libpock/pock_value.h"
#include "ipc/encoder.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct pock_reply *sample(void)
{
    struct pock_reply *r = NULL;
    struct encoder e;

    encoder_init(&e, 0);
    encoder_open_map(&e);
    encoder_put_cstr(&e, "text", "a \"b\"\n\xc3\xa9");
    encoder_put_int(&e, "int", INT64_MIN);
    encoder_put_float(&e, "float", 0.1);
    encoder_put_bool(&e, "yes", true);
    encoder_put_nil(&e, "nil");
    encoder_put_bin(&e, "bytes", "\x00\xff", 2);
    encoder_put_array(&e, "list");
    encoder_int(&e, 1);
    encoder_open_map(&e);
    encoder_close(&e);
    encoder_close(&e);
    encoder_close(&e);
    assert_int_equal(encoder_finish(&e), 0);
    assert_int_equal(pock_reply_decode(&r, e.data, e.bytes, NULL), 0);
    encoder_destroy(&e);
    return r;
}

static void writes_every_kind_of_value(void **state)
{
    struct pock_reply *r = sample();
    struct str s = {0};

    out_json_value(&s, r->message);
    assert_string_equal(s.data, "{\"text\":\"a \\\"b\\\"\\n\xc3\xa9\","
                                "\"int\":-9223372036854775808,\"float\":0.1,"
                                "\"yes\":true,\"nil\":null,\"bytes\":\"00ff\","
                                "\"list\":[1,{}]}");
    str_free(&s);
    pock_reply_destroy(r);
}

static void puts_the_schema_first(void **state)
{
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);

    assert_int_equal(out_json_print(f, NULL), 0);
    fclose(f);
    assert_string_equal(text, "{\"schema\":1}\n");
    free(text);
}

static void writes_floats_that_read_back_the_same(void **state)
{
    static const double values[] = {0,     1.5,  0.1, 1.0 / 3, -2e-300,
                                    1e300, 3.87, 100, 1e6,     123456789.125};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct str s = {0};
        out_json_float(&s, values[i]);
        assert_true(strtod(s.data, NULL) == values[i]);
        str_free(&s);
    }
    struct str s = {0};
    out_json_float(&s, NAN);
    assert_string_equal(s.data, "null");
    str_free(&s);
}

static void getters_take_what_is_not_there(void **state)
{
    struct pock_reply *r = sample();
    const struct pock_value *v = r->message;
    size_t bytes = 9;

    assert_int_equal(pock_count(v), 7);
    assert_string_equal(pock_key_at(v, 0), "text");
    assert_null(pock_key_at(v, 7));
    assert_null(pock_get(v, "none"));
    assert_null(pock_get(pock_get(v, "none"), "deeper"));
    assert_null(pock_at(pock_get(v, "list"), 2));
    assert_int_equal(pock_get_int(v, "text", 5), 5);
    assert_string_equal(pock_get_str(v, "int", "fallback"), "fallback");
    assert_true(pock_get_float(v, "int", 0) < 0); // an int serves as a float
    assert_true(pock_get_bool(v, "yes", false));
    assert_int_equal(pock_kind(NULL), POCK_KIND_NIL);
    assert_null(pock_as_bytes(pock_get(v, "int"), &bytes));
    assert_int_equal(bytes, 0);
    assert_memory_equal(pock_as_bytes(pock_get(v, "bytes"), &bytes), "\x00\xff",
                        2);
    pock_reply_destroy(r);
}

static void refuses_frames_that_break_the_rules(void **state)
{
    static const struct {
        const char *data;
        size_t bytes;
    } bad[] = {
        {"", 0},
        {"\x82\xa1"
         "a\x01\xa1"
         "a\x02",
         7},                                         // a key twice
        {"\x81\x01\x02", 3},                         // a key that is a number
        {"\xa1\xff", 2},                             // no UTF-8
        {"\x01\x02", 2},                             // something behind it
        {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9}, // past int64
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct pock_reply *r = NULL;
        assert_int_equal(pock_reply_decode(&r, bad[i].data, bad[i].bytes, NULL),
                         -EPROTO);
        assert_null(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_every_kind_of_value),
        cmocka_unit_test(puts_the_schema_first),
        cmocka_unit_test(writes_floats_that_read_back_the_same),
        cmocka_unit_test(getters_take_what_is_not_there),
        cmocka_unit_test(refuses_frames_that_break_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
