// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Check of kernels
 *
 * Each kernel of cpu_kernels.def runs on random inputs of awkward shapes and
 * is compared with the C kernel of its family; outputs and scratch start as
 * NaN between guards, and every number of threads must give the same bytes.
 */

#include "engine/cpu/cpu_kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A function for each row of ops.def. Returns whether the kernel is wrong.
#define OP(family, ...)                                                 \
    int check_##family(KERNEL_##family((*ref)), KERNEL_##family((*fn)), \
                       const char *isa, bool bench);
#include "engine/ir/ops.def"
#undef OP

enum { CHECK_POOLS = 3, CHECK_THREADS = 8 }; // of one, two and eight threads
extern struct pool *check_pools[CHECK_POOLS];
// C kernels have no threads, and their products take long: once is enough.
int check_runs(bool is_c);
// Of the cases of products each n-th: 1, or more where everything is slow.
extern unsigned check_stride;

// Memory of one case, freed by check_end(). Sizes in floats.
float *check_room(int64_t n); // NaN
float *check_random(int64_t n, float amplitude);
float *check_copy(const float *x, int64_t n);
void *check_weights(enum dtype type, int64_t rows, int64_t cols);
int32_t *check_ints(int64_t n, int32_t from, int32_t to); // from .. to - 1
void *check_scratch(const struct instr *in);
int32_t check_below(int32_t n);

// The precision of a C kernel that the kernel of `isa` is to be compared with:
// not every instruction set rounds when it may.
enum precision check_precision(const char *isa, enum precision precision);

// An instruction's operand, as far as kernels look at it.
struct operand check_operand(enum dtype type, int64_t rows, int64_t cols);

// Largest |a - b| / (scale + |a|) must not be above `tol`; prints a failure.
bool check_close(const float *a, const float *b, int64_t n, float scale,
                 float tol, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
bool check_same(const float *a, const float *b, int64_t n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
// Frees what the case used; true when nothing wrote past its end.
bool check_end(const char *name);

// Runs the statement for some 50 ms and prints the best time.
double check_seconds(void);
void check_report(const char *name, double seconds, double flops, double bytes);
#define CHECK_BENCH(name, flops, bytes, call)                         \
    do {                                                              \
        double best = 1e9;                                            \
        double until = check_seconds() + 0.05;                        \
        do {                                                          \
            double t = check_seconds();                               \
            call;                                                     \
            t = check_seconds() - t;                                  \
            best = t < best ? t : best;                               \
        } while (check_seconds() < until);                            \
        check_report(name, best, (double) (flops), (double) (bytes)); \
    } while (0)
