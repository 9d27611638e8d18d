// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Which rows count: their numbers in order, and how many there are in each
// chunk of the list. Rows that do not have no loss. One workgroup.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 128;

layout(push_constant) uniform Push {
    InI32 targets;
    InF32 weights;
    U32 list, live;
    F32 nll;
    uint rows, vocab, chunk, n_chunks;
};

shared uint counts[THREADS];

bool counts_row(uint t)
{
    return weights.v[t] != 0 && uint(targets.v[t]) < vocab;
}

void main()
{
    uint thread = gl_LocalInvocationID.x;
    uint each = (rows + THREADS - 1) / THREADS;
    uint from = min(rows, thread * each);
    uint to = min(rows, from + each);
    uint n = 0;

    for (uint t = from; t < to; t++)
        n += counts_row(t) ? 1 : 0;
    counts[thread] = n;
    barrier();
    uint at = 0;
    uint all = 0;
    for (uint i = 0; i < THREADS; i++) {
        at += i < thread ? counts[i] : 0;
        all += counts[i];
    }
    for (uint t = from; t < to; t++) {
        if (counts_row(t))
            list.v[at++] = t;
        else
            nll.v[t] = 0;
    }
    for (uint i = thread; i < n_chunks; i += THREADS)
        live.v[i] = all > i * chunk ? min(chunk, all - i * chunk) : 0;
}
