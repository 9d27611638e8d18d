// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/formats/safetensors.h"

#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/half.h"
#include "engine/base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

// A file of this header and `bytes` bytes of data, in memory of exactly its
// size.
static int load(struct safetensors **out, const char *header, size_t bytes,
                struct error *err)
{
    static unsigned char file[4096];
    size_t n = strlen(header);
    bits_store64(file, n);
    memcpy(file + 8, header, n);
    for (size_t i = 0; i < bytes; i++)
        file[8 + n + i] = (unsigned char) i;
    *out = NULL;
    return safetensors_load_memory(out, file, 8 + n + bytes, err);
}

static void refuses_what_lies(void **state)
{
    static const struct {
        const char *header;
        size_t bytes;
        const char *words;
    } cases[] = {
        {"[]", 0, "not a safetensors file"},
        {"{", 0, "the header: JSON is wrong at byte 1"},
        {"{\"a\":1}", 0, "tensor a: its entry is not an object"},
        {"{\"a\":{}}", 0, "tensor a: it has no dtype"},
        {"{\"\":{}}", 0, "not printable"},
        {"{\"a\\u0000b\":{}}", 0, "not printable"},
        {"{\"a\\u001b\":{}}", 0, "not printable"},
        {"{\"a\":{\"dtype\":\"F32\"}}", 0, "a: it has no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1]}}", 0,
         "its shape is not possible"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5]}}", 0,
         "its shape is not possible"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296]}}", 0,
         "its shape is not possible"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1]}}", 0,
         "too many dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "no data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4,
         "no data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4,
         "end before they begin"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3,
         "cut short"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
         "do not agree with its data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],"
         "\"data_offsets\":[0,4]}}",
         4, "do not agree"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5,
         "1 bytes that belong to no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
         "there is a gap before its data"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
         6, "tensor b: its data overlap"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2, "\"a\" is there twice"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "not a string"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct safetensors *s;
        struct error err = {0};
        int rc = load(&s, cases[i].header, cases[i].bytes, &err);
        if (rc != -EINVAL || s || !strstr(err.text, cases[i].words))
            fail_msg("%s: %d, \"%s\"", cases[i].header, rc, err.text);
    }
}

static void refuses_a_lying_length(void **state)
{
    unsigned char file[16] = "........{}";
    struct safetensors *s = NULL;
    struct error err;
    assert_int_equal(safetensors_load_memory(&s, file, 7, &err), -EINVAL);
    bits_store64(file, 0);
    assert_int_equal(safetensors_load_memory(&s, file, 10, &err), -EINVAL);
    bits_store64(file, 3);
    assert_int_equal(safetensors_load_memory(&s, file, 10, &err), -EINVAL);
    assert_non_null(strstr(err.text, "claims 3 bytes, but the file is short"));
    bits_store64(file, UINT64_MAX);
    assert_int_equal(safetensors_load_memory(&s, file, 10, &err), -EINVAL);
    assert_non_null(strstr(err.text, "at most 100 MiB"));
    bits_store64(file, 2);
    assert_int_equal(safetensors_load_memory(&s, file, 10, &err), 0);
    assert_int_equal(safetensors_n_tensors(s), 0);
    assert_null(safetensors_metadata(s, "format"));
    safetensors_destroy(s);
}

static void reads_types_it_does_not_know(void **state)
{
    struct safetensors *s;
    struct error err;
    float f[8];
    assert_int_equal(load(&s,
                          "{\"x\":{\"dtype\":\"F4\",\"shape\":[8],"
                          "\"data_offsets\":[0,4]},"
                          "\"y\":{\"dtype\":\"I64\",\"shape\":[],"
                          "\"data_offsets\":[4,12]}}",
                          12, &err),
                     0);
    const struct safetensors_tensor *t = safetensors_find(s, "x");
    assert_false(t->is_known);
    assert_int_equal(safetensors_read_f32(f, t, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "x is of type F4"));
    assert_int_equal(safetensors_find(s, "y")->n_dims, 0);
    assert_null(safetensors_find(s, "z"));
    safetensors_destroy(s);
}

static void reads_what_it_writes(void **state)
{
    static const char *const metadata[] = {"format", "pt", "note", "a\"b",
                                           NULL};
    const float f[6] = {1, -2, 3.5f, 0, 1e-3f, 6};
    uint16_t h[2] = {half_from_f32(0.5f), half_from_f32(-3)};
    uint16_t b[3] = {bf16_from_f32(7), bf16_from_f32(-0.125f), 0};
    const struct safetensors_tensor in[] = {
        {.name = "w", .dtype = DTYPE_f32, .n_dims = 2, .ne = {2, 3}, .data = f},
        {.name = "h", .dtype = DTYPE_f16, .n_dims = 1, .ne = {2}, .data = h},
        {.name = "b", .dtype = DTYPE_bf16, .n_dims = 1, .ne = {3}, .data = b},
        {.name = "none", .dtype = DTYPE_f32, .n_dims = 1, .ne = {0}},
    };
    struct safetensors *s;
    struct error err = {0};
    float got[6];
    int fd = memfd_create("st", MFD_CLOEXEC);
    assert_int_equal(safetensors_save_fd(fd, in, 4, metadata, &err), 0);
    if (safetensors_load_fd(&s, fd, &err) < 0)
        fail_msg("%s", err.text);
    close(fd);
    assert_int_equal(safetensors_n_tensors(s), 4);
    assert_string_equal(safetensors_metadata(s, "note"), "a\"b");
    const struct safetensors_tensor *t = safetensors_find(s, "w");
    assert_true(t->n_dims == 2 && t->ne[0] == 2 && t->ne[1] == 3);
    assert_int_equal(safetensors_read_f32(got, t, &err), 0);
    assert_memory_equal(got, f, sizeof(f));
    assert_int_equal(safetensors_read_f32(got, safetensors_find(s, "h"), NULL),
                     0);
    assert_true(got[0] == 0.5f && got[1] == -3);
    assert_int_equal(safetensors_read_f32(got, safetensors_find(s, "b"), NULL),
                     0);
    assert_true(got[0] == 7 && got[1] == -0.125f && got[2] == 0);
    assert_int_equal(safetensors_find(s, "none")->bytes, 0);
    assert_string_equal(safetensors_tensor_at(s, 1)->name, "h");
    safetensors_destroy(s);

    const struct safetensors_tensor quantised = {.name = "q",
                                                 .dtype = DTYPE_q8_0};
    assert_int_equal(safetensors_save_fd(-1, &quantised, 1, NULL, &err),
                     -ENOTSUP);
    assert_int_equal(safetensors_save_fd(-1, in, 1, NULL, &err), -EBADF);
}

static void survives_every_failed_allocation(void **state)
{
    for (unsigned long n = 1;; n++) {
        struct safetensors *s;
        struct error err = {0};
        fault_arm(FAULT_ALLOC, n);
        int rc = load(&s,
                      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],"
                      "\"data_offsets\":[0,4]}}",
                      4, &err);
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        safetensors_destroy(s);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        if (!fired)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_lies),
        cmocka_unit_test(refuses_a_lying_length),
        cmocka_unit_test(reads_types_it_does_not_know),
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
