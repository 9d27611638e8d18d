// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tensor/dtype.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void knows_every_type_by_its_id(void **state)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        enum dtype type;
        assert_non_null(dtype_infos[i].name);
        assert_int_equal(dtype_from_gguf(&type, dtype_infos[i].gguf_type), 0);
        assert_int_equal(type, i);
    }
    enum dtype type = DTYPE_f16;
    assert_int_equal(dtype_from_gguf(&type, 4), -ENOENT);
    assert_int_equal(type, DTYPE_f16);
}

static void knows_every_type_by_its_name(void **state)
{
    enum dtype type;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        assert_int_equal(dtype_find(&type, dtype_infos[i].name), 0);
        assert_int_equal(type, i);
        assert_true(dtype_is_weight(type) == (i != DTYPE_i32));
    }
    type = DTYPE_f16;
    assert_int_equal(dtype_find(&type, "q4"), -ENOENT);
    assert_int_equal(type, DTYPE_f16);
    assert_int_equal(strncmp(dtype_weight_names, "f32 f16 bf16 q8_0 ", 18), 0);
}

static void counts_bytes_of_rows(void **state)
{
    assert_int_equal(dtype_row_bytes(DTYPE_f32, 5), 20);
    assert_int_equal(dtype_row_bytes(DTYPE_bf16, 5), 10);
    assert_int_equal(dtype_row_bytes(DTYPE_q8_0, 384), 408);
    assert_int_equal(dtype_row_bytes(DTYPE_q4_0, 64), 36);
    assert_int_equal(dtype_row_bytes(DTYPE_q4_0, 0), 0);
    assert_int_equal(dtype_row_bytes(DTYPE_q6_k, 512), 420);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_every_type_by_its_id),
        cmocka_unit_test(knows_every_type_by_its_name),
        cmocka_unit_test(counts_bytes_of_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
