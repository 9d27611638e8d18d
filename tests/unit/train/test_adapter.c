// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/adapter.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/half.h"
#include "engine/base/mapfile.h"
#include "engine/base/str.h"
#include "engine/formats/gguf.h"
#include "engine/formats/safetensors.h"

#include <errno.h>
#include <fcntl.h>
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

#define GOLDEN "../shared/reference/golden/"

#define SHA  "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define SHA2 "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const struct model_config model = {
    .arch = "llama",
    .n_blocks = 3,
    .width = 32,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 8,
    .ffn_width = 48,
    .n_vocab = 100,
    .context = 64,
    .rope_dims = 8,
};

static struct adapter *make(const struct scheme_lora *lora)
{
    struct adapter *a;
    struct scheme scheme;
    struct error err;
    uint32_t seed = 9;
    if (scheme_from_lora(&scheme, lora, &model, &err) < 0 ||
        adapter_create(&a, &model, &scheme, SHA, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < adapter_floats(a); i++) {
        seed = seed * 1664525u + 1013904223u;
        a->data[i] = (float) (int32_t) seed * 1e-10f;
    }
    return a;
}

static void assert_same(const struct adapter *a, const struct adapter *b)
{
    assert_true(scheme_equal(&a->scheme, &b->scheme));
    assert_string_equal(a->arch, b->arch);
    assert_int_equal(a->n_params, b->n_params);
    for (uint32_t i = 0; i < a->n_params; i++)
        assert_string_equal(a->params[i].name, b->params[i].name);
    assert_int_equal(adapter_floats(a), adapter_floats(b));
    assert_memory_equal(a->data, b->data, adapter_floats(a) * sizeof(float));
}

static const struct scheme_lora specs[] = {
    {.rank = 4, .alpha = 8, .targets = LORA_ALL},
    {.rank = 1, .alpha = 0.5f, .targets = LORA_K | LORA_DOWN},
    {.rank = 2, .alpha = 2, .targets = LORA_Q | LORA_V, .last_blocks = 2},
};
enum { N_SPECS = sizeof(specs) / sizeof(specs[0]) };

static void lays_out_params_one_after_the_other(void **state)
{
    struct adapter *a = make(&specs[0]);
    assert_int_equal(a->n_params, 3 * 7 * 2);
    assert_string_equal(a->params[0].name, "blk.0.attn_q.weight.lora_a");
    assert_true(a->params[0].ne[0] == 4 && a->params[0].ne[1] == 32);
    assert_true(a->params[1].ne[0] == 32 && a->params[1].ne[1] == 4);
    assert_ptr_equal(adapter_param(a, 1), a->data + 4 * 32);
    assert_int_equal(adapter_floats(a),
                     3 * 4 * (4 * 32 + 2 * 32 + 2 * 16 + 3 * (32 + 48)));
    adapter_destroy(a);

    struct scheme nothing;
    struct error err;
    scheme_init(&nothing);
    assert_int_equal(adapter_create(&a, &model, &nothing, SHA, &err), -EINVAL);
    assert_string_equal(err.text,
                        "scheme: nothing learns; name a tensor that does");
}

static void reads_the_gguf_that_it_writes(void **state)
{
    for (int i = 0; i < N_SPECS; i++) {
        struct adapter *a = make(&specs[i]), *b;
        struct error err = {0};
        int fd = memfd_create("adapter", MFD_CLOEXEC);
        assert_int_equal(adapter_save_gguf_fd(a, "notes", fd, &err), 0);
        if (adapter_load_gguf_fd(&b, &model, SHA, fd, &err) < 0)
            fail_msg("%s", err.text);
        assert_same(a, b);
        assert_string_equal(b->base_sha256, SHA);
        close(fd);
        adapter_destroy(a);
        adapter_destroy(b);
    }
}

static void writes_the_gguf_that_others_expect(void **state)
{
    struct adapter *a = make(&specs[0]);
    struct gguf *g;
    struct error err = {0};
    const char *text;
    float alpha;
    int fd = memfd_create("adapter", MFD_CLOEXEC);
    assert_int_equal(adapter_save_gguf_fd(a, "notes", fd, &err), 0);
    assert_int_equal(gguf_load_fd(&g, fd, &err), 0);
    close(fd);
    assert_int_equal(gguf_get_str(&text, g, "general.type", &err), 0);
    assert_string_equal(text, "adapter");
    assert_int_equal(gguf_get_str(&text, g, "adapter.type", &err), 0);
    assert_string_equal(text, "lora");
    assert_int_equal(gguf_get_str(&text, g, "general.architecture", &err), 0);
    assert_string_equal(text, "llama");
    assert_int_equal(gguf_get_str(&text, g, "general.name", &err), 0);
    assert_string_equal(text, "notes");
    assert_int_equal(gguf_get_f32(&alpha, g, "adapter.lora.alpha", &err), 0);
    assert_true(alpha == 8);
    const struct gguf_tensor *t = gguf_find(g, "blk.2.ffn_up.weight.lora_b");
    assert_true(t && t->ne[0] == 4 && t->ne[1] == 48);
    t = gguf_find(g, "blk.2.ffn_up.weight.lora_a");
    assert_true(t && t->ne[0] == 32 && t->ne[1] == 4);
    gguf_destroy(g);
    adapter_destroy(a);
}

static struct adapter *through_peft(const struct adapter *a)
{
    struct str config = {0};
    struct adapter *b = NULL;
    struct error err = {0};
    int fd = memfd_create("peft", MFD_CLOEXEC);
    adapter_peft_config(a, "some/\"base\"", &config);
    assert_int_equal(str_finish(&config), 0);
    assert_int_equal(adapter_save_peft_fd(a, &model, fd, &err), 0);
    if (adapter_load_peft_fd(&b, &model, SHA, config.data, config.bytes, fd,
                             &err) < 0)
        fail_msg("%s", err.text);
    close(fd);
    str_free(&config);
    return b;
}

static void reads_the_peft_that_it_writes(void **state)
{
    for (int i = 0; i < N_SPECS; i++) {
        struct adapter *a = make(&specs[i]);
        struct adapter *b = through_peft(a);
        assert_same(a, b);
        adapter_destroy(a);
        adapter_destroy(b);
    }
}

// Rows of q's B, head 1: GGUF holds first half and second half in turn.
static void puts_rows_into_hugging_face_order(void **state)
{
    struct adapter *a = make(&specs[0]);
    struct safetensors *s;
    struct error err;
    int fd = memfd_create("peft", MFD_CLOEXEC);
    float got[32 * 4];
    assert_int_equal(adapter_save_peft_fd(a, &model, fd, &err), 0);
    assert_int_equal(safetensors_load_fd(&s, fd, &err), 0);
    close(fd);
    const struct safetensors_tensor *t = safetensors_find(
        s, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
    assert_int_equal(safetensors_read_f32(got, t, &err), 0);
    const float *b = adapter_param(a, 1);
    static const int from[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    for (int i = 0; i < 8; i++)
        assert_memory_equal(got + (8 + i) * 4, b + (8 + from[i]) * 4, 16);
    t = safetensors_find(
        s, "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight");
    assert_memory_equal(t->data, adapter_param(a, 5), t->bytes);
    t = safetensors_find(
        s, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    assert_memory_equal(t->data, adapter_param(a, 0), t->bytes);
    safetensors_destroy(s);
    adapter_destroy(a);
}

// A GGUF adapter of block 2's attn_v, to be spoiled.
struct wrong {
    const char *arch, *type, *kind, *a_name, *b_name, *extra;
    enum dtype dtype;
    int64_t a_ne[2], b_ne[2]; // in the file's order
    float alpha;
    float b_value;
    const char *sha;
};

static const struct wrong right = {
    .arch = "llama",
    .type = "adapter",
    .kind = "lora",
    .a_name = "blk.2.attn_v.weight.lora_a",
    .b_name = "blk.2.attn_v.weight.lora_b",
    .a_ne = {32, 2},
    .b_ne = {2, 16},
    .alpha = 4,
    .b_value = 0.25f,
    .sha = SHA,
};

static int load_wrong(struct adapter **out, const struct wrong *w,
                      struct error *err)
{
    static float a[64 * 64], b[64 * 64];
    struct gguf_writer *writer;
    int fd = memfd_create("adapter", MFD_CLOEXEC);
    for (int i = 0; i < 64 * 64; i++)
        b[i] = w->b_value;
    assert_int_equal(gguf_writer_create(&writer), 0);
    gguf_writer_str(writer, "general.architecture", w->arch);
    if (w->type)
        gguf_writer_str(writer, "general.type", w->type);
    gguf_writer_str(writer, "adapter.type", w->kind);
    if (!isnan(w->alpha))
        gguf_writer_f32(writer, "adapter.lora.alpha", w->alpha);
    gguf_writer_str(writer, "pock.base.sha256", w->sha);
    if (w->a_name)
        gguf_writer_tensor(writer, w->a_name, w->dtype, 2, w->a_ne, a);
    if (w->b_name)
        gguf_writer_tensor(writer, w->b_name, w->dtype, 2, w->b_ne, b);
    if (w->extra)
        gguf_writer_tensor(writer, w->extra, DTYPE_f32, 2, w->a_ne, a);
    assert_int_equal(gguf_writer_save_fd(writer, fd, err), 0);
    gguf_writer_destroy(writer);
    *out = NULL;
    int rc = adapter_load_gguf_fd(out, &model, SHA, fd, err);
    close(fd);
    return rc;
}

static void refused(struct wrong w, int want, const char *words)
{
    struct adapter *a;
    struct error err = {0};
    int rc = load_wrong(&a, &w, &err);
    if (rc != want || a || !strstr(err.text, words))
        fail_msg("wanted %d and \"%s\": got %d, \"%s\"", want, words, rc,
                 err.text);
}

static void refuses_adapters_that_do_not_fit(void **state)
{
    struct wrong w = right;
    w.type = NULL;
    refused(w, -ENOENT, "not a LoRA adapter: the file has no general.type");
    w.type = "model";
    refused(w, -EINVAL, "general.type is \"model\"");
    w = right, w.kind = "control";
    refused(w, -EINVAL, "adapter.type is \"control\"");
    w = right, w.arch = "qwen2";
    refused(w, -EINVAL, "made for another kind of model");
    w = right, w.sha = SHA2;
    refused(w, -EINVAL, "was trained on the base model ff1122334455");
    w = right, w.alpha = -1;
    refused(w, -EINVAL, "alpha is -1");
    w = right, w.b_value = NAN;
    refused(w, -EINVAL, "blk.2.attn_v.weight.lora_b holds a value that is not");
    w.b_value = INFINITY;
    refused(w, -EINVAL, "not a finite number, in row 0");
}

static void refuses_tensors_that_do_not_fit(void **state)
{
    struct wrong w = right;
    w.b_name = NULL;
    refused(w, -EINVAL, "blk.2.attn_v.weight.lora_a has no lora_b beside it");
    w = right, w.a_name = NULL;
    refused(w, -EINVAL, "blk.2.attn_v.weight.lora_b has no lora_a beside it");
    w = right, w.a_name = w.b_name = NULL;
    refused(w, -EINVAL, "holds no tensors");
    w = right, w.a_ne[0] = 31;
    refused(w, -EINVAL, "lora_a has 31 inputs, but this base model needs 32");
    w = right, w.b_ne[1] = 17;
    refused(w, -EINVAL, "lora_b has 17 outputs, but this base model needs 16");
    w = right, w.b_ne[0] = 3;
    refused(w, -EINVAL, "lora_b has rank 3, but blk.2.attn_v.weight.lora_a");
    w = right, w.dtype = DTYPE_q8_0, w.b_ne[0] = 32, w.a_ne[1] = 32;
    refused(w, -ENOTSUP, "lora_a is of type q8_0");
    w = right, w.extra = "token_embd.weight.lora_a";
    refused(w, -ENOTSUP, "tensor token_embd.weight.lora_a adapts nothing");
    w.extra = "blk.3.attn_v.weight.lora_a";
    refused(w, -ENOTSUP, "blk.3.attn_v.weight.lora_a adapts nothing");
    w.extra = "blk.02.attn_v.weight.lora_a";
    refused(w, -ENOTSUP, "adapts nothing");
    w.extra = "blk.2.attn_v.weight.lora_c";
    refused(w, -ENOTSUP, "adapts nothing");
}

static void takes_adapters_of_other_makers(void **state)
{
    struct adapter *a;
    struct error err = {0};
    struct wrong w = right;
    w.alpha = NAN; // absent: the scale is 1
    w.extra = "blk.0.attn_q_norm.weight.lora_a";
    if (load_wrong(&a, &w, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(a->scheme.alpha == 2);
    assert_int_equal(a->scheme.linears[2][MODEL_LINEAR_v].rank, 2);
    assert_int_equal(a->n_params, 2);
    assert_true(adapter_param(a, 1)[31] == 0.25f);
    adapter_destroy(a);

    static uint16_t half[2][32 * 2];
    for (int i = 0; i < 64; i++) {
        half[0][i] = half_from_f32((float) i);
        half[1][i] = bf16_from_f32((float) -i);
    }
    struct gguf_writer *writer;
    int fd = memfd_create("adapter", MFD_CLOEXEC);
    assert_int_equal(gguf_writer_create(&writer), 0);
    gguf_writer_str(writer, "general.architecture", "llama");
    gguf_writer_str(writer, "general.type", "adapter");
    gguf_writer_str(writer, "adapter.type", "lora");
    gguf_writer_tensor(writer, right.a_name, DTYPE_f16, 2, right.a_ne, half[0]);
    gguf_writer_tensor(writer, right.b_name, DTYPE_bf16, 2, right.b_ne,
                       half[1]);
    assert_int_equal(gguf_writer_save_fd(writer, fd, &err), 0);
    gguf_writer_destroy(writer);
    if (adapter_load_gguf_fd(&a, &model, SHA, fd, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(adapter_param(a, 0)[5] == 5 && adapter_param(a, 1)[5] == -5);
    adapter_destroy(a);
    close(fd);
}

#define CONFIG(rest) "{\"peft_type\":\"LORA\",\"lora_alpha\":4," rest "}"

// The tensors of specs[2] with this configuration.
static int load_config(struct adapter **out, const char *config,
                       struct error *err)
{
    struct adapter *a = make(&specs[2]);
    int fd = memfd_create("peft", MFD_CLOEXEC);
    assert_int_equal(adapter_save_peft_fd(a, &model, fd, err), 0);
    *out = NULL;
    int rc = adapter_load_peft_fd(out, &model, NULL, config, strlen(config), fd,
                                  err);
    adapter_destroy(a);
    close(fd);
    return rc;
}

static void refuses_peft_that_it_cannot_serve(void **state)
{
    static const struct {
        const char *config, *words;
    } cases[] = {
        {"", "adapter_config.json: JSON is wrong at byte 0"},
        {"[]", "peft_type is missing"},
        {"{\"peft_type\":\"IA3\"}", "peft_type is IA3"},
        {CONFIG("\"r\":2,\"use_dora\":true"), "use_dora is not supported"},
        {CONFIG("\"r\":2,\"bias\":\"all\""), "bias is \"all\""},
        {CONFIG("\"r\":2,\"fan_in_fan_out\":true"), "fan_in_fan_out"},
        {CONFIG("\"r\":2,\"alpha_pattern\":{\"q\":4}"), "alpha_pattern"},
        {CONFIG("\"r\":2,\"modules_to_save\":[\"lm_head\"]"), "modules_to"},
        {CONFIG("\"r\":0"), "r must be a number from 1"},
        {CONFIG("\"r\":\"2\""), "r must be a number from 1"},
        {CONFIG("\"x\":2"), "r must be a number from 1"},
        {CONFIG("\"r\":3"), "has rank 2, but adapter_config.json says r = 3"},
        {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":-1}",
         "lora_alpha must be a positive"},
    };
    struct error err;
    struct adapter *a;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int rc = load_config(&a, cases[i].config, &err);
        if (rc >= 0 || a || !strstr(err.text, cases[i].words))
            fail_msg("%s: %d, \"%s\"", cases[i].config, rc, err.text);
    }
    assert_int_equal(
        load_config(&a,
                    CONFIG("\"r\":2,\"use_rslora\":true,\"bias\":\"none\","
                           "\"rank_pattern\":{},\"modules_to_save\":null"),
                    &err),
        0);
    assert_true(a->scheme.alpha == 4);
    assert_int_equal(a->scheme.scale, SCHEME_SCALE_ROOT);
    adapter_destroy(a);
    assert_int_equal(adapter_load_peft_memory(&a, &model, NULL,
                                              CONFIG("\"r\":2"),
                                              strlen(CONFIG("\"r\":2")), "junk",
                                              4, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "adapter_model.safetensors: this is not"));
}

static void refuses_peft_of_other_modules(void **state)
{
    static const float data[64];
    const struct safetensors_tensor t = {
        .name = "base_model.model.lm_head.lora_A.weight",
        .dtype = DTYPE_f32,
        .n_dims = 2,
        .ne = {2, 32},
        .data = data,
    };
    struct adapter *a = NULL;
    struct error err;
    static const char config[] = CONFIG("\"r\":2");
    int fd = memfd_create("peft", MFD_CLOEXEC);
    assert_int_equal(safetensors_save_fd(fd, &t, 1, NULL, &err), 0);
    assert_int_equal(adapter_load_peft_fd(&a, &model, NULL, config,
                                          sizeof(config) - 1, fd, &err),
                     -ENOTSUP);
    assert_non_null(strstr(err.text, "lm_head.lora_A.weight adapts nothing"));
    close(fd);
}

static void saves_files_whole_or_not_at_all(void **state)
{
    char dir[] = "/tmp/pock-adapter-XXXXXX";
    struct adapter *a = make(&specs[1]);
    struct error err;
    assert_non_null(mkdtemp(dir));
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY);
    bool fired = true;
    for (unsigned long n = 1; fired; n++) {
        fault_arm(FAULT_WRITE, n);
        int rc = adapter_save_gguf(a, "notes", dirfd, "a.gguf", &err);
        if (rc == 0)
            rc = adapter_save_peft(a, &model, "base", dirfd, &err);
        fired = fault_fired(FAULT_WRITE);
        fault_arm(FAULT_WRITE, 0);
        assert_int_equal(rc, fired ? -ENOSPC : 0);
        int fd = openat(dirfd, "a.gguf", O_RDONLY);
        if (fd >= 0) {
            struct adapter *b;
            assert_int_equal(adapter_load_gguf_fd(&b, &model, SHA, fd, &err),
                             0);
            assert_same(a, b);
            adapter_destroy(b);
            close(fd);
        }
    }
    assert_int_equal(unlinkat(dirfd, "a.gguf", 0), 0);
    assert_int_equal(unlinkat(dirfd, "adapter_model.safetensors", 0), 0);
    assert_int_equal(unlinkat(dirfd, "adapter_config.json", 0), 0);
    close(dirfd);
    assert_int_equal(rmdir(dir), 0);
    adapter_destroy(a);
}

static void survives_every_failed_allocation(void **state)
{
    bool fired = true;
    struct scheme scheme;
    assert_int_equal(scheme_from_lora(&scheme, &specs[1], &model, NULL), 0);
    for (unsigned long n = 1; fired; n++) {
        struct adapter *a = NULL, *b = NULL, *c = NULL;
        struct str config = {0};
        struct error err = {0};
        int fd = memfd_create("a", MFD_CLOEXEC);
        int peft = memfd_create("p", MFD_CLOEXEC);
        fault_arm(FAULT_ALLOC, n);
        int rc = adapter_create(&a, &model, &scheme, SHA, &err);
        if (rc == 0)
            rc = adapter_save_gguf_fd(a, "x", fd, &err);
        if (rc == 0)
            rc = adapter_load_gguf_fd(&b, &model, SHA, fd, &err);
        if (rc == 0)
            rc = adapter_save_peft_fd(a, &model, peft, &err);
        if (rc == 0) {
            adapter_peft_config(a, "base", &config);
            rc = str_finish(&config);
        }
        if (rc == 0)
            rc = adapter_load_peft_fd(&c, &model, SHA, config.data,
                                      config.bytes, peft, &err);
        fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        adapter_destroy(a);
        adapter_destroy(b);
        adapter_destroy(c);
        str_free(&config);
        close(fd);
        close(peft);
    }
}

// Adapters that another trainer made for a model of 2 blocks.
static void takes_the_adapters_of_a_peer(void **state)
{
    static const char *const names[] = {"init", "e1", "e4"};
    struct gguf *g;
    struct model_config m;
    struct error err = {0};
    if (access(GOLDEN "tiny-llama.gguf", R_OK) < 0) {
        print_message("# no " GOLDEN ": skipped\n");
        return; // skip() of cmocka 1.1 prints "not ok"
    }
    assert_int_equal(gguf_load(&g, GOLDEN "tiny-llama.gguf", &err), 0);
    assert_int_equal(model_config_read(&m, g, &err), 0);
    gguf_destroy(g);
    for (int i = 0; i < 3; i++) {
        struct adapter *a;
        char path[100];
        (void) snprintf(path, sizeof(path), GOLDEN "llama-%s.gguf", names[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (adapter_load_gguf_fd(&a, &m, SHA, fd, &err) < 0)
            fail_msg("%s: %s", path, err.text);
        close(fd);
        const struct scheme_lora lora = {4, 8, LORA_ALL, 0};
        struct scheme all;
        assert_int_equal(scheme_from_lora(&all, &lora, &m, &err), 0);
        assert_true(scheme_equal(&a->scheme, &all));
        // B starts at nothing but noise of 1e-29.
        assert_true(adapter_param(a, 0)[0] != 0);
        assert_true((fabsf(adapter_param(a, 1)[0]) < 1e-20f) == (i == 0));
        adapter_destroy(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lays_out_params_one_after_the_other),
        cmocka_unit_test(reads_the_gguf_that_it_writes),
        cmocka_unit_test(writes_the_gguf_that_others_expect),
        cmocka_unit_test(reads_the_peft_that_it_writes),
        cmocka_unit_test(puts_rows_into_hugging_face_order),
        cmocka_unit_test(refuses_adapters_that_do_not_fit),
        cmocka_unit_test(refuses_tensors_that_do_not_fit),
        cmocka_unit_test(takes_adapters_of_other_makers),
        cmocka_unit_test(takes_the_adapters_of_a_peer),
        cmocka_unit_test(refuses_peft_that_it_cannot_serve),
        cmocka_unit_test(refuses_peft_of_other_modules),
        cmocka_unit_test(saves_files_whole_or_not_at_all),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
