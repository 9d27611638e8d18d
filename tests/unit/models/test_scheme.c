// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/scheme.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/base/str.h"
#include "engine/models/scheme_text.h"
#include "tests/support/tiny.h"

static const struct scheme_defaults defaults = {4, 8};

static struct model_config model(void)
{
    return tiny_config(DTYPE_f32, 6);
}

static int parse(struct scheme *out, const char *text, struct error *err)
{
    const struct model_config m = model();
    return scheme_parse(out, text, strlen(text), &defaults, &m, err);
}

static struct scheme parsed(const char *text)
{
    struct error err = {0};
    struct scheme s;
    if (parse(&s, text, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return s;
}

static uint32_t count(const struct scheme *s, enum param_kind kind)
{
    struct param params[256];
    const struct model_config m = model();
    uint32_t n = scheme_params(params, 256, &m, s), found = 0;
    assert_in_range(n, 1, 256);
    for (uint32_t i = 0; i < n; i++)
        found += params[i].kind == kind;
    return found;
}

static void presets_say_what_learns(void **state)
{
    const struct model_config m = model();
    struct scheme s = parsed("lora-all");
    const struct scheme_lora all = {4, 8, LORA_ALL, 0};
    const struct scheme want = tiny_scheme(&m, &all);
    assert_true(scheme_equal(&s, &want));
    s = parsed("lora-last:2");
    assert_int_equal(scheme_first_block(&s, &m), 4);
    assert_int_equal(count(&s, PARAM_LORA_A), 14);
    s = parsed("lora-fa:1");
    assert_int_equal(s.linears[5][MODEL_LINEAR_up].learn, LEARN_LORA_B);
    s = parsed("lora-plus");
    assert_true(s.b_rate == 16);
    s = parsed("rslora:3");
    assert_true(scheme_lora_scale(&s, 4) == 4);
    s = parsed("dora:6");
    assert_int_equal(count(&s, PARAM_MAGNITUDE), 42);
    s = parsed("pockengine:2");
    assert_int_equal(count(&s, PARAM_DELTA), 10);
    assert_int_equal(count(&s, PARAM_GAIN), 4);
    assert_int_equal(s.linears[4][MODEL_LINEAR_up].learn, LEARN_NONE);
    s = parsed("full");
    assert_int_equal(count(&s, PARAM_DELTA), 42);
    assert_int_equal(count(&s, PARAM_GAIN), 13);
    s = parsed("norms");
    assert_int_equal(count(&s, PARAM_GAIN), 13);
    s = parsed("window:1-3");
    assert_int_equal(s.exit_block, 4);
    assert_int_equal(scheme_first_block(&s, &m), 1);
    assert_int_equal(scheme_blocks(&s, &m), 4);
    assert_int_equal(count(&s, PARAM_LORA_B), 21);
    assert_int_equal(parsed("window:4-5").exit_block, 0);
}

static void rules_are_applied_in_order(void **state)
{
    const struct scheme s =
        parsed(" {\"alpha\": 3, \"scale\": \"root\", \"b_rate\": 2,"
               "\"delta_rate\": 0.5, \"exit\": 5, \"rules\": ["
               "{\"tensors\": \"attn_*\", \"blocks\": \"1-3\", \"learn\": "
               "\"lora\"},"
               "{\"tensors\": [\"attn_q\", \"blk.2.attn_k.weight\"],"
               " \"learn\": \"none\", \"blocks\": 2},"
               "{\"tensors\": \"blk.4.ffn_up*\", \"learn\": \"delta\", "
               "\"part\": [7, 0]},"
               "{\"tensors\": \"*_norm\", \"learn\": \"delta\", \"blocks\": "
               "3},"
               "{\"tensors\": \"ffn_down\", \"learn\": \"dora\", \"rank\": "
               "9, \"blocks\": 3},"
               "{\"tensors\": \"output_norm\", \"learn\": \"delta\"}]}");

    assert_true(s.alpha == 3 && s.b_rate == 2 && s.delta_rate == 0.5f);
    assert_int_equal(s.exit_block, 5);
    assert_int_equal(s.scale, SCHEME_SCALE_ROOT);
    assert_int_equal(s.linears[1][MODEL_LINEAR_q].learn, LEARN_LORA);
    assert_int_equal(s.linears[1][MODEL_LINEAR_q].rank, 4);
    assert_int_equal(s.linears[2][MODEL_LINEAR_q].learn, LEARN_NONE);
    assert_int_equal(s.linears[2][MODEL_LINEAR_k].learn, LEARN_NONE);
    assert_int_equal(s.linears[2][MODEL_LINEAR_v].learn, LEARN_LORA);
    assert_int_equal(s.linears[4][MODEL_LINEAR_up].part, 0x81);
    assert_int_equal(s.linears[3][MODEL_LINEAR_down].rank, 9);
    assert_int_equal(s.norms[3], SCHEME_BOTH_NORMS);
    assert_int_equal(s.norms[2], 0);
    assert_int_equal(s.output_norm, 1);
}

static void wrong_ones_name_what_is_wrong(void **state)
{
#define RULE(rest) "{\"rules\":[{" rest "}]}"
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "no preset \"\""},
        {"lora", "no preset \"lora\"; there are lora-all, lora-last:K"},
        {"lora-last", "how many of the last blocks learn, 1 to 6"},
        {"lora-last:0", "1 to 6"},
        {"lora-last:7", "\"lora-last:7\" must say"},
        {"lora-last:2x", "\"lora-last:2x\" must say"},
        {"full:2", "full takes no number"},
        {"window:3", "a first and a last block, 0-5"},
        {"window:3-2", "a first and a last block"},
        {"window:2-6", "a first and a last block"},
        {"{", "scheme: JSON is wrong"},
        {"{}", "it has no rules: nothing would learn"},
        {"{\"rules\":[]}", "it has no rules"},
        {"{\"rules\":[3]}", "rule 1 is not an object"},
        {"{\"rule\":[]}", "it has \"rule\", which nobody knows"},
        {"{\"alpha\":0,\"rules\":[]}", "alpha must be a number above 0"},
        {"{\"scale\":\"r\",\"rules\":[]}", "scale must be"},
        {"{\"exit\":7,\"rules\":[]}", "exit must be the number of blocks"},
        {RULE("\"tensors\":\"attn_z\",\"learn\":\"lora\""),
         "rule 1 names \"attn_z\", which is no tensor"},
        {RULE("\"tensors\":\"token_embd\",\"learn\":\"delta\""),
         "rule 1 names \"token_embd\""},
        {RULE("\"tensors\":\"blk.7.attn_q.weight\",\"learn\":\"lora\""),
         "\"blk.7.attn_q.weight\", which is no tensor"},
        {RULE("\"tensors\":\"attn_q\",\"learn\":\"sgd\""),
         "learn \"sgd\", but knows none, lora"},
        {RULE("\"tensors\":\"attn_q\",\"learn\":\"none\""), "nothing learns"},
        {RULE("\"learn\":\"lora\""), "rule 1 names no tensors"},
        {RULE("\"tensors\":[],\"learn\":\"lora\""), "names no tensors"},
        {RULE("\"tensors\":[7],\"learn\":\"lora\""), "not a name"},
        {RULE("\"tensors\":\"attn_q\",\"learn\":\"lora\",\"blocks\":6"),
         "rule 1 has blocks 6, but the model has 0 to 5"},
        {RULE("\"tensors\":\"attn_q\",\"learn\":\"lora\","
              "\"blocks\":\"4-9\""),
         "blocks \"4-9\""},
        {RULE("\"tensors\":\"attn_q\",\"learn\":\"lora\","
              "\"blocks\":\"last:7\""),
         "blocks \"last:7\""},
        {RULE("\"tensors\":\"attn_q\",\"learn\":\"lora\",\"rank\":0"),
         "rank that is not 1 to 256"},
        {RULE("\"tensors\":\"attn_q\",\"learn\":\"delta\",\"rank\":4"),
         "a rank, which \"delta\" does not take"},
        {RULE("\"tensors\":\"attn_q\",\"learn\":\"lora\","
              "\"part\":[1]"),
         "a part, which only a delta can have, not \"lora\""},
        {RULE("\"tensors\":\"attn_q\",\"learn\":\"delta\","
              "\"part\":[8]"),
         "a part that is not a list of eighths"},
        {RULE("\"tensors\":\"attn_norm\",\"learn\":\"lora\""),
         "\"attn_norm\" learn by \"lora\", but norms know delta alone"},
        {RULE("\"tensors\":\"*\",\"learn\":\"delta\""),
         "lets every tensor of the model learn; if that is meant"},
        {RULE("\"tensors\":\"attn_q\",\"learn\":\"lora\",\"x\":1"),
         "rule 1 has \"x\", which nobody knows"},
        {"{\"exit\":2,\"rules\":[{\"tensors\":\"attn_q\","
         "\"learn\":\"lora\"}]}",
         "block 2 learns, but the model is left after 2 blocks"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scheme s;
        struct error err = {0};
        memset(&s, 0x5a, sizeof(s));
        const struct scheme before = s;
        const int rc = parse(&s, cases[i].text, &err);
        if (rc != -EINVAL || !strstr(err.text, cases[i].words))
            fail_msg("%s: %d, %s", cases[i].text, rc, err.text);
        assert_memory_equal(&s, &before, sizeof(s));
    }
}

static void assert_reads_back(const struct scheme *s)
{
    const struct scheme_defaults other = {77, 1234};
    const struct model_config m = model();
    struct str text = {0};
    struct error err = {0};
    struct scheme again;

    scheme_print(&text, s, &m);
    assert_int_equal(str_finish(&text), 0);
    assert_null(strpbrk(text.data, " \t\r\n"));
    if (scheme_parse(&again, text.data, text.bytes, &other, &m, &err) < 0)
        fail_msg("%s: %s", text.data, err.text);
    assert_true(scheme_equal(s, &again));
    str_free(&text);
}

static struct scheme random_scheme(uint64_t seed)
{
    struct scheme s;
    struct rng r;

    rng_init(&r, seed, 1);
    scheme_init(&s);
    s.alpha = (float) exp(rng_normal(&r));
    s.b_rate = (float) exp(rng_normal(&r));
    s.delta_rate = (float) exp(rng_normal(&r));
    s.scale = rng_below(&r, 2);
    s.output_norm = 1;
    s.exit_block = rng_below(&r, 2) ? 0 : 5;
    for (uint32_t i = 0; i < 5; i++) {
        s.norms[i] = (uint8_t) rng_below(&r, 4);
        for (int l = 0; l < MODEL_LINEARS; l++) {
            struct scheme_linear *h = &s.linears[i][l];
            h->learn = (uint8_t) rng_below(&r, LEARN_KINDS);
            if (h->learn == LEARN_DELTA)
                h->part = rng_below(&r, 2) ? 0 : (uint8_t) rng_below(&r, 255);
            else if (h->learn != LEARN_NONE)
                h->rank = (uint16_t) (1 + rng_below(&r, 2));
        }
    }
    return s;
}

static void what_is_printed_reads_back(void **state)
{
    static const char *const names[] = {"lora-all",     "lora-last:2",
                                        "lora-fa",      "lora-plus:1",
                                        "rslora",       "dora:3",
                                        "full",         "norms",
                                        "pockengine:4", "window:0-0",
                                        "window:3-5"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct scheme s = parsed(names[i]);
        assert_reads_back(&s);
    }
    for (uint64_t seed = 0; seed < 200; seed++) {
        const struct scheme s = random_scheme(seed);
        assert_reads_back(&s);
    }
}

static void presets_have_help(void **state)
{
    uint32_t n = 0;
    while (scheme_preset_help(n)) {
        assert_true(scheme_preset_help(n)->help[0] != '\0');
        n++;
    }
    assert_int_equal(n, 10);
}

static void schemes_that_cannot_be_are_refused(void **state)
{
    const struct model_config m = model();
    struct error err;
    struct scheme s = parsed("lora-all");

    assert_int_equal(scheme_check(&s, &m, &err), 0);
    s.linears[1][2].learn = LEARN_DELTA;
    assert_int_equal(scheme_check(&s, &m, &err), -EINVAL);
    assert_non_null(strstr(err.text, "blk.1.attn_v.weight has a rank"));
    s = parsed("full");
    s.linears[1][2].part = 255;
    assert_int_equal(scheme_check(&s, &m, &err), -EINVAL);
    s = parsed("full");
    s.norms[9] = 1;
    assert_int_equal(scheme_check(&s, &m, &err), -EINVAL);
    assert_non_null(strstr(err.text, "block 9 learns, but the model has 6"));
    s = parsed("full");
    s.b_rate = NAN;
    assert_int_equal(scheme_check(&s, &m, &err), -EINVAL);
    s = parsed("full");
    s.exit_block = 7;
    assert_int_equal(scheme_check(&s, &m, &err), -EINVAL);
}

static void floats_are_those_of_the_params(void **state)
{
    const struct model_config m = model();
    for (uint64_t seed = 0; seed < 50; seed++) {
        const struct scheme s = random_scheme(seed);
        struct param params[256];
        uint64_t sum = 0;
        const uint32_t n = scheme_params(params, 256, &m, &s);
        assert_in_range(n, 1, 256);
        for (uint32_t i = 0; i < n; i++)
            sum += (uint64_t) (params[i].ne[0] * params[i].ne[1]);
        assert_int_equal(scheme_floats(&s, &m), sum);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_say_what_learns),
        cmocka_unit_test(rules_are_applied_in_order),
        cmocka_unit_test(wrong_ones_name_what_is_wrong),
        cmocka_unit_test(what_is_printed_reads_back),
        cmocka_unit_test(presets_have_help),
        cmocka_unit_test(schemes_that_cannot_be_are_refused),
        cmocka_unit_test(floats_are_those_of_the_params),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
