// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Tiles of attention, in f32: Dao et al., arXiv 2205.14135.
//
// A workgroup owns TILE rows of one side (queries, or keys) and walks over
// tiles of the other. Threads are a square of SIDE x SIDE; each has 4 x 4 of
// what pairs of rows make: own rows 4 ty .. and others 4 tx .. And of what
// becomes of its own rows, it has columns 4 tx .. of every 64: CHUNKS times,
// of those from FIRST on.
//
// FEW_REGISTERS: columns are of several workgroups, along z; scores wait in shared
// memory while others are found; and nothing is kept that can be found again. A
// shader of its own, because that costs others registers.
//
// Shared memory holds DEPTH columns of both tiles at a time, so that it is
// enough for heads of any width: 26 KiB in all.
//
// Before this file: `dim`, of a head; and `zero`, which is that, but compilers
// do not know.

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint CHUNKS = 2;     // of 64 columns
layout(constant_id = 1) const bool BY_FOUR = true; // all may be read so

const uint TILE = 64;
const uint SIDE = 16;
const uint DEPTH = 16;
const uint SUMS = 16; // 4 for each chunk of the widest heads
const float NOT_SEEN = -1e30; // a score that counts for nothing

shared vec4 stage[2 * DEPTH][SIDE + 1];
shared vec4 weights[TILE][SIDE + 1]; // [other row][own row / 4]
shared int first_seen[TILE];         // by each query of the tile
shared int first_of_tile;

#ifdef FEW_REGISTERS
const bool IS_FRUGAL = true;
uint id = gl_LocalInvocationID.x;
#else
const bool IS_FRUGAL = false;
#define id gl_LocalInvocationID.x
#endif
#define tx (id % SIDE)
#define ty (id / SIDE)
#define FIRST (IS_FRUGAL ? gl_WorkGroupID.z * 64 * CHUNKS : 0) // of the columns

// What a thread's number gives is found again, differently for each x, by a
// compiler that would keep it in registers through all loops.
void forget(uint x)
{
#ifdef FEW_REGISTERS
    id = gl_LocalInvocationID.x + (x & zero);
#endif
}

// Rows [first, end) of one head, `stride` apart.
struct rows {
    InF32 at;
    uint first;
    uint end;
    uint stride;
    uint offset;
};

vec4 load(rows r, uint row, uint d)
{
    vec4 x = vec4(0);
    uint at = row * r.stride + r.offset + d;

    if (row >= r.end)
        return x;
    if (BY_FOUR)
        return d < dim ? InVec4(r.at).v[at / 4] : x;
    for (uint j = 0; j < 4; j++)
        if (d + j < dim)
            x[j] = r.at.v[at + j];
    return x;
}

// DEPTH columns from d on become rows of the stage from `to` on.
void stage_columns(uint to, rows r, uint d)
{
    uint row = id / 4;
    vec4 x = load(r, r.first + row, d + id % 4 * 4);

    for (uint j = 0; j < 4; j++)
        stage[to + id % 4 * 4 + j][row / 4][row % 4] = x[j];
}

// s[i][j] = own row 4 ty + i times other row 4 tx + j
void multiply(out vec4 s[4], rows own, rows other)
{
    [[unroll]] for (uint i = 0; i < 4; i++)
        s[i] = vec4(0);
    for (uint d = 0; d < dim; d += DEPTH) {
        barrier();
        stage_columns(0, own, d);
        stage_columns(DEPTH, other, d);
        barrier();
        for (uint k = 0; k < DEPTH; k += 4)
            [[unroll]] for (uint n = 0; n < 4; n++) {
                vec4 a = stage[k + n][ty];
                vec4 b = stage[DEPTH + k + n][tx];
                [[unroll]] for (uint i = 0; i < 4; i++)
                    s[i] += a[i] * b;
            }
    }
}

vec4 row_of(vec4 w[4], uint j)
{
    return vec4(w[0][j], w[1][j], w[2][j], w[3][j]);
}

// Makes w the weights of the other rows. Those of a thread are its own until
// add_weighted().
void set_weights(vec4 w[4])
{
    [[unroll]] for (uint j = 0; j < 4; j++)
        weights[4 * tx + j][ty] = row_of(w, j);
}

// Chunk c of: sums += weights times other rows [s, s + 2 * DEPTH)
void add_chunk(inout vec4 sums[SUMS], rows other, uint s, uint c)
{
    if (c >= CHUNKS)
        return;
    barrier();
    [[unroll]] for (uint k = 0; k < 2; k++)
        stage[k * DEPTH + ty][tx] = load(
            other, other.first + s + k * DEPTH + ty, FIRST + 64 * c + 4 * tx);
    barrier();
    for (uint k = 0; k < 2 * DEPTH; k += 4)
        [[unroll]] for (uint n = 0; n < 4; n++) {
            vec4 w = weights[s + k + n][ty];
            vec4 b = stage[k + n][tx];
            [[unroll]] for (uint i = 0; i < 4; i++)
                sums[4 * c + i] += w[i] * b;
        }
}

// Chunks by hand: drivers do not unroll a loop around another one, and then
// keep the sums in memory.
void add_weighted(inout vec4 sums[SUMS], rows other)
{
    for (uint s = 0; s < TILE; s += 2 * DEPTH) {
        add_chunk(sums, other, s, 0);
        add_chunk(sums, other, s, 1);
        add_chunk(sums, other, s, 2);
        add_chunk(sums, other, s, 3);
    }
}

void store_row(F32 y, uint at, vec4 x, uint d)
{
    if (BY_FOUR) {
        if (d < dim)
            Vec4(y).v[(at + d) / 4] = x;
        return;
    }
    for (uint j = 0; j < 4; j++)
        if (d + j < dim)
            y.v[at + d + j] = x[j];
}

// factor times the sums, as `own` rows of y
void store_sums(F32 y, rows own, vec4 sums[SUMS], float factor)
{
    [[unroll]] for (uint i = 0; i < 4; i++) {
        uint row = own.first + 4 * ty + i;
        if (row < own.end)
            [[unroll]] for (uint c = 0; c < CHUNKS; c++)
                store_row(y, row * own.stride + own.offset,
                          factor * sums[4 * c + i], FIRST + 64 * c + 4 * tx);
    }
}

// What queries [first, end) see: tokens from start[t], of the sequence that
// begins at `begin`, and of the window.
void find_first_seen(InI32 start, uint first, uint end, uint begin, uint window)
{
    barrier();
    if (id == 0)
        first_of_tile = 0x7fffffff;
    barrier();
    if (id < TILE) {
        int t = int(first + id);
        int from = 0x7fffffff;
        if (first + id < end) {
            from = max(start.v[t], int(begin));
            if (window > 0)
                from = max(from, t - int(window) + 1);
        }
        first_seen[id] = from;
        atomicMin(first_of_tile, from);
    }
    barrier();
}
