// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Adapter state
 *
 * An adapter in the memory of a device, alone or with what the optimizer keeps
 * for it: first and second moments and the sum of gradients over micro-batches.
 * Programs bind their states to it by name. The host sees each part as one
 * array of floats in the order of scheme_params(), as in struct adapter.
 */

#include "engine/backend.h"
#include "engine/models/scheme.h"

#include <stdbool.h>
#include <stddef.h>

struct error;
struct executor;
struct program_slot;

enum adapter_part {
    ADAPTER_PART_VALUE,    // NAME
    ADAPTER_PART_MEAN,     // NAME.m
    ADAPTER_PART_VARIANCE, // NAME.v
    ADAPTER_PART_GRADIENT, // NAME.g
    ADAPTER_PART_GAIN,     // NAME.magnitude.gain, for generation
    ADAPTER_PART_HALF,     // NAME.half, for generation: bf16, of LoRA's halves
    ADAPTER_PARTS
};

struct adapter_state;

struct adapter_state_params {
    const struct backend *backend; // borrowed, as is the device
    struct device *dev;
    const struct model_config *config; // borrowed for the call
    const struct scheme *scheme;       // copied
    // Else there are VALUE, GAIN, and HALF, which is written with VALUE.
    bool has_optimizer;
    // Learns without gradients: VALUE, and MEAN and VARIANCE as far as these.
    bool is_forward;
    uint8_t n_moments;
};

// All zero.
int adapter_state_create(struct adapter_state **out,
                         const struct adapter_state_params *params,
                         struct error *err);
void adapter_state_destroy(struct adapter_state *s);

size_t adapter_state_floats(const struct adapter_state *s);
const struct scheme *adapter_state_scheme(const struct adapter_state *s);
int adapter_state_write(struct adapter_state *s, enum adapter_part part,
                        const float *values);
bool adapter_state_has(const struct adapter_state *s, enum adapter_part part);
int adapter_state_read(const struct adapter_state *s, enum adapter_part part,
                       float *values);
// GAIN from what a PROGRAM_GAINS of the same scheme left. Needs no such run
// when the scheme has no magnitudes.
bool adapter_state_has_gains(const struct adapter_state *s);
int adapter_state_take_gains(struct adapter_state *s, struct executor *x);
int adapter_state_zero(struct adapter_state *s, enum adapter_part part);

int adapter_state_bind(struct binding *out, const struct adapter_state *s,
                       const struct program_slot *slot, struct error *err);
