// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/json.h"

#include "engine/base/arena.h"
#include "engine/base/fault.h"
#include "engine/base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct arena *arena;

static int make_arena(void **state)
{
    return arena_create(&arena, 1 << 20);
}

static int drop_arena(void **state)
{
    arena_destroy(arena);
    return 0;
}

static const struct json *read_ok(const char *text)
{
    const struct json *v = NULL;
    struct error err = {0};
    if (json_parse(&v, arena, text, strlen(text), &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return v;
}

static void reads_every_kind_of_value(void **state)
{
    const struct json *v =
        read_ok(" {\"a\": [1, -2.5e1, true, false, null], \"s\": \"x\\ty\","
                "\"empty\": {}, \"none\" : [ ] } ");
    assert_int_equal(v->type, JSON_OBJECT);
    assert_int_equal(v->count, 4);

    const struct json *a = json_get(v, "a");
    assert_int_equal(a->count, 5);
    a = a->first;
    assert_true(a->is_integer && a->integer == 1 && a->number == 1);
    a = a->next;
    assert_true(!a->is_integer && a->number == -25);
    a = a->next;
    assert_true(a->type == JSON_BOOL && a->boolean);
    a = a->next;
    assert_true(a->type == JSON_BOOL && !a->boolean);
    a = a->next;
    assert_int_equal(a->type, JSON_NULL);
    assert_null(a->next);

    assert_string_equal(json_get_text(v, "s"), "x\ty");
    assert_int_equal(json_get(v, "empty")->count, 0);
    assert_int_equal(json_get(v, "none")->type, JSON_ARRAY);
    assert_null(json_get(v, "nothing"));
    assert_null(json_get(json_get(v, "nothing"), "more"));
    assert_null(json_get_text(v, "a"));
}

static void reads_integers_to_their_limits(void **state)
{
    assert_true(read_ok("9223372036854775807")->integer == INT64_MAX);
    assert_true(read_ok("-9223372036854775808")->integer == INT64_MIN);
    const struct json *v = read_ok("9223372036854775808");
    assert_true(!v->is_integer && v->number == 9223372036854775808.0);
    assert_true(!read_ok("1.0")->is_integer);
    assert_true(read_ok("-0")->is_integer);
}

static void decodes_escapes(void **state)
{
    const struct json *v =
        read_ok("\"\\u00e9\\u20AC\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"");
    assert_string_equal(v->text,
                        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"\\/\b\f\n\r\t");
    v = read_ok("{\"k\": \"a\\u0000b\"}");
    assert_int_equal(json_get(v, "k")->bytes, 3);
    assert_memory_equal(json_get(v, "k")->text, "a\0b", 4);
    assert_null(json_get_text(v, "k"));
}

static void refuses_what_is_not_json(void **state)
{
    static const char *const bad[][2] = {
        {"", "byte 0"},
        {"{", "byte 1"},
        {"[1,]", "byte 3: expected a value"},
        {"{\"a\":1,}", "byte 7: expected a string"},
        {"{\"a\" 1}", "byte 5: expected a colon"},
        {"{a:1}", "byte 1"},
        {"[1 2]", "byte 3: expected a comma or ]"},
        {"01", "byte 1: text after the end"},
        {"+1", "byte 0"},
        {"1.", "byte 2: expected a digit"},
        {".5", "byte 0"},
        {"1e", "byte 2: expected a digit in the exponent"},
        {"-", "byte 1: expected a digit"},
        {"1e999", "too large"},
        {"nul", "byte 0: expected a value"},
        {"\"abc", "ends inside a string"},
        {"\"a\\", "escape"},
        {"\"\\x\"", "unknown escape"},
        {"\"\\u12g4\"", "four hexadecimal digits"},
        {"\"\\ud800\"", "high surrogate"},
        {"\"\\ud800\\u0041\"", "high surrogate"},
        {"\"\\udc00\"", "low surrogate"},
        {"\"\x01\"", "control character"},
        {"\"\xff\"", "not UTF-8"},
        {"\"\xc3\"", "not UTF-8"},
        {"\"\xed\xa0\x80\"", "not UTF-8"},
        {"[] []", "byte 3: text after the end"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "\"a\" is there twice"},
        {"{\"a\":1,\"\\u0061\":3}", "\"a\" is there twice"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct json *v = NULL;
        struct error err = {0};
        int rc = json_parse(&v, arena, bad[i][0], strlen(bad[i][0]), &err);
        if (rc != -EINVAL || v || !strstr(err.text, bad[i][1]))
            fail_msg("%s: rc %d, \"%s\"", bad[i][0], rc, err.text);
    }
    struct error err;
    const struct json *v = NULL;
    assert_int_equal(json_parse(&v, arena, "1\0", 2, &err), -EINVAL);
}

static void refuses_a_key_twice_among_many(void **state)
{
    struct str s = {0};
    str_puts(&s, "{");
    for (int i = 0; i < 1000; i++)
        str_printf(&s, "\"k%d\":%d,", i, i);
    size_t before = s.bytes;
    str_puts(&s, "\"last\":0}");
    assert_true(json_get(read_ok(s.data), "k999")->integer == 999);

    s.bytes = before;
    str_puts(&s, "\"k500\":0}");
    struct error err;
    const struct json *v;
    assert_int_equal(json_parse(&v, arena, s.data, s.bytes, &err), -EINVAL);
    assert_non_null(strstr(err.text, "\"k500\" is there twice"));
    str_free(&s);
}

static void bounds_depth_and_memory(void **state)
{
    char deep[200];
    const struct json *v = NULL;
    struct error err;
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    assert_int_equal(json_parse(&v, arena, deep, 200, &err), -EINVAL);
    assert_non_null(strstr(err.text, "byte 32: values are nested too deeply"));
    assert_int_equal(json_parse(&v, arena, deep + 68, 64, &err), 0);

    struct str many = {0};
    str_putc(&many, '[');
    for (int i = 0; i < 40000; i++)
        str_puts(&many, "0,");
    str_puts(&many, "0]");
    v = NULL;
    assert_int_equal(json_parse(&v, arena, many.data, many.bytes, &err),
                     -ENOMEM);
    assert_null(v);
    str_free(&many);
}

static void survives_every_failed_allocation(void **state)
{
    static const char text[] =
        "{\"a\":[1,2],\"b\":\"x\",\"c\":0,\"d\":0,\"e\":0,\"f\":0,\"g\":0,"
        "\"h\":0,\"i\":0,\"j\":0}";
    for (unsigned long n = 1;; n++) {
        struct arena *a;
        const struct json *v;
        struct error err;
        assert_int_equal(arena_create(&a, 1 << 20), 0);
        fault_arm(FAULT_ALLOC, n);
        int rc = json_parse(&v, a, text, sizeof(text) - 1, &err);
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        arena_destroy(a);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        if (!fired)
            break;
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make_arena, drop_arena)
    const struct CMUnitTest tests[] = {
        CASE(reads_every_kind_of_value),
        CASE(reads_integers_to_their_limits),
        CASE(decodes_escapes),
        CASE(refuses_what_is_not_json),
        CASE(refuses_a_key_twice_among_many),
        CASE(bounds_depth_and_memory),
        CASE(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
