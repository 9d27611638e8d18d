// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/recipe.h"

#include "engine/base/error.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void defaults_are_in_their_ranges(void **state)
{
    struct recipe r, again;
    struct error err;
    char text[RECIPE_TEXT_BYTES];

    recipe_init(&r);
    assert_true(recipe_print(text, sizeof text, &r) > 0);
    recipe_init(&again);
    memset(&again, 0xff, sizeof again);
    assert_int_equal(recipe_parse(&again, text, &err), 0);
    assert_int_equal(r.rank, 8);
    assert_int_equal(r.targets, LORA_ALL);
    assert_float_equal(r.lr, 3e-3, 1e-9);
}

static void what_is_printed_reads_back_exactly(void **state)
{
    struct recipe a, b;
    struct error err;
    char text[RECIPE_TEXT_BYTES];

    recipe_init(&a);
    assert_int_equal(
        recipe_parse(
            &a,
            " rank=3 lr=0.000123456789\tschedule=cosine targets=v,down "
            "seed=18446744073709551615\n",
            &err),
        0);
    assert_int_equal(a.targets, LORA_V | LORA_DOWN);
    assert_true(a.seed == UINT64_MAX);
    assert_true(recipe_print(text, sizeof text, &a) > 0);
    recipe_init(&b);
    assert_int_equal(recipe_parse(&b, text, &err), 0);
    assert_memory_equal(&a, &b, sizeof a);
}

static void bad_values_are_named_and_change_nothing(void **state)
{
    static const struct {
        const char *text, *says;
        int rc;
    } bad[] = {
        {"rank=0", "rank is 0, but must be 1 to 256", -EINVAL},
        {"rank=-1", "whole number", -EINVAL},
        {"rank=99999999999999999999", "whole number", -EINVAL},
        {"rank=8x", "whole number", -EINVAL},
        {"lr=nan", "lr is nan", -EINVAL},
        {"lr=", "must be a number", -EINVAL},
        {"lr=1e99", "must be", -EINVAL},
        {"schedule=step", "linear, cosine or constant", -EINVAL},
        {"updates=now", "auto, early or late", -EINVAL},
        {"act_compress=tar", "must be off or velora", -EINVAL},
        {"act_targets=x", "act_targets has \"x\"", -EINVAL},
        {"dw_tokens=0", "must be 0.01 to 1", -EINVAL},
        {"velora_groups=0", "must be 1 to 4096", -EINVAL},
        {"precision=f16", "must be f32 or bf16", -EINVAL},
        {"targets=q,x", "\"x\"", -EINVAL},
        {"targets=q,", "\"\"", -EINVAL},
        {"colour=red", "no setting \"colour\"", -ENOENT},
        {"rank", "name=value", -EINVAL},
        {"rank=4 alpha=oops", "alpha", -EINVAL},
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct recipe r, before;
        struct error err = {0};

        recipe_init(&r);
        before = r;
        assert_int_equal(recipe_parse(&r, bad[i].text, &err), bad[i].rc);
        assert_non_null(strstr(err.text, bad[i].says));
        assert_memory_equal(&r, &before, sizeof r);
    }
}

static void more_blocks_than_the_model_has_are_refused(void **state)
{
    const struct model_config m = {.n_blocks = 8};
    struct recipe r;
    struct error err;

    recipe_init(&r);
    r.last_blocks = 8;
    assert_int_equal(recipe_check(&r, &m, &err), 0);
    r.last_blocks = 9;
    assert_int_equal(recipe_check(&r, &m, &err), -EINVAL);
}

static void the_hash_follows_every_value(void **state)
{
    struct recipe a, b;
    uint8_t ha[32], hb[32];

    recipe_init(&a);
    b = a;
    assert_int_equal(recipe_hash(ha, &a), 0);
    b.lr = nextafterf(b.lr, 1);
    assert_int_equal(recipe_hash(hb, &b), 0);
    assert_memory_not_equal(ha, hb, 32);
}

static void the_rate_warms_up_and_decays(void **state)
{
    struct recipe r;

    recipe_init(&r);
    r.lr = 1;
    r.warmup = 10;
    r.lr_floor = 0.05F;
    assert_float_equal(recipe_rate(&r, 0, 100), 0.1, 1e-6);
    assert_float_equal(recipe_rate(&r, 9, 100), 0.91, 1e-6);
    assert_float_equal(recipe_rate(&r, 50, 100), 0.5, 1e-6);
    assert_float_equal(recipe_rate(&r, 99, 100), 0.05, 1e-6);
    r.schedule = RECIPE_SCHEDULE_COSINE;
    assert_float_equal(recipe_rate(&r, 50, 100), 0.5, 1e-6);
    assert_float_equal(recipe_rate(&r, 25, 100), 0.853553, 1e-5);
    r.schedule = RECIPE_SCHEDULE_CONSTANT;
    assert_float_equal(recipe_rate(&r, 99, 100), 1, 1e-6);
}

// As it is written in a recipe, with blanks when set by itself.
static void a_scheme_takes_the_place_of_targets(void **state)
{
    const struct model_config m = {
        .n_blocks = 4,
        .width = 16,
        .n_heads = 2,
        .n_kv_heads = 2,
        .head_dim = 8,
        .ffn_width = 24,
    };
    char text[RECIPE_TEXT_BYTES];
    struct recipe r, again;
    struct scheme a, b;
    struct error err = {0};

    recipe_init(&r);
    assert_int_equal(recipe_parse(&r, "rank=3 scheme=lora-last:2 last_blocks=1",
                                  &err),
                     0);
    assert_int_equal(recipe_scheme(&a, &r, &m, &err), 0);
    assert_int_equal(scheme_first_block(&a, &m), 2);
    assert_int_equal(a.linears[3][0].rank, 3);

    assert_int_equal(
        recipe_set(&r, "scheme",
                   "{ \"rules\": [ {\"tensors\": \"attn_*\", "
                   "\"blocks\": \"last:2\", \"learn\": \"dora\"} ] }",
                   &err),
        0);
    assert_int_equal(recipe_scheme(&a, &r, &m, &err), 0);
    assert_int_equal(a.linears[2][0].learn, LEARN_DORA);
    assert_true(recipe_print(text, sizeof text, &r) > 0);
    assert_null(strstr(text, ": "));
    recipe_init(&again);
    assert_int_equal(recipe_parse(&again, text, &err), 0);
    assert_memory_equal(&r, &again, sizeof r);
    assert_int_equal(recipe_scheme(&b, &again, &m, &err), 0);
    assert_true(scheme_equal(&a, &b));

    assert_int_equal(recipe_set(&r, "scheme", "\"a b\"", &err), -EINVAL);
    assert_non_null(strstr(err.text, "scheme has a name with a blank"));
    assert_int_equal(recipe_set(&r, "scheme", "lora-last:5", &err), 0);
    assert_int_equal(recipe_check(&r, &m, &err), -EINVAL);
    assert_non_null(strstr(err.text, "\"lora-last:5\" must say"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_in_their_ranges),
        cmocka_unit_test(what_is_printed_reads_back_exactly),
        cmocka_unit_test(bad_values_are_named_and_change_nothing),
        cmocka_unit_test(more_blocks_than_the_model_has_are_refused),
        cmocka_unit_test(the_hash_follows_every_value),
        cmocka_unit_test(the_rate_warms_up_and_decays),
        cmocka_unit_test(a_scheme_takes_the_place_of_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
