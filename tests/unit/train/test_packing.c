// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/packing.h"

#include "engine/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// A dataset of records with the given numbers of tokens. Token i of all is
// i + 1; the first token of a record never counts.
static struct dataset *make(const uint32_t *sizes, uint32_t n, uint32_t length,
                            uint32_t overlap)
{
    struct dataset *d = calloc(1, sizeof *d);
    size_t total = 0;

    for (uint32_t i = 0; i < n; i++)
        total += sizes[i];
    d->ids = calloc(total, sizeof *d->ids);
    d->marks = calloc(total, 1);
    for (uint32_t i = 0; i < n; i++) {
        const size_t first = d->n_ids;
        for (uint32_t j = 0; j < sizes[i]; j++) {
            d->ids[d->n_ids] = (int32_t) d->n_ids + 1;
            d->marks[d->n_ids++] = j > 0;
        }
        assert_int_equal(dataset_add_windows(d, i, first, length, overlap), 0);
    }
    return d;
}

static void windows_cover_every_target_once(void **state)
{
    static const uint32_t overlaps[] = {0, 1, 7};

    for (int k = 0; k < 3; k++) {
        for (uint32_t size = 1; size < 70; size++) {
            struct dataset *d = make(&size, 1, 16, overlaps[k]);
            uint8_t seen[70] = {0};
            for (size_t i = 0; i < d->n_windows; i++) {
                const struct dataset_window *w = &d->windows[i];
                assert_in_range(w->count, 2, 17);
                for (uint32_t p = 0; p + 1 < w->count; p++)
                    seen[w->first + p + 1] += dataset_is_target(d, w, p);
            }
            for (uint32_t t = 1; t < size; t++)
                assert_int_equal(seen[t], 1);
            assert_int_equal(d->n_targets, size - 1);
            assert_int_equal(d->n_records, size > 1);
            dataset_destroy(d);
        }
    }
}

static void windows_without_a_target_are_left_out(void **state)
{
    const uint32_t size = 64;
    struct dataset *d = make(&size, 1, 16, 0);

    d->n_windows = 0;
    d->n_targets = 0;
    memset(d->marks, 0, 60); // a long prompt and a short answer
    assert_int_equal(dataset_add_windows(d, 0, 0, 16, 0), 0);
    assert_int_equal(d->n_windows, 1);
    assert_int_equal(d->n_targets, 4);
    dataset_destroy(d);
}

static void check_places(const struct packing *p, const struct dataset *d,
                         const struct packing_rows *r)
{
    const size_t count = (size_t) p->n_rows * p->length;
    uint64_t n_targets = 0, n_tokens = 0;

    for (size_t t = 0; t < count; t++) {
        const size_t row = t / p->length * p->length;
        assert_true(r->start[t] >= (int32_t) row && r->start[t] <= (int32_t) t);
        n_targets += r->weights[t] != 0;
        n_tokens += r->tokens[t] != 0;
        if (r->tokens[t] == 0) {
            assert_int_equal(r->start[t], t);
            assert_true(r->weights[t] == 0);
            continue;
        }
        assert_int_equal(r->pos[t], (int32_t) t - r->start[t]);
        // Neighbours of one window follow each other in the text.
        assert_int_equal(r->tokens[t], r->tokens[r->start[t]] + r->pos[t]);
        if (r->weights[t] != 0)
            assert_int_equal(r->targets[t], r->tokens[t] + 1);
    }
    assert_int_equal(n_targets, p->n_targets);
    assert_int_equal(n_tokens, p->n_tokens);
}

static void every_token_sees_its_own_record_only(void **state)
{
    struct rng rng;

    rng_init(&rng, 3, 0);
    for (int round = 0; round < 50; round++) {
        struct packing p = {0};
        struct packing_rows r;
        uint32_t sizes[12], windows[64];
        const uint32_t n = 1 + rng_below(&rng, 12);

        for (uint32_t i = 0; i < n; i++)
            sizes[i] = 2 + rng_below(&rng, 150);
        struct dataset *d = make(sizes, n, 96, 0);
        for (uint32_t i = 0; i < d->n_windows; i++)
            windows[i] = i;
        assert_int_equal(packing_assign(&p, d, windows, (uint32_t) d->n_windows,
                                        96),
                         0);
        assert_int_equal(packing_rows_init(&r, (size_t) p.n_rows * p.length),
                         0);
        packing_fill(&r, &p, d, 0, p.n_rows, 0.5F);
        check_places(&p, d, &r);
        packing_rows_finish(&r);
        packing_finish(&p);
        dataset_destroy(d);
    }
}

static void short_records_share_a_short_row(void **state)
{
    static const uint32_t sizes[] = {21, 21, 21, 2};
    static const uint32_t windows[] = {0, 1, 2, 3};
    struct dataset *d = make(sizes, 4, 256, 0);
    struct packing p = {0};

    assert_int_equal(packing_assign(&p, d, windows, 4, 256), 0);
    assert_int_equal(p.length, 64); // 61 places
    assert_int_equal(p.n_rows, 1);
    assert_int_equal(packing_assign(&p, d, windows, 3, 256), 0);
    assert_int_equal(p.length, 64);
    packing_finish(&p);
    dataset_destroy(d);
}

static void rows_past_the_end_are_padding(void **state)
{
    static const uint32_t size = 10, window = 0;
    struct dataset *d = make(&size, 1, 16, 0);
    struct packing p = {0};
    struct packing_rows r;

    assert_int_equal(packing_assign(&p, d, &window, 1, 16), 0);
    assert_int_equal(packing_rows_init(&r, 3 * p.length), 0);
    packing_fill(&r, &p, d, 0, 3, 1);
    for (uint32_t t = p.length; t < 3 * p.length; t++) {
        assert_int_equal(r.tokens[t], 0);
        assert_int_equal(r.start[t], t);
        assert_true(r.weights[t] == 0);
    }
    packing_rows_finish(&r);
    packing_finish(&p);
    dataset_destroy(d);
}

static void lengths_end_with_the_longest(void **state)
{
    uint32_t lengths[PACKING_LENGTHS];

    assert_int_equal(packing_lengths(lengths, 256), 4);
    assert_int_equal(lengths[0], 64);
    assert_int_equal(lengths[3], 256);
    for (uint32_t l = 1; l < 600; l++) {
        const uint32_t n = packing_lengths(lengths, l);
        assert_in_range(n, 1, PACKING_LENGTHS);
        assert_int_equal(lengths[n - 1], l);
        for (uint32_t i = 1; i < n; i++)
            assert_true(lengths[i] > lengths[i - 1]);
    }
}

static void an_epoch_is_a_permutation_of_its_own(void **state)
{
    uint32_t a[100], b[100];
    uint8_t seen[100] = {0};

    packing_shuffle(a, 100, 1, 0);
    packing_shuffle(b, 100, 1, 0);
    assert_memory_equal(a, b, sizeof a);
    for (int i = 0; i < 100; i++)
        seen[a[i]]++;
    for (int i = 0; i < 100; i++)
        assert_int_equal(seen[i], 1);
    packing_shuffle(b, 100, 1, 1);
    assert_memory_not_equal(a, b, sizeof a);
    packing_shuffle(b, 100, 2, 0);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_cover_every_target_once),
        cmocka_unit_test(windows_without_a_target_are_left_out),
        cmocka_unit_test(every_token_sees_its_own_record_only),
        cmocka_unit_test(short_records_share_a_short_row),
        cmocka_unit_test(rows_past_the_end_are_padding),
        cmocka_unit_test(lengths_end_with_the_longest),
        cmocka_unit_test(an_epoch_is_a_permutation_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
