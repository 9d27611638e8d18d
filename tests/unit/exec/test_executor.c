// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/models/scheme_text.h"
#include "tests/support/tiny.h"

/*
 * A backend that is the CPU but raises `stop` after some instructions, or
 * fails, so that a test chooses where.
 */

static struct device *dev;
static uint32_t stop_after; // instructions of one run(); 0: never
static int fail_with;
static uint32_t n_run; // instructions in total

static int run_some(struct device *d, const struct instr *instrs,
                    uint32_t count, const struct bindings *b)
{
    if (fail_with)
        return fail_with;
    if (stop_after && count > stop_after)
        count = stop_after;
    n_run += count;
    return cpu_backend.run(d, instrs, count, b);
}

static struct backend halting;
static const struct scheme_lora everything = {2, 4, LORA_ALL, 0};

struct fixture {
    struct bank bank;
    struct program *p;
    struct executor *e;
    struct tiny_batch batch;
};

static int open_fixture(void **state)
{
    static struct fixture f;
    const struct device_params dp = {.threads = 1, .tier = "c"};
    const struct model_config m = tiny_config(DTYPE_f32, 2);
    const struct scheme scheme = tiny_scheme(&m, &everything);
    const struct program_params params = {.kind = PROGRAM_TRAIN,
                                          .batch = 2,
                                          .length = 11,
                                          .scheme = &scheme};

    halting = cpu_backend;
    halting.run = run_some;
    stop_after = 0;
    fail_with = 0;
    n_run = 0;
    assert_int_equal(cpu_backend.open(&dev, &dp, NULL), 0);
    bank_init(&f.bank, &halting, dev, 3);
    const struct executor_params ep = bank_executor_params(&f.bank);
    assert_int_equal(program_compile(&f.p, &m, &params, &halting, dev, NULL),
                     0);
    assert_int_equal(executor_create(&f.e, f.p, &ep, NULL), 0);
    tiny_batch_make(&f.batch, 2, 11, m.n_vocab, 1);
    tiny_batch_write(f.e, &f.batch);
    const float hyper[ADAMW_HYPERS] = {0.01f, 0.9f, 0.999f, 1e-8f,
                                       0,     0.1f, 0.001f, 1};
    assert_int_equal(executor_write(f.e, "hyper", hyper, sizeof(hyper)), 0);
    *state = &f;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    executor_destroy(f->e);
    program_destroy(f->p);
    bank_finish(&f->bank);
    cpu_backend.close(dev);
    return 0;
}

static float loss_of(struct fixture *f)
{
    float loss;
    assert_int_equal(executor_read(f->e, "loss", &loss, sizeof(loss)), 0);
    return loss;
}

static void a_stopped_run_goes_on_where_it_stopped(void **state)
{
    static float want[4096];
    static float got[4096];
    const char *const name = "blk.1.ffn_down.weight.lora_b";
    struct fixture *f = *state;
    int stops = 0;
    int rc;

    // The first run may be compared only with an equal first run.
    assert_int_equal(executor_run(f->e), 0);
    const uint32_t n = n_run;
    assert_int_equal(n, program_instr_count(f->p));
    const float loss = loss_of(f);
    bank_read(&f->bank, name, want);
    close_fixture(state);
    open_fixture(state);
    stop_after = 7;
    while ((rc = executor_run(f->e)) == -EINTR)
        stops++;
    assert_int_equal(rc, 0);
    assert_int_equal(stops, (n - 1) / 7);
    assert_int_equal(n_run, n);
    assert_true(loss_of(f) == loss);
    bank_read(&f->bank, name, got);
    assert_memory_equal(got, want, bank_count(&f->bank, name) * sizeof(float));
}

static void reset_starts_over(void **state)
{
    struct fixture *f = *state;
    stop_after = 5;
    assert_int_equal(executor_run(f->e), -EINTR);
    executor_reset(f->e);
    stop_after = 0;
    n_run = 0;
    assert_int_equal(executor_run(f->e), 0);
    assert_int_equal(n_run, program_instr_count(f->p));
}

static void a_failed_device_is_reported_and_the_next_run_starts_over(void **s)
{
    struct fixture *f = *s;
    stop_after = 5;
    assert_int_equal(executor_run(f->e), -EINTR);
    fail_with = -EIO;
    assert_int_equal(executor_run(f->e), -EIO);
    fail_with = 0;
    stop_after = 0;
    n_run = 0;
    assert_int_equal(executor_run(f->e), 0);
    assert_int_equal(n_run, program_instr_count(f->p));
}

static void the_stop_flag_of_the_device_is_seen(void **state)
{
    static atomic_bool stop;
    const struct device_params dp = {.threads = 1, .tier = "c", .stop = &stop};
    struct fixture *f = *state;
    struct executor *e;
    struct device *d;
    struct bank bank;

    assert_int_equal(cpu_backend.open(&d, &dp, NULL), 0);
    bank_init(&bank, &cpu_backend, d, 3);
    const struct executor_params ep = bank_executor_params(&bank);
    assert_int_equal(executor_create(&e, f->p, &ep, NULL), 0);
    tiny_batch_write(e, &f->batch);
    atomic_store(&stop, true);
    assert_int_equal(executor_run(e), -EINTR);
    atomic_store(&stop, false);
    assert_int_equal(executor_run(e), 0);
    executor_destroy(e);
    bank_finish(&bank);
    cpu_backend.close(d);
}

static void checks_names_and_sizes_of_the_hosts_data(void **state)
{
    struct fixture *f = *state;
    float x[22] = {0};

    assert_int_equal(executor_write(f->e, "weights", x, sizeof(x)), 0);
    assert_int_equal(executor_write(f->e, "weights", x, sizeof(x) - 4),
                     -EINVAL);
    assert_int_equal(executor_write(f->e, "weight", x, sizeof(x)), -EINVAL);
    assert_int_equal(executor_read(f->e, "nll", x, sizeof(x)), 0);
    assert_int_equal(executor_read(f->e, "nll", x, 4), -EINVAL);
    assert_int_equal(executor_read(f->e, "logits", x, 4), -EINVAL);
}

static int bind_nothing(struct binding *out, const struct program_slot *slot,
                        void *user, struct error *err)
{
    return error_set(err, -ENOENT, "there is no %s", slot->name);
}

static void a_binding_that_fails_fails_the_executor(void **state)
{
    struct fixture *f = *state;
    struct executor_params ep = bank_executor_params(&f->bank);
    struct executor *e = NULL;
    struct error err = {0};

    ep.bind_weight = bind_nothing;
    assert_int_equal(executor_create(&e, f->p, &ep, &err), -ENOENT);
    assert_string_equal(err.text, "there is no token_embd.weight");
    ep.bind_weight = NULL;
    assert_int_equal(executor_create(&e, f->p, &ep, &err), -EINVAL);
    assert_string_equal(err.text, "nothing is bound to token_embd.weight");
    assert_null(e);
}

static bool supports_no_attention(const struct device *d,
                                  const struct instr *in)
{
    return in->op != OP_attention && cpu_backend.supports(d, in);
}

static void a_backend_that_lacks_an_operator_is_refused(void **state)
{
    const struct model_config m = tiny_config(DTYPE_f32, 1);
    const struct scheme scheme = tiny_scheme(&m, &everything);
    const struct program_params params = {.kind = PROGRAM_EVAL,
                                          .batch = 1,
                                          .length = 8,
                                          .scheme = &scheme};
    struct backend lacking = cpu_backend;
    struct error err = {0};
    struct program *p = NULL;

    lacking.supports = supports_no_attention;
    assert_int_equal(program_compile(&p, &m, &params, &lacking, dev, &err),
                     -ENOTSUP);
    assert_string_equal(err.text, "the backend cpu cannot run attention of "
                                  "f32[8,24] and f32[8,12]");
}

// The cache holds what the prompt left; one token at a time must give the
// logits of all tokens at once.
static void generation_in_steps_equals_generation_at_once(void **state)
{
    const struct model_config m = tiny_config(DTYPE_f32, 2);
    const struct scheme scheme = tiny_scheme(&m, &everything);
    const int32_t tokens[] = {3, 14, 15, 9, 26, 5};
    const struct program_params whole = {.kind = PROGRAM_CACHED,
                                         .length = 6,
                                         .cache_length = 16,
                                         .n_rows = 6,
                                         .scheme = &scheme};
    const struct program_params single = {.kind = PROGRAM_CACHED,
                                          .length = 1,
                                          .cache_length = 16,
                                          .n_rows = 1,
                                          .scheme = &scheme};
    float want[6][37];
    float got[37];
    struct fixture *f = *state;
    const struct executor_params ep = bank_executor_params(&f->bank);
    struct program *p[2];
    struct executor *e[2];

    assert_int_equal(program_compile(&p[0], &m, &whole, &cpu_backend, dev,
                                     NULL),
                     0);
    assert_int_equal(program_compile(&p[1], &m, &single, &cpu_backend, dev,
                                     NULL),
                     0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(executor_create(&e[i], p[i], &ep, NULL), 0);

    const int32_t pos[] = {0, 1, 2, 3, 4, 5};
    assert_int_equal(executor_write(e[0], "tokens", tokens, sizeof(tokens)), 0);
    assert_int_equal(executor_write(e[0], "pos", pos, sizeof(pos)), 0);
    assert_int_equal(executor_write(e[0], "rows", pos, sizeof(pos)), 0);
    assert_int_equal(executor_run(e[0]), 0);
    assert_int_equal(executor_read(e[0], "logits", want, sizeof(want)), 0);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(executor_write(e[1], "tokens", &tokens[i], 4), 0);
        assert_int_equal(executor_write(e[1], "pos", &pos[i], 4), 0);
        assert_int_equal(executor_write(e[1], "rows", &pos[0], 4), 0);
        assert_int_equal(executor_run(e[1]), 0);
        assert_int_equal(executor_read(e[1], "logits", got, sizeof(got)), 0);
        for (int k = 0; k < 37; k++)
            assert_true(got[k] - want[i][k] < 1e-4f &&
                        want[i][k] - got[k] < 1e-4f);
    }
    for (int i = 0; i < 2; i++) {
        executor_destroy(e[i]);
        program_destroy(p[i]);
    }
}

// The gains that a scheme with magnitudes generates with, from the adapter in
// the bank.
static void make_gains(struct bank *bank, const struct model_config *m,
                       const struct scheme *scheme)
{
    const struct program_params params = {.kind = PROGRAM_GAINS,
                                          .scheme = scheme};
    const struct executor_params ep = bank_executor_params(bank);
    struct program *p;
    struct executor *e;
    float gains[64];

    assert_int_equal(program_compile(&p, m, &params, &cpu_backend, dev, NULL),
                     0);
    assert_int_equal(executor_create(&e, p, &ep, NULL), 0);
    assert_int_equal(executor_run(e), 0);
    for (uint32_t i = 0; i < bank->n; i++) {
        const char *name = bank->items[i].name;
        if (!strstr(name, ".magnitude.gain"))
            continue;
        assert_true(bank->items[i].slot.bytes <= sizeof(gains));
        assert_int_equal(executor_read(e, name, gains,
                                       bank->items[i].slot.bytes),
                         0);
        bank_write(bank, name, gains);
    }
    executor_destroy(e);
    program_destroy(p);
}

// What generation says of a token is what evaluation charges for it.
static void check_agreement(struct fixture *f, const char *text)
{
    const struct model_config m = tiny_config(DTYPE_q8_0, 2);
    const struct scheme_defaults defaults = {2, 4};
    struct scheme scheme;
    const struct program_params params[] = {
        {.kind = PROGRAM_EVAL, .batch = 1, .length = 9, .scheme = &scheme},
        {.kind = PROGRAM_CACHED,
         .length = 9,
         .cache_length = 9,
         .n_rows = 9,
         .scheme = &scheme},
    };
    int32_t count[9];
    float logits[9][37];
    float nll[9];
    struct program *p[2];
    struct executor *e[2];
    struct bank bank;

    assert_int_equal(scheme_parse(&scheme, text, strlen(text), &defaults, &m,
                                  NULL),
                     0);
    bank_init(&bank, &cpu_backend, dev, 8);
    const struct executor_params ep = bank_executor_params(&bank);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(program_compile(&p[i], &m, &params[i], &cpu_backend,
                                         dev, NULL),
                         0);
        assert_int_equal(executor_create(&e[i], p[i], &ep, NULL), 0);
    }
    tiny_batch_make(&f->batch, 1, 9, m.n_vocab, 4);
    for (int i = 0; i < 9; i++) { // one segment, every token counts
        count[i] = i;
        f->batch.pos[i] = i;
        f->batch.start[i] = 0;
        f->batch.weights[i] = 1;
    }
    tiny_batch_write(e[0], &f->batch);
    assert_int_equal(executor_write(e[1], "tokens", f->batch.tokens, 36), 0);
    assert_int_equal(executor_write(e[1], "pos", count, 36), 0);
    assert_int_equal(executor_write(e[1], "rows", count, 36), 0);
    make_gains(&bank, &m, &scheme);
    for (int i = 0; i < 2; i++)
        assert_int_equal(executor_run(e[i]), 0);
    assert_int_equal(executor_read(e[0], "nll", nll, sizeof(nll)), 0);
    assert_int_equal(executor_read(e[1], "logits", logits, sizeof(logits)), 0);
    for (int i = 0; i < 9; i++) {
        double sum = 0;
        for (int k = 0; k < 37; k++)
            sum += exp((double) logits[i][k]);
        const double want = log(sum) - (double) logits[i][f->batch.targets[i]];
        assert_true(fabs(want - (double) nll[i]) < 1e-4);
    }
    for (int i = 0; i < 2; i++) {
        executor_destroy(e[i]);
        program_destroy(p[i]);
    }
    bank_finish(&bank);
}

static void generation_agrees_with_evaluation(void **state)
{
    static const char *const texts[] = {
        "lora-all",
        "dora",
        "full",
        "norms",
        "rslora:1",
        "window:0-0",
        ("{\"rules\":[{\"tensors\":\"*n*\",\"learn\":\"delta\","
         "\"part\":[2,5]}]}"),
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        check_agreement(*state, texts[i]);
}

int main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(a_stopped_run_goes_on_where_it_stopped),
        TEST(reset_starts_over),
        TEST(a_failed_device_is_reported_and_the_next_run_starts_over),
        TEST(the_stop_flag_of_the_device_is_seen),
        TEST(checks_names_and_sizes_of_the_hosts_data),
        TEST(a_binding_that_fails_fails_the_executor),
        TEST(a_backend_that_lacks_an_operator_is_refused),
        TEST(generation_in_steps_equals_generation_at_once),
        TEST(generation_agrees_with_evaluation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
