// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/token_norms.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LENGTH = 8, N = 5 };

// Records of 9, 4, 6, 3 and 5 tokens, each a window of one place less.
static struct dataset *make(void)
{
    static const uint32_t sizes[N] = {9, 4, 6, 3, 5};
    struct dataset *d = calloc(1, sizeof *d);

    assert_non_null(d);
    d->ids = calloc(64, sizeof *d->ids);
    d->marks = calloc(64, 1);
    for (uint32_t i = 0; i < N; i++) {
        const size_t first = d->n_ids;
        for (uint32_t j = 0; j < sizes[i]; j++)
            d->marks[d->n_ids++] = j > 0;
        assert_int_equal(dataset_add_windows(d, i, first, LENGTH, 0), 0);
    }
    assert_int_equal(d->n_windows, N);
    return d;
}

struct rig {
    struct dataset *d;
    struct token_norms *n;
    struct packing p;
};

static void rig_init(struct rig *r, const uint32_t *windows, uint32_t n)
{
    *r = (struct rig){.d = make()};
    assert_int_equal(token_norms_create(&r->n, r->d, N * LENGTH), 0);
    assert_int_equal(packing_assign(&r->p, r->d, windows, n, LENGTH), 0);
}

static void rig_finish(struct rig *r)
{
    packing_finish(&r->p);
    token_norms_destroy(r->n);
    dataset_destroy(r->d);
}

static const uint32_t all[N] = {3, 0, 4, 2, 1};

// One for each token before the first time, zero in padding.
static void starts_alike_and_knows_padding(void **state)
{
    struct rig r;
    double sum = 0;

    rig_init(&r, all, N);
    assert_int_equal(token_norms_floats(r.n), 8 + 3 + 5 + 2 + 4);
    const float *norms = token_norms_of_rows(r.n, &r.p, 0, r.p.n_rows);
    for (uint32_t i = 0; i < r.p.n_rows * r.p.length; i++) {
        assert_true(norms[i] == 0 || norms[i] == 1);
        sum += (double) norms[i];
    }
    assert_true(sum == 8 + 3 + 5 + 2 + 4);
    assert_true(r.p.n_rows * r.p.length > 22);
    rig_finish(&r);
}

// What is taken in one packing is found in another one, window by window, in
// that of the average, and never below a tenth of it.
static void follows_windows_from_packing_to_packing(void **state)
{
    static const uint32_t two[2] = {1, 3};
    float squares[N * LENGTH] = {0};
    struct rig r;

    rig_init(&r, all, N);
    for (uint32_t i = 0; i < r.p.n_items; i++) {
        const struct packing_item *item = &r.p.items[i];
        for (uint32_t t = 0; t + 1 < r.d->windows[item->window].count; t++)
            squares[item->row * r.p.length + item->at + t] =
                item->window == 1 ? 9 * (float) t : 1;
    }
    token_norms_take(r.n, &r.p, 0, r.p.n_rows, squares);
    token_norms_commit(r.n, &r.p);
    // Window 1 has squares 0, 9 and 18, the 19 places of the others 1 each.
    const double mean = (19 + 27) / 22.0;
    assert_int_equal(packing_assign(&r.p, r.d, two, 2, LENGTH), 0);
    const float *norms = token_norms_of_rows(r.n, &r.p, 0, r.p.n_rows);
    for (uint32_t i = 0; i < 2; i++) {
        const struct packing_item *item = &r.p.items[i];
        const float *x = norms + item->row * r.p.length + item->at;
        for (uint32_t t = 0; t < (item->window == 1 ? 3u : 2u); t++) {
            const double square = item->window == 1 ? 9.0 * t : 1;
            const double want = fmax(0.1, sqrt(square / mean));
            assert_true(fabs((double) x[t] - want) < 1e-6);
        }
    }
    rig_finish(&r);
}

// A step that is cut off and done again must see what it saw.
static void nothing_counts_before_the_commit(void **state)
{
    float squares[N * LENGTH];
    struct rig r;

    rig_init(&r, all, N);
    for (int i = 0; i < N * LENGTH; i++)
        squares[i] = (float) (i % 7);
    token_norms_take(r.n, &r.p, 0, r.p.n_rows, squares);
    for (size_t i = 0; i < token_norms_floats(r.n); i++)
        assert_true(token_norms_values(r.n)[i] == 1);
    token_norms_commit(r.n, &r.p);
    uint32_t changed = 0;
    for (size_t i = 0; i < token_norms_floats(r.n); i++)
        changed += token_norms_values(r.n)[i] != 1;
    assert_true(changed > 15);
    rig_finish(&r);
}

// No gradient at all, as before the first update of LoRA: the old numbers stay.
static void zeros_say_nothing(void **state)
{
    float squares[N * LENGTH] = {0};
    struct rig r;

    rig_init(&r, all, N);
    token_norms_values(r.n)[4] = 0.5F;
    token_norms_take(r.n, &r.p, 0, r.p.n_rows, squares);
    token_norms_commit(r.n, &r.p);
    for (size_t i = 0; i < token_norms_floats(r.n); i++)
        assert_true(token_norms_values(r.n)[i] == (i == 4 ? 0.5F : 1));
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_alike_and_knows_padding),
        cmocka_unit_test(follows_windows_from_packing_to_packing),
        cmocka_unit_test(nothing_counts_before_the_commit),
        cmocka_unit_test(zeros_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
