// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A table of kernel times: all of it, or, after a first byte 'S', what stands
 * before a checksum that is right. What is taken for one gives the same bytes
 * again, answers every question with times above zero, and can be added to.
 * Whatever it is, a table can be put in front of it, and is found there.
 */

#include "engine/base/hash.h"
#include "engine/plan/timetables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_bytes(const struct timetable *t, const void *data,
                        size_t size)
{
    void *again;
    size_t bytes;

    if (timetable_encode(&again, &bytes, t) < 0)
        abort();
    if (bytes != size || memcmp(again, data, size) != 0)
        abort();
    free(again);
}

static void check_find(const struct timetable *t, struct timetable_shape s)
{
    double ns[TIMETABLE_TARGETS_MAX];
    const enum timetable_source source = timetable_find(ns, t, &s);
    bool is_known = false;

    for (uint32_t i = 0; i < timetable_targets(t); i++) {
        if (!(ns[i] > 0))
            abort();
        is_known |= isfinite(ns[i]);
    }
    if (is_known != (source != TIMETABLE_NOTHING))
        abort();
}

static void check_put(struct timetable *t, struct timetable_shape s)
{
    const uint32_t rows = timetable_rows(t);
    const uint64_t ns[TIMETABLE_TARGETS_MAX] = {5};
    const uint32_t more =
        !timetable_has(t, &s) && rows < TIMETABLE_ROWS_MAX ? 1 : 0;
    double found[TIMETABLE_TARGETS_MAX];

    if (timetable_put(t, &s, ns, UINT64_MAX) < 0 ||
        timetable_rows(t) != rows + more ||
        timetable_find(found, t, &s) != TIMETABLE_MEASURED || found[0] != 5)
        abort();
}

static void check(const uint8_t *data, size_t size)
{
    struct timetable *t;

    if (timetable_decode(&t, data, size, NULL) < 0)
        return;
    check_bytes(t, data, size);
    for (uint32_t i = 0; i < timetable_targets(t); i++) {
        const struct timetable_target *x = timetable_target(t, i);
        if (x->threads > timetable_threads(t) ||
            strlen(x->kernel) >= sizeof(x->kernel))
            abort();
    }
    // A shape of the file, if it has one, and one that is near.
    struct timetable_shape s = {1, 2, 3, 4};
    const size_t row = 40 + timetable_targets(t) * sizeof(uint64_t);
    if (timetable_rows(t) > 0)
        memcpy(&s, data + size - HASH_BYTES - row, sizeof(s));
    check_find(t, s);
    s.exact++;
    check_find(t, s);
    s.family++;
    check_find(t, s);
    check_put(t, s);
    timetable_destroy(t);
}

static void check_several(const uint8_t *data, size_t size)
{
    static const struct timetable_target target = {"x", 1};
    static const char device[] = "vulkan x, driver 1";
    const struct timetable_params params = {
        .device = device,
        .build = "1 2",
        .threads = 1,
        .targets = &target,
        .n_targets = 1,
    };
    struct timetable *t, *mine;
    size_t n;
    void *all;

    if (timetables_find(&t, data, size, "cpu x", NULL, 0, NULL) == 0)
        timetable_destroy(t);
    if (timetable_create(&mine, &params) < 0 ||
        timetables_put(&all, &n, mine, data, size) < 0 ||
        timetables_find(&t, all, n, device, NULL, 0, NULL) < 0)
        abort();
    timetable_destroy(t);
    timetable_destroy(mine);
    free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_several(data, size);
    if (size == 0 || data[0] != 'S') {
        check(data, size);
        return 0;
    }
    uint8_t *whole = malloc(size - 1 + HASH_BYTES);
    if (!whole)
        abort();
    memcpy(whole, data + 1, size - 1);
    hash_bytes(whole + size - 1, whole, size - 1);
    check(whole, size - 1 + HASH_BYTES);
    free(whole);
    return 0;
}
