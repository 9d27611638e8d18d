// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/method.h"

#include "ipc/encoder.h"

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

// Check what was put into `enc`, and begin anew.
static int check(enum method m, struct method_common *c, struct error *err)
{
    encoder_close(&enc);
    codec_finish(&doc);
    assert_int_equal(codec_decode(&doc, enc.data, enc.bytes, &frame_limits_full,
                                  err),
                     0);
    encoder_reset(&enc);
    encoder_open_map(&enc);
    return method_check_params(m, &doc.root, c, err);
}

static void assert_refused(enum method m, const char *why)
{
    struct method_common c;
    struct error err;

    assert_int_equal(check(m, &c, &err), -EINVAL);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void finds_methods_by_name(void **state)
{
    for (int m = 0; m < METHOD_COUNT; m++) {
        const char *name = method_infos[m].name;
        assert_int_equal(method_from_name(name, strlen(name)), m);
        assert_int_equal(method_from_name(name, strlen(name) - 1),
                         METHOD_COUNT);
    }
    assert_int_equal(method_from_name("", 0), METHOD_COUNT);
}

// What the tables say must make sense together.
static void tables_are_sound(void **state)
{
    for (int m = 0; m < METHOD_COUNT; m++) {
        size_t n;
        const struct method_field *p = method_params((enum method) m, &n);
        for (size_t i = 0; i < n; i++) {
            assert_true(p[i].min <= p[i].max);
            assert_string_not_equal(p[i].key, "fd");
            assert_string_not_equal(p[i].key, "timeout_ms");
            if (method_infos[m].flags & METHOD_STREAM)
                assert_string_not_equal(p[i].key, "stream");
            for (size_t j = 0; j < i; j++)
                assert_string_not_equal(p[i].key, p[j].key);
        }
        const struct method_field *r = method_results((enum method) m, &n);
        for (size_t i = 0; i < n; i++) {
            size_t inside;
            if (r[i].type == METHOD_TYPE_LIST && strcmp(r[i].of, "str") &&
                strcmp(r[i].of, "int") && strcmp(r[i].of, "map"))
                assert_non_null(method_struct_fields(r[i].of, &inside));
        }
    }
    size_t n;
    const struct method_field *f = method_struct_fields("message", &n);
    assert_int_equal(n, 2);
    assert_string_equal(f[0].key, "role");
    assert_string_equal(f[1].key, "content");
    assert_null(method_struct_fields("nothing", &n));
}

static void refuses_missing_and_mistyped_parameters(void **state)
{
    assert_refused(METHOD_model_show, "`model` is missing");
    encoder_put_int(&enc, "model", 1);
    assert_refused(METHOD_model_show, "`model` must be of type str");
    encoder_put_nil(&enc, "model");
    assert_refused(METHOD_model_show, "`model` is missing");
    encoder_put_cstr(&enc, "model", "");
    assert_refused(METHOD_model_show, "must be 1 to 64");
    encoder_put_int(&enc, "limit", 1001);
    assert_refused(METHOD_data_list, "`limit` is 1001, but must be 1 to 1000");
    encoder_put_array(&enc, "ids");
    encoder_close(&enc);
    assert_refused(METHOD_data_get, "entries");
    encoder_put_array(&enc, "ids");
    encoder_int(&enc, 1);
    encoder_cstr(&enc, "2");
    encoder_close(&enc);
    assert_refused(METHOD_data_get, "`ids`[1]: must be of type int");
    encoder_put_int(&enc, "!fence", 1);
    assert_refused(METHOD_ping, "`!fence`");
}

static void looks_into_structs(void **state)
{
    struct method_common c;
    struct error err;

    encoder_put_map(&enc, "recipe");
    encoder_put_int(&enc, "rank", 16);
    encoder_put_int(&enc, "lr", 1); // an int is a float, too
    encoder_close(&enc);
    encoder_put_cstr(&enc, "unknown", "is ignored");
    assert_int_equal(check(METHOD_train_start, &c, &err), 0);
    encoder_put_map(&enc, "recipe");
    encoder_put_int(&enc, "ranq", 16);
    encoder_close(&enc);
    assert_refused(METHOD_train_start, "`recipe`: there is no `ranq`");
    encoder_put_map(&enc, "recipe");
    encoder_put_cstr(&enc, "rank", "16");
    encoder_close(&enc);
    assert_refused(METHOD_train_start, "`recipe`: `rank` must be of type int");

    encoder_put_array(&enc, "messages");
    encoder_open_map(&enc);
    encoder_put_cstr(&enc, "role", "user");
    encoder_close(&enc);
    encoder_close(&enc);
    assert_refused(METHOD_gen_start, "`messages`[0]: `content` is missing");
    encoder_put_array(&enc, "records");
    encoder_int(&enc, 1);
    encoder_close(&enc);
    assert_refused(METHOD_data_put_many, "`records`[0]: must be a map");
}

static void takes_out_what_every_request_may_carry(void **state)
{
    struct method_common c;
    struct error err;

    assert_int_equal(check(METHOD_ping, &c, &err), 0);
    assert_false(c.is_stream || c.has_fd || c.timeout_ms);
    encoder_put_int(&enc, "timeout_ms", 500);
    encoder_put_bool(&enc, "stream", true);
    assert_int_equal(check(METHOD_status, &c, &err), 0);
    assert_true(c.is_stream);
    assert_int_equal(c.timeout_ms, 500);
    encoder_put_int(&enc, "timeout_ms", 0);
    assert_refused(METHOD_ping, "`timeout_ms`");
    encoder_put_int(&enc, "stream", 1);
    assert_refused(METHOD_status, "`stream` must be a bool");
    // Where records have streams, the name means those.
    encoder_put_cstr(&enc, "stream", "notes");
    assert_int_equal(check(METHOD_data_count, &c, &err), 0);
    assert_false(c.is_stream);

    assert_refused(METHOD_data_export, "needs a descriptor");
    encoder_put_bool(&enc, "fd", true);
    assert_int_equal(check(METHOD_data_export, &c, &err), 0);
    assert_true(c.has_fd);
    encoder_put_bool(&enc, "fd", true);
    assert_refused(METHOD_ping, "takes no descriptor");
    encoder_put_cstr(&enc, "path", "/m.gguf");
    assert_int_equal(check(METHOD_model_add, &c, &err), 0);
    assert_false(c.has_fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(finds_methods_by_name),
        TEST(tables_are_sound),
        TEST(refuses_missing_and_mistyped_parameters),
        TEST(looks_into_structs),
        TEST(takes_out_what_every_request_may_carry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
