// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

// Nothing is computed: the same bits must come out.
static const double none = 1e-30;

static void rows(int64_t n, int64_t of, int64_t cols, const int32_t *index)
{
    vcase_run(&(struct vcase){
        .name = "rows",
        .in = {.op = OP_rows,
               .n_in = 2,
               .n_out = 1,
               .in = {vcase_f32(of, cols), vcase_i32(n)},
               .out = {vcase_f32(n, cols)}},
        .data = {NULL, index},
        .tolerance = none,
    });
}

static void store(int64_t n, int64_t length, int64_t cols, const int32_t *pos)
{
    vcase_run(&(struct vcase){
        .name = "kv_store",
        .in = {.op = OP_kv_store,
               .n_in = 3,
               .n_out = 1,
               .in = {vcase_f32(n, cols), vcase_i32(n),
                      vcase_f32(length, cols)},
               .out = {vcase_f32(length, cols)}},
        .data = {NULL, pos, NULL},
        .tolerance = none,
    });
}

static void halves(int64_t t, int64_t a, int64_t b)
{
    const struct operand wide = vcase_f32(t, a + b);
    struct vcase c = {
        .name = "split",
        .in = {.op = OP_split,
               .n_in = 1,
               .n_out = 2,
               .attr.width = (uint32_t) a,
               .in = {wide},
               .out = {vcase_f32(t, a), vcase_f32(t, b)}},
        .tolerance = none,
    };

    vcase_run(&c);
    for (int i = 0; i < 2; i++) {
        const struct operand o = c.in.out[i];
        c.in.out[i] = (struct operand){0};
        c.name = i == 0 ? "split, right" : "split, left";
        vcase_run(&c);
        c.in.out[i] = o;
    }
    vcase_run(&(struct vcase){
        .name = "join",
        .in = {.op = OP_join,
               .n_in = 2,
               .n_out = 1,
               .in = {vcase_f32(t, a), vcase_f32(t, b)},
               .out = {wide}},
        .tolerance = none,
    });
}

static void parts(int64_t t, int64_t columns, uint8_t part)
{
    const struct operand wide = vcase_f32(t, columns);
    const struct operand narrow = vcase_f32(t, op_part_columns(part, columns));

    vcase_run(&(struct vcase){
        .name = "columns",
        .in = {.op = OP_columns,
               .n_in = 1,
               .n_out = 1,
               .attr.part = part,
               .in = {wide},
               .out = {narrow}},
        .tolerance = none,
    });
    vcase_run(&(struct vcase){
        .name = "columns_back",
        .in = {.op = OP_columns_back,
               .n_in = 1,
               .n_out = 1,
               .attr = {.part = part, .width = (uint32_t) columns},
               .in = {narrow},
               .out = {wide}},
        .tolerance = none,
    });
}

void vcases_move(void)
{
    // Numbers out of range, and the same place twice: the later row counts.
    rows(5, 7, 33, (const int32_t[]){6, 0, -1, 7, 6});
    rows(1, 1, 1, (const int32_t[]){0});
    store(1, 9, 64, (const int32_t[]){8});
    store(6, 10, 37, (const int32_t[]){3, 9, 3, -1, 10, 0});
    halves(3, 5, 9);
    halves(40, 64, 200);
    parts(5, 64, 0);
    parts(5, 64, 0x81);
    parts(7, 43, 0x2a);
    parts(3, 11, 0x10);
}
