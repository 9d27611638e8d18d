// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Generation reads the halves of a LoRA as bf16: which programs do, and what
 * that does to their logits.
 */

#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/tensor/quant.h"
#include "engine/train/adapter.h"
#include "engine/train/base_model.h"
#include "engine/train/program_cache.h"
#include "engine/train/runner.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BASE_MODEL "clients/demo/pock-16m-q8_0.gguf"

enum { LENGTH = 32 };

static struct device *dev;
static struct base_model *base;
static struct runner *runner;
static struct adapter *whole, *rounded; // the same, and what bf16 makes of it
static size_t vocab;

static int open_all(void **state)
{
    static const struct scheme_lora lora = {8, 16, LORA_ALL, 0};
    const struct device_params params = {.threads = 2};
    const int fd = open(BASE_MODEL, O_RDONLY | O_CLOEXEC);
    struct scheme scheme;
    struct error err = {0};
    struct rng r;

    if (fd < 0 || cpu_backend.open(&dev, &params, &err) < 0 ||
        base_model_open(&base, &cpu_backend, dev, fd, &err) < 0 ||
        runner_create(&runner, base) < 0 ||
        scheme_from_lora(&scheme, &lora, &base->config, &err) < 0 ||
        adapter_create(&whole, &base->config, &scheme, NULL, &err) < 0 ||
        adapter_create(&rounded, &base->config, &scheme, NULL, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    close(fd);
    vocab = base->config.n_vocab;
    rng_init(&r, 5, 0);
    // As large as a weight's own, so that the adapter says what is said.
    for (size_t i = 0; i < adapter_floats(whole); i++) {
        uint16_t half;
        whole->data[i] = 0.05f * (float) rng_normal(&r);
        quant_encode(DTYPE_bf16, &half, &whole->data[i], 1);
        quant_decode(DTYPE_bf16, &rounded->data[i], &half, 1);
    }
    return 0;
}

static int close_all(void **state)
{
    adapter_destroy(rounded);
    adapter_destroy(whole);
    runner_destroy(runner);
    base_model_close(base);
    cpu_backend.close(dev);
    return 0;
}

// Logits of `length` tokens at once.
static float *logits_of(const struct adapter *a, uint32_t length,
                        enum precision precision)
{
    int32_t tokens[LENGTH], pos[LENGTH], rows[LENGTH];
    const size_t bytes = length * vocab * sizeof(float);
    float *logits = malloc(bytes);
    uint32_t cache_length = 0;
    struct executor *x;
    struct error err = {0};

    assert_non_null(logits);
    for (uint32_t i = 0; i < length; i++) {
        tokens[i] = (int32_t) (i * 37 % vocab);
        pos[i] = rows[i] = (int32_t) i;
    }
    if (runner_use_adapter(runner, a, &err) < 0 ||
        runner_use_caches(&cache_length, runner, LENGTH, &err) < 0)
        fail_msg("%s", err.text);
    const struct program_params params = {
        .kind = PROGRAM_CACHED,
        .batch = 1,
        .length = length,
        .cache_length = cache_length,
        .n_rows = length,
        .scheme = runner_scheme(runner),
        .precision = precision,
    };
    if (program_cache_get(&x, runner_programs(runner), &params, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(executor_write(x, "tokens", tokens, 4 * length), 0);
    assert_int_equal(executor_write(x, "pos", pos, 4 * length), 0);
    assert_int_equal(executor_write(x, "rows", rows, 4 * length), 0);
    assert_int_equal(executor_run(x), 0);
    assert_int_equal(executor_read(x, "logits", logits, bytes), 0);
    return logits;
}

static double distance(const float *a, const float *b, size_t n)
{
    double d = 0;
    for (size_t i = 0; i < n; i++)
        d += ((double) a[i] - b[i]) * ((double) a[i] - b[i]);
    return sqrt(d);
}

static void rounded_programs_read_halves(void **state)
{
    static const struct {
        uint32_t length;
        enum precision precision;
        bool reads_halves;
    } cases[] = {
        {1, PRECISION_Q8, true},        {5, PRECISION_Q8, true},
        {LENGTH, PRECISION_BF16, true}, {1, PRECISION_F32, false},
        {LENGTH, PRECISION_F32, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const size_t bytes = cases[i].length * vocab * sizeof(float);
        float *a = logits_of(whole, cases[i].length, cases[i].precision);
        float *b = logits_of(rounded, cases[i].length, cases[i].precision);
        assert_int_equal(memcmp(a, b, bytes) == 0, cases[i].reads_halves);
        free(a);
        free(b);
    }
}

// The adapter moves logits by `effect`; halves move them by less than a
// hundredth of that.
static void halves_move_logits_by_little(void **state)
{
    const size_t n = LENGTH * vocab;
    float *without = logits_of(NULL, LENGTH, PRECISION_F32);
    float *a = logits_of(whole, LENGTH, PRECISION_F32);
    float *b = logits_of(rounded, LENGTH, PRECISION_F32);
    const double effect = distance(a, without, n);
    const double moved = distance(a, b, n);

    print_message("# effect %.4g, moved by halves %.4g\n", effect, moved);
    assert_true(effect > 0);
    assert_true(moved < 0.01 * effect);
    free(without);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounded_programs_read_halves),
        cmocka_unit_test(halves_move_logits_by_little),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
