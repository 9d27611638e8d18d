// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/codec.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int decode(struct codec_doc *doc, const char *bytes, size_t n,
                  struct error *err)
{
    return codec_decode(doc, bytes, n, &frame_limits_full, err);
}

#define DECODE(doc, bytes, err) decode(doc, bytes, sizeof(bytes) - 1, err)

static void assert_refused(const char *bytes, size_t n, const char *why)
{
    struct codec_doc doc;
    struct error err;

    assert_int_equal(decode(&doc, bytes, n, &err), -EPROTO);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

#define REFUSED(bytes, why) assert_refused(bytes, sizeof(bytes) - 1, why)

static void refuses_what_no_message_needs(void **state)
{
    REFUSED("\xdd\x10\x00\x00\x00", "too many");
    REFUSED("\x91", "incomplete");
    REFUSED("\xc0\xc0", "1 bytes follow");
    REFUSED("\xd4\x01"
            "a",
            "ext");
    REFUSED("\xd6\xff\x00\x00\x00\x00", "ext"); // a timestamp
    REFUSED("\xa2\xc3\x28", "UTF-8");
    REFUSED("\xa1\x80", "UTF-8");
    REFUSED("\xcf\x80\x00\x00\x00\x00\x00\x00\x00", "2^63");
    REFUSED("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "finite");
    REFUSED("\xca\x7f\x80\x00\x00", "finite");
    REFUSED("\x81\x01\x01", "not a str");
    REFUSED("\x82\xa1"
            "a\x01\xa1"
            "a\x02",
            "`a` is repeated");
    // Deep inside, too.
    REFUSED("\x91\x81\xa1"
            "k\x91\xa1\xff",
            "UTF-8");
}

static void limits_the_keys_of_a_map(void **state)
{
    static char map[3 + 300 * 4];
    struct codec_doc doc;
    struct error err;

    for (int n = CODEC_KEYS_MAX; n <= CODEC_KEYS_MAX + 1; n++) {
        size_t at = 0;
        map[at++] = (char) 0xde;
        map[at++] = (char) (n >> 8);
        map[at++] = (char) n;
        for (int i = 0; i < n; i++) {
            map[at++] = (char) 0xa2;
            map[at++] = (char) ('0' + i / 64);
            map[at++] = (char) ('0' + i % 64);
            map[at++] = (char) 0xc0;
        }
        int rc = decode(&doc, map, at, &err);
        assert_int_equal(rc, n <= CODEC_KEYS_MAX ? 0 : -EPROTO);
        if (rc == 0)
            codec_finish(&doc);
    }
}

static const char kinds[] = "\x89"
                            "\xa1"
                            "n\xc0"
                            "\xa1"
                            "t\xc3"
                            "\xa1"
                            "i\xd1\xff\x00"
                            "\xa1"
                            "f\xca\x3f\x00\x00\x00"
                            "\xa1"
                            "s\xa3"
                            "a\0b"
                            "\xa1"
                            "c\xa2"
                            "ok"
                            "\xa1"
                            "b\xc4\x01\xff"
                            "\xa1"
                            "m\x80"
                            "\xa1"
                            "l\x92\x01\x02";

static void getters_check_type_and_range(void **state)
{
    struct codec_doc doc;
    struct error err;
    bool t = false;
    int64_t i = 0;
    double f = 0;
    char c[8];
    struct codec_bytes s;
    const msgpack_object *o;

    assert_int_equal(DECODE(&doc, kinds, &err), 0);
    const msgpack_object *m = &doc.root;
    assert_int_equal(codec_get_bool(m, "t", &t, &err), 0);
    assert_true(t);
    assert_int_equal(codec_get_int(m, "i", -256, 0, &i, &err), 0);
    assert_int_equal(i, -256);
    assert_int_equal(codec_get_int(m, "i", -255, 0, &i, &err), -EINVAL);
    assert_string_equal(err.text, "`i` is -256, but must be -255 to 0");
    assert_int_equal(codec_get_float(m, "f", &f, &err), 0);
    assert_true(f == 0.5);
    assert_int_equal(codec_get_float(m, "i", &f, &err), 0);
    assert_true(f == -256);
    assert_int_equal(codec_get_int(m, "f", -9, 9, &i, &err), -EINVAL);
    assert_int_equal(codec_get_str(m, "s", &s, &err), 0);
    assert_int_equal(s.bytes, 3);
    assert_int_equal(codec_get_cstr(m, "s", c, sizeof(c), &err), -EINVAL);
    assert_non_null(strstr(err.text, "NUL"));
    assert_int_equal(codec_get_cstr(m, "c", c, 3, &err), 0);
    assert_string_equal(c, "ok");
    assert_int_equal(codec_get_cstr(m, "c", c, 2, &err), -EINVAL);
    assert_int_equal(codec_get_str(m, "b", &s, &err), -EINVAL);
    assert_int_equal(codec_get_bin(m, "s", &s, &err), -EINVAL);
    assert_int_equal(codec_get_bin(m, "b", &s, &err), 0);
    assert_int_equal(codec_get_map(m, "m", &o, &err), 0);
    assert_int_equal(codec_get_map(m, "l", &o, &err), -EINVAL);
    assert_int_equal(codec_get_array(m, "l", &o, &err), 0);
    assert_int_equal(codec_count(o), 2);
    assert_null(codec_at(o, 2));
    // nil is absent, and what is no map has no keys.
    assert_int_equal(codec_get_str(m, "n", &s, &err), -ENOENT);
    assert_int_equal(codec_get_str(m, "zz", &s, &err), -ENOENT);
    assert_int_equal(codec_get_str(o, "s", &s, &err), -ENOENT);
    assert_null(codec_find(NULL, "s"));
    assert_int_equal(codec_int(m, "zz", 7), 7);
    assert_int_equal(codec_int(m, "c", 7), 7);
    codec_finish(&doc);
    codec_finish(&doc);
}

static void refuses_critical_keys_it_does_not_know(void **state)
{
    static const char *const known[] = {"!seal", NULL};
    struct codec_doc doc;
    struct error err;

    assert_int_equal(DECODE(&doc,
                            "\x82\xa1"
                            "x\x01\xa5!seal\x01",
                            &err),
                     0);
    assert_int_equal(codec_check_critical(&doc.root, known, &err), 0);
    assert_int_equal(codec_check_critical(&doc.root, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "`!seal`"));
    codec_finish(&doc);
}

static void survives_a_failing_allocation(void **state)
{
    struct codec_doc doc = {.zone = NULL};
    struct error err;

    fault_arm(FAULT_ALLOC, 1);
    assert_int_equal(DECODE(&doc, kinds, &err), -ENOMEM);
    fault_arm(FAULT_ALLOC, 0);
    assert_null(doc.zone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_no_message_needs),
        cmocka_unit_test(limits_the_keys_of_a_map),
        cmocka_unit_test(getters_check_type_and_range),
        cmocka_unit_test(refuses_critical_keys_it_does_not_know),
        cmocka_unit_test(survives_a_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
