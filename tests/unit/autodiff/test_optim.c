// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/autodiff/optim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/str.h"
#include "engine/ir/builder.h"
#include "engine/ir/irprint.h"
#include "engine/ir/verify.h"

static void expect(enum optim_mode mode, const char *want)
{
    const struct shape s = shape2(2, 3);
    struct str text = {0};
    struct builder b = {0};
    struct arena *a;

    assert_int_equal(arena_create(&a, 1u << 20), 0);
    assert_int_equal(graph_create(&b.g, a), 0);
    const value_id p = builder_state(&b, "p", &s);
    const value_id x = builder_input(&b, "x", DTYPE_f32, &s);
    const value_id g = builder_binary(&b, OP_add, NULL, p, x);
    const struct optim_params params = {mode, &p, &g, NULL, 1};
    assert_int_equal(optim_apply(b.g, &params, NULL), 0);
    assert_int_equal(verify_graph(b.g, NULL, NULL), 0);
    for (node_id i = 1; i < b.g->n_nodes; i++)
        irprint_node(&text, b.g, i);
    str_puts(&text, "");
    assert_string_equal(text.data ? text.data : "", want);
    assert_int_equal(graph_find(b.g, "grad.p") != VALUE_NONE,
                     mode == OPTIM_OUTPUT);
    assert_int_equal(graph_find(b.g, "hyper") != VALUE_NONE,
                     mode == OPTIM_UPDATE || mode == OPTIM_FINISH);
    str_free(&text);
    arena_destroy(a);
}

static void gradients_may_be_outputs(void **state)
{
    expect(OPTIM_OUTPUT, "");
}

static void gradients_may_be_summed(void **state)
{
    expect(OPTIM_ACCUMULATE, "%4 f32[2,3] = accumulate @p.g, %2 backward\n");
}

static void gradients_may_update_at_once(void **state)
{
    expect(OPTIM_UPDATE, "%6 f32[2,3], %7 f32[2,3], %8 f32[2,3] = adamw @p, "
                         "@p.m, @p.v, %2, @hyper backward\n");
}

static void the_last_micro_batch_updates_and_clears(void **state)
{
    expect(OPTIM_FINISH, "%5 f32[2,3] = accumulate @p.g, %2 backward\n"
                         "%8 f32[2,3], %9 f32[2,3], %10 f32[2,3] = adamw @p, "
                         "@p.m, @p.v, %5, @hyper backward\n"
                         "%11 f32[2,3] = zero %5 backward\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_may_be_outputs),
        cmocka_unit_test(gradients_may_be_summed),
        cmocka_unit_test(gradients_may_update_at_once),
        cmocka_unit_test(the_last_micro_batch_updates_and_clears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
