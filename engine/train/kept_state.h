// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Kept state
 *
 * What a run carries from step to step beside the adapter, because of how it
 * keeps the inputs of linears (models/kept.h): the directions of sub-tokens, on
 * the device, where programs bind them by name. The host sees one array of
 * floats, which is part of checkpoints.
 */

#include "engine/backend.h"
#include "engine/models/kept.h"

#include <stddef.h>

struct error;
struct kept_state;
struct program_slot;

struct kept_state_params {
    const struct backend *backend; // borrowed, as is the device
    struct device *dev;
    const struct model_config *config; // borrowed for the call
    const struct scheme *scheme;       // borrowed for the call
    struct kept kept;
};

// All zero: the first batch is still to come.
int kept_state_create(struct kept_state **out,
                      const struct kept_state_params *params,
                      struct error *err);
void kept_state_destroy(struct kept_state *s);

size_t kept_state_floats(const struct kept_state *s);
int kept_state_write(struct kept_state *s, const float *values);
int kept_state_read(const struct kept_state *s, float *values);
// -ENOENT, and no sentence, when the slot is none of these.
int kept_state_bind(struct binding *out, const struct kept_state *s,
                    const struct program_slot *slot);
