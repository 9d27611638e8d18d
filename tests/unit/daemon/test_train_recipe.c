// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/train_recipe.h"

// Make a recipe of the map that `e` holds, and give it back.
static int make_by(struct encoder *e, char out[TRAIN_RECIPE_BYTES],
                   const struct policy *p, struct error *err)
{
    struct codec_doc doc;

    assert_int_equal(encoder_finish(e), 0);
    assert_int_equal(codec_decode(&doc, e->data, e->bytes, &frame_limits_full,
                                  err),
                     0);
    int rc = train_recipe_make(out, &doc.root, p, err);
    codec_finish(&doc);
    encoder_destroy(e);
    return rc;
}

static int make(struct encoder *e, char out[TRAIN_RECIPE_BYTES],
                struct error *err)
{
    struct policy p;

    policy_init(&p);
    return make_by(e, out, &p, err);
}

static void defaults_come_from_the_policy(void **state)
{
    char text[TRAIN_RECIPE_BYTES];
    struct policy p;
    struct error err;

    policy_init(&p);
    p.train_rank = 4;
    assert_int_equal(train_recipe_make(text, NULL, &p, &err), 0);
    assert_non_null(strstr(text, "rank=4 "));
    assert_non_null(strstr(text, "targets=all "));
    assert_non_null(strstr(text, "schedule=linear "));
    assert_non_null(strstr(text, " seed=1"));
}

static void what_is_asked_for_wins(void **state)
{
    char text[TRAIN_RECIPE_BYTES];
    struct encoder e;
    struct error err = {0};

    encoder_init(&e, 0);
    encoder_open_map(&e);
    encoder_put_int(&e, "rank", 2);
    encoder_put_float(&e, "lr", 0.01);
    encoder_put_cstr(&e, "targets", "q,v");
    encoder_close(&e);
    assert_int_equal(make(&e, text, &err), 0);
    assert_non_null(strstr(text, "rank=2 "));
    assert_non_null(strstr(text, "lr=0.01 "));
    assert_non_null(strstr(text, "targets=q,v "));
}

static int make_for(const char *device, char out[TRAIN_RECIPE_BYTES],
                    struct error *err)
{
    struct encoder e;

    encoder_init(&e, 0);
    encoder_open_map(&e);
    encoder_put_cstr(&e, "device", device);
    encoder_close(&e);
    return make(&e, out, err);
}

// It is the job's, and not for the worker's recipe.
static void a_device_is_cut_out_again(void **state)
{
    char text[TRAIN_RECIPE_BYTES];
    char plain[TRAIN_RECIPE_BYTES];
    char device[TRAIN_DEVICE_BYTES];
    struct policy p;
    struct error err = {0};

    policy_init(&p);
    assert_int_equal(train_recipe_make(plain, NULL, &p, &err), 0);
    assert_false(train_recipe_take_device(device, plain));
    assert_string_equal(device, "");
    assert_int_equal(make_for("vulkan:cpu", text, &err), 0);
    assert_non_null(strstr(text, " device=vulkan:cpu"));
    assert_true(train_recipe_take_device(device, text));
    assert_string_equal(device, "vulkan:cpu");
    assert_string_equal(text, plain);

    char first[TRAIN_RECIPE_BYTES] = "device=cpu rank=8";
    assert_true(train_recipe_take_device(device, first));
    assert_string_equal(device, "cpu");
    assert_string_equal(first, " rank=8");

    assert_int_equal(make_for("gpu", text, &err), -EINVAL);
    assert_non_null(strstr(err.text, "no device is called"));
    assert_int_equal(make_for("vulkan:Radeon RX", text, &err), -EINVAL);
    assert_non_null(strstr(err.text, "one word"));
}

static void a_scheme_stays_one_word(void **state)
{
    char text[TRAIN_RECIPE_BYTES];
    struct encoder e;
    struct error err = {0};

    encoder_init(&e, 0);
    encoder_open_map(&e);
    encoder_put_cstr(&e, "scheme", " {\n \"rules\": [ 1, 2 ] }\n");
    encoder_close(&e);
    assert_int_equal(make(&e, text, &err), 0);
    assert_non_null(strstr(text, " scheme={\"rules\":[1,2]} loss_on="));

    encoder_init(&e, 0);
    encoder_open_map(&e);
    encoder_put_cstr(&e, "scheme", "{\"a b\":1}");
    encoder_close(&e);
    assert_int_equal(make(&e, text, &err), -EINVAL);
    assert_non_null(strstr(err.text, "recipe scheme must be a preset or JSON"));
}

static void the_scheme_of_the_policy_is_for_those_that_say_nothing(void **state)
{
    static const struct {
        const char *key;
        const char *value; // NULL: the number 1
        const char *has;   // NULL: no scheme at all
    } rows[] = {
        {"rank", NULL, " scheme=lora-last:4 "},
        {"scheme", "norms", " scheme=norms "},
        {"scheme", "", NULL},
        {"targets", "q,v", NULL},
        {"last_blocks", NULL, NULL},
    };
    char text[TRAIN_RECIPE_BYTES];
    struct policy p;
    struct error err = {0};

    policy_init(&p);
    assert_int_equal(policy_set_text(&p, "train_scheme", "lora-last:4", &err),
                     0);
    assert_int_equal(train_recipe_make(text, NULL, &p, &err), 0);
    assert_non_null(strstr(text, " scheme=lora-last:4 "));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct encoder e;
        encoder_init(&e, 0);
        encoder_open_map(&e);
        if (rows[i].value)
            encoder_put_cstr(&e, rows[i].key, rows[i].value);
        else
            encoder_put_int(&e, rows[i].key, 1);
        encoder_close(&e);
        assert_int_equal(make_by(&e, text, &p, &err), 0);
        if (rows[i].has)
            assert_non_null(strstr(text, rows[i].has));
        else
            assert_null(strstr(text, "scheme="));
    }
}

static void refuses_numbers_out_of_range_and_words_that_are_more(void **state)
{
    char text[TRAIN_RECIPE_BYTES];
    struct encoder e;
    struct error err = {0};

    encoder_init(&e, 0);
    encoder_open_map(&e);
    encoder_put_int(&e, "rank", 0);
    encoder_close(&e);
    assert_int_equal(make(&e, text, &err), -EINVAL);
    assert_non_null(strstr(err.text, "rank is 0"));

    encoder_init(&e, 0);
    encoder_open_map(&e);
    encoder_put_cstr(&e, "schedule", "linear lr=9");
    encoder_close(&e);
    assert_int_equal(make(&e, text, &err), -EINVAL);
    assert_non_null(strstr(err.text, "schedule"));
}

static void the_map_of_the_api_comes_back(void **state)
{
    struct encoder e;
    struct codec_doc doc;
    struct error err;

    encoder_init(&e, 0);
    encoder_open_map(&e);
    train_recipe_encode(&e, "rank=2 lr=0.01 targets=q,v nonsense other=1");
    encoder_close(&e);
    assert_int_equal(encoder_finish(&e), 0);
    assert_int_equal(codec_decode(&doc, e.data, e.bytes, &frame_limits_full,
                                  &err),
                     0);
    const msgpack_object *map = codec_find(&doc.root, "recipe");
    assert_int_equal(codec_count(map), 3);
    assert_int_equal(codec_int(map, "rank", 0), 2);
    assert_true(codec_bytes_equal(codec_str(map, "targets"), "q,v"));
    codec_finish(&doc);
    encoder_destroy(&e);
}

static void numbers_are_found_by_their_whole_key(void **state)
{
    assert_int_equal(train_recipe_int("rank=8 memory_mib=96", "memory_mib"),
                     96);
    assert_int_equal(train_recipe_int("rank=8 lr=0.1", "rank"), 8);
    assert_int_equal(train_recipe_int("lora_rank=8", "rank"), 0);
    assert_int_equal(train_recipe_int("rank_x=8", "rank"), 0);
    assert_int_equal(train_recipe_int("", "rank"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_from_the_policy),
        cmocka_unit_test(what_is_asked_for_wins),
        cmocka_unit_test(a_device_is_cut_out_again),
        cmocka_unit_test(a_scheme_stays_one_word),
        cmocka_unit_test(
            the_scheme_of_the_policy_is_for_those_that_say_nothing),
        cmocka_unit_test(refuses_numbers_out_of_range_and_words_that_are_more),
        cmocka_unit_test(the_map_of_the_api_comes_back),
        cmocka_unit_test(numbers_are_found_by_their_whole_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
