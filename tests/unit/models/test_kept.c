// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/kept.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/models/scheme_text.h"
#include "tests/support/tiny.h"

// Widths 32, 64 and 64.
static struct model_config model(void)
{
    return tiny_config(DTYPE_q8_0, 2);
}

static struct scheme scheme_of(const char *text)
{
    static const struct scheme_defaults defaults = {4, 8};
    const struct model_config m = model();
    struct error err = {0};
    struct scheme s;

    if (scheme_parse(&s, text, strlen(text), &defaults, &m, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return s;
}

static struct kept subtokens(uint32_t targets, uint16_t groups)
{
    return (struct kept){KEPT_SUBTOKENS, (uint8_t) targets, groups, 1, 0};
}

// One for q, k and v, and one for gate and up.
static void linears_of_one_input_share_what_is_kept(void **state)
{
    static const struct {
        const char *scheme;
        uint32_t targets;
        const char *names[4]; // of block 0
        uint32_t n;           // of both blocks
    } rows[] = {
        {"lora-all", LORA_ALL, {"attn_q", "ffn_gate", "ffn_down"}, 6},
        {"full", LORA_V | LORA_UP, {"attn_v", "ffn_up"}, 4},
        {"{\"rules\":[{\"tensors\":[\"attn_k\",\"attn_v\"],\"learn\":\"dora\"},"
         "{\"tensors\":\"attn_q\",\"learn\":\"lora_b\"}]}",
         LORA_ALL,
         {"attn_k"},
         2},
        // Other parts are other inputs.
        {"{\"rules\":[{\"tensors\":\"attn_q\",\"learn\":\"delta\",\"part\":[0]},"
         "{\"tensors\":\"attn_k\",\"learn\":\"delta\",\"part\":[0]},"
         "{\"tensors\":\"attn_v\",\"learn\":\"delta\",\"part\":[1]}]}",
         LORA_ALL,
         {"attn_q", "attn_v"},
         4},
    };
    const struct model_config m = model();

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct scheme s = scheme_of(rows[i].scheme);
        const struct kept k = subtokens(rows[i].targets, 4);
        struct kept_direction d[16];
        assert_int_equal(kept_directions(d, 16, &k, &s, &m), rows[i].n);
        for (uint32_t j = 0; j < rows[i].n / 2; j++) {
            assert_non_null(strstr(d[j].name, rows[i].names[j]));
            assert_int_equal(strncmp(d[j].name, "blk.0.", 6), 0);
            assert_non_null(strstr(d[j].name, ".weight.subtoken"));
        }
    }
}

static void directions_are_as_long_as_subtokens(void **state)
{
    const struct model_config m = model();
    const struct scheme s = scheme_of("lora-all");
    const struct kept k = subtokens(LORA_ALL, 8);
    struct kept_direction d[8];

    assert_int_equal(kept_directions(d, 8, &k, &s, &m), 6);
    assert_int_equal(d[0].size, 4);
    assert_int_equal(d[1].size, 4);
    assert_int_equal(d[2].size, 8);
}

static void what_makes_no_sense_is_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *scheme;
        struct kept kept;
        const char *says;
    } rows[] = {
        {"lora-fa",
         {KEPT_SUBTOKENS, LORA_ALL, 4, 1, 0},
         "LoRA-FA and norms keep no input"},
        {"norms",
         {KEPT_SUBTOKENS, LORA_ALL, 4, 1, 0},
         "act_compress has nothing to do"},
        {"{\"rules\":[{\"tensors\":\"attn_q\",\"learn\":\"lora\"}]}",
         {KEPT_SUBTOKENS, LORA_DOWN, 4, 1, 0},
         "act_compress has nothing to do"},
        {"lora-all",
         {KEPT_SUBTOKENS, LORA_ALL, 48, 1, 0},
         "velora_groups is 48, which does not divide the 32 inputs of "
         "blk.0.attn_q.weight that learn; 32 does"},
        {"lora-all", {KEPT_SUBTOKENS, LORA_ALL, 0, 1, 0}, "must be above 0"},
        {"lora-all", {KEPT_SUBTOKENS, LORA_ALL, 4, -1, 0}, "must be above 0"},
        {"lora-fa",
         {KEPT_TOKENS, LORA_ALL, 0, 0, 0.3F},
         "dw_tokens has nothing to do"},
        {"lora-all", {KEPT_TOKENS, LORA_ALL, 0, 0, 1.5F}, "dw_tokens must"},
        {"lora-all",
         {KEPT_KINDS, LORA_ALL, 4, 1, 0},
         "nothing that pockd knows"},
        {"lora-all", {KEPT_SUBTOKENS, 0, 4, 1, 0}, "nothing that pockd knows"},
    };
    const struct model_config m = model();

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct scheme s = scheme_of(rows[i].scheme);
        struct error err = {0};
        assert_int_equal(kept_check(&rows[i].kept, &s, &m, &err), -EINVAL);
        if (!strstr(err.text, rows[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.text, rows[i].says);
    }
}

static void whole_inputs_fit_everything(void **state)
{
    const struct model_config m = model();
    const struct scheme s = scheme_of("norms");
    const struct kept none = {0};
    const struct kept k = subtokens(LORA_ALL, 4);
    enum model_linear first;

    assert_int_equal(kept_check(&none, &s, &m, NULL), 0);
    assert_int_equal(kept_directions(NULL, 0, &none, &s, &m), 0);
    assert_false(kept_is_less(&first, &none, &s, 0, MODEL_LINEAR_q));
    assert_true(kept_equal(&k, &k));
    assert_false(kept_equal(&k, &none));
}

static void some_tokens_are_as_many_as_asked_for(void **state)
{
    const struct kept third = {KEPT_TOKENS, LORA_ALL, 0, 0, 0.25F};
    const struct kept hundredth = {KEPT_TOKENS, LORA_ALL, 0, 0, 0.015625F};

    assert_int_equal(kept_tokens(&third, 1000), 250);
    assert_int_equal(kept_tokens(&third, 1001), 251);
    assert_int_equal(kept_tokens(&hundredth, 200), KEPT_TOKENS_MIN);
    assert_int_equal(kept_tokens(&hundredth, 10), 10);
    assert_int_equal(kept_tokens(&hundredth, 7), 7);
    assert_int_equal(kept_tokens(&hundredth, 6400), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linears_of_one_input_share_what_is_kept),
        cmocka_unit_test(directions_are_as_long_as_subtokens),
        cmocka_unit_test(what_makes_no_sense_is_refused_with_a_sentence),
        cmocka_unit_test(some_tokens_are_as_many_as_asked_for),
        cmocka_unit_test(whole_inputs_fit_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
