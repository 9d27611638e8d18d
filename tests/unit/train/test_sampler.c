// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_VOCAB = 5 };
static const float logits[N_VOCAB] = {0.0F, 2.0F, 1.0F, 2.0F, -3.0F};

static void count(uint32_t hits[N_VOCAB], const struct sampler_params *params,
                  int draws)
{
    struct sampler *s;

    assert_int_equal(sampler_create(&s, N_VOCAB, params), 0);
    for (int i = 0; i < draws; i++)
        hits[sampler_pick(s, logits)]++;
    sampler_destroy(s);
}

static void temperature_zero_takes_the_first_of_the_best(void **state)
{
    uint32_t hits[N_VOCAB] = {0};

    count(hits, &(struct sampler_params){.seed = 1}, 10);
    assert_int_equal(hits[1], 10);
}

static void draws_follow_the_softmax(void **state)
{
    enum { DRAWS = 20000 };
    const struct sampler_params params = {.temperature = 2, .seed = 5};
    uint32_t hits[N_VOCAB] = {0};
    double total = 0;

    count(hits, &params, DRAWS);
    for (int i = 0; i < N_VOCAB; i++)
        total += exp(logits[i] / 2.0);
    for (int i = 0; i < N_VOCAB; i++) {
        const double p = exp(logits[i] / 2.0) / total;
        // Five standard deviations.
        assert_true(fabs(hits[i] - p * DRAWS) < 5 * sqrt(p * (1 - p) * DRAWS));
    }
}

static void top_k_and_top_p_cut_the_tail(void **state)
{
    uint32_t hits[N_VOCAB] = {0};

    count(hits, &(struct sampler_params){.temperature = 1, .top_k = 3}, 2000);
    assert_int_equal(hits[0] + hits[4], 0);
    assert_true(hits[1] > 0 && hits[2] > 0 && hits[3] > 0);
    // Tokens 1 and 3 hold 0.77 of the probability together.
    uint32_t top[N_VOCAB] = {0};
    count(top, &(struct sampler_params){.temperature = 1, .top_p = 0.7F}, 2000);
    assert_int_equal(top[1] + top[3], 2000);
    assert_true(top[1] > 0 && top[3] > 0);
    // A tiny top_p still leaves one.
    uint32_t one[N_VOCAB] = {0};
    count(one, &(struct sampler_params){.temperature = 1, .top_p = 1e-6F}, 100);
    assert_int_equal(one[1], 100);
}

static void the_heap_finds_the_best_of_many(void **state)
{
    enum { MANY = 1000 };
    float many[MANY];
    uint32_t hits[MANY] = {0};
    const struct sampler_params params = {.temperature = 50, .top_k = 7};
    struct sampler *s;

    for (int i = 0; i < MANY; i++)
        many[i] = (float) (i * 389 % MANY);
    assert_int_equal(sampler_create(&s, MANY, &params), 0);
    for (int i = 0; i < 3000; i++)
        hits[sampler_pick(s, many)]++;
    for (int i = 0; i < MANY; i++)
        assert_int_equal(hits[i] > 0, many[i] >= MANY - 7);
    sampler_destroy(s);
}

static void of_equals_the_first_are_kept(void **state)
{
    enum { MANY = 50, BEST = 31 };
    float many[MANY] = {0};
    uint32_t hits[MANY] = {0};
    const struct sampler_params params = {.temperature = 1, .top_k = 3};
    struct sampler *s;

    many[BEST] = 0.5F;
    assert_int_equal(sampler_create(&s, MANY, &params), 0);
    for (int i = 0; i < 1000; i++)
        hits[sampler_pick(s, many)]++;
    for (int i = 0; i < MANY; i++)
        assert_int_equal(hits[i] > 0, i == 0 || i == 1 || i == BEST);
    sampler_destroy(s);
}

static void a_seed_gives_the_same_tokens_again(void **state)
{
    const struct sampler_params params = {.temperature = 1, .seed = 9};
    struct sampler *a, *b;

    assert_int_equal(sampler_create(&a, N_VOCAB, &params), 0);
    assert_int_equal(sampler_create(&b, N_VOCAB, &params), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(sampler_pick(a, logits), sampler_pick(b, logits));
    sampler_destroy(a);
    sampler_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(temperature_zero_takes_the_first_of_the_best),
        cmocka_unit_test(draws_follow_the_softmax),
        cmocka_unit_test(top_k_and_top_p_cut_the_tail),
        cmocka_unit_test(the_heap_finds_the_best_of_many),
        cmocka_unit_test(of_equals_the_first_are_kept),
        cmocka_unit_test(a_seed_gives_the_same_tokens_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
