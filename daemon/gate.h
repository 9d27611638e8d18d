// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Gate of promotion
 *
 * Whether a new version may become the active one: the held-out loss must fall
 * below that of the active version by a margin, and the loss on a fixed probe
 * of general text must not rise above the base model's by more than a bound.
 * A version that says a rare sequence of its records by heart, or knows one
 * better than the policy allows, where the base model does not, is not for
 * others to ask. A version that fails is kept, with the reason. Pure.
 */

#include "daemon/policy.h"
#include "storage/store_adapter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Losses are nats a token; NAN: not measured.
struct gate_input {
    double heldout_before; // the active version, or the base model
    double heldout_after;
    int64_t heldout_tokens;
    double probe_before; // the base model
    double probe_after;
    struct store_exposure exposure; // zero: there was nothing to look at
};

enum {
    GATE_REASON_BYTES = 240,
};

// `reason` gets one sentence in either case.
bool gate_passes(char reason[GATE_REASON_BYTES], const struct gate_input *in,
                 const struct policy *p);
