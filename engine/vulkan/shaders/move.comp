// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Operators that move values and compute nothing, one thread a value.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint OP = 0;

const uint ROWS = 0;         // y[i] = a[index[i]]; 0 where there is no such row
const uint STORE = 1;        // y[index[i]] = a[i] where there is such a row
const uint SPLIT = 2;        // y: the first `width` columns of a, z: the others
const uint JOIN = 3;         // y: a (`width` columns) and b side by side
const uint COLUMNS = 4;      // y: `width` columns of a, the eighths of `part`
const uint COLUMNS_BACK = 5; // y: a in those columns, else 0
const uint SCALED_ROWS = 6;  // y[i] = b[i] * a[index[i]]

layout(push_constant) uniform Push {
    F32 y, z;
    InF32 a, b;
    InI32 index;
    uint n;
    uint cols;
    uint width;
    uint rows;
    uint part;
};

// Rows of one number: the last one counts, as if they were stored in turn.
bool is_last(uint row)
{
    int at = index.v[row];

    for (uint t = row + 1; t < n / cols; t++)
        if (index.v[t] == at)
            return false;
    return true;
}

// Is column `col` in an eighth of `part`, and the how many-th of those?
bool in_part(uint col, out uint place)
{
    bool is_in = false;

    place = 0;
    for (uint e = 0; e < 8; e++) {
        uint from = cols / 8 * e + cols % 8 * e / 8;
        uint to = cols / 8 * (e + 1) + cols % 8 * (e + 1) / 8;
        if ((part >> e & 1) == 0)
            continue;
        if (col >= from && col < to)
            is_in = true;
        if (col >= from)
            place += min(col, to) - from;
    }
    return is_in;
}

void move_part(uint i, uint row, uint col)
{
    uint place;
    bool is_in = in_part(col, place);
    uint narrow = row * width + place;

    if (OP == COLUMNS_BACK)
        y.v[i] = is_in ? a.v[narrow] : 0.0;
    else if (is_in)
        y.v[narrow] = a.v[i];
}

void main()
{
    uint i = linear_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;

    if (i >= n)
        return;
    uint row = i / cols;
    uint col = i % cols;
    if (OP == ROWS) {
        int from = index.v[row];
        bool is_there = from >= 0 && uint(from) < rows;
        y.v[i] = is_there ? a.v[uint(from) * cols + col] : 0.0;
    } else if (OP == SCALED_ROWS) {
        y.v[i] = b.v[row] * a.v[uint(index.v[row]) * cols + col];
    } else if (OP == STORE) {
        int to = index.v[row];
        if (to >= 0 && uint(to) < rows && is_last(row))
            y.v[uint(to) * cols + col] = a.v[i];
    } else if (OP == SPLIT) {
        if (col < width && is_some(uvec2(y)))
            y.v[row * width + col] = a.v[i];
        if (col >= width && is_some(uvec2(z)))
            z.v[row * (cols - width) + col - width] = a.v[i];
    } else if (OP == JOIN) {
        y.v[i] = col < width ? a.v[row * width + col]
                             : b.v[row * (cols - width) + col - width];
    } else {
        move_part(i, row, col);
    }
}
