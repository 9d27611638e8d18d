// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/plan/liveness.h"
#include "tests/unit/plan/random_graph.h"

static void both_orders_are_valid(void **state)
{
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct random_graph x;
        struct schedule *s;
        struct arena *a;
        assert_int_equal(arena_create(&a, 64u << 20), 0);
        random_graph_make(&x, a, seed, 120);
        assert_int_equal(x.b.rc, 0);
        for (int kind = SCHEDULE_GIVEN; kind <= SCHEDULE_GREEDY; kind++) {
            assert_int_equal(schedule_create_kind(&s, x.b.g,
                                                  (enum schedule_kind) kind, a),
                             0);
            assert_int_equal(s->n, x.b.g->n_nodes);
            assert_true(schedule_check(s));
        }
        arena_destroy(a);
    }
}

static struct graph *update_graph(struct arena *a, node_id nodes[4])
{
    struct builder b = {0};
    const struct shape s = shape2(4, 4);
    const struct op_attr one = {.alpha = 1};

    assert_int_equal(graph_create(&b.g, a), 0);
    const value_id x = builder_input(&b, "x", DTYPE_f32, &s);
    const value_id w = builder_state(&b, "w", &s);
    const value_id dw = builder_matmul(&b, x, x, VALUE_NONE, &one);
    const value_id dx = builder_matmul(&b, x, w, VALUE_NONE, &one);
    const value_id next = builder_binary(&b, OP_accumulate, NULL, w, dw);
    const value_id y = builder_matmul(&b, x, next, VALUE_NONE, &one);
    builder_output(&b, dx, "dx");
    builder_output(&b, y, "y");
    assert_int_equal(b.rc, 0);
    for (node_id i = 0; i < 4; i++)
        nodes[i] = i;
    return b.g;
}

static void refuses_an_update_before_a_reader_of_the_old_version(void **state)
{
    struct schedule *s;
    struct arena *a;
    node_id n[4];

    assert_int_equal(arena_create(&a, 1u << 20), 0);
    struct graph *g = update_graph(a, n);
    assert_int_equal(schedule_create_kind(&s, g, SCHEDULE_GIVEN, a), 0);
    assert_true(schedule_check(s));
    s->order[1] = 2; // update, then dX
    s->order[2] = 1;
    assert_false(schedule_check(s));
    s->order[1] = 1;
    s->order[2] = 3; // reads what is not made yet
    s->order[3] = 2;
    assert_false(schedule_check(s));
    s->order[2] = 2;
    s->order[3] = 3;
    s->n = 3;
    assert_false(schedule_check(s));
    arena_destroy(a);
}

// The gradient of w is larger than what it is made of, so using it up comes
// before anything that is merely ready; but not before dX.
static void updates_as_soon_as_the_gradient_is_complete(void **state)
{
    struct builder b = {0};
    const struct shape sx = shape2(2, 32);
    const struct shape sw = shape2(32, 32);
    const struct op_attr one = {.alpha = 1};
    const struct op_attr transposed = {.alpha = 1, .trans_a = 1};
    struct schedule *s;
    struct arena *a;

    assert_int_equal(arena_create(&a, 1u << 20), 0);
    assert_int_equal(graph_create(&b.g, a), 0);
    const value_id x = builder_input(&b, "x", DTYPE_f32, &sx);
    const value_id w0 = builder_state(&b, "w0", &sw);
    const value_id w1 = builder_state(&b, "w1", &sw);
    const value_id g1 = builder_matmul(&b, x, x, VALUE_NONE, &transposed);
    const value_id d = builder_matmul(&b, x, w1, VALUE_NONE, &one);
    const value_id g0 = builder_matmul(&b, d, x, VALUE_NONE, &transposed);
    const value_id e = builder_matmul(&b, d, w0, VALUE_NONE, &one);
    builder_output(&b, e, "e");
    builder_binary(&b, OP_accumulate, NULL, w0, g0);
    builder_binary(&b, OP_accumulate, NULL, w1, g1);
    assert_int_equal(b.rc, 0);
    assert_int_equal(schedule_create(&s, b.g, a), 0);
    const node_id want[] = {0, 1, 5, 2, 3, 4};
    for (int i = 0; i < 6; i++)
        assert_int_equal(s->order[i], want[i]);
    arena_destroy(a);
}

// The definitions, by looking at the whole graph.
static bool is_ready(const struct graph *g, const bool *ran, node_id id)
{
    for (int i = 0; i < g->nodes[id].n_in; i++) {
        const node_id from = g->values[g->nodes[id].in[i]].producer;
        if (from != NODE_NONE && !ran[from])
            return false;
    }
    for (int k = 0; k < g->nodes[id].n_out; k++) {
        const int old = op_updates((enum op) g->nodes[id].op, k);
        for (node_id n = 0; old >= 0 && n < g->n_nodes; n++)
            for (int i = 0; i < g->nodes[n].n_in; i++)
                if (n != id && !ran[n] &&
                    g->nodes[n].in[i] == g->nodes[id].in[old])
                    return false;
    }
    return true;
}

static bool is_temp(const struct graph *g, value_id v)
{
    return v != VALUE_NONE && g->values[graph_storage(g, v)].kind == VALUE_TEMP;
}

static bool is_freeing(const struct graph *g, const bool *ran, node_id id)
{
    const struct node *x = &g->nodes[id];
    int64_t bytes = 0;

    for (int k = 0; k < x->n_out; k++)
        if (is_temp(g, x->out[k]))
            bytes += (int64_t) value_bytes(&g->values[x->out[k]]);
    for (int i = 0; i < x->n_in; i++) {
        const value_id v = x->in[i];
        bool is_last = is_temp(g, v) && !g->values[v].is_output;
        for (int k = 0; k < i; k++)
            is_last = is_last && x->in[k] != v;
        for (node_id n = 0; n < g->n_nodes; n++)
            for (int k = 0; k < g->nodes[n].n_in; k++)
                is_last =
                    is_last && (ran[n] || n == id || g->nodes[n].in[k] != v);
        if (is_last)
            bytes -= (int64_t) value_bytes(&g->values[v]);
    }
    return bytes < 0;
}

static void takes_the_first_that_frees_memory_or_else_the_first(void **state)
{
    for (uint64_t seed = 200; seed < 220; seed++) {
        bool ran[512] = {false};
        struct random_graph x;
        struct schedule *s;
        struct arena *a;

        assert_int_equal(arena_create(&a, 64u << 20), 0);
        random_graph_make(&x, a, seed, 120);
        assert_int_equal(schedule_create_kind(&s, x.b.g, SCHEDULE_GREEDY, a),
                         0);
        assert_true(x.b.g->n_nodes < 512);
        for (uint32_t at = 0; at < s->n; at++) {
            node_id want = NODE_NONE;
            bool frees = false;
            for (node_id n = 0; n < x.b.g->n_nodes; n++) {
                if (ran[n] || !is_ready(x.b.g, ran, n))
                    continue;
                const bool mine = is_freeing(x.b.g, ran, n);
                if (want == NODE_NONE || (mine && !frees)) {
                    want = n;
                    frees = mine;
                }
            }
            assert_int_equal(s->order[at], want);
            ran[want] = true;
        }
        arena_destroy(a);
    }
}

static void never_picks_the_worse_order(void **state)
{
    for (uint64_t seed = 100; seed < 130; seed++) {
        const struct liveness_params none = {0};
        struct random_graph x;
        struct schedule *s;
        struct liveness *l;
        struct arena *a;
        size_t peaks[2];

        assert_int_equal(arena_create(&a, 64u << 20), 0);
        random_graph_make(&x, a, seed, 100);
        for (int kind = 0; kind < 2; kind++) {
            assert_int_equal(schedule_create_kind(&s, x.b.g,
                                                  (enum schedule_kind) kind, a),
                             0);
            assert_int_equal(liveness_find(&l, s, &none, a), 0);
            peaks[kind] = l->peak;
        }
        assert_int_equal(schedule_create(&s, x.b.g, a), 0);
        assert_int_equal(liveness_find(&l, s, &none, a), 0);
        assert_int_equal(l->peak, peaks[0] < peaks[1] ? peaks[0] : peaks[1]);
        arena_destroy(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_orders_are_valid),
        cmocka_unit_test(refuses_an_update_before_a_reader_of_the_old_version),
        cmocka_unit_test(updates_as_soon_as_the_gradient_is_complete),
        cmocka_unit_test(takes_the_first_that_frees_memory_or_else_the_first),
        cmocka_unit_test(never_picks_the_worse_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
