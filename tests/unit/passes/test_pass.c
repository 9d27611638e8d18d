// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/passes/pass.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/ir/builder.h"
#include "engine/ir/verify.h"

struct fixture {
    struct arena *a;
    struct builder b;
    value_id x;
};

static int open_fixture(void **state)
{
    static struct fixture f;
    const struct shape s = shape2(4, 8);

    f = (struct fixture){0};
    assert_int_equal(arena_create(&f.a, 1u << 20), 0);
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

static value_id scale(struct fixture *f, value_id x, float alpha)
{
    const struct op_attr attr = {.alpha = alpha};
    return builder_unary(&f->b, OP_scale, &attr, x);
}

static void all_passes_run_and_are_counted(void **state)
{
    struct fixture *f = *state;
    struct pass_stats stats[PASS_COUNT];

    (void) scale(f, f->x, 3);
    builder_output(&f->b, scale(f, scale(f, f->x, 2), 5), "y");
    assert_int_equal(passes_run(f->b.g, 0, stats, NULL), 0);
    assert_string_equal(stats[PASS_canon].name, "canon");
    assert_int_equal(stats[PASS_canon].changes, 1);
    assert_int_equal(stats[PASS_canon].n_nodes, 2);
    assert_int_equal(stats[PASS_dce].changes, 1);
    assert_int_equal(stats[PASS_dce].n_nodes, 1);
    assert_true(f->b.g->nodes[1].attr.alpha == 10);
}

static void a_second_run_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct pass_stats stats[PASS_COUNT];

    const value_id a = scale(f, scale(f, f->x, 2), 1);
    const value_id b = builder_binary(&f->b, OP_add, NULL, a, f->x);
    builder_output(&f->b, builder_binary(&f->b, OP_swiglu, NULL, b, b), "y");
    assert_int_equal(passes_run(f->b.g, 0, stats, NULL), 0);
    assert_int_equal(passes_run(f->b.g, 0, stats, NULL), 0);
    for (int i = 0; i < PASS_COUNT; i++)
        assert_int_equal(stats[i].changes, 0);
}

static void passes_are_known_by_name(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};

    (void) scale(f, f->x, 3);
    assert_int_equal(pass_run_named(f->b.g, "dce", &err), 1);
    assert_int_equal(pass_count_nodes(f->b.g), 0);
    assert_int_equal(pass_run_named(f->b.g, "magic", &err), -ENOENT);
    assert_string_equal(err.text, "there is no pass magic");
}

static void names_are_handed_on_but_not_lost(void **state)
{
    struct fixture *f = *state;
    const value_id a = scale(f, f->x, 2);
    const value_id b = scale(f, a, 2);
    const value_id c = scale(f, b, 2);
    builder_output(&f->b, b, "b");
    builder_output(&f->b, c, "c");

    assert_false(pass_replace(f->b.g, c, b)); // both are named
    assert_true(pass_replace(f->b.g, b, a));
    assert_int_equal(graph_find(f->b.g, "b"), a);
    assert_true(f->b.g->values[a].is_output);
    assert_false(f->b.g->values[b].is_output);
    assert_int_equal(f->b.g->nodes[2].in[0], a);
}

static void uses_count_readers_and_outputs(void **state)
{
    struct fixture *f = *state;
    const value_id a = scale(f, f->x, 2);
    const value_id b = builder_binary(&f->b, OP_add, NULL, a, a);
    builder_output(&f->b, a, "a");

    const uint32_t *uses = pass_count_uses(f->b.g);
    assert_int_equal(uses[f->x], 1);
    assert_int_equal(uses[a], 3);
    assert_int_equal(uses[b], 0);
}

static void a_pass_that_is_off_does_not_run(void **state)
{
    struct fixture *f = *state;
    struct pass_stats stats[PASS_COUNT] = {{0}};

    (void) scale(f, f->x, 3);
    builder_output(&f->b, scale(f, scale(f, f->x, 2), 5), "y");
    assert_int_equal(passes_run(f->b.g, 1u << PASS_dce, stats, NULL), 0);
    assert_null(stats[PASS_dce].name);
    assert_int_equal(pass_count_nodes(f->b.g), 2);
    assert_int_equal(passes_run(f->b.g, ~(1u << PASS_dce), stats, NULL), 0);
    assert_int_equal(pass_count_nodes(f->b.g), 1);
}

// Every build verifies what a pass leaves; here, what it was given.
static void a_broken_graph_is_told(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};

    builder_output(&f->b, scale(f, f->x, 2), "y");
    f->b.g->values[1].shape.ne[0] = 5;
    assert_int_equal(passes_run(f->b.g, 0, NULL, &err), -EINVAL);
    assert_string_equal(err.text,
                        "after building: node 0 (scale): output 0 has another "
                        "type than its rule says");
}

int main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(all_passes_run_and_are_counted),
        TEST(a_second_run_changes_nothing),
        TEST(passes_are_known_by_name),
        TEST(names_are_handed_on_but_not_lost),
        TEST(uses_count_readers_and_outputs),
        TEST(a_pass_that_is_off_does_not_run),
        TEST(a_broken_graph_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
