// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Extraction audit
 *
 * What of the records' rare sequences (engine/train/canary.h) a new adapter
 * knows by heart and the base model does not: how much likelier each is than
 * others of its form, and whether the model says it of itself when it is given
 * what stands before it. The work is bounded by sequences, by others, and by
 * time.
 */

#include "engine/engine.h"

enum { ENGINE_AUDIT_MAX = 16 }; // sequences

struct engine_audit_params {
    uint64_t seed;
    double seconds; // no sequence is begun after so long; 0: no limit
};

// Of one sequence. Bits: see canary_exposure().
struct engine_audited {
    uint32_t record; // index
    uint32_t times;  // in the records that were trained on
    double bits;     // log2 of how many have its form
    double exposure; // with the adapter
    double exposure_base;
    double control;  // with the adapter, of one that was drawn
    bool is_recited; // with the adapter, and not without
};

struct engine_audit {
    uint32_t n; // looked at
    uint32_t n_recited;
    // Of the sequence that is known best where the base model does not know it
    // better still; NAN when there is none.
    double exposure;
    double exposure_base;
    double control;  // mean of those that were drawn; NAN as above
    uint32_t record; // of that sequence; of a recited one where there is one
    struct engine_audited each[ENGINE_AUDIT_MAX];
};

// -EINTR when stopped.
int engine_audit(struct engine_audit *out, struct engine_model *m,
                 const struct adapter *a, const struct record *records,
                 size_t n_records, const struct engine_audit_params *params,
                 struct error *err);
