// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"

// Operators that add up rows, or columns.

enum { ROW_THREADS_MIN = 32, ROW_THREADS_MAX = 256 };

// As in rmsnorm.comp.
enum row_op { ROW_NORM, ROW_NORM_DX, ROW_SQUARES, ROW_DOT };

struct row_push {
    VkDeviceAddress y, x, w, dy, rstd;
    uint32_t rows;
    uint32_t cols;
    float eps;
    float scale;
};

// So many that each has about four values, but few pipelines are made.
static uint32_t threads_of(uint32_t cols)
{
    uint32_t n = ROW_THREADS_MIN;

    while (n < ROW_THREADS_MAX && n * 4 < cols)
        n *= 2;
    return n;
}

static void each_row(struct vk_emit *e, enum row_op op, struct row_push push)
{
    const bool is_row = op == ROW_NORM || op == ROW_NORM_DX;
    const VkDeviceAddress all[] = {push.x, push.w, push.dy,
                                   is_row ? push.y : 0};
    const uint32_t specs[] = {threads_of(push.cols), op,
                              push.cols % 4 == 0 && vk_by_four(all, 4)};
    struct vk_dispatch d = {
        .shader = VK_SHADER_rmsnorm_f32,
        .specs = specs,
        .n_specs = 3,
        .push = &push,
        .push_bytes = sizeof(push),
        .work = (double) push.rows * push.cols,
    };

    vk_linear(d.groups, push.rows);
    vk_dispatch(e, &d);
}

void vk_emit_rmsnorm(struct vk_emit *e)
{
    const uint32_t cols = (uint32_t) vk_count(&e->in->in[1]);

    each_row(e, ROW_NORM,
             (struct row_push){.y = vk_out(e, 0),
                               .x = vk_in(e, 0),
                               .w = vk_in(e, 1),
                               .rstd = vk_out(e, 1),
                               .rows = vk_values(e, &e->in->in[0]) / cols,
                               .cols = cols,
                               .eps = e->in->attr.eps});
}

void vk_emit_rmsnorm_dx(struct vk_emit *e)
{
    const uint32_t cols = (uint32_t) vk_count(&e->in->in[2]);

    each_row(e, ROW_NORM_DX,
             (struct row_push){.y = vk_out(e, 0),
                               .dy = vk_in(e, 0),
                               .x = vk_in(e, 1),
                               .w = vk_in(e, 2),
                               .rstd = vk_in(e, 3),
                               .rows = vk_values(e, &e->in->in[1]) / cols,
                               .cols = cols});
}

void vk_emit_subtoken_dot(struct vk_emit *e)
{
    const uint32_t cols = (uint32_t) vk_count(&e->in->in[1]);

    each_row(e, ROW_DOT,
             (struct row_push){.y = vk_out(e, 0),
                               .x = vk_in(e, 0),
                               .w = vk_in(e, 1),
                               .rows = vk_values(e, &e->in->in[0]) / cols,
                               .cols = cols,
                               .scale = e->in->attr.alpha});
}

void vk_emit_row_squares_of(struct vk_emit *e, VkDeviceAddress y,
                            const struct operand *x)
{
    each_row(e, ROW_SQUARES,
             (struct row_push){.y = y,
                               .x = vk_in(e, 0),
                               .rows = (uint32_t) vk_rows(x),
                               .cols =
                                   vk_values(e, x) / (uint32_t) vk_rows(x)});
}

struct shares_push {
    VkDeviceAddress y, squares, sum;
    uint32_t rows;
};

void vk_emit_row_squares(struct vk_emit *e)
{
    const struct operand *x = &e->in->in[0];
    const uint32_t specs[] = {ROW_THREADS_MAX};
    const struct shares_push push = {
        .y = vk_out(e, 0),
        .squares = vk_scratch(e),
        .sum = e->in->n_in > 1 ? vk_in(e, 1) : 0,
        .rows = (uint32_t) vk_rows(x),
    };
    struct vk_dispatch d = {
        .shader = VK_SHADER_row_shares_f32,
        .specs = specs,
        .n_specs = 1,
        .push = &push,
        .push_bytes = sizeof(push),
    };

    vk_emit_row_squares_of(e, push.squares, x);
    vk_linear(d.groups, vk_ceil(push.rows, ROW_THREADS_MAX));
    vk_dispatch(e, &d);
}

size_t vk_scratch_row_squares(const struct device *dev, const struct instr *in)
{
    (void) dev;
    return (size_t) vk_rows(&in->in[0]) * sizeof(float);
}

// Columns are added up in slices of rows, and those in a second dispatch where
// there are more than one.
enum { SUM_THREADS = 256, SUM_COLS = 32, SLICE_ROWS = 256, SLICES_MAX = 64 };

struct sums_push {
    VkDeviceAddress y, a, b, r;
    uint32_t rows;
    uint32_t cols;
    uint32_t each;
};

static uint32_t slices_of(int64_t rows)
{
    const int64_t n = (rows + SLICE_ROWS - 1) / SLICE_ROWS;

    return n > SLICES_MAX ? SLICES_MAX : (uint32_t) n;
}

static size_t sums_scratch(int64_t rows, int64_t cols)
{
    const uint32_t slices = slices_of(rows);

    return slices > 1 ? slices * (size_t) cols * sizeof(float) : 0;
}

static void sums_dispatch(struct vk_emit *e, uint32_t factors,
                          const struct sums_push *push)
{
    const uint32_t specs[] = {SUM_THREADS, factors};

    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_column_sums_f32,
                       .specs = specs,
                       .n_specs = 2,
                       .push = push,
                       .push_bytes = sizeof(*push),
                       .groups = {vk_ceil(push->cols, SUM_COLS),
                                  vk_ceil(push->rows, push->each), 1},
                       .work = (double) push->rows * push->cols,
                   });
}

static void column_sums(struct vk_emit *e, uint32_t factors,
                        struct sums_push push)
{
    const VkDeviceAddress y = push.y;
    const uint32_t slices = slices_of(push.rows);

    push.each = vk_ceil(push.rows, slices);
    if (slices > 1)
        push.y = vk_scratch(e);
    sums_dispatch(e, factors, &push);
    if (slices == 1)
        return;
    const uint32_t n = vk_ceil(push.rows, push.each);
    sums_dispatch(e, 1,
                  &(struct sums_push){.y = y,
                                      .a = push.y,
                                      .rows = n,
                                      .cols = push.cols,
                                      .each = n});
}

void vk_emit_rmsnorm_dw(struct vk_emit *e)
{
    const uint32_t cols = (uint32_t) vk_count(&e->in->out[0]);

    column_sums(e, 3,
                (struct sums_push){.y = vk_out(e, 0),
                                   .a = vk_in(e, 0),
                                   .b = vk_in(e, 1),
                                   .r = vk_in(e, 2),
                                   .rows = vk_values(e, &e->in->in[1]) / cols,
                                   .cols = cols});
}

size_t vk_scratch_rmsnorm_dw(const struct device *dev, const struct instr *in)
{
    const int64_t cols = vk_count(&in->out[0]);

    (void) dev;
    return sums_scratch(vk_count(&in->in[1]) / cols, cols);
}

void vk_emit_dot_columns(struct vk_emit *e)
{
    const struct operand *a = &e->in->in[0];
    const uint32_t cols = (uint32_t) vk_cols(a);

    column_sums(e, 2,
                (struct sums_push){.y = vk_out(e, 0),
                                   .a = vk_in(e, 0),
                                   .b = vk_in(e, 1),
                                   .rows = vk_values(e, a) / cols,
                                   .cols = cols});
}

size_t vk_scratch_dot_columns(const struct device *dev, const struct instr *in)
{
    (void) dev;
    return sums_scratch(vk_rows(&in->in[0]), vk_cols(&in->in[0]));
}

struct direction_push {
    VkDeviceAddress v, sums;
    uint32_t slices;
    uint32_t size;
};

void vk_emit_subtoken_mean(struct vk_emit *e)
{
    const VkDeviceAddress v = vk_in(e, 1);
    const uint32_t specs[] = {ROW_THREADS_MAX};
    const uint32_t size = (uint32_t) vk_count(&e->in->in[1]);
    const uint32_t n = vk_values(e, &e->in->in[0]) / size;
    const uint32_t each = vk_ceil(n, slices_of(n));
    const struct direction_push push = {v, vk_scratch(e), vk_ceil(n, each),
                                        size};

    sums_dispatch(e, 1,
                  &(struct sums_push){.y = push.sums,
                                      .a = vk_in(e, 0),
                                      .r = v,
                                      .rows = n,
                                      .cols = size,
                                      .each = each});
    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_direction_f32,
                       .specs = specs,
                       .n_specs = 1,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {1, 1, 1},
                       .work = size,
                   });
}

size_t vk_scratch_subtoken_mean(const struct device *dev,
                                const struct instr *in)
{
    const int64_t size = vk_count(&in->in[1]);

    (void) dev;
    return slices_of(vk_count(&in->in[0]) / size) * (size_t) size *
           sizeof(float);
}
