// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// The targets that a device's instructions are timed on.

#include "engine/train/tuner.h"

#include "engine/base/buildid.h"
#include "engine/base/error.h"
#include "engine/plan/timetable.h"
#include "engine/train/base_model.h"

#include <string.h>

enum { KERNELS_MAX = 2 * BACKEND_KERNELS_MAX }; // by name, of all operators

static bool has_kernel(const struct backend_kernel *k, uint32_t n,
                       const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(k[i].name, name) == 0)
            return true;
    return false;
}

// "c", "avx2", ... in the order of the device, the best one last: those of the
// operator that has most of them, and in front of these what others have.
static uint32_t list_kernels(struct backend_kernel out[KERNELS_MAX],
                             const struct base_model *base)
{
    struct backend_kernel k[BACKEND_KERNELS_MAX];
    uint32_t n = 0, first = KERNELS_MAX;

    for (int op = 0; op < OP_COUNT; op++) {
        const uint32_t m = base->backend->kernels(k, base->dev, (enum op) op);
        if (m > n) {
            memcpy(out, k, m * sizeof *k);
            n = m;
        }
    }
    memmove(out + KERNELS_MAX - n, out, n * sizeof *out);
    first -= n;
    for (int op = 0; op < OP_COUNT; op++) {
        const uint32_t m = base->backend->kernels(k, base->dev, (enum op) op);
        for (uint32_t i = 0; i < m && first > 0; i++)
            if (!has_kernel(out + first, KERNELS_MAX - first, k[i].name))
                out[--first] = k[i];
    }
    memmove(out, out + first, (KERNELS_MAX - first) * sizeof *out);
    return KERNELS_MAX - first;
}

int tuner_table(struct timetable **out, const struct base_model *base,
                struct error *err)
{
    const uint32_t threads = base->backend->threads(base->dev);
    struct timetable_target targets[TIMETABLE_TARGETS_MAX] = {0};
    struct backend_kernel kernels[KERNELS_MAX];
    const uint32_t n_kernels = list_kernels(kernels, base);
    char build[TIMETABLE_BUILD];
    uint32_t n = 0;

    for (uint32_t k = n_kernels; k-- > 0;)
        for (uint32_t t = threads; t > 0 && n < TIMETABLE_TARGETS_MAX;) {
            strncpy(targets[n].kernel, kernels[k].name, TIMETABLE_KERNEL - 1);
            targets[n++].threads = t;
            // All, and then powers of two.
            uint32_t less = 1;
            while (less * 2 < t)
                less *= 2;
            t = t > 1 ? less : 0;
        }
    buildid_get(build, sizeof build);
    const struct timetable_params params = {
        .device = base->backend->identify(base->dev),
        .build = build,
        .threads = threads,
        .targets = targets,
        .n_targets = n,
    };
    const int rc = timetable_create(out, &params);
    return rc < 0 ? error_set(err, rc, "kernel times: out of memory") : 0;
}
