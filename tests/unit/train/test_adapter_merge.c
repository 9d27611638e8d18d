// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/engine.h"

#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/formats/gguf.h"
#include "engine/models/scheme_text.h"
#include "engine/train/adapter.h"
#include "tests/support/shapefile.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static struct engine *engine;
static struct engine_model *model;

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%d: %s", rc, err->text);
}

static int open_model(void **state)
{
    const struct engine_params params = {.threads = 1};
    const int fd = tinyfile_create(4);
    struct error err;

    ok(engine_create(&engine, &params, &err), &err);
    ok(engine_model_open(&model, engine, fd, &err), &err);
    close(fd);
    return 0;
}

static int close_model(void **state)
{
    engine_model_close(model);
    engine_destroy(engine);
    return 0;
}

// Random, and strong enough to be heard.
static struct adapter *make(const char *text)
{
    const struct scheme_defaults defaults = {3, 6};
    struct engine_model_info info;
    struct scheme scheme;
    struct adapter *a;
    struct error err;
    struct rng r;

    ok(engine_model_describe(&info, model, &err), &err);
    ok(scheme_parse(&scheme, text, strlen(text), &defaults, &info.config, &err),
       &err);
    ok(adapter_create(&a, &info.config, &scheme, NULL, &err), &err);
    rng_init(&r, 3, 3);
    for (size_t i = 0; i < adapter_floats(a); i++)
        a->data[i] = 0.1f * (float) rng_normal(&r);
    return a;
}

static double score(struct engine_model *m, const struct adapter *a)
{
    static const char text[] = "the bees are out again, and so are we";
    const struct record record = {
        .id = 1,
        .kind = RECORD_TEXT,
        .text = {text, sizeof text - 1},
    };
    struct engine_loss loss;
    struct error err;

    ok(engine_score(&loss, m, a, &record, &err), &err);
    return engine_loss_mean(&loss);
}

// The model of file and adapter in one, without any adapter.
static double score_merged(const struct adapter *a)
{
    const int fd = memfd_create("merged", MFD_CLOEXEC);
    struct engine_model *merged;
    struct error err;

    ok(engine_adapter_merge(a, model, "", fd, &err), &err);
    ok(engine_model_open(&merged, engine, fd, &err), &err);
    close(fd);
    const double loss = score(merged, NULL);
    engine_model_close(merged);
    return loss;
}

static const char *const schemes[] = {
    "lora-all",
    "rslora:1",
    "lora-fa",
    "dora",
    "full",
    "norms",
    "pockengine:1",
    "window:0-0",
    ("{\"rules\":[{\"tensors\":\"*_q\",\"learn\":\"delta\",\"part\":[2,5]},"
     "{\"tensors\":\"ffn_*\",\"learn\":\"dora\"}]}"),
};
enum { N_SCHEMES = sizeof schemes / sizeof *schemes };

static void a_merged_model_says_what_the_adapter_says(void **state)
{
    for (int i = 0; i < N_SCHEMES; i++) {
        struct adapter *a = make(schemes[i]);
        const double with = score(model, a);
        const double merged = score_merged(a);
        if (!(fabs(with - merged) < 2e-4))
            fail_msg("%s: %g with the adapter, %g merged", schemes[i], with,
                     merged);
        assert_true(fabs(with - score(model, NULL)) > 1e-3);
        adapter_destroy(a);
    }
}

// Types of eight bits and more stay, others become f16 where something was
// learned; nothing else changes.
static void a_merged_model_keeps_types_of_eight_bits(void **state)
{
    static const struct {
        const char *types, *tensor;
        enum dtype before, after;
    } cases[] = {
        {"q4_k_m", "blk.0.attn_q.weight", DTYPE_q4_k, DTYPE_f16},
        {"q4_k_m", "blk.0.attn_v.weight", DTYPE_q6_k, DTYPE_f16},
        {"q4_k_m", "blk.0.ffn_down.weight", DTYPE_q8_0, DTYPE_q8_0},
        {"q4_k_m", "blk.1.ffn_down.weight", DTYPE_q5_0, DTYPE_f16},
        {"q4_k_m", "token_embd.weight", DTYPE_q6_k, DTYPE_q6_k},
        {"iq4_nl", "blk.0.attn_q.weight", DTYPE_iq4_nl, DTYPE_f16},
        {"bf16", "blk.0.attn_q.weight", DTYPE_bf16, DTYPE_bf16},
    };
    struct engine_model *const tiny = model;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int fd =
            shapefile_create(shapefile_find("mixed"), cases[i].types, 1);
        const int merged_fd = memfd_create("merged", MFD_CLOEXEC);
        struct gguf *before, *after;
        struct error err;

        ok(engine_model_open(&model, engine, fd, &err), &err);
        struct adapter *a = make("lora-all");
        const double with = score(model, a);
        const double merged = score_merged(a);
        if (!(fabs(with - merged) < 2e-2))
            fail_msg("%s: %g with the adapter, %g merged", cases[i].types, with,
                     merged);
        ok(engine_adapter_merge(a, model, "", merged_fd, &err), &err);
        ok(gguf_load_fd(&before, fd, &err), &err);
        ok(gguf_load_fd(&after, merged_fd, &err), &err);
        const struct gguf_tensor *t = gguf_find(before, cases[i].tensor);
        const struct gguf_tensor *u = gguf_find(after, cases[i].tensor);
        assert_int_equal(t->dtype, cases[i].before);
        assert_int_equal(u->dtype, cases[i].after);
        if (strcmp(cases[i].tensor, "token_embd.weight") == 0)
            assert_memory_equal(t->data, u->data, t->bytes);
        gguf_destroy(before);
        gguf_destroy(after);
        adapter_destroy(a);
        engine_model_close(model);
        close(merged_fd);
        close(fd);
    }
    model = tiny;
}

// Any type that the owner names; rows too short for its blocks are f16.
static void a_merged_model_is_of_the_type_asked_for(void **state)
{
    static const struct {
        const char *types, *asked, *tensor;
        enum dtype after;
    } cases[] = {
        {"q4_k_m", "same", "blk.0.attn_q.weight", DTYPE_q4_k},
        {"q4_k_m", "same", "blk.1.ffn_down.weight", DTYPE_q5_0},
        {"q4_k_m", "q4_0", "blk.0.attn_q.weight", DTYPE_q4_0},
        {"q4_k_m", "q4_0", "token_embd.weight", DTYPE_q6_k},
        {"q4_k_m", "q4_0", "output_norm.weight", DTYPE_f32},
        {"q4_k_m", "q6_k", "blk.0.ffn_down.weight", DTYPE_f16},
        {"bf16", "f32", "blk.0.attn_q.weight", DTYPE_f32},
    };
    struct engine_model *const tiny = model;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int fd =
            shapefile_create(shapefile_find("mixed"), cases[i].types, 1);
        const int merged_fd = memfd_create("merged", MFD_CLOEXEC);
        struct gguf *after;
        struct error err;

        ok(engine_model_open(&model, engine, fd, &err), &err);
        struct adapter *a = make("lora-all");
        assert_int_equal(engine_adapter_merge(a, model, "q9", merged_fd, &err),
                         -EINVAL);
        assert_non_null(strstr(err.text, "no type of weights \"q9\""));
        ok(engine_adapter_merge(a, model, cases[i].asked, merged_fd, &err),
           &err);
        ok(gguf_load_fd(&after, merged_fd, &err), &err);
        assert_int_equal(gguf_find(after, cases[i].tensor)->dtype,
                         cases[i].after);
        gguf_destroy(after);
        adapter_destroy(a);
        engine_model_close(model);
        close(merged_fd);
        close(fd);
    }
    model = tiny;
}

// At full rank nothing is left out, gains and lengths of rows included; the
// lower the rank, the more.
static void a_lora_comes_as_near_as_its_rank_allows(void **state)
{
    static const char *const texts[] = {
        "lora-all",
        "dora",
        "pockengine:2",
        ("{\"rules\":[{\"tensors\":\"*_norm\",\"blocks\":\"0-1\",\"learn\":"
         "\"delta\"}]}"),
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct adapter *a = make(texts[i]);
        double last = 1;
        struct error err;
        for (uint32_t rank = 1; rank <= 64; rank *= 4) {
            struct adapter *b;
            double left;
            ok(engine_adapter_to_lora(&b, &left, a, model, rank, &err), &err);
            assert_int_equal(engine_adapter_check_lora(b, &err), 0);
            assert_true(left <= last);
            last = left;
            if (left < 1e-5 &&
                !(fabs(score(model, a) - score(model, b)) < 1e-3))
                fail_msg("%s at %u: %g, %g", texts[i], rank, score(model, a),
                         score(model, b));
            adapter_destroy(b);
        }
        if (!(last < 1e-5))
            fail_msg("%s: %g is left out at full rank", texts[i], last);
        adapter_destroy(a);
    }
}

// What a rank leaves out is the best possible: the rest of singular values of
// a matrix whose own are known.
static void the_largest_singular_values_are_kept(void **state)
{
    struct adapter *a = make("{\"rules\":[{\"tensors\":\"attn_q\","
                             "\"blocks\":0,\"learn\":\"delta\"}]}");
    double left;
    struct adapter *b;
    struct error err;

    // Diagonal: 1, 1/2, 1/4 ...
    const int64_t n = a->params[0].ne[1];
    memset(a->data, 0, adapter_floats(a) * sizeof *a->data);
    for (int i = 0; i < 12; i++)
        a->data[i * n + i] = ldexpf(1, -i);
    for (uint32_t rank = 1; rank < 6; rank++) {
        double all = 0, rest = 0;
        for (uint32_t i = 0; i < 12; i++) {
            all += ldexp(1, -2 * (int) i);
            rest += i >= rank ? ldexp(1, -2 * (int) i) : 0;
        }
        ok(engine_adapter_to_lora(&b, &left, a, model, rank, &err), &err);
        if (!(fabs(left - sqrt(rest / all)) < 1e-5))
            fail_msg("rank %u: %g, not %g", rank, left, sqrt(rest / all));
        adapter_destroy(b);
    }
    adapter_destroy(a);
}

static void what_no_lora_can_hold_is_said(void **state)
{
    static const struct {
        const char *text, *words;
        uint32_t rank;
    } cases[] = {
        {"norms", "the gain of output_norm.weight: export it as merged", 4},
        {"window:0-0", "ends after 1 blocks: export it as merged", 4},
        {"full", "LoRA rank is 0, but must be 1 to 256", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct adapter *a = make(cases[i].text);
        struct adapter *b;
        struct error err = {0};
        double left;
        assert_true(engine_adapter_to_lora(&b, &left, a, model, cases[i].rank,
                                           &err) < 0);
        if (!strstr(err.text, cases[i].words))
            fail_msg("%s", err.text);
        adapter_destroy(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_merged_model_says_what_the_adapter_says),
        cmocka_unit_test(a_merged_model_keeps_types_of_eight_bits),
        cmocka_unit_test(a_merged_model_is_of_the_type_asked_for),
        cmocka_unit_test(a_lora_comes_as_near_as_its_rank_allows),
        cmocka_unit_test(the_largest_singular_values_are_kept),
        cmocka_unit_test(what_no_lora_can_hold_is_said),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
