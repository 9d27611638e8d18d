// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/formats/gguf.h"

#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/mapfile.h"
#include "engine/base/str.h"

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

#define BASE_MODEL "clients/demo/pock-16m-q8_0.gguf"

static void put32(struct str *s, uint32_t x)
{
    unsigned char b[4];
    bits_store32(b, x);
    str_append(s, b, 4);
}

static void put64(struct str *s, uint64_t x)
{
    unsigned char b[8];
    bits_store64(b, x);
    str_append(s, b, 8);
}

static void put_text(struct str *s, const char *text)
{
    put64(s, strlen(text));
    str_puts(s, text);
}

static void put_header(struct str *s, uint32_t version, uint64_t n_tensors,
                       uint64_t n_pairs)
{
    str_puts(s, "GGUF");
    put32(s, version);
    put64(s, n_tensors);
    put64(s, n_pairs);
}

static void put_pair_u32(struct str *s, const char *key, uint32_t value)
{
    put_text(s, key);
    put32(s, GGUF_U32);
    put32(s, value);
}

// A tensor of one or two dimensions.
static void put_tensor(struct str *s, const char *name, uint64_t ne0,
                       uint64_t ne1, uint32_t type, uint64_t offset)
{
    put_text(s, name);
    put32(s, ne1 ? 2 : 1);
    put64(s, ne0);
    if (ne1)
        put64(s, ne1);
    put32(s, type);
    put64(s, offset);
}

static void put_data(struct str *s, size_t bytes)
{
    while (s->bytes % 32 != 0)
        str_putc(s, 0);
    for (size_t i = 0; i < bytes; i++)
        str_putc(s, (char) i);
}

// malloc() aligns to 16; a copy of the exact size lets the sanitizer see a
// read past the end.
static int load(struct gguf **out, const struct str *s, struct error *err)
{
    void *p = malloc(s->bytes ? s->bytes : 1);
    assert_non_null(p);
    memcpy(p, s->data ? s->data : "", s->bytes);
    *out = NULL;
    int rc = gguf_load_memory(out, p, s->bytes, err);
    if (rc < 0)
        assert_null(*out);
    gguf_destroy(*out);
    free(p);
    return rc;
}

// Loads what `s` holds, expects a refusal with these words, and frees it.
static void refused(struct str *s, int want, const char *words)
{
    struct gguf *g;
    struct error err = {0};
    assert_int_equal(str_finish(s), 0);
    int rc = load(&g, s, &err);
    if (rc != want || !strstr(err.text, words))
        fail_msg("wanted %d and \"%s\": got %d, \"%s\"", want, words, rc,
                 err.text);
    str_free(s);
}

static void accepted(struct str *s)
{
    struct gguf *g;
    struct error err = {0};
    if (load(&g, s, &err) < 0)
        fail_msg("%s", err.text);
    str_free(s);
}

static void refuses_bad_headers(void **state)
{
    struct str s = {0};
    refused(&s, -EINVAL, "not a GGUF file");
    str_puts(&s, "GGU");
    refused(&s, -EINVAL, "not a GGUF file");
    str_puts(&s, "GGML0000000000000000000");
    refused(&s, -EINVAL, "not a GGUF file");
    str_puts(&s, "GGUF");
    refused(&s, -EINVAL, "ends inside its header");
    put_header(&s, 3, 0, 0);
    s.bytes -= 1;
    refused(&s, -EINVAL, "ends inside its header");
    put_header(&s, 0, 0, 0);
    refused(&s, -ENOTSUP, "version 0");
    put_header(&s, 1, 0, 0);
    refused(&s, -ENOTSUP, "version 1");
    put_header(&s, 4, 0, 0);
    refused(&s, -ENOTSUP, "version 4");
    put_header(&s, 3u << 24, 0, 0);
    refused(&s, -ENOTSUP, "big-endian");
    put_header(&s, 3, UINT64_MAX, 0);
    refused(&s, -EINVAL, "claims 18446744073709551615 tensors");
    put_header(&s, 3, 1, 0);
    refused(&s, -EINVAL, "claims 1 tensors, more than the file can hold");
    put_header(&s, 3, 0, 1ull << 40);
    refused(&s, -EINVAL, "metadata pairs, more than are supported");
    put_header(&s, 3, 0, 9);
    refused(&s, -EINVAL, "claims 9 metadata pairs, more than the file can");
    put_header(&s, 2, 0, 0);
    accepted(&s);
}

static void refuses_bad_pairs(void **state)
{
    struct str s = {0};
    put_header(&s, 3, 0, 1);
    put64(&s, UINT64_MAX);
    put64(&s, 0);
    refused(&s, -EINVAL, "the key of pair 0 has 18446744073709551615");
    put_header(&s, 3, 0, 1);
    put64(&s, 500);
    put64(&s, 0);
    refused(&s, -EINVAL, "ends inside the key");
    put_header(&s, 3, 0, 1);
    put_pair_u32(&s, "", 1);
    refused(&s, -EINVAL, "has 0 bytes");
    put_header(&s, 3, 0, 1);
    put_pair_u32(&s, "esc\x1b[2J", 1);
    refused(&s, -EINVAL, "not printable");
    put_header(&s, 3, 0, 1);
    put_text(&s, "some.key");
    put32(&s, 13);
    put64(&s, 0);
    refused(&s, -EINVAL, "some.key is of type 13");
    put_header(&s, 3, 0, 1);
    put_text(&s, "some.key");
    put32(&s, GGUF_U64);
    put32(&s, 0);
    refused(&s, -EINVAL, "ends inside the value of some.key");
    put_header(&s, 3, 0, 1);
    put_text(&s, "flag");
    put32(&s, GGUF_BOOL);
    str_putc(&s, 2);
    put64(&s, 0);
    refused(&s, -EINVAL, "flag is 2, not 0 or 1");
    put_header(&s, 3, 0, 2);
    put_pair_u32(&s, "twice", 1);
    put_pair_u32(&s, "twice", 2);
    refused(&s, -EINVAL, "the key twice is there twice");
}

static void refuses_bad_strings_and_arrays(void **state)
{
    struct str s = {0};
    put_header(&s, 3, 0, 1);
    put_text(&s, "text");
    put32(&s, GGUF_STR);
    put64(&s, 1ull << 60);
    refused(&s, -EINVAL, "text claims 1152921504606846976 bytes");
    put_header(&s, 3, 0, 1);
    put_text(&s, "text");
    put32(&s, GGUF_STR);
    put64(&s, 1000);
    refused(&s, -EINVAL, "ends inside the value of text");
    put_header(&s, 3, 0, 1);
    put_text(&s, "list");
    put32(&s, GGUF_ARRAY);
    put32(&s, 99);
    put64(&s, 0);
    refused(&s, -EINVAL, "list has items of type 99");
    put_header(&s, 3, 0, 1);
    put_text(&s, "list");
    put32(&s, GGUF_ARRAY);
    put32(&s, GGUF_ARRAY);
    put64(&s, 0);
    refused(&s, -EINVAL, "array of arrays");
    // 2^61 items of 8 bytes are 0 bytes modulo 2^64.
    put_header(&s, 3, 0, 1);
    put_text(&s, "list");
    put32(&s, GGUF_ARRAY);
    put32(&s, GGUF_U64);
    put64(&s, 1ull << 61);
    refused(&s, -EINVAL, "list claims 2305843009213693952 items");
    put_header(&s, 3, 0, 1);
    put_text(&s, "list");
    put32(&s, GGUF_ARRAY);
    put32(&s, GGUF_I32);
    put64(&s, 3);
    put64(&s, 0);
    refused(&s, -EINVAL, "list claims 3 items");
    put_header(&s, 3, 0, 1);
    put_text(&s, "list");
    put32(&s, GGUF_ARRAY);
    put32(&s, GGUF_STR);
    put64(&s, 2);
    put_text(&s, "one");
    put64(&s, UINT64_MAX - 3);
    refused(&s, -EINVAL, "string 1 of the array list");
}

static void refuses_bad_alignment_and_parts(void **state)
{
    static const uint32_t bad[] = {0, 4, 24, 33};
    struct str s = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put_header(&s, 3, 0, 1);
        put_pair_u32(&s, "general.alignment", bad[i]);
        refused(&s, -EINVAL, "general.alignment is");
    }
    put_header(&s, 3, 0, 1);
    put_text(&s, "general.alignment");
    put32(&s, GGUF_F32);
    put32(&s, 32);
    refused(&s, -EINVAL, "general.alignment is of type f32");
    put_header(&s, 3, 0, 2);
    put_pair_u32(&s, "split.no", 1);
    put_pair_u32(&s, "split.count", 3);
    refused(&s, -ENOTSUP, "part 2 of a model split into 3 files");
    put_header(&s, 3, 0, 2);
    put_pair_u32(&s, "split.no", 0);
    put_pair_u32(&s, "split.count", 1);
    accepted(&s);
}

static void refuses_bad_tensor_entries(void **state)
{
    static const char long_name[] =
        "a123456789b123456789c123456789d123456789e123456789f123456789gggg";
    struct str s = {0};
    put_header(&s, 3, 1, 0);
    put_tensor(&s, long_name, 4, 0, 0, 0);
    put_data(&s, 32);
    refused(&s, -EINVAL, "the name of tensor 0 has 64 bytes");
    put_header(&s, 3, 2, 0);
    put_tensor(&s, "same", 8, 0, 0, 0);
    put_tensor(&s, "same", 8, 0, 0, 32);
    put_data(&s, 64);
    refused(&s, -EINVAL, "tensor same is there twice");
    for (uint32_t n = 0; n <= 5; n += 5) {
        put_header(&s, 3, 1, 0);
        put_text(&s, "w");
        put32(&s, n);
        put_data(&s, 100);
        refused(&s, -EINVAL, n ? "w has 5 dimensions" : "w has 0 dimensions");
    }
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", 0, 4, 0, 0);
    put_data(&s, 64);
    refused(&s, -EINVAL, "dimension 0 of tensor w is 0");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", UINT64_MAX, 0, 0, 0);
    put_data(&s, 64);
    refused(&s, -EINVAL, "dimension 0 of tensor w is 18446744073709551615");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", 1ull << 32, 1ull << 32, 0, 0);
    put_data(&s, 64);
    refused(&s, -EINVAL, "dimension 1 of tensor w");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", 1ull << 62, 0, 0, 0);
    put_data(&s, 64);
    refused(&s, -EINVAL, "tensor w is too large");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", 48, 2, 8, 0);
    put_data(&s, 200);
    refused(&s, -EINVAL,
            "tensor w has rows of 48 values, but type q8_0 needs a multiple "
            "of 32");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", 384, 2, 14, 0);
    put_data(&s, 1000);
    refused(&s, -EINVAL, "type q6_k needs a multiple of 256");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "name.of.some.length", 48, 2, 8, 0);
    s.bytes -= 9;
    refused(&s, -EINVAL, "ends inside the entry of tensor name.of.some.length");
}

static void refuses_tensors_outside_the_data(void **state)
{
    struct str s = {0};
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", 8, 0, 0, 8);
    put_data(&s, 64);
    refused(&s, -EINVAL, "offset 8, which is not a multiple of 32");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", 8, 0, 0, 0);
    put_data(&s, 31);
    refused(&s, -EINVAL, "cut short or damaged");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", 8, 0, 0, 64);
    put_data(&s, 64);
    refused(&s, -EINVAL,
            "w needs bytes 64 to 96 of the data, but the file "
            "has only 64");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", 8, 0, 0, UINT64_MAX - 31);
    put_data(&s, 64);
    refused(&s, -EINVAL, "cut short or damaged");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "w", 8, 0, 0, 0);
    refused(&s, -EINVAL, "ends before the data");
    put_header(&s, 3, 2, 0);
    put_tensor(&s, "v", 16, 0, 0, 0);
    put_tensor(&s, "w", 8, 0, 0, 32);
    put_data(&s, 64);
    refused(&s, -EINVAL, "tensors v and w overlap");
    put_header(&s, 3, 2, 0);
    put_tensor(&s, "v", 8, 0, 0, 32);
    put_tensor(&s, "w", 8, 0, 0, 0);
    put_data(&s, 64);
    accepted(&s);
}

static void refuses_an_unknown_type_when_asked_for_it(void **state)
{
    struct str s = {0};
    struct gguf *g;
    struct error err;
    const struct gguf_tensor *t = NULL;
    put_header(&s, 3, 2, 0);
    put_tensor(&s, "k", 256, 0, 23, 0);
    put_tensor(&s, "w", 8, 0, 0, 160);
    put_data(&s, 192);
    assert_int_equal(gguf_load_memory(&g, s.data, s.bytes, &err), 0);
    assert_false(gguf_find(g, "k")->is_known);
    assert_int_equal(gguf_get_tensor(&t, g, "k", &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "tensor k is of type iq4_xs (23), which"));
    assert_non_null(strstr(err.text, "quantise the model to one of f32 f16 "));
    assert_non_null(strstr(err.text, " q4_k q5_k q6_k"));
    assert_int_equal(gguf_get_tensor(&t, g, "none", &err), -ENOENT);
    assert_null(t);
    assert_int_equal(gguf_get_tensor(&t, g, "w", &err), 0);
    assert_int_equal(t->bytes, 32);
    gguf_destroy(g);
    assert_int_equal(gguf_load_memory(&g, s.data + 1, 50, &err), -EINVAL);
    str_free(&s);
}

static int save_to_memory(struct gguf_writer *w)
{
    struct error err = {0};
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    assert_true(fd >= 0);
    if (gguf_writer_save_fd(w, fd, &err) < 0)
        fail_msg("%s", err.text);
    gguf_writer_destroy(w);
    return fd;
}

static void takes_numbers_of_any_width(void **state)
{
    struct str s = {0};
    struct gguf *g;
    struct error err;
    uint32_t u = 0;
    float f = 0;
    put_header(&s, 3, 0, 6);
    put_text(&s, "u8");
    put32(&s, GGUF_U8);
    str_putc(&s, 7);
    put_text(&s, "i16");
    put32(&s, GGUF_I16);
    str_append(&s, "\xff\xff", 2);
    put_text(&s, "u64");
    put32(&s, GGUF_U64);
    put64(&s, 0xffffffff);
    put_text(&s, "i64");
    put32(&s, GGUF_I64);
    put64(&s, 1ull << 32);
    put_text(&s, "f64");
    put32(&s, GGUF_F64);
    put64(&s, 0x3ff8000000000000);
    put_text(&s, "nan");
    put32(&s, GGUF_F32);
    put32(&s, 0x7fc00000);
    assert_int_equal(gguf_load_memory(&g, s.data, s.bytes, &err), 0);
    assert_int_equal(gguf_get_u32(&u, g, "u8", &err), 0);
    assert_int_equal(u, 7);
    assert_int_equal(gguf_get_u32(&u, g, "i16", &err), -EINVAL);
    assert_int_equal(gguf_get_u32(&u, g, "u64", &err), 0);
    assert_true(u == UINT32_MAX);
    assert_int_equal(gguf_get_u32(&u, g, "i64", &err), -EINVAL);
    assert_non_null(strstr(err.text, "i64 is negative or larger"));
    assert_int_equal(gguf_get_u32(&u, g, "f64", &err), -EINVAL);
    assert_non_null(strstr(err.text, "f64 is of type f64"));
    assert_int_equal(gguf_get_u32(&u, g, "gone", &err), -ENOENT);
    assert_non_null(strstr(err.text, "no gone"));
    assert_int_equal(gguf_get_f32(&f, g, "f64", &err), 0);
    assert_true(f == 1.5f);
    assert_int_equal(gguf_get_f32(&f, g, "nan", &err), -EINVAL);
    gguf_destroy(g);
    str_free(&s);
}

static void reads_what_it_writes(void **state)
{
    static const char *const words[] = {"a", "", "\xc3\xa9"};
    static const int32_t ids[] = {-1, 0, 70000};
    static const float data[6] = {1, 2, 3, 4, 5, 6};
    struct gguf_writer *w;
    struct gguf *g;
    struct error err;
    assert_int_equal(gguf_writer_create(&w), 0);
    gguf_writer_u32(w, "u", 42);
    gguf_writer_f32(w, "f", 0.25f);
    gguf_writer_bool(w, "b", true);
    gguf_writer_str(w, "s", "text");
    gguf_writer_strs(w, "words", words, 3);
    gguf_writer_i32s(w, "ids", ids, 3);
    gguf_writer_tensor(w, "one", DTYPE_f32, 1, (int64_t[]){5}, data);
    gguf_writer_tensor(w, "two", DTYPE_f32, 2, (int64_t[]){3, 2}, data);
    int fd = save_to_memory(w);
    assert_int_equal(gguf_load_fd(&g, fd, &err), 0);
    close(fd);

    uint32_t u;
    float f;
    bool b;
    const char *text;
    assert_int_equal(gguf_get_u32(&u, g, "u", &err), 0);
    assert_int_equal(gguf_get_f32(&f, g, "f", &err), 0);
    assert_int_equal(gguf_get_bool(&b, g, "b", &err), 0);
    assert_int_equal(gguf_get_str(&text, g, "s", &err), 0);
    assert_true(u == 42 && f == 0.25f && b);
    assert_string_equal(text, "text");
    assert_int_equal(gguf_get_str(&text, g, "u", &err), -EINVAL);

    struct gguf_array a;
    size_t cursor = 0, n;
    assert_int_equal(gguf_get_array(&a, g, "words", GGUF_STR, &err), 0);
    assert_int_equal(a.count, 3);
    for (int i = 0; i < 3; i++) {
        const char *p = gguf_array_next(&a, &cursor, &n);
        assert_int_equal(n, strlen(words[i]));
        assert_memory_equal(p, words[i], n);
    }
    assert_int_equal(gguf_get_array(&a, g, "ids", GGUF_F32, &err), -EINVAL);
    assert_int_equal(gguf_get_array(&a, g, "ids", GGUF_I32, &err), 0);
    assert_int_equal(gguf_array_i32(&a, 0), -1);
    assert_int_equal(gguf_array_i32(&a, 2), 70000);

    assert_int_equal(gguf_n_tensors(g), 2);
    const struct gguf_tensor *t = gguf_find(g, "two");
    assert_true(t->n_dims == 2 && t->ne[0] == 3 && t->ne[1] == 2);
    assert_memory_equal(t->data, data, sizeof(data));
    assert_int_equal((uintptr_t) t->data % 32, 0);
    gguf_destroy(g);
}

static void refuses_to_write_what_it_would_not_read(void **state)
{
    static const float data[32];
    struct gguf_writer *w;
    struct error err;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gguf_writer_create(&w), 0);
        gguf_writer_tensor(w, "w", DTYPE_f32, 1, (int64_t[]){8}, data);
        if (i == 0)
            gguf_writer_tensor(w, "w", DTYPE_f32, 1, (int64_t[]){8}, data);
        if (i == 1)
            gguf_writer_tensor(w, "", DTYPE_f32, 1, (int64_t[]){8}, data);
        if (i == 2)
            gguf_writer_tensor(w, "q", DTYPE_q8_0, 1, (int64_t[]){8}, data);
        assert_int_equal(gguf_writer_save_fd(w, -1, &err), -EINVAL);
        gguf_writer_destroy(w);
    }
}

static void reads_the_base_model(void **state)
{
    struct gguf *g;
    struct error err = {0};
    const char *arch;
    uint32_t u;
    struct gguf_array tokens;
    const struct gguf_tensor *t;
    size_t bytes;
    if (gguf_load(&g, BASE_MODEL, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(gguf_get_str(&arch, g, "general.architecture", &err), 0);
    assert_string_equal(arch, "llama");
    assert_int_equal(gguf_get_u32(&u, g, "llama.block_count", &err), 0);
    assert_int_equal(u, 8);
    assert_int_equal(gguf_get_array(&tokens, g, "tokenizer.ggml.tokens",
                                    GGUF_STR, &err),
                     0);
    assert_int_equal(tokens.count, 8192);
    assert_int_equal(gguf_get_tensor(&t, g, "blk.7.ffn_down.weight", &err), 0);
    assert_int_equal(t->dtype, DTYPE_q8_0);
    assert_true(t->ne[0] == 1024 && t->ne[1] == 384);
    const unsigned char *map = gguf_mapping(g, &bytes);
    assert_int_equal(bytes, 17012032);
    assert_true((const unsigned char *) t->data > map &&
                (const unsigned char *) t->data + t->bytes <= map + bytes);
    gguf_destroy(g);
    assert_int_equal(gguf_load(&g, "README.md", &err), -EINVAL);
    assert_non_null(strstr(err.text, "README.md: this is not a GGUF file"));
}

// Every prefix of the base model's first part is refused, and so is the whole
// without its last byte.
static void refuses_every_truncation(void **state)
{
    struct mapfile m;
    struct error err;
    struct gguf *g;
    assert_int_equal(mapfile_load(&m, BASE_MODEL, &err), 0);
    for (size_t n = 0; n < 2000; n++) {
        err.text[0] = '\0';
        assert_int_equal(gguf_load_memory(&g, m.data, n, &err), -EINVAL);
        assert_true(strlen(err.text) > 10);
    }
    assert_int_equal(gguf_load_memory(&g, m.data, m.bytes - 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "cut short"));
    mapfile_finish(&m);
}

static void survives_every_failed_allocation(void **state)
{
    static const float data[8];
    for (unsigned long n = 1;; n++) {
        struct gguf_writer *w = NULL;
        struct gguf *g = NULL;
        struct error err = {0};
        int fd = memfd_create("gguf", MFD_CLOEXEC);
        fault_arm(FAULT_ALLOC, n);
        int rc = gguf_writer_create(&w);
        if (rc == 0) {
            gguf_writer_str(w, "s", "text");
            gguf_writer_tensor(w, "w", DTYPE_f32, 1, (int64_t[]){8}, data);
            rc = gguf_writer_save_fd(w, fd, &err);
        }
        if (rc == 0)
            rc = gguf_load_fd(&g, fd, &err);
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        gguf_destroy(g);
        gguf_writer_destroy(w);
        close(fd);
        if (!fired)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(refuses_bad_pairs),
        cmocka_unit_test(refuses_bad_strings_and_arrays),
        cmocka_unit_test(refuses_bad_alignment_and_parts),
        cmocka_unit_test(refuses_bad_tensor_entries),
        cmocka_unit_test(refuses_tensors_outside_the_data),
        cmocka_unit_test(refuses_an_unknown_type_when_asked_for_it),
        cmocka_unit_test(takes_numbers_of_any_width),
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(refuses_to_write_what_it_would_not_read),
        cmocka_unit_test(reads_the_base_model),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
