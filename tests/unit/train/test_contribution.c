// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/contribution.h"

#include "engine/base/error.h"
#include "engine/train/adapter_state.h"
#include "engine/train/base_model.h"
#include "engine/train/dataset.h"
#include "engine/train/evaluator.h"
#include "engine/train/packing.h"
#include "engine/train/program_cache.h"
#include "tests/support/test_device.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LENGTH = 64, ROUNDS = 200 };

static atomic_bool stop;

struct rig {
    struct device *dev;
    struct base_model *base;
    struct dataset *data;
    struct adapter_state *state;
};

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

static void rig_init(struct rig *r, uint32_t threads, size_t n_records)
{
    static const char *const texts[] = {
        "bees make honey in the rain",
        "the wheel of the old tea wagon squeaks all day long",
        "a bell rings for the dog",
    };
    const struct device_params device = {.threads = threads, .stop = &stop};
    struct record records[3];
    struct error err;
    const int fd = tinyfile_create(1);

    *r = (struct rig){0};
    for (int i = 0; i < 3; i++)
        records[i] = (struct record){
            .id = i + 1,
            .kind = RECORD_TEXT,
            .text = {texts[i], strlen(texts[i])},
        };
    ok(test_device_open(&r->dev, &device, &err), &err);
    ok(base_model_open(&r->base, test_backend(), r->dev, fd, &err), &err);
    (void) close(fd);
    const struct dataset_params params = {.records = records,
                                          .n_records = n_records,
                                          .length = LENGTH};
    ok(dataset_create(&r->data, &r->base->chat, &params, &err), &err);
}

static void rig_finish(struct rig *r)
{
    adapter_state_destroy(r->state);
    dataset_destroy(r->data);
    base_model_close(r->base);
    test_backend()->close(r->dev);
}

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct rig *r = user;
    return adapter_state_bind(out, r->state, slot, err);
}

// The squared gradient of a whole weight, by eighths: the gradient of B with
// the unit matrix as A.
static void exact(double out[CONTRIBUTION_PARTS], struct rig *r, uint32_t block,
                  enum model_linear linear)
{
    struct scheme scheme;
    struct program_cache *cache;
    struct packing packing = {0};
    struct packing_rows rows;
    struct executor *x;
    struct error err;
    const uint32_t window = 0;
    char name[96];
    int64_t ne[2];

    model_linear_shape(ne, &r->base->config, linear);
    scheme_init(&scheme);
    scheme.alpha = (float) ne[1];
    scheme.linears[block][linear] =
        (struct scheme_linear){.learn = LEARN_LORA_B, .rank = (uint16_t) ne[1]};
    const struct adapter_state_params params = {.backend = test_backend(),
                                                .dev = r->dev,
                                                .config = &r->base->config,
                                                .scheme = &scheme};
    ok(adapter_state_create(&r->state, &params, &err), &err);
    float *values = calloc(adapter_state_floats(r->state), sizeof(float));
    assert_non_null(values);
    for (int64_t i = 0; i < ne[1]; i++)
        values[i * ne[1] + i] = 1;
    ok(adapter_state_write(r->state, ADAPTER_PART_VALUE, values), &err);
    ok(program_cache_create(&cache, r->base, bind_state, r), &err);
    ok(packing_assign(&packing, r->data, &window, 1, LENGTH), &err);
    const struct program_params shape = {.kind = PROGRAM_GRADIENT,
                                         .batch = 1,
                                         .length = packing.length,
                                         .scheme = &scheme};
    ok(program_cache_get(&x, cache, &shape, &err), &err);
    ok(packing_rows_init(&rows, LENGTH), &err);
    packing_fill(&rows, &packing, r->data, 0, 1,
                 1.0f / (float) r->data->n_targets);
    ok(evaluator_inputs(x, &rows, packing.length, NULL), &err);
    ok(executor_run(x), &err);
    (void) snprintf(name, sizeof(name), "grad.blk.%u.%s.weight.lora_b", block,
                    linear == MODEL_LINEAR_q ? "attn_q" : "ffn_down");
    ok(executor_read(x, name, values, (size_t) (ne[0] * ne[1]) * sizeof(float)),
       &err);
    for (int64_t i = 0; i < ne[0] * ne[1]; i++)
        out[i % ne[1] * CONTRIBUTION_PARTS / ne[1]] +=
            (double) values[i] * (double) values[i];
    packing_rows_finish(&rows);
    packing_finish(&packing);
    program_cache_destroy(cache);
    adapter_state_destroy(r->state);
    r->state = NULL;
    free(values);
}

// On the average over signs, for one window.
static void measures_the_gradient_of_whole_weights(void **state)
{
    static const enum model_linear linears[] = {MODEL_LINEAR_q,
                                                MODEL_LINEAR_down};
    double mean[2][CONTRIBUTION_PARTS] = {{0}};
    struct contribution *c;
    struct error err;
    struct rig r;

    rig_init(&r, 2, 1);
    assert_int_equal(r.data->n_windows, 1);
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        const struct contribution_params params = {.data = r.data,
                                                   .length = LENGTH,
                                                   .n_samples = 9,
                                                   .seed = seed};
        ok(contribution_measure(&c, r.base, &params, &err), &err);
        assert_int_equal(c->n_samples, 1);
        for (int l = 0; l < 2; l++)
            for (int j = 0; j < CONTRIBUTION_PARTS; j++)
                mean[l][j] += c->fisher[l][linears[l]][j] / ROUNDS;
        free(c);
    }
    for (uint32_t l = 0; l < 2; l++) {
        double want[CONTRIBUTION_PARTS] = {0};
        exact(want, &r, l, linears[l]);
        for (int j = 0; j < CONTRIBUTION_PARTS; j++) {
            assert_true(want[j] > 0);
            assert_true(fabs(mean[l][j] - want[j]) < 0.3 * want[j]);
        }
    }
    rig_finish(&r);
}

static void windows_that_agree_have_a_signal(void **state)
{
    const struct contribution_params params = {.length = LENGTH,
                                               .n_samples = 3,
                                               .seed = 1};
    struct contribution_params p = params;
    struct contribution *c;
    struct error err;
    struct rig r;

    rig_init(&r, 1, 3);
    p.data = r.data;
    ok(contribution_measure(&c, r.base, &p, &err), &err);
    assert_int_equal(c->n_samples, 3);
    assert_true(c->seconds > 0 && c->places >= 3);
    for (uint32_t i = 0; i < r.base->config.n_blocks; i++)
        for (int l = 0; l < MODEL_LINEARS; l++)
            for (int j = 0; j < CONTRIBUTION_PARTS; j++) {
                assert_true(c->fisher[i][l][j] > 0);
                assert_true(c->signal[i][l][j] >= 0);
                assert_true(c->signal[i][l][j] <= c->fisher[i][l][j]);
            }
    free(c);
    rig_finish(&r);
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
    struct contribution *c[2];
    struct error err;

    for (uint32_t i = 0; i < 2; i++) {
        struct rig r;
        rig_init(&r, i + 1, 3);
        const struct contribution_params p = {.data = r.data,
                                              .length = LENGTH,
                                              .n_samples = 2,
                                              .seed = 5};
        ok(contribution_measure(&c[i], r.base, &p, &err), &err);
        c[i]->seconds = 0;
        rig_finish(&r);
    }
    assert_memory_equal(c[0], c[1], sizeof(*c[0]));
    free(c[0]);
    free(c[1]);
}

static void stops_and_says_when_there_is_nothing(void **state)
{
    struct contribution *c = NULL;
    struct error err;
    struct rig r;

    rig_init(&r, 1, 3);
    const struct contribution_params p = {.data = r.data,
                                          .length = LENGTH,
                                          .n_samples = 2,
                                          .seed = 5};
    atomic_store(&stop, true);
    assert_int_equal(contribution_measure(&c, r.base, &p, &err), -EINTR);
    atomic_store(&stop, false);
    dataset_destroy(r.data);
    r.data = calloc(1, sizeof(*r.data));
    const struct contribution_params none = {.data = r.data, .length = LENGTH};
    assert_int_equal(contribution_measure(&c, r.base, &none, &err), -ENODATA);
    assert_non_null(strstr(err.text, "no records"));
    assert_null(c);
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_the_gradient_of_whole_weights),
        cmocka_unit_test(windows_that_agree_have_a_signal),
        cmocka_unit_test(the_same_seed_gives_the_same_bytes),
        cmocka_unit_test(stops_and_says_when_there_is_nothing),
    };
    test_device_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
