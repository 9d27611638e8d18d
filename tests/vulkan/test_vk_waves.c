// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_waves.h"

#include "engine/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { INSTRS = 300, ITEMS_MAX = 4 * INSTRS, PLACES = 40, ROW = 256 };

// A program of which nothing is run.
struct rig {
    struct buffer arena;
    struct bindings bindings;
    struct vk_pipeline pipeline;
    struct instr instrs[INSTRS];
    uint32_t first[INSTRS + 1];
    struct vk_item items[ITEMS_MAX];
    struct vk_spans spans[INSTRS];
    struct prepared p;
    struct vk_waves *w;
};

static struct rig *rig_create(uint32_t n)
{
    struct rig *r = calloc(1, sizeof *r);

    assert_non_null(r);
    r->arena.block.address = 1 << 20;
    r->bindings.arena = &r->arena;
    r->p.instrs = r->instrs;
    r->p.n_instrs = n;
    r->p.first = r->first;
    r->p.list.items = r->items;
    return r;
}

static void rig_destroy(struct rig *r)
{
    vk_waves_destroy(r->w);
    free(r);
}

static struct operand at(uint32_t place)
{
    return (struct operand){
        .region = REGION_ARENA,
        .dtype = DTYPE_f32,
        .rank = 1,
        .offset = (uint64_t) place * ROW,
        .ne = {1, 1, 1, ROW / sizeof(float)},
    };
}

// Instruction i: so many dispatches, each waiting for the one before it.
static struct instr *add(struct rig *r, uint32_t i, uint32_t n_items)
{
    for (uint32_t k = 0; k < n_items; k++)
        r->items[r->p.list.n++] = (struct vk_item){.pipeline = &r->pipeline,
                                                   .instr = i,
                                                   .waits = true,
                                                   .work = 1};
    r->first[i + 1] = r->p.list.n;
    return &r->instrs[i];
}

static void reads(struct instr *in, uint32_t place)
{
    in->in[in->n_in++] = at(place);
}

static void writes(struct instr *in, uint32_t place)
{
    in->out[in->n_out++] = at(place);
}

static void make(struct rig *r)
{
    for (uint32_t i = 0; i < r->p.n_instrs; i++) {
        const struct vk_span first = r->spans[i].first_writes;
        vk_spans_of(&r->spans[i], &r->instrs[i], NULL, &r->bindings);
        r->spans[i].first_writes = first;
    }
    assert_int_equal(vk_waves_create(&r->w, &r->p, r->spans), 0);
}

// The wave of each item, counted over the whole program.
static void number(uint32_t wave[ITEMS_MAX], const struct rig *r)
{
    uint32_t now = 0;
    bool seen[ITEMS_MAX] = {false};

    for (uint32_t i = 0; i < r->p.list.n; i++) {
        now += r->w->waits[i];
        assert_false(seen[r->w->order[i]]);
        seen[r->w->order[i]] = true;
        wave[r->w->order[i]] = now;
    }
}

static void neighbours_go_side_by_side(void **state)
{
    struct rig *r = rig_create(7);
    uint32_t wave[ITEMS_MAX];

    // Three products of one input, each of a pass and what waits for it, with
    // scratch of their own; then what reads two of them, and the third.
    writes(add(r, 0, 1), 0);
    for (uint32_t i = 1; i <= 3; i++) {
        struct instr *in = add(r, i, 2);
        reads(in, 0);
        writes(in, i);
        in->scratch = at(10 + i);
    }
    struct instr *both = add(r, 4, 1);
    reads(both, 1);
    reads(both, 2);
    writes(both, 5);
    reads(add(r, 5, 1), 3);
    writes(&r->instrs[5], 6);
    reads(add(r, 6, 1), 5);
    writes(&r->instrs[6], 7);
    make(r);
    number(wave, r);
    const uint32_t expected[] = {1, 2, 3, 2, 3, 2, 3, 4, 4, 5};
    for (uint32_t i = 0; i < r->p.list.n; i++)
        assert_int_equal(wave[i], expected[i]);
    assert_int_equal(r->w->ends[0], 7);
    rig_destroy(r);
}

// What a first dispatch packed is there for all behind it, while the others of
// its instruction still run.
static void what_a_first_dispatch_wrote_is_read_at_once(void **state)
{
    struct rig *r = rig_create(3);
    uint32_t wave[ITEMS_MAX];

    writes(add(r, 0, 3), 0);
    writes(&r->instrs[0], 9);
    const VkDeviceAddress nine = r->arena.block.address + 9 * (uint64_t) ROW;
    r->spans[0].first_writes = (struct vk_span){nine, nine + ROW};
    reads(add(r, 1, 1), 9);
    writes(&r->instrs[1], 1);
    reads(add(r, 2, 1), 0);
    writes(&r->instrs[2], 2);
    make(r);
    number(wave, r);
    const uint32_t expected[] = {1, 2, 3, 2, 4};
    for (uint32_t i = 0; i < r->p.list.n; i++)
        assert_int_equal(wave[i], expected[i]);
    rig_destroy(r);
}

static void memory_that_is_shared_is_waited_for(void **state)
{
    struct rig *r = rig_create(3);
    uint32_t wave[ITEMS_MAX];

    // The same scratch; then one that writes what another reads.
    for (uint32_t i = 0; i < 2; i++) {
        struct instr *in = add(r, i, 1);
        reads(in, i);
        writes(in, 2 + i);
        in->scratch = at(9);
    }
    writes(add(r, 2, 1), 1);
    make(r);
    number(wave, r);
    assert_int_equal(wave[0], 1);
    assert_int_equal(wave[1], 2);
    assert_int_equal(wave[2], 3);
    rig_destroy(r);
}

static void weights_and_states_are_told_apart(void **state)
{
    struct buffer buffers[2] = {{.block.address = 1 << 24},
                                {.block.address = 1 << 25}};
    const struct binding states[2] = {{&buffers[0], 0}, {&buffers[1], 0}};
    struct rig *r = rig_create(3);
    uint32_t wave[ITEMS_MAX];

    r->bindings.states = states;
    r->bindings.weights = states;
    for (uint32_t i = 0; i < 3; i++) {
        struct instr *in = add(r, i, 1);
        reads(in, 0);
        in->in[0].region = REGION_WEIGHT; // that nobody writes
        writes(in, 0);
        in->out[0].region = REGION_STATE;
        in->out[0].slot = i % 2;
    }
    make(r);
    number(wave, r);
    assert_int_equal(wave[0], 1);
    assert_int_equal(wave[1], 1);
    assert_int_equal(wave[2], 2);
    rig_destroy(r);
}

static void a_window_ends_before_the_cpu_and_where_tails_begin(void **state)
{
    struct rig *r = rig_create(8);

    for (uint32_t i = 0; i < 8; i++)
        writes(add(r, i, 1), i);
    r->items[2].pipeline = NULL;
    r->instrs[6].is_tail = r->instrs[7].is_tail = true;
    make(r);
    const uint32_t ends[] = {2, 0, 0, 5, 0, 8, 0, 0};
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(r->w->ends[i], ends[i]);
    rig_destroy(r);
}

// Where instructions are folded into later ones, windows begin as well.
static void a_window_may_begin_without_items(void **state)
{
    struct rig *r = rig_create(4);

    for (uint32_t i = 0; i < 4; i++)
        writes(add(r, i, i > 1), i);
    make(r);
    const uint32_t ends[] = {0, 0, 4, 0};
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(r->w->ends[i], ends[i]);
    rig_destroy(r);
}

// Any program: what meets keeps its order, and all is there once.
static void no_order_is_lost(void **state)
{
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct rig *r = rig_create(INSTRS);
        uint32_t wave[ITEMS_MAX];
        struct rng rng;

        rng_init(&rng, seed, 0);
        for (uint32_t i = 0; i < INSTRS; i++) {
            struct instr *in = add(r, i, rng_below(&rng, 4));
            for (uint32_t k = rng_below(&rng, 4); k > 0; k--)
                reads(in, rng_below(&rng, PLACES));
            writes(in, rng_below(&rng, PLACES));
            if (rng_below(&rng, 2))
                in->scratch = at(PLACES + rng_below(&rng, 8));
            if (r->first[i + 1] > r->first[i] + 1)
                r->items[r->first[i] + 1].waits = rng_below(&rng, 2);
        }
        make(r);
        number(wave, r);
        for (uint32_t i = 0; i < INSTRS; i++) {
            for (uint32_t n = r->first[i] + 1; n < r->first[i + 1]; n++)
                assert_true(r->items[n].waits ? wave[n] > wave[n - 1]
                                              : wave[n] >= wave[n - 1]);
            if (r->first[i] == r->first[i + 1])
                continue;
            for (uint32_t j = i + 1; j < INSTRS; j++) {
                if (r->first[j] < r->first[j + 1] &&
                    vk_spans_order(&r->spans[i], &r->spans[j]) == VK_ORDER_ALL)
                    assert_true(wave[r->first[i + 1] - 1] < wave[r->first[j]]);
            }
        }
        rig_destroy(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_go_side_by_side),
        cmocka_unit_test(what_a_first_dispatch_wrote_is_read_at_once),
        cmocka_unit_test(memory_that_is_shared_is_waited_for),
        cmocka_unit_test(weights_and_states_are_told_apart),
        cmocka_unit_test(a_window_ends_before_the_cpu_and_where_tails_begin),
        cmocka_unit_test(a_window_may_begin_without_items),
        cmocka_unit_test(no_order_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
