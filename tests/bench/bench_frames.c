// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Somebody else's work on the same GPU: about two milliseconds of it every
 * 16.6 ms, as a screen of 60 frames a second asks for. Prints how often it was
 * not done in time, and how long it took. Run alone and beside a training.
 *
 * usage: bench_frames [--device NAME] [--seconds S] [--json]
 */

#include "engine/backend.h"
#include "engine/base/clock.h"
#include "engine/base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef POCK_VULKAN

enum {
    FRAME_NS = 16666667,
    WORK_NS = 2000000,
    ADDS_MAX = 4096,
    FRAMES_MAX = 36000
};

struct frames {
    const struct backend *backend;
    struct device *dev;
    struct buffer *arena;
    struct instr adds[ADDS_MAX];
    uint32_t n_adds;
    double ms[FRAMES_MAX];
    int n;
    int n_missed;
};

static struct operand place(size_t offset, int64_t n)
{
    return (struct operand){.region = REGION_ARENA,
                            .dtype = DTYPE_f32,
                            .rank = 1,
                            .offset = offset,
                            .ne = {1, 1, 1, n}};
}

static double run_once(struct frames *f)
{
    const struct bindings b = {.arena = f->arena};
    const uint64_t begin = clock_monotonic_ns();

    if (f->backend->run(f->dev, f->adds, f->n_adds, &b) != (int) f->n_adds)
        return -1;
    return (double) (clock_monotonic_ns() - begin);
}

// As many additions as take two milliseconds on this device.
static int calibrate(struct frames *f, struct error *err)
{
    const int64_t n = 4 << 20;

    if (f->backend->buffer_create(&f->arena, f->dev, (size_t) n * 12) < 0)
        return error_set(err, -1, "no memory");
    for (int i = 0; i < ADDS_MAX; i++)
        f->adds[i] = (struct instr){
            .op = OP_add,
            .n_in = 2,
            .n_out = 1,
            .in = {place(0, n), place((size_t) n * 4, n)},
            .out = {place((size_t) n * 8, n)},
        };
    // Long enough to wake a device that idles slowly.
    const uint64_t end = clock_monotonic_ns() + 1500000000u;
    for (f->n_adds = 1; clock_monotonic_ns() < end;) {
        const double ns = run_once(f);
        if (ns < 0)
            return error_set(err, -1, "the device failed");
        const double wanted = f->n_adds * (WORK_NS / ns);
        f->n_adds = wanted < 1          ? 1
                    : wanted > ADDS_MAX ? ADDS_MAX
                                        : (uint32_t) wanted;
    }
    return 0;
}

static int measure(struct frames *f, double seconds, struct error *err)
{
    const uint64_t begin = clock_monotonic_ns();

    while (f->n < FRAMES_MAX && f->n * (FRAME_NS * 1e-9) < seconds) {
        const uint64_t at = begin + (uint64_t) f->n * FRAME_NS;
        const struct timespec t = {(time_t) (at / 1000000000u),
                                   (long) (at % 1000000000u)};
        (void) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        const double ns = run_once(f);
        if (ns < 0)
            return error_set(err, -1, "the device failed");
        // From when the frame was due, not from when it could begin.
        const double late = (double) (clock_monotonic_ns() - at);
        f->ms[f->n++] = late * 1e-6;
        f->n_missed += late > FRAME_NS;
    }
    return 0;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *) a;
    const double y = *(const double *) b;

    return (x > y) - (x < y);
}

static void print(struct frames *f, bool is_json)
{
    qsort(f->ms, (size_t) f->n, sizeof(f->ms[0]), by_size);
    (void)
        printf(is_json
                   ? "{\"bench\":\"frames\",\"frames\":%d,\"missed\":%d,"
                     "\"missed_pct\":%.3f,\"median_ms\":%.2f,\"p99_ms\":%.2f,"
                     "\"max_ms\":%.2f}\n"
                   : "frames: %d, missed %d (%.3f %%), median %.2f ms, 99 %% "
                     "within %.2f ms, longest %.2f ms\n",
               f->n, f->n_missed, 100.0 * f->n_missed / f->n, f->ms[f->n / 2],
               f->ms[f->n * 99 / 100], f->ms[f->n - 1]);
}

int main(int argc, char **argv)
{
    static struct frames f = {.backend = &vulkan_backend};
    struct device_params params = {0};
    struct error err = {0};
    double seconds = 10;
    bool is_json = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            is_json = true;
        else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc)
            params.tier = argv[++i];
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = strtod(argv[++i], NULL);
    }
    int rc = f.backend->open(&f.dev, &params, &err);
    if (rc >= 0 && (rc = calibrate(&f, &err)) >= 0 &&
        (rc = measure(&f, seconds, &err)) >= 0)
        print(&f, is_json);
    if (rc < 0)
        (void) fprintf(stderr, "bench_frames: %s\n", err.text);
    f.backend->buffer_destroy(f.arena);
    f.backend->close(f.dev);
    return rc < 0;
}

#else

int main(void)
{
    (void) fprintf(stderr, "bench_frames: this build has no Vulkan\n");
    return 1;
}

#endif
