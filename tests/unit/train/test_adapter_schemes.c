// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/adapter.h"

#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/formats/gguf.h"
#include "engine/models/scheme_text.h"
#include "tests/support/tiny.h"

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

static struct adapter *make(const char *text)
{
    const struct model_config m = tiny_config(DTYPE_f32, 3);
    const struct scheme_defaults defaults = {2, 4};
    struct scheme scheme;
    struct adapter *a;
    struct error err;
    uint32_t seed = 5;

    if (scheme_parse(&scheme, text, strlen(text), &defaults, &m, &err) < 0 ||
        adapter_create(&a, &m, &scheme, NULL, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < adapter_floats(a); i++) {
        seed = seed * 1664525u + 1013904223u;
        a->data[i] = (float) (int32_t) seed * 1e-10f;
    }
    return a;
}

static int load(struct adapter **out, int fd, struct error *err)
{
    const struct model_config m = tiny_config(DTYPE_f32, 3);
    const int rc = adapter_load_gguf_fd(out, &m, NULL, fd, err);
    close(fd);
    return rc;
}

static int saved(const struct adapter *a)
{
    struct error err;
    const int fd = memfd_create("adapter", MFD_CLOEXEC);
    if (adapter_save_gguf_fd(a, "notes", fd, &err) < 0)
        fail_msg("%s", err.text);
    return fd;
}

static const char mixed_root[] =
    "{\"scale\":\"root\",\"rules\":["
    "{\"tensors\":\"attn_q\",\"learn\":\"lora\",\"rank\":3},"
    "{\"tensors\":\"attn_k\",\"learn\":\"lora\",\"rank\":2}]}";

static void keeps_adapters_of_every_scheme(void **state)
{
    static const char *const texts[] = {
        "lora-fa:2", "rslora",       "lora-plus:1", "dora",     "full",
        "norms",     "pockengine:2", "window:0-1",  mixed_root,
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct adapter *a = make(texts[i]), *b;
        struct error err = {0};
        if (load(&b, saved(a), &err) < 0)
            fail_msg("%s: %s", texts[i], err.text);
        assert_true(scheme_equal(&a->scheme, &b->scheme));
        assert_int_equal(adapter_floats(a), adapter_floats(b));
        assert_memory_equal(a->data, b->data,
                            adapter_floats(a) * sizeof(float));
        adapter_destroy(a);
        adapter_destroy(b);
    }
}

static void says_which_format_can_hold_it(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"dora:1", "GGUF cannot hold the lengths (DoRA) of "
                   "blk.2.attn_q.weight.magnitude: export it as merged, or as "
                   "lora-svd"},
        {"pockengine:1", "a whole weight of blk.2.attn_q.weight.delta"},
        {"norms", "the gain of blk.0.attn_norm.weight.delta: export it as "
                  "merged"},
        {"window:0-1", "that the model ends after 2 blocks"},
        {mixed_root, "one of several ranks, rank-stabilised, of "
                     "blk.0.attn_k.weight.lora_a"},
    };
    const struct model_config m = tiny_config(DTYPE_f32, 3);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct adapter *a = make(cases[i].text);
        struct error err = {0};
        const bool is_held = cases[i].text == mixed_root;
        assert_int_equal(adapter_check_lora(a, "GGUF", &err), -ENOTSUP);
        if (!strstr(err.text, cases[i].words))
            fail_msg("%s", err.text);
        int fd = memfd_create("peft", MFD_CLOEXEC);
        assert_int_equal(adapter_save_peft_fd(a, &m, fd, &err),
                         is_held ? 0 : -ENOTSUP);
        close(fd);
        adapter_destroy(a);
    }
}

// PEFT names linears in full, and ranks that differ, where blocks differ.
static void peft_holds_ranks_and_linears_that_differ(void **state)
{
    static const char *const texts[] = {
        mixed_root,
        ("{\"rules\":[{\"tensors\":\"attn_q\",\"learn\":\"lora\",\"rank\":5},"
         "{\"tensors\":[\"attn_q\",\"ffn_up\"],\"blocks\":1,\"learn\":\"lora\","
         "\"rank\":2}]}"),
    };
    const struct model_config m = tiny_config(DTYPE_f32, 3);

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct adapter *a = make(texts[i]), *b;
        struct str config = {0};
        struct error err = {0};
        int fd = memfd_create("peft", MFD_CLOEXEC);
        adapter_peft_config(a, "base", &config);
        assert_int_equal(str_finish(&config), 0);
        assert_non_null(strstr(config.data, "rank_pattern"));
        assert_int_equal(strstr(config.data, "layers.1.mlp.up_proj") != NULL,
                         i == 1);
        assert_int_equal(adapter_save_peft_fd(a, &m, fd, &err), 0);
        if (adapter_load_peft_fd(&b, &m, NULL, config.data, config.bytes, fd,
                                 &err) < 0)
            fail_msg("%s", err.text);
        assert_true(scheme_equal(&a->scheme, &b->scheme));
        assert_memory_equal(a->data, b->data,
                            adapter_floats(a) * sizeof(float));
        close(fd);
        str_free(&config);
        adapter_destroy(a);
        adapter_destroy(b);
    }
}

// llama.cpp scales by alpha / rank.
static void a_stabilised_scale_is_written_as_a_plain_one(void **state)
{
    struct adapter *a = make("rslora");
    struct error err;
    struct gguf *g;
    float alpha;
    const int fd = saved(a);

    assert_int_equal(gguf_load_fd(&g, fd, &err), 0);
    close(fd);
    assert_int_equal(gguf_get_f32(&alpha, g, "adapter.lora.alpha", &err), 0);
    assert_true(fabsf(alpha / 2 - scheme_lora_scale(&a->scheme, 2)) < 1e-6f);
    gguf_destroy(g);
    adapter_destroy(a);
}

// One tensor is spoiled, or the scheme is.
static void own(const char *scheme, const char *name, int64_t columns,
                float value, const char *words)
{
    float data[64];
    struct gguf_writer *w;
    struct adapter *a = NULL;
    struct error err = {0};
    int fd = memfd_create("adapter", MFD_CLOEXEC);

    for (int i = 0; i < 64; i++)
        data[i] = value;
    assert_int_equal(gguf_writer_create(&w), 0);
    gguf_writer_str(w, "general.architecture", "llama");
    gguf_writer_str(w, "general.type", "adapter");
    gguf_writer_str(w, "adapter.type", "pockd");
    gguf_writer_str(w, "pockd.scheme", scheme);
    gguf_writer_tensor(w, name, DTYPE_f32, 2, (int64_t[]){columns, 1}, data);
    assert_int_equal(gguf_writer_save_fd(w, fd, &err), 0);
    gguf_writer_destroy(w);
    const int rc = load(&a, fd, &err);
    if ((rc < 0) != (words != NULL) || (words && !strstr(err.text, words)))
        fail_msg("%d, %s", rc, err.text);
    adapter_destroy(a);
}

static void refuses_own_files_that_do_not_fit(void **state)
{
    static const char norm[] = "{\"rules\":[{\"tensors\":\"output_norm\","
                               "\"learn\":\"delta\"}]}";
    own(norm, "output_norm.weight.delta", 20, 0.5f, NULL);
    own(norm, "output_norm.weight.delta", 21, 0.5f, "is 1 x 21, but");
    own(norm, "output_norm.weight.delta", 20, NAN, "not a finite number");
    own(norm, "output_norm.weight", 20, 0, "output_norm.weight.delta");
    own("{}", "output_norm.weight.delta", 20, 0,
        "pockd.scheme: scheme: it has no rules");
    own("full", "output_norm.weight.delta", 20, 0, "blk.0.attn_q");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_adapters_of_every_scheme),
        cmocka_unit_test(says_which_format_can_hold_it),
        cmocka_unit_test(peft_holds_ranks_and_linears_that_differ),
        cmocka_unit_test(a_stabilised_scale_is_written_as_a_plain_one),
        cmocka_unit_test(refuses_own_files_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
