// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/op.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void updates_and_inplace_are_read_from_the_flags(void **state)
{
    assert_int_equal(op_updates(OP_adamw, 0), 0);
    assert_int_equal(op_updates(OP_adamw, 1), 1);
    assert_int_equal(op_updates(OP_adamw, 2), 2);
    assert_int_equal(op_updates(OP_adamw, 3), -1);
    assert_int_equal(op_updates(OP_kv_store, 0), 2);
    assert_int_equal(op_updates(OP_matmul, 0), -1);
    assert_int_equal(op_inplace(OP_matmul), 2);
    assert_int_equal(op_inplace(OP_add), 0);
    assert_int_equal(op_inplace(OP_embed), -1);
    assert_int_equal(op_inplace(OP_adamw), -1);
}

static void rows_are_within_bounds(void **state)
{
    for (int i = 0; i < OP_COUNT; i++) {
        const struct op_info *o = &op_infos[i];
        assert_in_range(o->n_in_min, 1, o->n_in_max);
        assert_in_range(o->n_in_max, 1, OP_INPUTS_MAX);
        assert_in_range(o->n_out, 1, OP_OUTPUTS_MAX);
        assert_true(op_inplace((enum op) i) < o->n_in_max);
        for (int k = 0; k < o->n_out; k++)
            assert_true(op_updates((enum op) i, k) < o->n_in_min);
        // Operators that commute have two inputs to swap.
        if (o->flags & OP_COMMUTES)
            assert_int_equal(o->n_in_min, 2);
    }
}

static void names_are_found_exactly(void **state)
{
    enum op op;
    for (int i = 0; i < OP_COUNT; i++) {
        const char *s = op_infos[i].name;
        assert_int_equal(op_from_name(&op, s, strlen(s)), 0);
        assert_int_equal(op, i);
    }
    assert_int_equal(op_from_name(&op, "rmsnorm_d", 9), -ENOENT);
    assert_int_equal(op_from_name(&op, "rmsnorm_dxy", 10), 0);
    assert_int_equal(op, OP_rmsnorm_dx);
    assert_int_equal(op_from_name(&op, "", 0), -ENOENT);
}

static void attributes_hold_what_fits(void **state)
{
    struct op_attr a = {0};
    struct op_attr b = {0};

    for (int i = 0; i < op_attr_field_count; i++) {
        const struct op_attr_field *f = &op_attr_fields[i];
        assert_int_equal(op_attr_set(&a, f, 1), 0);
        assert_true(op_attr_get(&a, f) == 1);
        assert_false(op_attr_equal(&a, &b));
        assert_int_equal(op_attr_set(&b, f, 1), 0);
        assert_true(op_attr_equal(&a, &b));
        if (f->kind != ATTR_F32) {
            assert_int_equal(op_attr_set(&a, f, 0.5), -ERANGE);
            assert_int_equal(op_attr_set(&a, f, 1e20), -ERANGE);
        }
        if (f->kind == ATTR_U8 || f->kind == ATTR_U32)
            assert_int_equal(op_attr_set(&a, f, -1), -ERANGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_and_inplace_are_read_from_the_flags),
        cmocka_unit_test(rows_are_within_bounds),
        cmocka_unit_test(names_are_found_exactly),
        cmocka_unit_test(attributes_hold_what_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
