// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/encoder.h"

#include "engine/base/fault.h"
#include "ipc/codec.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void write_all(struct encoder *e)
{
    encoder_open_map(e);
    encoder_put_nil(e, "nil");
    encoder_put_bool(e, "yes", true);
    encoder_put_int(e, "min", INT64_MIN);
    encoder_put_int(e, "max", INT64_MAX);
    encoder_put_float(e, "half", 0.5);
    encoder_put_str(e, "str", "a\0b", 3);
    encoder_put_cstr(e, "cstr", "\xc3\xa9");
    encoder_put_cstr(e, "absent", NULL);
    encoder_put_bin(e, "bin", "\xff\xfe", 2);
    encoder_put_array(e, "list");
    for (int i = 0; i < 300; i++)
        encoder_int(e, i);
    encoder_close(e);
    encoder_put_map(e, "map");
    encoder_close(e);
    encoder_close(e);
}

static void writes_what_the_decoder_reads(void **state)
{
    struct encoder e;
    struct codec_doc doc;
    struct error err;
    int64_t v;
    struct codec_bytes s;

    encoder_init(&e, 0);
    write_all(&e);
    assert_int_equal(encoder_finish(&e), 0);
    assert_int_equal(codec_decode(&doc, e.data, e.bytes, &frame_limits_full,
                                  &err),
                     0);
    assert_int_equal(codec_count(&doc.root), 10);
    assert_null(codec_find(&doc.root, "absent"));
    assert_true(codec_bool(&doc.root, "yes", false));
    assert_int_equal(codec_int(&doc.root, "min", 0), INT64_MIN);
    assert_int_equal(codec_int(&doc.root, "max", 0), INT64_MAX);
    assert_true(codec_float(&doc.root, "half", 0) == 0.5);
    s = codec_str(&doc.root, "str");
    assert_int_equal(s.bytes, 3);
    assert_memory_equal(s.data, "a\0b", 3);
    assert_int_equal(codec_get_bin(&doc.root, "bin", &s, &err), 0);
    assert_memory_equal(s.data, "\xff\xfe", 2);
    const msgpack_object *list = codec_find(&doc.root, "list");
    assert_int_equal(codec_count(list), 300);
    assert_true(codec_as_int(codec_at(list, 299), &v));
    assert_int_equal(v, 299);
    assert_int_equal(codec_count(codec_find(&doc.root, "map")), 0);

    // A decoded object can be written again, and bytes taken over.
    struct encoder copy, raw;
    encoder_init(&copy, 0);
    encoder_object(&copy, &doc.root);
    assert_int_equal(encoder_finish(&copy), 0);
    encoder_init(&raw, 0);
    encoder_open_array(&raw);
    encoder_raw(&raw, copy.data, copy.bytes);
    encoder_close(&raw);
    assert_int_equal(encoder_finish(&raw), 0);
    codec_finish(&doc);
    assert_int_equal(codec_decode(&doc, raw.data, raw.bytes, &frame_limits_full,
                                  &err),
                     0);
    assert_int_equal(codec_int(codec_at(&doc.root, 0), "max", 0), INT64_MAX);
    codec_finish(&doc);
    encoder_destroy(&raw);
    encoder_destroy(&copy);
    encoder_destroy(&e);
}

static void keeps_the_first_failure(void **state)
{
    struct encoder e;

    encoder_init(&e, 16);
    encoder_open_array(&e);
    encoder_cstr(&e, "0123456789");
    encoder_cstr(&e, "0123456789");
    encoder_float(&e, NAN);
    encoder_close(&e);
    assert_int_equal(encoder_finish(&e), -E2BIG);
    assert_true(e.bytes <= 16);
    encoder_reset(&e);
    encoder_nil(&e);
    assert_int_equal(encoder_finish(&e), 0);
    encoder_destroy(&e);
}

static void refuses_what_is_not_one_good_object(void **state)
{
    struct encoder e;

    encoder_init(&e, 0);
    assert_int_equal(encoder_finish(&e), -EINVAL); // nothing
    encoder_open_map(&e);
    assert_int_equal(encoder_finish(&e), -EINVAL); // open
    encoder_key(&e, "k");
    encoder_close(&e);
    assert_int_equal(encoder_finish(&e), -EINVAL); // key without value
    encoder_reset(&e);
    encoder_nil(&e);
    encoder_nil(&e);
    assert_int_equal(encoder_finish(&e), -EINVAL); // two
    encoder_reset(&e);
    encoder_close(&e);
    assert_int_equal(encoder_finish(&e), -EINVAL);
    encoder_reset(&e);
    encoder_float(&e, INFINITY);
    assert_int_equal(encoder_finish(&e), -EINVAL);
    encoder_reset(&e);
    encoder_cstr(&e, "\xff");
    assert_int_equal(encoder_finish(&e), -EINVAL);
    encoder_reset(&e);
    for (int i = 0; i < 18; i++)
        encoder_open_array(&e);
    assert_int_equal(encoder_finish(&e), -EINVAL); // too deep
    encoder_destroy(&e);
}

static void survives_every_failing_allocation(void **state)
{
    unsigned long n = 1;

    for (;; n++) {
        struct encoder e;
        encoder_init(&e, 0);
        fault_arm(FAULT_ALLOC, n);
        write_all(&e);
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(encoder_finish(&e), fired ? -ENOMEM : 0);
        encoder_destroy(&e);
        if (!fired)
            break;
    }
    assert_true(n > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_the_decoder_reads),
        cmocka_unit_test(keeps_the_first_failure),
        cmocka_unit_test(refuses_what_is_not_one_good_object),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
