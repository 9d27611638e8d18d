// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_EXT_buffer_reference : require

// y[i] = a[i] + b[i], one thread an element. A dispatch that starts at a later
// workgroup (vkCmdDispatchBase) does a slice.

layout(local_size_x_id = 0) in;

layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer In {
    float v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer Out {
    float v[];
};

layout(push_constant) uniform Push {
    Out y;
    In a, b;
    uint n;
};

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i < n)
        y.v[i] = a.v[i] + b.v[i];
}
