// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/liveness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/ir/builder.h"

struct fixture {
    struct arena *a;
    struct builder b;
    value_id x; // input (4,16): 256 bytes
};

static int open_fixture(void **state)
{
    static struct fixture f;
    const struct shape s = shape2(4, 16);

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

static struct liveness *find(struct fixture *f, const size_t *scratch,
                             bool no_inplace)
{
    const struct liveness_params params = {scratch, no_inplace, 0};
    struct schedule *s;
    struct liveness *l;

    assert_int_equal(f->b.rc, 0);
    assert_int_equal(schedule_create_kind(&s, f->b.g, SCHEDULE_GIVEN, f->a), 0);
    assert_int_equal(liveness_find(&l, s, &params, f->a), 0);
    return l;
}

static value_id scale(struct fixture *f, value_id x)
{
    const struct op_attr two = {.alpha = 2};
    return builder_unary(&f->b, OP_scale, &two, x);
}

static void an_output_takes_the_place_of_an_input_that_dies(void **state)
{
    struct fixture *f = *state;
    const value_id a = scale(f, f->x);
    const value_id b = scale(f, a);
    const value_id c = scale(f, b);
    builder_output(&f->b, c, "c");

    const struct liveness *l = find(f, NULL, false);
    assert_int_equal(l->of_value[a], l->of_value[b]);
    assert_int_equal(l->of_value[a], l->of_value[c]);
    assert_int_not_equal(l->of_value[a], l->of_value[f->x]);
    assert_int_equal(l->peak, 2 * 256);
    assert_int_equal(find(f, NULL, true)->peak, 3 * 256);
}

static void what_is_read_later_keeps_its_place(void **state)
{
    struct fixture *f = *state;
    const value_id a = scale(f, f->x);
    const value_id b = scale(f, a);
    const value_id c = builder_binary(&f->b, OP_add, NULL, b, a);
    builder_output(&f->b, c, "c");

    const struct liveness *l = find(f, NULL, false);
    assert_int_not_equal(l->of_value[a], l->of_value[b]);
    assert_int_equal(l->of_value[c], l->of_value[b]);
    assert_int_equal(l->intervals[l->of_value[a]].last, 2);
}

// add(a, b) may take the place of either; x is an input and keeps its own.
static void sums_may_take_the_place_of_the_second_summand(void **state)
{
    struct fixture *f = *state;
    const value_id a = scale(f, f->x);
    const value_id c = builder_binary(&f->b, OP_add, NULL, f->x, a);
    builder_output(&f->b, c, "c");

    const struct liveness *l = find(f, NULL, false);
    assert_int_equal(l->of_value[c], l->of_value[a]);
}

static void a_value_that_is_read_twice_is_not_overwritten(void **state)
{
    struct fixture *f = *state;
    const struct op_attr one = {.alpha = 1};
    const struct shape s = shape2(16, 16);
    const value_id w = builder_state(&f->b, "w", &s);
    const value_id a = scale(f, f->x);
    const value_id c = builder_matmul(&f->b, a, w, a, &one);
    builder_output(&f->b, c, "c");

    const struct liveness *l = find(f, NULL, false);
    assert_int_not_equal(l->of_value[c], l->of_value[a]);
}

static void outputs_live_to_the_end_and_state_is_not_in_the_arena(void **state)
{
    struct fixture *f = *state;
    const struct shape s = shape2(4, 16);
    const value_id st = builder_state(&f->b, "st", &s);
    const value_id a = scale(f, f->x);
    builder_output(&f->b, a, "a");
    const value_id b = scale(f, a);
    const value_id next = builder_binary(&f->b, OP_accumulate, NULL, st, b);
    (void) next;

    const struct liveness *l = find(f, NULL, false);
    assert_int_equal(l->of_value[st], INTERVAL_NONE);
    assert_int_equal(l->of_value[next], INTERVAL_NONE);
    assert_int_equal(l->intervals[l->of_value[a]].last, 3);
    assert_int_not_equal(l->of_value[b], l->of_value[a]);
    assert_int_equal(l->intervals[l->of_value[f->x]].first, 0);
    assert_int_equal(l->intervals[l->of_value[f->x]].last, 3);
}

static void scratch_lives_for_one_step(void **state)
{
    struct fixture *f = *state;
    const size_t scratch[] = {0, 1000, 0};
    const value_id a = scale(f, f->x);
    const value_id b = scale(f, a);
    builder_output(&f->b, scale(f, b), "c");

    const struct liveness *l = find(f, scratch, false);
    assert_int_equal(l->of_scratch[0], INTERVAL_NONE);
    const struct interval *v = &l->intervals[l->of_scratch[1]];
    assert_int_equal(v->first, 1);
    assert_int_equal(v->last, 1);
    assert_int_equal(v->bytes, 1024);
    assert_int_equal(l->peak, 2 * 256 + 1024);
}

int main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(an_output_takes_the_place_of_an_input_that_dies),
        TEST(what_is_read_later_keeps_its_place),
        TEST(sums_may_take_the_place_of_the_second_summand),
        TEST(a_value_that_is_read_twice_is_not_overwritten),
        TEST(outputs_live_to_the_end_and_state_is_not_in_the_arena),
        TEST(scratch_lives_for_one_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
