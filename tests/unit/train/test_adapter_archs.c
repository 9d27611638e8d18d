// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Adapters and schemes of every architecture: files of both formats come back,
 * names are those that others use, and what is fused learns as a whole.
 */

#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/formats/gguf.h"
#include "engine/formats/safetensors.h"
#include "engine/models/scheme_text.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_merge.h"
#include "tests/support/archfile.h"

#include <errno.h>
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

static const struct scheme_lora lora = {3, 6, LORA_ALL, 0};

static struct gguf *load(struct model_config *m, const struct archfile *a)
{
    const int fd = archfile_create(a);
    struct error err = {0};
    struct gguf *g;

    if (gguf_load_fd(&g, fd, &err) < 0 || model_config_read(m, g, &err) < 0)
        fail_msg("%s: %s", a->name, err.text);
    close(fd);
    return g;
}

static struct adapter *make(const struct model_config *m)
{
    struct scheme scheme;
    struct adapter *a;

    assert_int_equal(scheme_from_lora(&scheme, &lora, m, NULL), 0);
    assert_int_equal(adapter_create(&a, m, &scheme, NULL, NULL), 0);
    for (uint32_t i = 0; i < a->n_params; i++)
        for (size_t k = 0; k < a->starts[i + 1] - a->starts[i]; k++)
            adapter_param(a, i)[k] =
                (float) archfile_value(a->params[i].name, k);
    return a;
}

static void assert_same(const struct adapter *a, const struct adapter *b)
{
    assert_true(scheme_equal(&a->scheme, &b->scheme));
    assert_string_equal(a->arch, b->arch);
    assert_int_equal(adapter_floats(a), adapter_floats(b));
    assert_memory_equal(a->data, b->data, adapter_floats(a) * sizeof(float));
}

static void ggufs_come_back_and_name_their_base(void **state)
{
    for (size_t i = 0; i < archfile_count; i++) {
        struct model_config m;
        struct gguf *base = load(&m, &archfiles[i]), *g;
        struct adapter *a = make(&m), *b;
        struct error err = {0};
        const char *arch;
        const int fd = memfd_create("adapter", MFD_CLOEXEC);

        assert_int_equal(adapter_save_gguf_fd(a, "x", fd, &err), 0);
        if (adapter_load_gguf_fd(&b, &m, NULL, fd, &err) < 0)
            fail_msg("%s", err.text);
        assert_same(a, b);
        assert_int_equal(gguf_load_fd(&g, fd, &err), 0);
        assert_int_equal(gguf_get_str(&arch, g, "general.architecture", &err),
                         0);
        assert_string_equal(arch, archfiles[i].arch);
        // Every tensor is one of the base's.
        for (uint32_t t = 0; t < gguf_n_tensors(g); t++) {
            char of[64];
            (void) snprintf(of, sizeof of, "%s", gguf_tensor_at(g, t)->name);
            *strstr(of, ".lora_") = '\0';
            assert_non_null(gguf_find(base, of));
        }
        gguf_destroy(g);
        gguf_destroy(base);
        close(fd);
        adapter_destroy(a);
        adapter_destroy(b);
    }
}

static void peft_comes_back(void **state)
{
    for (size_t i = 0; i < archfile_count; i++) {
        struct model_config m;
        struct gguf *base = load(&m, &archfiles[i]);
        struct adapter *a = make(&m), *b;
        struct str config = {0};
        struct error err = {0};
        const int fd = memfd_create("peft", MFD_CLOEXEC);

        adapter_peft_config(a, "base", &config);
        assert_int_equal(str_finish(&config), 0);
        assert_int_equal(adapter_save_peft_fd(a, &m, fd, &err), 0);
        if (adapter_load_peft_fd(&b, &m, NULL, config.data, config.bytes, fd,
                                 &err) < 0)
            fail_msg("%s: %s", archfiles[i].name, err.text);
        assert_same(a, b);
        str_free(&config);
        gguf_destroy(base);
        close(fd);
        adapter_destroy(a);
        adapter_destroy(b);
    }
}

// Row 1 of head 0 is pair 0's second value in a file of llama alone.
static void only_llama_turns_rows(void **state)
{
    for (size_t i = 0; i < archfile_count; i++) {
        const bool turns = strcmp(archfiles[i].arch, "llama") == 0;
        struct model_config m;
        struct gguf *base = load(&m, &archfiles[i]);

        assert_int_equal(m.rope_mode == 0, turns);
        gguf_destroy(base);
    }
}

static void fused_linears_have_their_own_names(void **state)
{
    static const char *const names[] = {
        "base_model.model.model.layers.1.self_attn.qkv_proj.lora_B.weight",
        "base_model.model.model.layers.1.self_attn.o_proj.lora_A.weight",
        "base_model.model.model.layers.0.mlp.gate_up_proj.lora_B.weight",
        "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight",
    };
    struct model_config m;
    struct gguf *base = load(&m, archfile_find("phi3"));
    struct adapter *a = make(&m);
    struct str config = {0};
    struct safetensors *s;
    struct error err = {0};
    const int fd = memfd_create("peft", MFD_CLOEXEC);

    assert_int_equal(a->n_params, 2 * 4 * 2);
    adapter_peft_config(a, "base", &config);
    assert_int_equal(str_finish(&config), 0);
    assert_non_null(strstr(config.data,
                           "\"target_modules\": [\"qkv_proj\", \"o_proj\", "
                           "\"gate_up_proj\", \"down_proj\"]"));
    assert_int_equal(adapter_save_peft_fd(a, &m, fd, &err), 0);
    assert_int_equal(safetensors_load_fd(&s, fd, &err), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_non_null(safetensors_find(s, names[i]));
    // (4 + 2 * 2) heads of 16, twice 96
    assert_int_equal(safetensors_find(s, names[0])->ne[0], 128);
    assert_int_equal(safetensors_find(s, names[2])->ne[0], 192);
    safetensors_destroy(s);
    str_free(&config);
    close(fd);
    adapter_destroy(a);
    gguf_destroy(base);
}

// As someone else's trainer may write it.
static void parts_of_what_is_fused_are_refused(void **state)
{
    static const float values[64] = {0};
    const int64_t ne[2][2] = {{64, 1}, {1, 64}};
    struct model_config m;
    struct gguf *base = load(&m, archfile_find("phi3"));
    struct gguf_writer *w;
    struct adapter *a = NULL;
    struct error err = {0};
    const int fd = memfd_create("adapter", MFD_CLOEXEC);

    assert_int_equal(gguf_writer_create(&w), 0);
    gguf_writer_str(w, "general.type", "adapter");
    gguf_writer_str(w, "general.architecture", "phi3");
    gguf_writer_str(w, "adapter.type", "lora");
    gguf_writer_f32(w, "adapter.lora.alpha", 1);
    gguf_writer_tensor(w, "blk.0.attn_q.weight.lora_a", DTYPE_f32, 2, ne[0],
                       values);
    gguf_writer_tensor(w, "blk.0.attn_q.weight.lora_b", DTYPE_f32, 2, ne[1],
                       values);
    assert_int_equal(gguf_writer_save_fd(w, fd, &err), 0);
    gguf_writer_destroy(w);
    assert_true(adapter_load_gguf_fd(&a, &m, NULL, fd, &err) < 0);
    assert_non_null(strstr(err.text, "tensor blk.0.attn_q.weight.lora_a adapts "
                                     "nothing that pockd can adapt"));
    close(fd);
    gguf_destroy(base);
}

static int parse(struct scheme *s, const struct model_config *m,
                 const char *text, struct error *err)
{
    const struct scheme_defaults defaults = {4, 8};
    return scheme_parse(s, text, strlen(text), &defaults, m, err);
}

static void schemes_name_what_is_there(void **state)
{
    struct model_config m;
    struct gguf *base = load(&m, archfile_find("phi3"));
    struct scheme s, again;
    struct str text = {0};
    struct error err = {0};

    assert_int_equal(parse(&s, &m,
                           "{\"rules\":[{\"tensors\":[\"attn_qkv\","
                           "\"ffn_up\"],\"learn\":\"lora\"}]}",
                           &err),
                     0);
    assert_int_equal(scheme_params(NULL, 0, &m, &s), 8);
    scheme_print(&text, &s, &m);
    assert_int_equal(str_finish(&text), 0);
    assert_non_null(strstr(text.data, "attn_qkv"));
    assert_int_equal(parse(&again, &m, text.data, &err), 0);
    assert_true(scheme_equal(&s, &again));
    str_free(&text);

    assert_int_equal(parse(&s, &m,
                           "{\"rules\":[{\"tensors\":\"attn_k\","
                           "\"learn\":\"lora\"}]}",
                           &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "there are attn_qkv, attn_output, ffn_up, "
                                     "ffn_down, attn_norm, ffn_norm and "
                                     "output_norm"));
    // A part that is asked for by bits is the whole; none of it is there.
    const struct scheme_lora kv = {2, 4, LORA_K | LORA_GATE, 0};
    assert_int_equal(scheme_from_lora(&s, &kv, &m, &err), 0);
    assert_int_equal(s.linears[0][MODEL_LINEAR_q].rank, 2);
    assert_int_equal(s.linears[0][MODEL_LINEAR_up].rank, 2);
    assert_int_equal(s.linears[0][MODEL_LINEAR_k].rank, 0);
    s.linears[0][MODEL_LINEAR_k] = s.linears[0][MODEL_LINEAR_q];
    assert_int_equal(scheme_check(&s, &m, &err), -EINVAL);
    gguf_destroy(base);

    base = load(&m, archfile_find("olmo2"));
    assert_int_equal(parse(&s, &m, "norms", &err), 0);
    scheme_print(&text, &s, &m);
    assert_int_equal(str_finish(&text), 0);
    assert_non_null(strstr(text.data, "post_ffw_norm"));
    str_free(&text);
    gguf_destroy(base);
}

static void merged_models_are_models_again(void **state)
{
    for (size_t i = 0; i < archfile_count; i++) {
        struct model_config m, merged;
        struct gguf *base = load(&m, &archfiles[i]), *g;
        struct adapter *a = make(&m);
        struct error err = {0};
        const int fd = memfd_create("merged", MFD_CLOEXEC);

        if (adapter_merge_fd(a, &m, base, "", fd, &err) < 0)
            fail_msg("%s: %s", archfiles[i].name, err.text);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(gguf_load_fd(&g, fd, &err), 0);
        if (model_config_read(&merged, g, &err) < 0)
            fail_msg("%s: %s", archfiles[i].name, err.text);
        assert_memory_equal(&m, &merged, sizeof m);
        gguf_destroy(g);
        gguf_destroy(base);
        close(fd);
        adapter_destroy(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ggufs_come_back_and_name_their_base),
        cmocka_unit_test(peft_comes_back),
        cmocka_unit_test(only_llama_turns_rows),
        cmocka_unit_test(fused_linears_have_their_own_names),
        cmocka_unit_test(parts_of_what_is_fused_are_refused),
        cmocka_unit_test(schemes_name_what_is_there),
        cmocka_unit_test(merged_models_are_models_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
