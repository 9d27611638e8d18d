// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/base/mapfile.h"
#include "engine/base/memfile.h"
#include "engine/convert/convert.h"
#include "engine/formats/gguf_set.h"
#include "engine/tensor/quant.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BASE_MODEL "clients/demo/pock-16m-q8_0.gguf"
#define HF_MODEL   "../shared/models/pock-16m/"

/*
 * Parts of a model
 */

enum { PARTS = 3, VALUES = 64 };

// What a part says; -1: nothing.
struct says {
    int no, count, tensors;
    const char *tensor; // its name, or NULL for none
};

static struct gguf *make_part(const struct says *says, int *fd)
{
    static float values[VALUES];
    static const int64_t ne[2] = {32, 2};
    struct error err = {0};
    struct gguf_writer *w;
    struct gguf *g = NULL;

    for (int i = 0; i < VALUES; i++)
        values[i] = (float) i;
    assert_int_equal(gguf_writer_create(&w), 0);
    gguf_writer_str(w, "general.architecture", "llama");
    if (says->no >= 0)
        gguf_writer_u32(w, "split.no", (uint32_t) says->no);
    if (says->count >= 0)
        gguf_writer_u32(w, "split.count", (uint32_t) says->count);
    if (says->tensors >= 0)
        gguf_writer_u32(w, "split.tensors.count", (uint32_t) says->tensors);
    if (says->tensor)
        gguf_writer_tensor(w, says->tensor, DTYPE_f32, 2, ne, values);
    assert_int_equal(memfile_create(fd, "part"), 0);
    assert_int_equal(gguf_writer_save_fd(w, *fd, &err), 0);
    gguf_writer_destroy(w);
    if (gguf_load_part_fd(&g, *fd, &err) < 0)
        fail_msg("%s", err.text);
    return g;
}

static int join(const struct says *says, uint32_t n, struct error *err)
{
    struct gguf *parts[PARTS] = {NULL};
    struct gguf_set *set = NULL;
    int fd;

    for (uint32_t i = 0; i < n; i++) {
        parts[i] = make_part(&says[i], &fd);
        (void) close(fd);
    }
    int rc = gguf_set_create(&set, parts, n, err);
    if (rc == 0) {
        assert_int_equal(gguf_set_n_tensors(set), n);
        assert_string_equal(gguf_set_tensor_at(set, 0)->name, "a");
        assert_string_equal(gguf_set_tensor_at(set, n - 1)->name,
                            n == 1 ? "a" : "c");
    }
    gguf_set_destroy(set);
    for (uint32_t i = 0; i < n; i++)
        gguf_destroy(parts[i]);
    return rc;
}

static void parts_are_joined_in_their_order(void **state)
{
    static const struct says shuffled[PARTS] = {{1, 3, 3, "b"},
                                                {2, 3, 3, "c"},
                                                {0, 3, 3, "a"}};
    static const struct says whole[1] = {{-1, -1, -1, "a"}};
    struct error err = {0};

    assert_int_equal(join(shuffled, 3, &err), 0);
    assert_int_equal(join(whole, 1, &err), 0);
}

static void parts_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        struct says says[PARTS];
        uint32_t n;
        const char *words;
    } list[] = {
        {{{0, 3, 3, "a"}, {1, 3, 3, "b"}}, 2, "part 3 of 3 is missing"},
        {{{0, 3, 3, "a"}, {1, 3, 3, "b"}, {1, 3, 3, "c"}},
         3,
         "part 2 of 3 is there twice"},
        {{{0, 2, 2, "a"}, {1, 2, 2, "a"}}, 2, "tensor a is in two parts"},
        {{{0, 2, 3, "a"}, {1, 2, 3, "b"}}, 2, "have 2 tensors, but say that"},
        {{{0, 2, 2, "a"}, {1, 3, 2, "b"}}, 2, "not of one model"},
        {{{0, 2, 2, "a"}, {1, 2, 3, "b"}}, 2, "not of one model"},
        {{{0, 2, 2, "a"}, {2, 2, 2, "b"}}, 2, "is part 3 of 2"},
        {{{0, 0, 2, "a"}}, 1, "is part 1 of 0"},
        {{{0, 70000, 2, "a"}}, 1, "part 1 of 70000"},
        {{{-1, 2, 2, "a"}}, 1, "has no split.no"},
        {{{-1, -1, -1, "a"}, {-1, -1, -1, "b"}}, 2, "part 1 of 1 is there tw"},
        {{{0, 3, 3, "a"}}, 1, "part 2 of 3 is missing"},
        {{{0, 0, 0, NULL}}, 0, "0 files are no model"},
    };

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct error err = {0};
        int rc = join(list[i].says, list[i].n, &err);
        if (rc >= 0 || !strstr(err.text, list[i].words))
            fail_msg("wanted \"%s\": got %d, \"%s\"", list[i].words, rc,
                     err.text);
    }
}

/*
 * Which type a tensor gets
 */

static void types_are_those_of_the_usual_mixture(void **state)
{
    static const struct {
        enum convert_type type;
        const char *name;
        int64_t columns;
        bool is_tied;
        enum dtype want;
    } list[] = {
        {CONVERT_Q4_K, "blk.3.attn_q.weight", 512, false, DTYPE_q4_k},
        {CONVERT_Q4_K, "blk.3.attn_q.weight", 384, false, DTYPE_q5_0},
        {CONVERT_Q4_K, "blk.3.attn_q.weight", 48, false, DTYPE_f16},
        {CONVERT_Q4_K, "blk.0.attn_v.weight", 512, false, DTYPE_q6_k},
        {CONVERT_Q4_K, "blk.0.attn_v.weight", 384, false, DTYPE_q8_0},
        {CONVERT_Q4_K, "blk.1.attn_v.weight", 512, false, DTYPE_q4_k},
        {CONVERT_Q4_K, "blk.3.ffn_down.weight", 512, false, DTYPE_q6_k},
        {CONVERT_Q4_K, "blk.7.ffn_down.weight", 512, false, DTYPE_q6_k},
        {CONVERT_Q4_K, "blk.7.ffn_up.weight", 512, false, DTYPE_q4_k},
        {CONVERT_Q4_K, "blk.2.attn_qkv.weight", 512, false, DTYPE_q5_k},
        {CONVERT_Q4_K, "blk.2.attn_qkv.weight", 96, false, DTYPE_q5_1},
        {CONVERT_Q4_K, "output.weight", 512, false, DTYPE_q6_k},
        {CONVERT_Q4_K, "token_embd.weight", 512, false, DTYPE_q4_k},
        {CONVERT_Q4_K, "token_embd.weight", 512, true, DTYPE_q6_k},
        {CONVERT_Q4_0, "output.weight", 512, false, DTYPE_q6_k},
        {CONVERT_Q4_0, "token_embd.weight", 384, true, DTYPE_q8_0},
        {CONVERT_Q4_0, "blk.0.ffn_up.weight", 384, true, DTYPE_q4_0},
        {CONVERT_Q8_0, "blk.0.ffn_up.weight", 384, true, DTYPE_q8_0},
        {CONVERT_BF16, "blk.0.ffn_up.weight", 7, true, DTYPE_bf16},
        {CONVERT_Q8_0, "rope_freqs.weight", 64, true, DTYPE_f32},
        {CONVERT_Q8_0, "blk.0.attn_q.bias", 64, true, DTYPE_f32},
        {CONVERT_KEEP, "blk.0.ffn_up.weight", 64, true, DTYPE_f16},
    };

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        const struct convert_place p = {
            .name = list[i].name,
            .n_dims = 2,
            .columns = list[i].columns,
            .dtype = DTYPE_f16,
            .n_blocks = 8,
            .is_tied = list[i].is_tied,
        };
        if (convert_choose(list[i].type, &p) != list[i].want)
            fail_msg("%s to %s: %s", list[i].name,
                     convert_type_name(list[i].type),
                     dtype_infos[convert_choose(list[i].type, &p)].name);
    }
}

static void norms_become_exact(void **state)
{
    const struct convert_place p = {.name = "blk.0.attn_norm.weight",
                                    .n_dims = 1,
                                    .columns = 64,
                                    .dtype = DTYPE_bf16};

    for (int t = 0; t < CONVERT_TYPES; t++)
        assert_int_equal(convert_choose((enum convert_type) t, &p), DTYPE_f32);
}

static void unknown_types_are_refused(void **state)
{
    enum convert_type t;
    struct error err = {0};

    assert_int_equal(convert_type_parse(&t, "q4_k", &err), 0);
    assert_int_equal(t, CONVERT_Q4_K);
    assert_int_equal(convert_type_parse(&t, "q9", &err), -EINVAL);
    assert_non_null(strstr(err.text, "not q9"));
}

/*
 * Whole models
 */

static struct gguf *convert_map(const struct source_file *files, uint32_t n,
                                enum convert_type type,
                                struct convert_result *out)
{
    const struct convert_params params = {.type = type, .name = "m"};
    struct error err = {0};
    struct gguf *g = NULL;
    int fd;

    assert_int_equal(memfile_create(&fd, "model"), 0);
    if (convert_files(out, fd, files, n, &params, &err) < 0 ||
        gguf_load_fd(&g, fd, &err) < 0)
        fail_msg("%s", err.text);
    (void) close(fd);
    return g;
}

static void a_gguf_is_kept_as_it_is(void **state)
{
    struct convert_result r;
    struct error err = {0};
    struct mapfile map;

    assert_int_equal(mapfile_load(&map, BASE_MODEL, &err), 0);
    const struct source_file f = {"m.gguf", map.data, map.bytes};
    struct gguf *g = convert_map(&f, 1, CONVERT_KEEP, &r), *in;
    assert_int_equal(gguf_load_memory(&in, map.data, map.bytes, &err), 0);
    assert_int_equal(gguf_n_tensors(g), gguf_n_tensors(in));
    assert_int_equal(gguf_n_pairs(g), gguf_n_pairs(in));
    for (uint32_t i = 0; i < gguf_n_tensors(in); i++) {
        const struct gguf_tensor *a = gguf_tensor_at(in, i);
        const struct gguf_tensor *b = gguf_find(g, a->name);
        assert_true(b && b->dtype == a->dtype && b->bytes == a->bytes);
        assert_memory_equal(a->data, b->data, a->bytes);
    }
    assert_string_equal(r.format, "GGUF");
    gguf_destroy(in);
    gguf_destroy(g);
    mapfile_finish(&map);
}

// Root of the mean squared difference, relative to the root of the mean
// square.
static double error_of(const struct gguf *a, const struct gguf *b,
                       const char *name)
{
    const struct gguf_tensor *x = gguf_find(a, name), *y = gguf_find(b, name);
    double e = 0, n = 0;
    float u[384], v[384];

    assert_true(x && y && x->ne[0] == 384 && x->ne[1] == y->ne[1]);
    for (int64_t row = 0; row < x->ne[1]; row++) {
        quant_decode(x->dtype, u,
                     (const char *) x->data +
                         (size_t) row * dtype_row_bytes(x->dtype, 384),
                     384);
        quant_decode(y->dtype, v,
                     (const char *) y->data +
                         (size_t) row * dtype_row_bytes(y->dtype, 384),
                     384);
        for (int i = 0; i < 384; i++) {
            e += ((double) u[i] - (double) v[i]) *
                 ((double) u[i] - (double) v[i]);
            n += (double) u[i] * (double) u[i];
        }
    }
    return sqrt(e / n);
}

static void quantised_models_stay_near(void **state)
{
    static const struct {
        enum convert_type type;
        double most;
    } list[] = {{CONVERT_F32, 0},
                {CONVERT_F16, 1e-3},
                {CONVERT_Q8_0, 1e-4}, // it is q8_0 already
                {CONVERT_Q4_K, 0.06}, // q5_0, for 384 is no multiple of 256
                {CONVERT_Q4_0, 0.13}};
    struct convert_result r;
    struct error err = {0};
    struct gguf *in;

    assert_int_equal(gguf_load(&in, BASE_MODEL, &err), 0);
    size_t bytes;
    const void *data = gguf_mapping(in, &bytes);
    const struct source_file f = {"m.gguf", data, bytes};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct gguf *g = convert_map(&f, 1, list[i].type, &r);
        const double e = error_of(in, g, "blk.2.attn_q.weight");
        (void) fprintf(stderr, "# %s: %.5f\n", convert_type_name(list[i].type),
                       e);
        assert_true(e <= list[i].most);
        assert_int_equal(r.n_fallback > 0, list[i].type == CONVERT_Q4_K ||
                                               list[i].type == CONVERT_Q4_0);
        gguf_destroy(g);
    }
    gguf_destroy(in);
}

// What the directory of the base model becomes has the bytes of the file that
// was made of it elsewhere.
static void the_base_model_is_that_of_its_directory(void **state)
{
    static const char *const names[] = {"config.json", "tokenizer.json",
                                        "model.safetensors"};
    struct source_file files[3];
    struct mapfile maps[3];
    struct convert_result r;
    struct error err = {0};
    char path[128];
    struct gguf *in;

    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, HF_MODEL "%s", names[i]);
        if (mapfile_load(&maps[i], path, &err) < 0) {
            (void) fprintf(stderr, "# not run: %s\n", err.text);
            while (i-- > 0)
                mapfile_finish(&maps[i]);
            return;
        }
        files[i] = (struct source_file){names[i], maps[i].data, maps[i].bytes};
    }
    struct gguf *g = convert_map(files, 3, CONVERT_Q8_0, &r);
    assert_int_equal(gguf_load(&in, BASE_MODEL, &err), 0);
    assert_int_equal(gguf_n_tensors(in), gguf_n_tensors(g));
    for (uint32_t i = 0; i < gguf_n_tensors(in); i++) {
        const struct gguf_tensor *a = gguf_tensor_at(in, i);
        const struct gguf_tensor *b = gguf_find(g, a->name);
        if (!b || b->dtype != a->dtype || b->bytes != a->bytes)
            fail_msg("tensor %s is another", a->name);
        // That file's writer rounds halves to even, ours away from zero.
        size_t differ = 0;
        for (size_t k = 0; k < a->bytes; k++)
            differ += ((const unsigned char *) a->data)[k] !=
                      ((const unsigned char *) b->data)[k];
        if (differ > a->bytes / 200)
            fail_msg("tensor %s: %zu of %zu bytes differ", a->name, differ,
                     a->bytes);
    }
    gguf_destroy(in);
    gguf_destroy(g);
    for (int i = 0; i < 3; i++)
        mapfile_finish(&maps[i]);
}

static void what_is_no_model_is_refused(void **state)
{
    static const struct {
        const char *name, *text, *words;
    } list[] = {
        {"x", "hello", "this is no model"},
        {"m.gguf", "GGUF", "m.gguf: the file ends inside its header"},
        {"config.json", "{}", "has no model_type"},
        {"config.json", "", "config.json"},
    };

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        const struct convert_params params = {0};
        struct convert_result r;
        struct error err = {0};
        _Alignas(8) char text[16];
        memcpy(text, list[i].text, strlen(list[i].text) + 1);
        const struct source_file f = {list[i].name, text, strlen(list[i].text)};
        assert_true(convert_files(&r, -1, &f, 1, &params, &err) < 0);
        if (!strstr(err.text, list[i].words))
            fail_msg("%s", err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_joined_in_their_order),
        cmocka_unit_test(parts_that_do_not_fit_are_refused),
        cmocka_unit_test(types_are_those_of_the_usual_mixture),
        cmocka_unit_test(norms_become_exact),
        cmocka_unit_test(unknown_types_are_refused),
        cmocka_unit_test(a_gguf_is_kept_as_it_is),
        cmocka_unit_test(quantised_models_stay_near),
        cmocka_unit_test(the_base_model_is_that_of_its_directory),
        cmocka_unit_test(what_is_no_model_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
