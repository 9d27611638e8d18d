// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"

// Operators that move rows by number, or parts of rows, and those that choose
// which.

enum { MOVE_THREADS = 256 };

// As in move.comp: rows by number, and parts of rows.
enum move {
    MOVE_ROWS,
    MOVE_STORE,
    MOVE_SPLIT,
    MOVE_JOIN,
    MOVE_COLUMNS,
    MOVE_COLUMNS_BACK,
    MOVE_SCALED_ROWS,
};

struct move_push {
    VkDeviceAddress y, z, a, b; // to y and z, from a and b
    VkDeviceAddress index;
    uint32_t n;     // values that are looked at
    uint32_t cols;  // of each row of them
    uint32_t width; // of the narrow side
    uint32_t rows;  // that `index` may name
    uint32_t part;
};

static void move(struct vk_emit *e, enum move op, struct move_push push)
{
    const uint32_t specs[] = {MOVE_THREADS, op};
    struct vk_dispatch d = {
        .shader = VK_SHADER_move_f32,
        .specs = specs,
        .n_specs = 2,
        .push = &push,
        .push_bytes = sizeof(push),
    };

    vk_linear(d.groups, vk_ceil(push.n, MOVE_THREADS));
    vk_dispatch(e, &d);
}

void vk_emit_rows(struct vk_emit *e)
{
    const struct operand *x = &e->in->in[0];

    move(e, MOVE_ROWS,
         (struct move_push){.y = vk_out(e, 0),
                            .a = vk_in(e, 0),
                            .index = vk_in(e, 1),
                            .n = vk_values(e, &e->in->out[0]),
                            .cols = (uint32_t) vk_cols(x),
                            .rows = (uint32_t) vk_rows(x)});
}

void vk_emit_kv_store(struct vk_emit *e)
{
    const struct operand *x = &e->in->in[0];

    move(e, MOVE_STORE,
         (struct move_push){.y = vk_in(e, 2),
                            .a = vk_in(e, 0),
                            .index = vk_in(e, 1),
                            .n = vk_values(e, x),
                            .cols = (uint32_t) vk_cols(x),
                            .rows = (uint32_t) vk_rows(&e->in->in[2])});
}

void vk_emit_split(struct vk_emit *e)
{
    const struct operand *x = &e->in->in[0];

    move(e, MOVE_SPLIT,
         (struct move_push){.y = vk_out(e, 0),
                            .z = vk_out(e, 1),
                            .a = vk_in(e, 0),
                            .n = vk_values(e, x),
                            .cols = (uint32_t) vk_cols(x),
                            .width = e->in->attr.width});
}

void vk_emit_join(struct vk_emit *e)
{
    const struct operand *y = &e->in->out[0];

    move(e, MOVE_JOIN,
         (struct move_push){.y = vk_out(e, 0),
                            .a = vk_in(e, 0),
                            .b = vk_in(e, 1),
                            .n = vk_values(e, y),
                            .cols = (uint32_t) vk_cols(y),
                            .width = (uint32_t) vk_cols(&e->in->in[0])});
}

// Of `wide`, both operators look at every value.
static void part(struct vk_emit *e, enum move op, const struct operand *wide)
{
    const uint8_t bits = e->in->attr.part;

    move(e, op,
         (struct move_push){.y = vk_out(e, 0),
                            .a = vk_in(e, 0),
                            .n = vk_values(e, wide),
                            .cols = (uint32_t) vk_cols(wide),
                            .width =
                                (uint32_t) op_part_columns(bits, vk_cols(wide)),
                            .part = bits ? bits : 0xff});
}

void vk_emit_columns(struct vk_emit *e)
{
    part(e, MOVE_COLUMNS, &e->in->in[0]);
}

void vk_emit_columns_back(struct vk_emit *e)
{
    part(e, MOVE_COLUMNS_BACK, &e->in->out[0]);
}

struct choose_push {
    VkDeviceAddress rows, factors, p, norms, draw;
    uint32_t stream;
    uint32_t n_chosen;
    uint32_t n_rows;
};

// Of the scratch: p (T), factors (N).
static size_t p_bytes(const struct instr *in)
{
    return ((size_t) vk_rows(&in->in[0]) * sizeof(float) + 63) & ~(size_t) 63;
}

size_t vk_scratch_choose_rows(const struct device *dev, const struct instr *in)
{
    (void) dev;
    return p_bytes(in) + in->attr.n_rows * sizeof(float);
}

void vk_emit_choose_rows(struct vk_emit *e)
{
    const struct operand *x = &e->in->in[0];
    const uint32_t n_chosen = e->in->attr.n_rows;
    const struct choose_push push = {
        .rows = vk_out(e, 1),
        .factors = vk_scratch(e) + p_bytes(e->in),
        .p = vk_scratch(e),
        .norms = vk_in(e, 1),
        .draw = vk_in(e, 2),
        .stream = e->in->attr.stream,
        .n_chosen = n_chosen,
        .n_rows = (uint32_t) vk_rows(x),
    };

    vk_emit_row_squares_of(e, push.p, x);
    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_choose_f32,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {1, 1, 1},
                       .work = push.n_rows,
                   });
    if (!vk_out(e, 0))
        return;
    move(e, MOVE_SCALED_ROWS,
         (struct move_push){.y = vk_out(e, 0),
                            .a = vk_in(e, 0),
                            .b = push.factors,
                            .index = push.rows,
                            .n = n_chosen * (uint32_t) vk_cols(x),
                            .cols = (uint32_t) vk_cols(x)});
}
