// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// What every shader begins with: storage by address, and groups in a line.

#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require

// Arrays in memory. What is only read is said to be: some drivers have a
// faster way to it.
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer InF32 {
    float v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer InVec4 {
    vec4 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer InI32 {
    int v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer InU32 {
    uint v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer InUvec4 {
    uvec4 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) buffer F32 {
    float v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Vec4 {
    vec4 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) buffer I32 {
    int v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 {
    uint v[];
};

// Is there such an operand? Of uvec2(its reference).
bool is_some(uvec2 address)
{
    return address != uvec2(0);
}

// The number of a workgroup of a dispatch that vk_linear() laid out.
// gl_NumWorkGroups is not to be used: a dispatch may come in slices.
uint linear_group()
{
    return gl_WorkGroupID.y * 1024u + gl_WorkGroupID.x;
}
