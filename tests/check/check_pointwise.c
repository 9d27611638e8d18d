// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>

// Kernels that go over values one by one.

static const int64_t counts[] = {1, 7, 8, 9, 33, 1000, 16384, 40001};

enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

static bool gated_case(KERNEL_swiglu((*ref)), KERNEL_swiglu((*fn)),
                       const char *what, const char *isa, bool bench)
{
    bool ok = true;

    for (int c = 0; c < COUNTS; c++) {
        const int64_t n = counts[c];
        const float *gate = check_random(n, c & 1 ? 4.0f : 120.0f);
        const float *up = check_random(n, 1.0f);
        float *want = check_room(n);
        ref(want, gate, up, n, NULL);
        for (int i = 0; i < CHECK_POOLS + 1; i++) {
            float *y = i == CHECK_POOLS ? check_copy(gate, n) : check_room(n);
            fn(y, i == CHECK_POOLS ? y : gate, up, n,
               check_pools[i % CHECK_POOLS]);
            ok &= check_close(want, y, n, 0.1f, 5e-7f, "%s_%s n=%lld", what,
                              isa, (long long) n);
        }
    }
    if (bench) {
        const int64_t n = 256 * 1024;
        const float *x = check_random(n, 1.0f);
        float *y = check_room(n);
        char name[64];
        snprintf(name, sizeof(name), "%s_%s", what, isa);
        CHECK_BENCH(name, 0, 12 * n, fn(y, x, x, n, NULL));
    }
    return ok;
}

int check_swiglu(KERNEL_swiglu((*ref)), KERNEL_swiglu((*fn)), const char *isa,
                 bool bench)
{
    return !gated_case(ref, fn, "swiglu", isa, bench);
}

int check_geglu(KERNEL_geglu((*ref)), KERNEL_geglu((*fn)), const char *isa,
                bool bench)
{
    return !gated_case(ref, fn, "geglu", isa, bench);
}

static bool gated_back_case(KERNEL_swiglu_back((*ref)),
                            KERNEL_swiglu_back((*fn)), const char *what,
                            float tolerance, const char *isa, bool bench)
{
    bool ok = true;

    for (int c = 0; c < COUNTS; c++) {
        const int64_t n = counts[c];
        const float *dy = check_random(n, 1.0f);
        const float *gate = check_random(n, c & 1 ? 4.0f : 120.0f);
        const float *up = check_random(n, 1.0f);
        float *want[2] = {check_room(n), check_room(n)};
        ref(want[0], want[1], dy, gate, up, n, NULL);
        for (int i = 0; i < CHECK_POOLS + 2; i++) {
            float *got[2] = {check_room(n), check_room(n)};
            if (i >= CHECK_POOLS)
                got[i - CHECK_POOLS] = NULL;
            fn(got[0], got[1], dy, gate, up, n, check_pools[i % CHECK_POOLS]);
            for (int j = 0; j < 2; j++)
                if (got[j])
                    ok &= check_close(want[j], got[j], n, 0.1f, tolerance,
                                      "%s_%s n=%lld out %d", what, isa,
                                      (long long) n, j);
        }
    }
    if (bench) {
        const int64_t n = 256 * 1024;
        const float *x = check_random(n, 1.0f);
        float *y = check_room(n);
        float *z = check_room(n);
        char name[64];
        snprintf(name, sizeof(name), "%s_%s", what, isa);
        CHECK_BENCH(name, 0, 20 * n, fn(y, z, x, x, x, n, NULL));
    }
    return ok;
}

int check_swiglu_back(KERNEL_swiglu_back((*ref)), KERNEL_swiglu_back((*fn)),
                      const char *isa, bool bench)
{
    return !gated_back_case(ref, fn, "swiglu_back", 1e-6f, isa, bench);
}

int check_geglu_back(KERNEL_geglu_back((*ref)), KERNEL_geglu_back((*fn)),
                     const char *isa, bool bench)
{
    // The slope of a cubic times a small rest of 1.
    return !gated_back_case(ref, fn, "geglu_back", 3e-6f, isa, bench);
}

int check_soft_cap(KERNEL_soft_cap((*ref)), KERNEL_soft_cap((*fn)),
                   const char *isa, bool bench)
{
    bool ok = true;

    for (int c = 0; c < COUNTS; c++) {
        const int64_t n = counts[c];
        const float *x = check_random(n, c & 1 ? 400.0f : 10.0f);
        float *want = check_room(n);
        ref(want, x, 30, n, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = check_room(n);
            float *in = check_copy(x, n);
            fn(y, x, 30, n, check_pools[i]);
            fn(in, in, 30, n, check_pools[i]);
            ok &= check_close(want, y, n, 1e-3f, 6e-7f, "soft_cap_%s", isa) &&
                  check_same(y, in, n, "soft_cap_%s in place", isa);
        }
    }
    (void) bench;
    return !ok;
}

int check_soft_cap_back(KERNEL_soft_cap_back((*ref)),
                        KERNEL_soft_cap_back((*fn)), const char *isa,
                        bool bench)
{
    bool ok = true;

    for (int c = 0; c < COUNTS; c++) {
        const int64_t n = counts[c];
        const float *dy = check_random(n, 1.0f);
        const float *y = check_random(n, 30.0f);
        float *want = check_room(n);
        ref(want, dy, y, 30, n, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *dx = check_room(n);
            float *in = check_copy(dy, n);
            fn(dx, dy, y, 30, n, check_pools[i]);
            fn(in, in, y, 30, n, check_pools[i]);
            ok &= check_close(want, dx, n, 0.1f, 1e-6f, "soft_cap_back_%s",
                              isa) &&
                  check_same(dx, in, n, "soft_cap_back_%s in place", isa);
        }
    }
    (void) bench;
    return !ok;
}

int check_add(KERNEL_add((*ref)), KERNEL_add((*fn)), const char *isa,
              bool bench)
{
    bool ok = true;

    for (int c = 0; c < COUNTS; c++) {
        const int64_t n = counts[c];
        const float *a = check_random(n, 1.0f);
        const float *b = check_random(n, 1.0f);
        float *want = check_room(n);
        ref(want, a, b, n, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = check_room(n);
            float *in_a = check_copy(a, n);
            float *in_b = check_copy(b, n);
            fn(y, a, b, n, check_pools[i]);
            fn(in_a, in_a, b, n, check_pools[i]);
            fn(in_b, a, in_b, n, check_pools[i]);
            ok &= check_same(want, y, n, "add_%s", isa) &&
                  check_same(want, in_a, n, "add_%s into a", isa) &&
                  check_same(want, in_b, n, "add_%s into b", isa);
        }
    }
    (void) bench;
    return !ok;
}

int check_scale(KERNEL_scale((*ref)), KERNEL_scale((*fn)), const char *isa,
                bool bench)
{
    bool ok = true;

    for (int c = 0; c < COUNTS; c++) {
        const int64_t n = counts[c];
        const float *x = check_random(n, 1.0f);
        float *want = check_room(n);
        ref(want, x, -0.3f, n, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = check_room(n);
            float *in = check_copy(x, n);
            fn(y, x, -0.3f, n, check_pools[i]);
            fn(in, in, -0.3f, n, check_pools[i]);
            ok &= check_same(want, y, n, "scale_%s", isa) &&
                  check_same(want, in, n, "scale_%s in place", isa);
        }
    }
    (void) bench;
    return !ok;
}

int check_accumulate(KERNEL_accumulate((*ref)), KERNEL_accumulate((*fn)),
                     const char *isa, bool bench)
{
    bool ok = true;

    for (int c = 0; c < COUNTS; c++) {
        const int64_t n = counts[c];
        const float *sum = check_random(n, 1.0f);
        const float *g = check_random(n, 1.0f);
        float *want = check_copy(sum, n);
        ref(want, g, n, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = check_copy(sum, n);
            fn(y, g, n, check_pools[i]);
            ok &= check_same(want, y, n, "accumulate_%s", isa);
        }
    }
    (void) bench;
    return !ok;
}

int check_zero(KERNEL_zero((*ref)), KERNEL_zero((*fn)), const char *isa,
               bool bench)
{
    float *x = check_random(100, 1.0f);
    float *y = check_random(100, 1.0f);
    bool ok = true;

    ref(x, 100, NULL);
    fn(y, 100, check_pools[1]);
    for (int i = 0; i < 100; i++)
        ok &= x[i] == 0.0f && y[i] == 0.0f;
    if (!ok)
        printf("FAIL zero_%s\n", isa);
    (void) bench;
    return !ok;
}

int check_adamw(KERNEL_adamw((*ref)), KERNEL_adamw((*fn)), const char *isa,
                bool bench)
{
    float hyper[ADAMW_HYPERS] =
        {[ADAMW_LR] = 3e-3f,       [ADAMW_BETA1] = 0.9f,
         [ADAMW_BETA2] = 0.999f,   [ADAMW_EPS] = 1e-8f,
         [ADAMW_DECAY] = 0.1f,     [ADAMW_CORRECT1] = 0.19f,
         [ADAMW_CORRECT2] = 0.002f};
    bool ok = true;

    for (int c = 0; c < 2 * COUNTS; c++) {
        const int64_t n = counts[c / 2];
        struct instr in = {.op = OP_adamw, .n_in = 5, .n_out = 3};
        const float *x[3] = {check_random(n, 1.0f), check_random(n, 0.1f),
                             check_random(n, 0.1f)};
        const float *g = check_random(n, 1.0f);
        const float scale[3] = {0.1f, 0.1f, 0.1f};
        float *want[3];

        in.in[0] = check_operand(DTYPE_f32, 1, n);
        hyper[ADAMW_CLIP] = c & 1 ? 0.5f : 0.0f;
        for (int j = 0; j < 3; j++)
            want[j] = check_copy(x[j], n);
        for (int64_t i = 0; i < n; i++)
            want[2][i] = fabsf(want[2][i]); // second moments
        float *v = check_copy(want[2], n);
        ref(want[0], want[1], want[2], g, hyper, n, check_scratch(&in), NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *got[3] = {check_copy(x[0], n), check_copy(x[1], n),
                             check_copy(v, n)};
            fn(got[0], got[1], got[2], g, hyper, n, check_scratch(&in),
               check_pools[i]);
            for (int j = 0; j < 3; j++)
                ok &= check_close(want[j], got[j], n, scale[j], 2e-6f,
                                  "adamw_%s n=%lld state %d", isa,
                                  (long long) n, j);
        }
    }
    (void) bench;
    return !ok;
}

int check_momentum(KERNEL_momentum((*ref)), KERNEL_momentum((*fn)),
                   const char *isa, bool bench)
{
    const float hyper[ADAMW_HYPERS] =
        {[ADAMW_LR] = 0.5f, [ADAMW_BETA1] = 0.75f, [ADAMW_DECAY] = 0.25f};
    const float *p0 = check_random(40001, 1.0f);
    const float *m0 = check_random(40001, 1.0f);
    const float *g = check_random(40001, 1.0f);
    bool ok = true;

    for (int i = 0; i < CHECK_POOLS; i++) {
        float *p = check_copy(p0, 40001), *m = check_copy(m0, 40001);
        fn(p, m, g, hyper, 40001, check_pools[i]);
        for (int j = 0; j < 40001; j++) {
            const double want_m = 0.75 * m0[j] + g[j];
            const double want_p = p0[j] - 0.5 * (want_m + 0.25 * p0[j]);
            ok &= fabs(m[j] - want_m) < 1e-6 && fabs(p[j] - want_p) < 1e-6;
        }
    }
    if (!ok)
        printf("momentum_%s is wrong\n", isa);
    (void) ref;
    (void) bench;
    return !ok;
}
