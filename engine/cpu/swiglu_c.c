// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

#include <math.h>

// Shazeer, arXiv 2002.05202. silu(g) = g * sigmoid(g), one value at a time.

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

KERNEL_swiglu(swiglu_c)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = (float) (gate[i] * sigmoid(gate[i]) * up[i]);
}

// silu'(g) = sigmoid(g) (1 + g (1 - sigmoid(g)))
KERNEL_swiglu_back(swiglu_back_c)
{
    for (int64_t i = 0; i < count; i++) {
        const double g = gate[i];
        const double s = sigmoid(g);
        if (dgate)
            dgate[i] = (float) (dy[i] * up[i] * s * (1.0 + g * (1.0 - s)));
        if (dup)
            dup[i] = (float) (dy[i] * g * s);
    }
}
