// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/redact.h"

#include "engine/base/utf8.h"
#include "tests/support/piitext.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct redact rules;

static void becomes(const char *text, const char *wanted)
{
    struct str out = {.limit = 0};
    const int rc = redact_text(&rules, &out, NULL, text, strlen(text));

    assert_in_range(rc, 0, 1);
    assert_string_equal(rc == 1 ? out.data : text, wanted);
    assert_int_equal(rc, strcmp(text, wanted) != 0);
    str_free(&out);
}

static int mask_all(void **state)
{
    (void) state;
    redact_init(&rules, REDACT_MASK);
    return 0;
}

static void masks_what_it_finds_and_leaves_the_rest(void **state)
{
    (void) state;
    becomes("Card 4111 1111 1111 1111, thanks.", "Card <CARD>, thanks.");
    becomes("IBAN DE89 3704 0044 0532 0130 00!", "IBAN <IBAN>!");
    becomes("Write to maren.holt@example.org.", "Write to <EMAIL>.");
    becomes("Call +49 30 1234567 today", "Call <PHONE> today");
    becomes("ssh root@203.0.113.77", "ssh root@<IP>");
    becomes("at 2001:db8::8a2e:370:7334, port 1", "at <IP>, port 1");
    becomes("ether 52:54:00:ab:cd:ef brd", "ether <MAC> brd");
    becomes("https://u:pw1@h.example/x", "https://<LOGIN>@h.example/x");
    becomes("ghp_0123456789abcdefABCDEF0123456789abcd", "<KEY>");
    becomes("password: hunter2.", "password: <PASSWORD>.");
    becomes("Ihr Code lautet 482913.", "Ihr Code lautet <CODE>.");
    becomes("SSN 123-45-6789", "SSN <ID>");
}

static void sees_other_scripts(void **state)
{
    (void) state;
    becomes("カードは４１１１１１１１１１１１１１１１です",
            "カードは<CARD>です");
    becomes("您的验证码是482913，5分钟内有效",
            "您的验证码是<CODE>，5分钟内有效");
    becomes("Код подтверждения: 4829", "Код подтверждения: <CODE>");
    becomes("jörg@müller.de", "<EMAIL>");
    becomes("4111\xe2\x80\x8b"
            "111111111111",
            "<CARD>");
}

static void leaves_what_only_looks_so(void **state)
{
    static const char *const texts[] = {
        "Order 4111111111111112 came.", // its last digit is wrong
        "0.4111111111111111",
        "Version 1.2.3.4 is out",
        "at 12:34:56 on 2023-01-02",
        "std::vector<int>::iterator",
        "error code 4040",
        "ZIP code 90210",
        "Password: required",
        "a@b, user@localhost, icon@2x.png, git@example.org:a/b",
        "DE89370400440532013001",
        "127.0.0.1",
        "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "<CARD> and <PHONE>",
        "",
    };

    (void) state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        becomes(texts[i], texts[i]);
}

static void keeps_the_shape_when_asked(void **state)
{
    (void) state;
    rules.modes[REDACT_CARD] = REDACT_SHAPE;
    rules.modes[REDACT_EMAIL] = REDACT_SHAPE;
    becomes("4111-1111-1111-1111", "0000-0000-0000-0000");
    becomes("Maren@example.org", "Xxxxx@xxxxxxx.xxx");
}

static void leaves_classes_that_are_off(void **state)
{
    (void) state;
    rules.modes[REDACT_EMAIL] = REDACT_OFF;
    becomes("a@example.org 4111111111111111", "a@example.org <CARD>");
}

static void drops_and_counts(void **state)
{
    static const char text[] = "a@example.org, b@example.org, +49 30 1234567";
    struct redact_counts counts = {0};
    struct str out = {.limit = 0};

    (void) state;
    assert_int_equal(redact_text(&rules, &out, &counts, text, strlen(text)), 1);
    assert_int_equal(counts.found[REDACT_EMAIL], 2);
    assert_int_equal(counts.found[REDACT_PHONE], 1);
    str_clear(&out);
    rules.modes[REDACT_PHONE] = REDACT_DROP;
    assert_int_equal(redact_text(&rules, &out, &counts, text, strlen(text)),
                     -ECANCELED);
    assert_int_equal(out.bytes, 0);
    str_free(&out);
}

static void knows_its_names(void **state)
{
    enum redact_mode m;
    enum redact_class c;

    (void) state;
    for (int i = 0; i < REDACT_MODES; i++) {
        const char *name = redact_mode_name((enum redact_mode) i);
        assert_int_equal(redact_mode_parse(&m, name, strlen(name)), 0);
        assert_int_equal(m, i);
    }
    for (int i = 0; i < REDACT_CLASSES; i++) {
        const char *name = redact_class_name((enum redact_class) i);
        assert_int_equal(redact_class_parse(&c, name, strlen(name)), 0);
        assert_int_equal(c, i);
    }
    assert_int_equal(redact_mode_parse(&m, "masks", 5), -EINVAL);
    assert_int_equal(redact_class_parse(&c, "", 0), -EINVAL);
}

/*
 * The corpus
 */

struct cover {
    const struct piitext *sample;
    size_t covered;
    unsigned found, wrong;
};

static int on_find(void *user, enum redact_class c, size_t begin, size_t end)
{
    struct cover *v = user;

    (void) c;
    v->found++;
    v->wrong += begin >= v->sample->end || end <= v->sample->begin;
    if (begin <= v->covered && end > v->covered)
        v->covered = end;
    return 0;
}

// At least so many of a hundred, of forms that are looked for. bench_redact has
// the table with what is missed.
static void finds_and_spares_what_it_should(void **state)
{
    enum { SAMPLES = 600, RECALL = 98, PRECISION = 97 };
    struct piitext s;
    struct rng r;

    (void) state;
    rng_init(&r, 11, 4);
    for (int c = 0; c < REDACT_CLASSES; c++) {
        unsigned wanted = 0, hits = 0, found = 0, wrong = 0;
        for (int i = 0; i < SAMPLES; i++) {
            piitext_make(&s, &r, (enum redact_class) c);
            struct cover v = {.sample = &s, .covered = s.begin};
            assert_int_equal(redact_find(&rules, s.text, s.bytes, on_find, &v),
                             0);
            wanted += !s.is_hard;
            hits += !s.is_hard && v.covered >= s.end;
            found += v.found;
            wrong += v.wrong;
        }
        if (hits * 100 < wanted * RECALL ||
            (found - wrong) * 100 < found * PRECISION)
            fail_msg("%s: %u of %u found, %u of %u finds wrong",
                     redact_class_name((enum redact_class) c), hits, wanted,
                     wrong, found);
    }
}

static void finds_little_where_nothing_is(void **state)
{
    enum { SAMPLES = 20000, PER_THOUSAND = 2 };
    struct piitext s;
    struct rng r;
    unsigned found = 0;

    (void) state;
    rng_init(&r, 12, 4);
    for (int i = 0; i < SAMPLES; i++) {
        piitext_make(&s, &r, REDACT_CLASSES);
        struct cover v = {.sample = &s};
        assert_int_equal(redact_find(&rules, s.text, s.bytes, on_find, &v), 0);
        found += v.found;
    }
    if (found * 1000 > SAMPLES * PER_THOUSAND)
        fail_msg("%u finds in %d sentences without any", found, SAMPLES);
}

static void finds_nothing_in_a_text(const char *path)
{
    unsigned found = 0;
    char *text = malloc(8 << 20);
    FILE *f = fopen(path, "rb");
    struct piitext none = {.bytes = 0};
    struct cover v = {.sample = &none};

    assert_non_null(text);
    if (!f) {
        free(text);
        print_message("# %s is not here: not looked at\n", path);
        return;
    }
    const size_t n = fread(text, 1, 8 << 20, f);
    fclose(f);
    assert_true(n > 0);
    assert_int_equal(redact_find(&rules, text, n, on_find, &v), 0);
    found = v.found;
    free(text);
    if (found > 0)
        fail_msg("%u finds in %s", found, path);
}

static void finds_nothing_in_diaries_and_reviews(void **state)
{
    (void) state;
    finds_nothing_in_a_text("clients/demo/notebook.jsonl");
    finds_nothing_in_a_text("clients/demo/messages.jsonl");
    finds_nothing_in_a_text("../shared/data/pepys/diary.jsonl");
    finds_nothing_in_a_text("../shared/data/sst2/train.tsv");
}

static void redacts_the_corpus_once_and_for_all(void **state)
{
    struct piitext s;
    struct rng r;

    (void) state;
    rng_init(&r, 13, 4);
    for (int i = 0; i < 20000; i++) {
        struct str out = {.limit = 0};
        piitext_make(&s, &r,
                     (enum redact_class) rng_below(&r, REDACT_CLASSES + 1));
        redact_init(&rules, i % 2 ? REDACT_SHAPE : REDACT_MASK);
        const int rc = redact_text(&rules, &out, NULL, s.text, s.bytes);
        assert_in_range(rc, 0, 1);
        if (rc == 1) {
            assert_true(utf8_is_valid(out.data, out.bytes));
            assert_true(out.bytes <= s.bytes * REDACT_GROWTH + 64);
            struct str again = {.limit = 0};
            assert_int_equal(redact_text(&rules, &again, NULL, out.data,
                                         out.bytes),
                             0);
        }
        str_free(&out);
    }
}

// Texts that would be slow if a scanner went over the same place again.
static void takes_no_longer_for_hostile_texts(void **state)
{
    static const char *const parts[] =
        {"eyJ-",  "sk-",  "-----BEGIN PRIVATE KEY-----",
         "a@",    "1 ",   "4111 ",
         "+1",    "://:", "password:",
         "0-",    "ff:",  "((((",
         "code ", "a.",   "::",
         "AKIA"};
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES);

    (void) state;
    assert_non_null(text);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct str out = {.limit = 0};
        const size_t n = strlen(parts[i]);
        for (size_t k = 0; k < BYTES; k++)
            text[k] = parts[i][k % n];
        // The test's time limit is the check: quadratic work would be hours.
        assert_true(redact_text(&rules, &out, NULL, text, BYTES) >= -ECANCELED);
        str_free(&out);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(masks_what_it_finds_and_leaves_the_rest,
                               mask_all),
        cmocka_unit_test_setup(sees_other_scripts, mask_all),
        cmocka_unit_test_setup(leaves_what_only_looks_so, mask_all),
        cmocka_unit_test_setup(keeps_the_shape_when_asked, mask_all),
        cmocka_unit_test_setup(leaves_classes_that_are_off, mask_all),
        cmocka_unit_test_setup(drops_and_counts, mask_all),
        cmocka_unit_test(knows_its_names),
        cmocka_unit_test_setup(finds_and_spares_what_it_should, mask_all),
        cmocka_unit_test_setup(finds_little_where_nothing_is, mask_all),
        cmocka_unit_test_setup(finds_nothing_in_diaries_and_reviews, mask_all),
        cmocka_unit_test_setup(redacts_the_corpus_once_and_for_all, mask_all),
        cmocka_unit_test_setup(takes_no_longer_for_hostile_texts, mask_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
