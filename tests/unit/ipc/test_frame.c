// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/frame.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#define CHECK(bytes)                                          \
    frame_check((const uint8_t *) (bytes), sizeof(bytes) - 1, \
                &frame_limits_full)

static void accepts_every_kind_of_object(void **state)
{
    assert_int_equal(CHECK("\xc0"), 1);
    assert_int_equal(CHECK("\x7f"), 1);
    assert_int_equal(CHECK("\xe0"), 1);
    assert_int_equal(CHECK("\xcf"
                           "12345678"),
                     9);
    assert_int_equal(CHECK("\xcb"
                           "12345678"),
                     9);
    assert_int_equal(CHECK("\xa3"
                           "abc"),
                     4);
    assert_int_equal(CHECK("\xd9\x02"
                           "ab"),
                     4);
    assert_int_equal(CHECK("\xc4\x01"
                           "a"),
                     3);
    assert_int_equal(CHECK("\xd4\x01"
                           "a"),
                     3);
    assert_int_equal(CHECK("\xc7\x02\x01"
                           "ab"),
                     5);
    assert_int_equal(CHECK("\x80"), 1);
    assert_int_equal(CHECK("\x90"), 1);
    assert_int_equal(CHECK("\x82\xa1"
                           "a\x01\xa1"
                           "b\x92\x02\x03"),
                     9);
    // What follows the object is not looked at.
    assert_int_equal(CHECK("\x91\x01\xc1\xc1"), 2);
}

static void refuses_a_bomb_of_five_bytes(void **state)
{
    assert_int_equal(CHECK("\xdd\x10\x00\x00\x00"), FRAME_TOO_MANY);
    assert_int_equal(CHECK("\xdf\x10\x00\x00\x00"), FRAME_TOO_MANY);
    assert_int_equal(CHECK("\xdf\xff\xff\xff\xff"), FRAME_TOO_MANY);
    assert_int_equal(CHECK("\xdb\x10\x00\x00\x00"), FRAME_STRING_TOO_LONG);
    assert_int_equal(CHECK("\xc6\xff\xff\xff\xff"), FRAME_STRING_TOO_LONG);
    assert_int_equal(CHECK("\xc9\xff\xff\xff\xff\x01"), FRAME_STRING_TOO_LONG);
    // Promises add up: a second array of 40,000 under the same root.
    static uint8_t two[4 + 40000 + 3];
    memset(two, 1, sizeof(two));
    memcpy(two, "\x92\xdc\x9c\x40", 4);
    memcpy(two + 4 + 40000, "\xdc\x9c\x40", 3);
    assert_int_equal(frame_check(two, sizeof(two) - 3, &frame_limits_full),
                     FRAME_MORE);
    assert_int_equal(frame_check(two, sizeof(two), &frame_limits_full),
                     FRAME_TOO_MANY);
}

static void refuses_what_is_no_msgpack(void **state)
{
    assert_int_equal(CHECK("\xc1"), FRAME_MALFORMED);
    assert_int_equal(CHECK("\x91\xc1"), FRAME_MALFORMED);
}

static void limits_depth_bytes_objects_and_strings(void **state)
{
    uint8_t deep[FRAME_DEPTH + 1];
    memset(deep, 0x91, sizeof(deep));
    assert_int_equal(frame_check(deep, FRAME_DEPTH + 1, &frame_limits_full),
                     FRAME_TOO_DEEP);
    deep[FRAME_DEPTH] = 0x01;
    assert_int_equal(frame_check(deep, FRAME_DEPTH + 1, &frame_limits_full),
                     FRAME_DEPTH + 1);

    const struct frame_limits small = {.depth = 2,
                                       .objects = 3,
                                       .bytes = 8,
                                       .string_bytes = 4};
    const uint8_t three[] = {0x92, 1, 2};
    const uint8_t four[] = {0x93, 1, 2, 3};
    const uint8_t text4[] = {0xa4, 'a', 'b', 'c', 'd'};
    const uint8_t text5[] = {0xa5, 'a', 'b', 'c', 'd', 'e'};
    const uint8_t nine[] = {0x92, 0xa4, 'a', 'b', 'c', 'd', 0xa4};
    assert_int_equal(frame_check(three, 3, &small), 3);
    assert_int_equal(frame_check(four, 1, &small), FRAME_TOO_MANY);
    assert_int_equal(frame_check(text4, 5, &small), 5);
    assert_int_equal(frame_check(text5, 1, &small), FRAME_STRING_TOO_LONG);
    assert_int_equal(frame_check(nine, 7, &small), FRAME_TOO_LONG);
}

// A frame with all forms in it.
static size_t sample(uint8_t out[256])
{
    msgpack_sbuffer b;
    msgpack_packer pk;
    msgpack_sbuffer_init(&b);
    msgpack_packer_init(&pk, &b, msgpack_sbuffer_write);
    msgpack_pack_array(&pk, 4);
    msgpack_pack_int(&pk, 0);
    msgpack_pack_uint32(&pk, 70000);
    msgpack_pack_str_with_body(&pk, "data.put", 8);
    msgpack_pack_array(&pk, 1);
    msgpack_pack_map(&pk, 3);
    msgpack_pack_str_with_body(&pk, "uid", 3);
    msgpack_pack_bin_with_body(&pk, "0123456789abcdef", 16);
    msgpack_pack_str_with_body(&pk, "f", 1);
    msgpack_pack_double(&pk, 0.5);
    msgpack_pack_str_with_body(&pk, "empty", 5);
    msgpack_pack_array(&pk, 2);
    msgpack_pack_map(&pk, 0);
    msgpack_pack_array(&pk, 0);
    size_t n = b.size;
    memcpy(out, b.data, n);
    msgpack_sbuffer_destroy(&b);
    return n;
}

static void wants_more_for_every_prefix(void **state)
{
    uint8_t f[256];
    size_t n = sample(f);

    for (size_t i = 0; i < n; i++)
        assert_int_equal(frame_check(f, i, &frame_limits_full), FRAME_MORE);
    assert_int_equal(frame_check(f, n, &frame_limits_full), n);
}

static void goes_on_where_it_stopped(void **state)
{
    uint8_t f[256];
    size_t n = sample(f);

    for (size_t step = 1; step <= n; step++) {
        struct frame_scan s = {0};
        ptrdiff_t rc = FRAME_MORE;
        for (size_t at = step; rc == FRAME_MORE; at += step)
            rc = frame_scan(&s, f, at < n ? at : n, &frame_limits_full);
        assert_int_equal(rc, n);
    }
}

// What frame_check() accepts, msgpack-c decodes, and to the same length.
static void agrees_with_the_decoder_on_random_bytes(void **state)
{
    uint64_t x = 88172645463325252u;
    uint32_t accepted = 0;

    for (int round = 0; round < 60000; round++) {
        uint8_t f[24];
        for (size_t i = 0; i < sizeof(f); i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            // Headers more often than a uniform choice has them.
            f[i] = x & 256 ? (uint8_t) (0x80 + (x >> 9) % 0x60)
                           : (uint8_t) (x >> 9);
        }
        ptrdiff_t n = frame_check(f, sizeof(f), &frame_limits_full);
        if (n <= 0)
            continue;
        accepted++;
        msgpack_unpacked u;
        size_t at = 0;
        msgpack_unpacked_init(&u);
        assert_int_equal(msgpack_unpack_next(&u, (const char *) f, sizeof(f),
                                             &at),
                         MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(at, n);
        msgpack_unpacked_destroy(&u);
    }
    assert_true(accepted > 3000);
}

static void feed(struct frame_buffer *b, const uint8_t *p, size_t n)
{
    while (n > 0) {
        uint8_t *to;
        size_t room;
        assert_int_equal(frame_buffer_space(b, &to, &room), 0);
        size_t step = room < n ? room : n;
        memcpy(to, p, step);
        frame_buffer_commit(b, step);
        p += step;
        n -= step;
    }
}

static void yields_the_frames_of_a_stream(void **state)
{
    uint8_t f[256];
    size_t n = sample(f);
    struct frame_buffer b;
    const uint8_t *p;
    size_t bytes;
    int seen = 0;

    frame_buffer_init(&b, &frame_limits_full);
    assert_int_equal(frame_buffer_next(&b, &p, &bytes), 0);
    for (int i = 0; i < 100; i++) {
        size_t cut = (size_t) i % n;
        feed(&b, f, cut);
        assert_int_equal(frame_buffer_next(&b, &p, &bytes), 0);
        assert_int_equal(frame_buffer_is_partial(&b), cut > 0);
        feed(&b, f + cut, n - cut);
        feed(&b, f, n);
        while (frame_buffer_next(&b, &p, &bytes) == 1) {
            assert_int_equal(bytes, n);
            assert_memory_equal(p, f, n);
            seen++;
        }
    }
    assert_int_equal(seen, 200);
    assert_false(frame_buffer_is_partial(&b));
    frame_buffer_finish(&b);
}

static void gathers_a_frame_of_the_largest_size(void **state)
{
    struct frame_buffer b;
    const uint8_t *p;
    size_t bytes;
    uint8_t *big = calloc(1, FRAME_BYTES_MAX + 1);

    // 4 strings of 262,130 bytes and one that fills up.
    size_t at = 0;
    assert_non_null(big);
    big[at++] = 0x95;
    for (int i = 0; i < 5; i++) {
        uint32_t n = i < 4 ? 262130 : FRAME_BYTES_MAX - 1 - 4 * 262135 - 3;
        if (i == 4) {
            big[at++] = 0xda;
        } else {
            big[at++] = 0xdb;
            big[at++] = 0;
            big[at++] = (uint8_t) (n >> 16);
        }
        big[at++] = (uint8_t) (n >> 8);
        big[at++] = (uint8_t) n;
        at += n;
    }
    assert_int_equal(at, FRAME_BYTES_MAX);
    frame_buffer_init(&b, &frame_limits_full);
    feed(&b, big, at);
    assert_int_equal(frame_buffer_next(&b, &p, &bytes), 1);
    assert_int_equal(bytes, at);

    // One byte more is refused when its header is seen.
    big[at - 1 - (FRAME_BYTES_MAX - 1 - 4 * 262135 - 3)]++;
    assert_int_equal(frame_check(big, at, &frame_limits_full), FRAME_TOO_LONG);
    free(big);
    frame_buffer_finish(&b);
}

static void does_not_gather_without_end(void **state)
{
    struct frame_buffer b;
    uint8_t *p;
    size_t room, total = 0;
    int rc;

    frame_buffer_init(&b, &frame_limits_hello);
    while ((rc = frame_buffer_space(&b, &p, &room)) == 0 && total < 1 << 24) {
        memset(p, 0x01, room);
        frame_buffer_commit(&b, room);
        total += room;
    }
    assert_int_equal(rc, -ENOBUFS);
    assert_true(total < 1 << 18);
    frame_buffer_finish(&b);

    fault_arm(FAULT_ALLOC, 1);
    assert_int_equal(frame_buffer_space(&b, &p, &room), -ENOMEM);
    fault_arm(FAULT_ALLOC, 0);
    frame_buffer_finish(&b);
}

static void names_each_broken_limit(void **state)
{
    for (int i = FRAME_STRING_TOO_LONG; i < 0; i++)
        for (int j = i + 1; j <= 1; j++)
            assert_string_not_equal(frame_status_text(i), frame_status_text(j));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_every_kind_of_object),
        cmocka_unit_test(refuses_a_bomb_of_five_bytes),
        cmocka_unit_test(refuses_what_is_no_msgpack),
        cmocka_unit_test(limits_depth_bytes_objects_and_strings),
        cmocka_unit_test(wants_more_for_every_prefix),
        cmocka_unit_test(goes_on_where_it_stopped),
        cmocka_unit_test(agrees_with_the_decoder_on_random_bytes),
        cmocka_unit_test(yields_the_frames_of_a_stream),
        cmocka_unit_test(gathers_a_frame_of_the_largest_size),
        cmocka_unit_test(does_not_gather_without_end),
        cmocka_unit_test(names_each_broken_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
