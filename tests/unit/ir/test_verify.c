// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/verify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/ir/builder.h"

/*
 * A valid graph, which each test breaks in one way.
 *
 *   0  a = scale x        2  c = accumulate st, b
 *   1  b = matmul a, w    3  d = add b, a -> output d
 */

struct fixture {
    struct arena *arena;
    struct graph *g;
    value_id x, w, st, a, b, c, d;
};

static int open_fixture(void **state)
{
    static struct fixture f;
    const struct op_attr one = {.alpha = 1, .trans_b = 1};
    const struct shape s = shape2(4, 32);
    const struct shape sw = shape2(32, 32);
    struct builder b = {0};

    assert_int_equal(arena_create(&f.arena, 1u << 20), 0);
    assert_int_equal(graph_create(&b.g, f.arena), 0);
    f.x = builder_input(&b, "x", DTYPE_f32, &s);
    f.w = builder_weight(&b, "w", DTYPE_q8_0, &sw);
    f.st = builder_state(&b, "st", &s);
    f.a = builder_unary(&b, OP_scale, &one, f.x);
    f.b = builder_matmul(&b, f.a, f.w, VALUE_NONE, &one);
    f.c = builder_binary(&b, OP_accumulate, NULL, f.st, f.b);
    f.d = builder_binary(&b, OP_add, NULL, f.b, f.a);
    builder_output(&b, f.d, "d");
    assert_int_equal(b.rc, 0);
    f.g = b.g;
    assert_int_equal(verify_graph(f.g, NULL, NULL), 0);
    *state = &f;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    arena_destroy(f->arena);
    return 0;
}

static void expect_fault(struct fixture *f, const char *sentence)
{
    struct error err = {0};
    assert_int_equal(verify_graph(f->g, NULL, &err), -EINVAL);
    assert_string_equal(err.text, sentence);
}

static void sees_a_value_used_before_it_is_defined(void **state)
{
    struct fixture *f = *state;
    f->g->nodes[1].in[0] = f->d;
    expect_fault(f, "node 1 (matmul): input 0, %6, is not defined yet");
}

static void sees_an_output_that_no_one_defines(void **state)
{
    struct fixture *f = *state;
    f->g->nodes[3].is_dead = true;
    expect_fault(f, "graph: output @d is not defined");
}

static void sees_a_wrong_shape(void **state)
{
    struct fixture *f = *state;
    f->g->values[f->b].shape.ne[0] = 5;
    expect_fault(f, "node 1 (matmul): output 0 has another type than its rule "
                    "says");
}

static void sees_quantised_values_where_they_may_not_be(void **state)
{
    struct fixture *f = *state;
    f->g->values[f->st].dtype = DTYPE_f16;
    expect_fault(f, "graph: value 2 is f16, which only weights may be");
}

static void sees_quantised_weights_where_they_may_not_be(void **state)
{
    struct fixture *f = *state;
    f->g->values[f->x].kind = VALUE_WEIGHT;
    f->g->values[f->x].dtype = DTYPE_f16;
    expect_fault(f, "node 0 (scale): input 0 may not be f16");
}

static void sees_a_read_of_an_old_version(void **state)
{
    struct fixture *f = *state;
    f->g->nodes[3].in[1] = f->st;
    expect_fault(f, "node 3 (add): input 1, %2, was updated before");
}

static void sees_an_update_of_what_is_not_state(void **state)
{
    struct fixture *f = *state;
    f->g->nodes[2].in[0] = f->a;
    expect_fault(f, "node 2 (accumulate): updates input 0, which is not state");
}

static void sees_a_value_with_two_producers(void **state)
{
    struct fixture *f = *state;
    f->g->nodes[3].out[0] = f->b;
    expect_fault(f, "node 3 (add): output 0, %4, is defined elsewhere");
}

static void sees_a_name_used_twice(void **state)
{
    struct fixture *f = *state;
    f->g->values[f->d].name = "w";
    expect_fault(f, "graph: the name w is used twice");
}

static void sees_nonsense(void **state)
{
    struct fixture *f = *state;
    f->g->nodes[0].op = OP_COUNT;
    expect_fault(f, "node 0 (?): is no operator");
    f->g->nodes[0].op = OP_scale;
    f->g->nodes[0].in[0] = 4711;
    expect_fault(f, "node 0 (scale): input 0 is no value");
}

static void reports_all_faults_and_the_graph(void **state)
{
    struct fixture *f = *state;
    struct str report = {0};
    struct error err = {0};

    f->g->nodes[3].in[1] = f->st;
    f->g->values[f->d].name = "w";
    assert_int_equal(verify_graph(f->g, &report, &err), -EINVAL);
    assert_non_null(strstr(report.data, "was updated before\n"));
    assert_non_null(strstr(report.data, "is used twice\n"));
    assert_non_null(
        strstr(report.data, "= matmul %3, @w {alpha=1, trans_b=1}"));
    assert_non_null(strstr(err.text, "was updated before"));
    str_free(&report);
}

int main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(sees_a_value_used_before_it_is_defined),
        TEST(sees_an_output_that_no_one_defines),
        TEST(sees_a_wrong_shape),
        TEST(sees_quantised_values_where_they_may_not_be),
        TEST(sees_quantised_weights_where_they_may_not_be),
        TEST(sees_a_read_of_an_old_version),
        TEST(sees_an_update_of_what_is_not_state),
        TEST(sees_a_value_with_two_producers),
        TEST(sees_a_name_used_twice),
        TEST(sees_nonsense),
        TEST(reports_all_faults_and_the_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
