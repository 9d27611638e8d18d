// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Tuner
 *
 * Times the instructions of the programs that a model runs, training and
 * generation, with every kernel of the device and with one thread, two, four
 * and so on, and puts the times into a table. What the table has already is
 * not timed again. It begins with the smallest work: what a kernel takes there
 * says which ones need not be tried on more, where they would take long.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct base_model;
struct error;
struct recipe;
struct timetable;

struct tuner_params {
    const struct recipe *recipe; // of the training programs
    double seconds;              // about as long; 0: 20
    uint64_t when;               // seconds since 1970, for the rows
    bool is_forced;              // also when the machine is busy
};

struct tuner_result {
    uint32_t n_shapes; // that the programs have
    uint32_t n_timed;  // now
    uint32_t n_left;   // for want of time: run it again
    double seconds;
    double others; // share of the processors that others had
};

// An empty table for the model's device and this build.
int tuner_table(struct timetable **out, const struct base_model *base,
                struct error *err);
// -EINTR when the device was stopped, -EAGAIN with a sentence when others used
// the processors as well, so that the times say little: then the table is as it
// was.
int tuner_run(struct tuner_result *out, struct timetable *times,
              const struct base_model *base, const struct tuner_params *params,
              struct error *err);
