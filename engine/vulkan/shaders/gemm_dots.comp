// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "pock.glsl"
#include "gemm.glsl"

// A product with few rows or few columns and a long K, which is bound by
// memory: a workgroup makes RM x RN of y, its threads share K. a is not turned.

layout(constant_id = 0) const uint THREADS = 64;
layout(constant_id = 3) const uint RM = 1;
layout(constant_id = 4) const uint RN = 4;
layout(constant_id = 5) const bool BY_16 = false; // of b, along k

// A sum of each subgroup; those of fewer than four threads are not known.
shared float sums[THREADS / 4 * RM * RN];

float sum[RM * RN];

void add(vec4 av[RM], vec4 bv[RN])
{
    [[unroll]] for (uint i = 0; i < RM; i++)
        [[unroll]] for (uint j = 0; j < RN; j++) {
            float s = sum[i * RN + j];
            s = fma(av[i].x, bv[j].x, s);
            s = fma(av[i].y, bv[j].y, s);
            s = fma(av[i].z, bv[j].z, s);
            sum[i * RN + j] = fma(av[i].w, bv[j].w, s);
        }
}

void load_a(out vec4 av[RM], uint row, uint at, uint end)
{
    [[unroll]] for (uint i = 0; i < RM; i++)
        av[i] = a_along_k(row + i, at, end);
}

// Sixteen values along k at a time, so that loads of few bits are wide too.
void run_by_16(uint row, uint col, uint end)
{
    vec4 av[RM];
    vec4 part[RN];
    for (uint at = first_k() + gl_LocalInvocationID.x * 16; at < end; at += THREADS * 16) {
        vec4 bv[RN * 4];
        [[unroll]] for (uint j = 0; j < RN; j++) {
            mat4 v = mat4(0);
            if (col + j < n)
                v = dequant_16(B_TYPE, b, scales, mins, (col + j) * k + at);
            [[unroll]] for (uint q = 0; q < 4; q++)
                bv[j * 4 + q] = v[q];
        }
        [[unroll]] for (uint q = 0; q < 4; q++) {
            [[unroll]] for (uint j = 0; j < RN; j++)
                part[j] = bv[j * 4 + q];
            load_a(av, row, at + q * 4, end);
            add(av, part);
        }
    }
}

void run_by_4(uint row, uint col, uint end)
{
    vec4 av[RM];
    vec4 bv[RN];
    for (uint at = first_k() + gl_LocalInvocationID.x * 4; at < end; at += THREADS * 4) {
        load_a(av, row, at, end);
        if (TRANS_B) {
            [[unroll]] for (uint j = 0; j < RN; j++)
                bv[j] = b_along_k(col + j, at, end);
        } else {
            [[unroll]] for (uint j = 0; j < RN; j += 4) {
                mat4 t;
                [[unroll]] for (uint i = 0; i < 4; i++)
                    t[i] = b_along_n(col + j, at + i, end);
                t = transpose(t);
                [[unroll]] for (uint i = 0; i < 4; i++)
                    bv[j + i] = t[i];
            }
        }
        add(av, bv);
    }
}

void main()
{
    uint row = gl_WorkGroupID.y * RM;
    uint col = gl_WorkGroupID.x * RN;
    uint end = last_k();

    [[unroll]] for (uint i = 0; i < RM * RN; i++)
        sum[i] = 0;
    if (BY_16)
        run_by_16(row, col, end);
    else
        run_by_4(row, col, end);
    [[unroll]] for (uint i = 0; i < RM * RN; i++) {
        float all = subgroupAdd(sum[i]);
        if (subgroupElect())
            sums[gl_SubgroupID * RM * RN + i] = all;
    }
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < RM * RN; i += THREADS) {
        float all = 0;
        for (uint s = 0; s < gl_NumSubgroups; s++)
            all += sums[s * RM * RN + i];
        put(row + i / RN, col + i % RN, all, before(row + i / RN, col + i % RN));
    }
}
