// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Placement of a program
 *
 * Kernel and threads of each instruction, chosen by times that were measured on
 * the device. What was not timed at its very shape is told from the nearest
 * that was; what nothing is known of runs as it would without a table.
 */

#include "engine/exec/lower.h"
#include "engine/plan/timetable.h"

struct place_request {
    const struct timetable *times; // NULL: nothing is chosen
    uint32_t threads;              // 0: those of the device
    // Only threads are chosen, so that not one byte changes.
    bool is_exact;
};

// Behind lower_places().
int program_choose(struct program *p, const struct place_request *r,
                   const struct lower_target *target);

// Is the kernel that an instruction names one to choose for it?
bool program_offers(const struct backend *backend, const struct device *dev,
                    const struct instr *in);

// What a table calls the instruction.
void program_shape(struct timetable_shape *out, const struct program *p,
                   uint32_t i);
