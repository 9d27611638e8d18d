// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Sums over a workgroup, of a power of two of threads, in an order that depends
// on its size alone.

shared float reduce_room[gl_WorkGroupSize.x];

// What all threads' `x` add up to, to each of them.
float sum_of_all(float x)
{
    uint i = gl_LocalInvocationID.x;

    barrier(); // somebody may still read the sum before
    reduce_room[i] = x;
    for (uint half_ = gl_WorkGroupSize.x / 2; half_ > 0; half_ /= 2) {
        barrier();
        if (i < half_)
            reduce_room[i] += reduce_room[i + half_];
    }
    barrier();
    return reduce_room[0];
}
