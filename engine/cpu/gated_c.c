// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

#include <math.h>

// Shazeer, arXiv 2002.05202: y = f(gate) * up, one value at a time, where
// f(g) = g * sigmoid(z(g)).
//
//   silu: z(g) = g
//   gelu: z(g) = 2 k (g + c g^3), for sigmoid(2u) = (1 + tanh(u)) / 2.
//         Hendrycks & Gimpel, arXiv 1606.08415.

#define GELU_K 0.7978845608028654 // sqrt(2 / pi)
#define GELU_C 0.044715

struct gate {
    double z;
    double slope; // dz / dg
};

static struct gate silu(double g)
{
    return (struct gate){g, 1.0};
}

static struct gate gelu(double g)
{
    return (struct gate){
        2.0 * GELU_K * (g + GELU_C * g * g * g),
        2.0 * GELU_K * (1.0 + 3.0 * GELU_C * g * g),
    };
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

KERNEL_swiglu(swiglu_c)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = (float) (gate[i] * sigmoid(silu(gate[i]).z) * up[i]);
}

KERNEL_geglu(geglu_c)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = (float) (gate[i] * sigmoid(gelu(gate[i]).z) * up[i]);
}

// f'(g) = s + g s (1 - s) z'(g), s = sigmoid(z(g))
static void back(float *dgate, float *dup, double dy, double g, double up,
                 struct gate f)
{
    const double s = sigmoid(f.z);

    if (dgate)
        *dgate = (float) (dy * up * s * (1.0 + g * (1.0 - s) * f.slope));
    if (dup)
        *dup = (float) (dy * g * s);
}

KERNEL_swiglu_back(swiglu_back_c)
{
    for (int64_t i = 0; i < count; i++)
        back(dgate ? dgate + i : NULL, dup ? dup + i : NULL, dy[i], gate[i],
             up[i], silu(gate[i]));
}

KERNEL_geglu_back(geglu_back_c)
{
    for (int64_t i = 0; i < count; i++)
        back(dgate ? dgate + i : NULL, dup ? dup + i : NULL, dy[i], gate[i],
             up[i], gelu(gate[i]));
}
