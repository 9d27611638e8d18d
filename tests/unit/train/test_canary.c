// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/canary.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RECORDS_MAX = 16 };

static struct record records[RECORDS_MAX];
static char texts[RECORDS_MAX][256];
static size_t n;

// The same sentence, so changed that it is not held out.
static void add(const char *stream, const char *text)
{
    struct record *r = &records[n];

    *r = (struct record){.id = (int64_t) n + 1,
                         .stream = stream,
                         .kind = RECORD_TEXT};
    for (int i = 0; i == 0 || record_is_held_out(r); i++) {
        r->text.bytes =
            (size_t) snprintf(texts[n], sizeof(texts[n]), "%.*s %s", i % 40 + 1,
                              "ababcabcdabcdeabcdefabcdefgabcdefghabc", text);
        r->text.data = texts[n];
    }
    n++;
}

static int start(void **state)
{
    (void) state;
    n = 0;
    return 0;
}

static size_t find(struct canary **out)
{
    size_t count;

    assert_int_equal(canary_find(out, &count, records, n, RECORDS_MAX), 0);
    return count;
}

static void assert_is(const struct canary *c, const char *text, uint32_t times)
{
    const struct record_text t = canary_text(c, records);

    if (t.bytes != strlen(text) || memcmp(t.data, text, t.bytes) != 0)
        fail_msg("\"%.*s\" is not \"%s\"", (int) t.bytes, t.data, text);
    assert_int_equal(c->times, times);
}

static void finds_long_numbers_the_most_repeated_first(void **state)
{
    struct canary *c;

    (void) state;
    add("notes", "the safe opens with 48 29-135, the year is 1999");
    add("notes", "member K7Q2-X9 and token zt81kk29");
    add("notes", "again 48 29-135 in 2025-03-01, 1.3.2025 and 12:30");
    assert_int_equal(find(&c), 2);
    assert_is(&c[0], "48 29-135", 2);
    assert_is(&c[1], "zt81kk29", 1);
    assert_true(fabs(c[0].bits - 7 * log2(10)) < 1e-9);
    free(c);
}

static void planted_ones_come_before_all_others(void **state)
{
    struct canary *c;

    (void) state;
    add("notes", "1234567");
    add("notes", "1234567");
    add("canary", "the word is zanzibar");
    add("canary", "7654321");
    assert_int_equal(find(&c), 3);
    assert_is(&c[0], "zanzibar", 1);
    assert_is(&c[1], "7654321", 1);
    assert_is(&c[2], "1234567", 2);
    free(c);
}

static void leaves_held_out_records_alone(void **state)
{
    struct canary *c;
    struct record *r = &records[0];

    (void) state;
    *r = (struct record){.stream = "notes", .kind = RECORD_TEXT};
    for (int i = 0; i == 0 || !record_is_held_out(r); i++) {
        r->text.bytes =
            (size_t) snprintf(texts[0], sizeof(texts[0]), "number %07d", i);
        r->text.data = texts[0];
    }
    n = 1;
    assert_int_equal(find(&c), 0);
    free(c);
}

static void draws_others_of_the_same_form(void **state)
{
    struct canary *c;
    struct rng r;
    char a[CANARY_BYTES_MAX], b[CANARY_BYTES_MAX];

    (void) state;
    add("notes", "48-29 135 77");
    assert_int_equal(find(&c), 1);
    rng_init(&r, 1, 1);
    canary_draw(a, c, records, &r);
    canary_draw(b, c, records, &r);
    for (size_t i = 0; i < c->bytes; i++) {
        const char was = canary_text(c, records).data[i];
        if (was == '-' || was == ' ')
            assert_int_equal(a[i], was);
        else
            assert_in_range(a[i], '0', '9');
    }
    assert_memory_not_equal(a, b, c->bytes);
    free(c);
}

static void a_record_ends_with_what_is_compared(void **state)
{
    struct canary *c;
    struct canary_room room;
    struct record out;
    struct record_message turns[2] = {
        {{"user", 4}, {"What is it?", 11}},
        {{"assistant", 9}, {"It is 7777777, still.", 21}},
    };

    (void) state;
    records[0] = (struct record){.stream = "canary",
                                 .kind = RECORD_CHAT,
                                 .messages = turns,
                                 .n_messages = 2};
    n = 1;
    assert_false(record_is_held_out(&records[0]));
    assert_int_equal(find(&c), 1);
    canary_record(&out, &room, c, records, "1234567");
    assert_int_equal(out.n_messages, 2);
    assert_int_equal(out.messages[1].content.bytes, 13);
    assert_memory_equal(out.messages[1].content.data, "It is 1234567", 13);
    assert_memory_equal(out.messages[0].content.data, "What is it?", 11);
    free(c);
}

static void exposure_is_the_rank_in_bits(void **state)
{
    double others[127];

    (void) state;
    for (int i = 0; i < 127; i++)
        others[i] = 20 + i * 0.1;
    // Likelier than all but k of 127: log2(128 / (k + 1)).
    assert_true(fabs(canary_exposure(20.05, others, 127, 30) - 6) < 1e-9);
    assert_true(fabs(canary_exposure(26.25, others, 127, 30) - 1) < 0.05);
    assert_true(canary_exposure(99, others, 127, 30) < 1e-9);
    // Better than any: at least log2(128), by how far, and no more than all.
    const double near = canary_exposure(19.9, others, 127, 30);
    const double far = canary_exposure(8, others, 127, 30);
    assert_true(near >= 7 && far > near + 3);
    assert_true(canary_exposure(-1000, others, 127, 30) == 30);
    assert_true(canary_exposure(1, others, 0, 30) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(finds_long_numbers_the_most_repeated_first,
                               start),
        cmocka_unit_test_setup(planted_ones_come_before_all_others, start),
        cmocka_unit_test_setup(leaves_held_out_records_alone, start),
        cmocka_unit_test_setup(draws_others_of_the_same_form, start),
        cmocka_unit_test_setup(a_record_ends_with_what_is_compared, start),
        cmocka_unit_test(exposure_is_the_rank_in_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
