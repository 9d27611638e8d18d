// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Kernels of Vulkan against the plain C ones
 *
 * A case is an instruction with shapes, types and attributes. Both devices get
 * the same random inputs; what comes out must agree.
 *
 * POCK_TEST_VULKAN names the device as device_params.tier does; without it, a
 * CPU that plays one ("cpu").
 */

#include "engine/backend.h"

enum { VCASE_SLOTS = OP_INPUTS_MAX };

struct vcase {
    const char *name;
    struct instr in; // of operands: rank, ne, dtype, region; no places
    // What inputs hold: normal numbers times scale (0: 1), or these bytes.
    float scale[VCASE_SLOTS];
    const void *data[VCASE_SLOTS];
    int shares; // output 0 lies where input shares - 1 does; 0: nowhere
    // Outputs must be that near to the C kernel's, relative to the largest of
    // them (0: 2e-5).
    double tolerance;
};

// An operand in the arena, or (weight) in the model's mapping.
struct operand vcase_f32(int64_t rows, int64_t cols);
struct operand vcase_i32(int64_t n);
struct operand vcase_weight(enum dtype type, int64_t rows, int64_t cols);

// Runs it, prints a line when something is off. The same bytes must come from
// a second run, and from one in small slices.
void vcase_run(const struct vcase *c);

// From now on, what devices do whose threads have few registers, or no longer.
void vcase_few_registers(bool has_few);

// Groups of cases, a file each.
#define VCASES(name) void vcases_##name(void);
#include "tests/vulkan/vcases.def"
#undef VCASES
