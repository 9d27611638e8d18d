// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/textstream.h"

#include "engine/base/error.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct sink {
    char text[256];
    size_t bytes;
    int cancel_after; // calls; 0: never
};

static int take(void *user, const char *text, size_t bytes)
{
    struct sink *s = user;

    assert_true(utf8_is_valid(text, bytes));
    assert_true(s->bytes + bytes < sizeof s->text);
    memcpy(s->text + s->bytes, text, bytes);
    s->bytes += bytes;
    s->text[s->bytes] = '\0';
    return s->cancel_after > 0 && --s->cancel_after == 0;
}

// Feeds `text` in pieces of `step` bytes.
static enum textstream_state feed(struct sink *sink, const char *text,
                                  size_t step, const char *const *stops,
                                  uint32_t n_stops)
{
    struct textstream *s;
    struct error err;
    const size_t bytes = strlen(text);

    assert_int_equal(textstream_create(&s, stops, n_stops, take, sink, &err),
                     0);
    for (size_t i = 0; i < bytes; i += step)
        assert_int_equal(textstream_push(s, text + i,
                                         bytes - i < step ? bytes - i : step),
                         0);
    assert_int_equal(textstream_end(s), 0);
    const enum textstream_state end = textstream_state(s);
    textstream_destroy(s);
    return end;
}

static void characters_come_whole_however_they_are_cut(void **state)
{
    static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x9d z";

    for (size_t step = 1; step < 8; step++) {
        struct sink sink = {0};
        assert_int_equal(feed(&sink, text, step, NULL, 0), TEXTSTREAM_OPEN);
        assert_string_equal(sink.text, text);
    }
}

static void bytes_that_are_no_character_become_one(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"\xff", "\xef\xbf\xbd"},
        {"\xc3z", "\xef\xbf\xbdz"},
        {"\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe2\x82", "\xef\xbf\xbd"},
        {"\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f\x90 ", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd "},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t step = 1; step < 4; step++) {
            struct sink sink = {0};
            feed(&sink, cases[i].in, step, NULL, 0);
            assert_string_equal(sink.text, cases[i].out);
        }
    }
}

static void text_ends_before_a_stop_string(void **state)
{
    static const char *const stops[] = {"\n\n", "END"};
    static const struct {
        const char *in, *out;
        enum textstream_state state;
    } cases[] = {
        {"one\n\ntwo", "one", TEXTSTREAM_STOPPED},
        {"one\ntwo", "one\ntwo", TEXTSTREAM_OPEN},
        {"ENENDless\n\n", "EN", TEXTSTREAM_STOPPED},
        {"the EN", "the EN", TEXTSTREAM_OPEN},
        {"END", "", TEXTSTREAM_STOPPED},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t step = 1; step < 12; step++) {
            struct sink sink = {0};
            assert_int_equal(feed(&sink, cases[i].in, step, stops, 2),
                             cases[i].state);
            assert_string_equal(sink.text, cases[i].out);
        }
    }
}

static void the_reader_can_cancel(void **state)
{
    struct sink sink = {.cancel_after = 2};

    assert_int_equal(feed(&sink, "abcdef", 1, NULL, 0), TEXTSTREAM_CANCELLED);
    assert_string_equal(sink.text, "ab");
}

static void bad_stop_strings_are_refused(void **state)
{
    const char *stops[TEXTSTREAM_STOPS_MAX + 1] = {""};
    char long_stop[TEXTSTREAM_STOP_BYTES_MAX + 2];
    struct textstream *s;
    struct error err;

    assert_int_equal(textstream_create(&s, stops, 1, NULL, NULL, &err),
                     -EINVAL);
    memset(long_stop, 'x', sizeof long_stop - 1);
    long_stop[sizeof long_stop - 1] = '\0';
    stops[0] = long_stop;
    assert_int_equal(textstream_create(&s, stops, 1, NULL, NULL, &err),
                     -EINVAL);
    assert_int_equal(textstream_create(&s, stops, TEXTSTREAM_STOPS_MAX + 1,
                                       NULL, NULL, &err),
                     -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_come_whole_however_they_are_cut),
        cmocka_unit_test(bytes_that_are_no_character_become_one),
        cmocka_unit_test(text_ends_before_a_stop_string),
        cmocka_unit_test(the_reader_can_cancel),
        cmocka_unit_test(bad_stop_strings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
