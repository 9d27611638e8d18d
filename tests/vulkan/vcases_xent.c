// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

#include <stdio.h>

enum { ROWS_MAX = 600 };

struct shape {
    int64_t rows, cols, vocab;
    enum dtype type;
    float cap;
    uint32_t counts; // of 8 rows, those whose bit is set
    bool no_loss, no_nll, no_dx;
};

static void run(const struct shape *s)
{
    const struct operand none = {.region = REGION_NONE};
    int32_t targets[ROWS_MAX];
    float weights[ROWS_MAX];
    char name[160];

    for (int i = 0; i < s->rows; i++) {
        targets[i] = (int32_t) (i * 7919 % s->vocab);
        weights[i] = s->counts >> i % 8 & 1 ? 0.25f + (float) (i % 3) : 0;
    }
    // Targets that are none.
    if (s->rows > 5) {
        targets[1] = -1;
        targets[4] = (int32_t) s->vocab;
    }
    (void) snprintf(name, sizeof(name), "%lldx%lldx%lld %s cap %g rows %x",
                    (long long) s->rows, (long long) s->cols,
                    (long long) s->vocab, dtype_infos[s->type].name,
                    (double) s->cap, s->counts);
    vcase_run(&(struct vcase){
        .name = name,
        .in = {.op = OP_xent,
               .n_in = 4,
               .n_out = 3,
               .attr = {.cap = s->cap},
               .in = {vcase_f32(s->rows, s->cols),
                      vcase_weight(s->type, s->vocab, s->cols),
                      vcase_i32(s->rows), vcase_f32(1, s->rows)},
               .out = {s->no_loss ? none : vcase_f32(1, 1),
                       s->no_nll ? none : vcase_f32(1, s->rows),
                       s->no_dx ? none : vcase_f32(s->rows, s->cols)}},
        .scale = {0.5f},
        .data = {NULL, NULL, targets, weights},
        .tolerance = s->type == DTYPE_q5_k ? 2e-3 : 0,
    });
}

// With all outputs.
static void all(int64_t rows, int64_t cols, int64_t vocab, enum dtype type,
                float cap, uint32_t counts)
{
    run(&(struct shape){.rows = rows,
                        .cols = cols,
                        .vocab = vocab,
                        .type = type,
                        .cap = cap,
                        .counts = counts});
}

void vcases_xent(void)
{
    static const enum dtype types[] = {DTYPE_f32,  DTYPE_f16,  DTYPE_bf16,
                                       DTYPE_q8_0, DTYPE_q4_0, DTYPE_q4_k,
                                       DTYPE_q6_k, DTYPE_q5_k};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        all(9, 256, 300, types[i], 0, 0xff);
    all(1, 64, 100, DTYPE_f32, 0, 0xff);
    all(7, 45, 99, DTYPE_f32, 0, 0x5a);
    all(7, 45, 99, DTYPE_f16, 30, 0x5a);
    all(40, 64, 1000, DTYPE_q8_0, 3, 0xf7);
    all(20, 64, 500, DTYPE_q8_0, 0, 0); // nothing counts
    run(&(struct shape){.rows = 20,
                        .cols = 64,
                        .vocab = 500,
                        .type = DTYPE_q8_0,
                        .cap = 0,
                        .counts = 0xff,
                        .no_loss = true});
    run(&(struct shape){.rows = 20,
                        .cols = 64,
                        .vocab = 500,
                        .type = DTYPE_q8_0,
                        .cap = 0,
                        .counts = 0xff,
                        .no_nll = true});
    run(&(struct shape){.rows = 20,
                        .cols = 64,
                        .vocab = 500,
                        .type = DTYPE_q8_0,
                        .cap = 5,
                        .counts = 0xff,
                        .no_dx = true});
    // Several chunks, all of them full or some of them empty.
    all(300, 32, 5000, DTYPE_f32, 0, 0xff);
    all(300, 32, 5000, DTYPE_q8_0, 0, 0x41);
    all(300, 32, 5001, DTYPE_f32, 30, 0x11);
}
