// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/gate.h"

#include <math.h>
#include <stdio.h>

// What it was found to know by heart, if that is too much.
static bool knows_too_much(char reason[GATE_REASON_BYTES],
                           const struct store_exposure *e,
                           const struct policy *p)
{
    char where[64] = "";

    if (e->record_id > 0)
        snprintf(where, sizeof(where), " (record %lld)",
                 (long long) e->record_id);
    if (p->gate_exposure_bits <= 0)
        return false;
    if (e->recited > 0) {
        snprintf(reason, GATE_REASON_BYTES,
                 "not activated: it recites %lld of %lld rare sequences of its "
                 "records%s: erase or mask them, or use --force",
                 (long long) e->recited, (long long) e->sequences, where);
        return true;
    }
    if (e->bits >= p->gate_exposure_bits &&
        !(e->bits_base >= p->gate_exposure_bits)) {
        snprintf(reason, GATE_REASON_BYTES,
                 "not activated: it knows a rare sequence of its records%s by "
                 "heart, exposure %.1f bits, %.1f before, limit %g: erase or "
                 "mask it, or use --force",
                 where, e->bits, e->bits_base, p->gate_exposure_bits);
        return true;
    }
    return false;
}

bool gate_passes(char reason[GATE_REASON_BYTES], const struct gate_input *in,
                 const struct policy *p)
{
    double gain = in->heldout_before - in->heldout_after;
    double rise = in->probe_after - in->probe_before;

    if (in->heldout_tokens <= 0 || !isfinite(gain)) {
        snprintf(reason, GATE_REASON_BYTES,
                 "not activated: the held-out loss could not be measured, "
                 "there are %lld held-out tokens",
                 (long long) in->heldout_tokens);
        return false;
    }
    if (gain < p->gate_margin) {
        snprintf(reason, GATE_REASON_BYTES,
                 "not activated: held-out loss went from %.4f to %.4f, which "
                 "is not %g better",
                 in->heldout_before, in->heldout_after, p->gate_margin);
        return false;
    }
    if (!isfinite(rise)) {
        snprintf(reason, GATE_REASON_BYTES,
                 "not activated: the loss on general text could not be "
                 "measured");
        return false;
    }
    if (rise > p->gate_probe_nats) {
        snprintf(reason, GATE_REASON_BYTES,
                 "not activated: loss on general text rose from %.4f to %.4f, "
                 "more than %g",
                 in->probe_before, in->probe_after, p->gate_probe_nats);
        return false;
    }
    if (in->exposure.sequences > 0 && knows_too_much(reason, &in->exposure, p))
        return false;
    snprintf(reason, GATE_REASON_BYTES,
             "held-out loss %.4f to %.4f, general text %.4f to %.4f",
             in->heldout_before, in->heldout_after, in->probe_before,
             in->probe_after);
    return true;
}
