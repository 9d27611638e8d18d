// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/graph.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/ir/builder.h"
#include "engine/ir/verify.h"

struct fixture {
    struct arena *a;
    struct builder b;
    struct error err;
    value_id x;
};

static int open_fixture(void **state)
{
    static struct fixture f;
    const struct shape s = shape2(4, 8);

    f = (struct fixture){.b = {.err = &f.err}};
    assert_int_equal(arena_create(&f.a, 16u << 20), 0);
    assert_int_equal(graph_create(&f.b.g, f.a), 0);
    f.x = builder_input(&f.b, "x", DTYPE_f32, &s);
    *state = &f;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    arena_destroy(f->a);
    return 0;
}

static void grows_past_its_first_arrays(void **state)
{
    struct fixture *f = *state;
    const struct op_attr two = {.alpha = 2};
    value_id v = f->x;

    for (int i = 0; i < 2000; i++)
        v = builder_unary(&f->b, OP_scale, &two, v);
    builder_output(&f->b, v, "y");
    assert_int_equal(f->b.rc, 0);
    assert_int_equal(f->b.g->n_nodes, 2000);
    assert_int_equal(graph_find(f->b.g, "y"), v);
    assert_int_equal(graph_find(f->b.g, "z"), VALUE_NONE);
    assert_int_equal(verify_graph(f->b.g, NULL, NULL), 0);
}

static void the_first_failure_of_a_builder_is_kept(void **state)
{
    struct fixture *f = *state;
    const struct shape s = shape2(3, 8);
    const value_id y = builder_input(&f->b, "y", DTYPE_f32, &s);
    const value_id sum = builder_binary(&f->b, OP_add, NULL, f->x, y);

    assert_int_equal(sum, VALUE_NONE);
    assert_int_equal(f->b.rc, -EINVAL);
    assert_string_equal(f->err.text,
                        "add: input 1 y is f32[3,8], but must be f32[4,8]");
    assert_int_equal(builder_unary(&f->b, OP_scale, NULL, f->x), VALUE_NONE);
    builder_output(&f->b, sum, "sum");
    assert_int_equal(f->b.rc, -EINVAL);
    assert_int_equal(f->b.g->n_nodes, 0);
}

static void updated_versions_share_their_storage(void **state)
{
    struct fixture *f = *state;
    const struct shape s = shape2(4, 8);
    const value_id st = builder_state(&f->b, "st", &s);
    const value_id v1 = builder_binary(&f->b, OP_accumulate, NULL, st, f->x);
    const value_id v2 = builder_binary(&f->b, OP_accumulate, NULL, v1, f->x);

    assert_int_equal(graph_storage(f->b.g, v2), st);
    assert_int_equal(graph_storage(f->b.g, st), st);
    assert_int_equal(graph_storage(f->b.g, f->x), f->x);
    assert_int_equal(builder_state(&f->b, "st", &s), st);
}

static void a_second_name_is_a_copy(void **state)
{
    struct fixture *f = *state;
    const struct op_attr two = {.alpha = 2};
    const value_id y = builder_unary(&f->b, OP_scale, &two, f->x);

    builder_output(&f->b, y, "one");
    builder_output(&f->b, y, "two");
    builder_output(&f->b, f->x, "three");
    assert_int_equal(f->b.rc, 0);
    assert_int_equal(graph_find(f->b.g, "one"), y);
    assert_int_not_equal(graph_find(f->b.g, "two"), y);
    assert_int_not_equal(graph_find(f->b.g, "three"), f->x);
    assert_int_equal(verify_graph(f->b.g, NULL, NULL), 0);
}

static void inserted_nodes_move_the_others(void **state)
{
    struct fixture *f = *state;
    const struct op_attr two = {.alpha = 2};
    const value_id a = builder_unary(&f->b, OP_scale, &two, f->x);
    const value_id b = builder_unary(&f->b, OP_scale, &two, a);
    builder_output(&f->b, b, "b");
    struct node n = f->b.g->nodes[0];
    struct value v = f->b.g->values[a];
    value_id copy;

    v.producer = 1;
    assert_int_equal(graph_insert_node(f->b.g, 1, &n), 0);
    assert_int_equal(graph_add_value(&copy, f->b.g, &v), 0);
    f->b.g->nodes[1].out[0] = copy;
    f->b.g->nodes[2].in[0] = copy;
    assert_int_equal(f->b.g->values[b].producer, 2);
    assert_int_equal(f->b.g->values[a].producer, 0);
    assert_int_equal(verify_graph(f->b.g, NULL, NULL), 0);
}

static void bytes_count_blocks(void **state)
{
    struct value v = {.dtype = DTYPE_q8_0, .shape = {2, {3, 64}}};
    assert_int_equal(value_bytes(&v), 3 * 2 * 34);
    v.dtype = DTYPE_f16;
    assert_int_equal(value_bytes(&v), 3 * 64 * 2);
    assert_int_equal(shape_count(&v.shape), 192);
}

int main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(grows_past_its_first_arrays),
        TEST(the_first_failure_of_a_builder_is_kept),
        TEST(updated_versions_share_their_storage),
        TEST(a_second_name_is_a_copy),
        TEST(inserted_nodes_move_the_others),
        TEST(bytes_count_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
