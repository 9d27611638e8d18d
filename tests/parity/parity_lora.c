// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Agreement with PyTorch: base loss, loss with an adapter, every gradient and
 * ten AdamW steps, on a model and a reference file that PyTorch wrote.
 *
 * usage: parity_lora MODEL.gguf REFERENCE.safetensors
 *
 * Linears of the reference have their names and rows in Hugging Face order;
 * rows of q and k are permuted in GGUF files of the llama architecture.
 */

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/formats/gguf.h"
#include "engine/formats/safetensors.h"
#include "engine/train/adapter_state.h"
#include "tests/support/test_device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// Tolerances of the project's figures: sums of 64-bit products in another
// order, and PyTorch's own rounding.
#define LOSS_TOLERANCE     1e-4
#define GRADIENT_TOLERANCE 1e-3
#define STEPS_TOLERANCE    1e-3
// After ten steps of AdamW, whose first steps have the size of the learning
// rate whatever the gradient, elements near zero differ most.
#define ADAPTER_TOLERANCE 1e-2

static const char *model_path, *reference_path;

static struct gguf *file;
static struct safetensors *reference;
static struct buffer *weights;
static struct device *dev;
static struct model_config config;
static struct scheme scheme;
static struct param *params;
static uint32_t n_params;
static uint32_t batch, length;
static int32_t *tokens, *pos, *start, *targets;
static float *loss_weights;

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

/*
 * The reference.
 */

static size_t count(const struct safetensors_tensor *t)
{
    size_t n = 1;
    for (uint32_t i = 0; i < t->n_dims; i++)
        n *= (size_t) t->ne[i];
    return n;
}

static float *read_reference(const char *name, size_t *n)
{
    const struct safetensors_tensor *t = safetensors_find(reference, name);
    struct error err;

    if (!t)
        fail_msg("the reference has no %s", name);
    float *values = calloc(count(t), sizeof *values);
    ok(safetensors_read_f32(values, t, &err), &err);
    if (n)
        *n = count(t);
    return values;
}

// "blk.3.attn_q.weight.lora_a" -> "layers.3.self_attn.q_proj.A"
static void reference_name(char *out, size_t bytes, const char *prefix,
                           const char *param)
{
    static const char *const names[][2] = {
        {"attn_q", "self_attn.q_proj"}, {"attn_k", "self_attn.k_proj"},
        {"attn_v", "self_attn.v_proj"}, {"attn_output", "self_attn.o_proj"},
        {"ffn_gate", "mlp.gate_proj"},  {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"},
    };
    char linear[24];
    unsigned block;
    char half;

    assert_int_equal(sscanf(param, "blk.%u.%23[a-z_].weight.lora_%c", &block,
                            linear, &half),
                     3);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], linear) == 0)
            (void) snprintf(out, bytes, "%s.layers.%u.%s.%c", prefix, block,
                            names[i][1], half == 'a' ? 'A' : 'B');
}

// Reference tensor of a param, in the rows' order of the GGUF file.
static float *read_param(const char *prefix, const struct param *p)
{
    char name[128] = "";
    size_t n;

    reference_name(name, sizeof name, prefix, p->name);
    float *values = read_reference(name, &n);
    assert_int_equal(n, p->ne[0] * p->ne[1]);
    if (name[strlen(name) - 1] != 'B' ||
        (!strstr(name, "q_proj") && !strstr(name, "k_proj")))
        return values;

    const size_t cols = (size_t) p->ne[1];
    const size_t half = config.head_dim / 2;
    float *turned = calloc(n, sizeof *turned);
    for (size_t row = 0; row < (size_t) p->ne[0]; row++) {
        const size_t head = row / config.head_dim * config.head_dim;
        const size_t in_head = row % config.head_dim;
        const size_t from = head + in_head % 2 * half + in_head / 2;
        memcpy(turned + row * cols, values + from * cols,
               cols * sizeof *turned);
    }
    free(values);
    return turned;
}

static double distance(const float *a, const float *b, size_t n)
{
    double diff = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        diff += ((double) a[i] - b[i]) * ((double) a[i] - b[i]);
        norm += (double) b[i] * b[i];
    }
    return sqrt(diff / norm);
}

static void assert_close(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance * fabs(b)))
        fail_msg("%.8g, but the reference has %.8g: off by %.2g", a, b,
                 fabs(a - b) / fabs(b));
}

/*
 * Programs.
 */

static int bind_weight(struct binding *out, const struct program_slot *slot,
                       void *user, struct error *err)
{
    const struct gguf_tensor *t;
    size_t bytes;
    int rc = gguf_get_tensor(&t, file, slot->name, err);

    if (rc < 0)
        return rc;
    *out = (struct binding){
        .buffer = weights,
        .offset = (size_t) ((const char *) t->data -
                            (const char *) gguf_mapping(file, &bytes)),
    };
    return 0;
}

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    return adapter_state_bind(out, user, slot, err);
}

struct machine {
    struct program *program;
    struct executor *executor;
};

static void machine_init(struct machine *m, enum program_kind kind,
                         uint32_t rows, struct adapter_state *state)
{
    const struct program_params p = {
        .kind = kind,
        .batch = rows,
        .length = length,
        .scheme = state ? &scheme : NULL,
    };
    struct error err;

    ok(program_compile(&m->program, &config, &p, test_backend(), dev, &err),
       &err);
    const struct executor_params x = {
        .backend = test_backend(),
        .dev = dev,
        .bind_weight = bind_weight,
        .bind_state = bind_state,
        .user = state,
    };
    ok(executor_create(&m->executor, m->program, &x, &err), &err);
}

static void machine_finish(struct machine *m)
{
    executor_destroy(m->executor);
    program_destroy(m->program);
}

// Runs rows [first, first + rows) and returns the loss.
static double machine_run(struct machine *m, uint32_t first, uint32_t rows)
{
    const size_t at = (size_t) first * length;
    const size_t bytes = (size_t) rows * length * 4;
    float loss;
    struct executor *x = m->executor;

    int32_t *local = calloc((size_t) rows * length, sizeof *local);
    for (uint32_t t = 0; t < rows * length; t++)
        local[t] = start[at + t] - (int32_t) at;
    assert_int_equal(executor_write(x, "tokens", tokens + at, bytes), 0);
    assert_int_equal(executor_write(x, "pos", pos + at, bytes), 0);
    assert_int_equal(executor_write(x, "start", local, bytes), 0);
    assert_int_equal(executor_write(x, "targets", targets + at, bytes), 0);
    assert_int_equal(executor_write(x, "weights", loss_weights + at, bytes), 0);
    free(local);
    assert_int_equal(executor_run(x), 0);
    assert_int_equal(executor_read(x, "loss", &loss, sizeof loss), 0);
    return loss;
}

static struct adapter_state *make_adapter(void)
{
    const struct adapter_state_params p = {
        .backend = test_backend(),
        .dev = dev,
        .config = &config,
        .scheme = &scheme,
        .has_optimizer = true,
    };
    struct adapter_state *state;
    struct error err;

    ok(adapter_state_create(&state, &p, &err), &err);
    float *all = calloc(adapter_state_floats(state), sizeof *all);
    float *at = all;
    for (uint32_t i = 0; i < n_params; i++) {
        float *values = read_param("lora", &params[i]);
        const size_t n = (size_t) (params[i].ne[0] * params[i].ne[1]);
        memcpy(at, values, n * sizeof *at);
        at += n;
        free(values);
    }
    assert_int_equal(adapter_state_write(state, ADAPTER_PART_VALUE, all), 0);
    free(all);
    return state;
}

static void write_hyper(struct machine *m, int step)
{
    const float hyper[ADAMW_HYPERS] = {
        [ADAMW_LR] = 1e-3F,
        [ADAMW_BETA1] = 0.9F,
        [ADAMW_BETA2] = 0.999F,
        [ADAMW_EPS] = 1e-8F,
        [ADAMW_DECAY] = 0.01F,
        [ADAMW_CORRECT1] = (float) (1 - pow(0.9, step + 1)),
        [ADAMW_CORRECT2] = (float) (1 - pow(0.999, step + 1)),
    };
    assert_int_equal(executor_write(m->executor, "hyper", hyper, sizeof hyper),
                     0);
}

/*
 * Tests.
 */

static void the_base_loss_agrees(void **state)
{
    struct machine m;
    float *expected = read_reference("base_loss", NULL);

    machine_init(&m, PROGRAM_EVAL, batch, NULL);
    assert_close(machine_run(&m, 0, batch), expected[0], LOSS_TOLERANCE);
    machine_finish(&m);
    free(expected);
}

static void the_loss_and_every_gradient_agree(void **state)
{
    struct adapter_state *adapter = make_adapter();
    float *expected = read_reference("loss0", NULL);
    struct machine m;
    double worst = 0;

    machine_init(&m, PROGRAM_GRADIENT, batch, adapter);
    assert_close(machine_run(&m, 0, batch), expected[0], LOSS_TOLERANCE);
    for (uint32_t i = 0; i < n_params; i++) {
        const size_t n = (size_t) (params[i].ne[0] * params[i].ne[1]);
        float *want = read_param("grad", &params[i]);
        float *got = calloc(n, sizeof *got);
        char name[80];

        (void) snprintf(name, sizeof name, "grad.%s", params[i].name);
        assert_int_equal(executor_read(m.executor, name, got, n * sizeof *got),
                         0);
        const double d = distance(got, want, n);
        if (!(d <= GRADIENT_TOLERANCE))
            fail_msg("%s is off by %.2g", name, d);
        worst = fmax(worst, d);
        free(got);
        free(want);
    }
    print_message("# worst of %u gradients: %.2g\n", n_params, worst);
    machine_finish(&m);
    adapter_state_destroy(adapter);
    free(expected);
}

static void check_adapter(const struct adapter_state *adapter)
{
    float *all = calloc(adapter_state_floats(adapter), sizeof *all);
    float *at = all;
    double worst = 0;

    assert_int_equal(adapter_state_read(adapter, ADAPTER_PART_VALUE, all), 0);
    for (uint32_t i = 0; i < n_params; i++) {
        const size_t n = (size_t) (params[i].ne[0] * params[i].ne[1]);
        float *want = read_param("adam", &params[i]);
        const double d = distance(at, want, n);
        if (!(d <= ADAPTER_TOLERANCE))
            fail_msg("%s is off by %.2g after the steps", params[i].name, d);
        worst = fmax(worst, d);
        at += n;
        free(want);
    }
    print_message("# worst of %u tensors after the steps: %.2g\n", n_params,
                  worst);
    free(all);
}

static void ten_steps_agree(void **state)
{
    struct adapter_state *adapter = make_adapter();
    struct machine m;
    size_t n;
    float *expected = read_reference("losses", &n);

    machine_init(&m, PROGRAM_TRAIN, batch, adapter);
    for (size_t i = 0; i < n; i++) {
        write_hyper(&m, (int) i);
        assert_close(machine_run(&m, 0, batch), expected[i], STEPS_TOLERANCE);
    }
    check_adapter(adapter);
    machine_finish(&m);
    adapter_state_destroy(adapter);
    free(expected);
}

static void ten_steps_in_micro_batches_agree(void **state)
{
    struct adapter_state *adapter = make_adapter();
    struct machine accumulate, update;
    size_t n;
    float *expected = read_reference("losses", &n);

    machine_init(&accumulate, PROGRAM_ACCUMULATE, 1, adapter);
    machine_init(&update, PROGRAM_UPDATE, 1, adapter);
    // An emulated GPU takes ten whole ones already; of these two show that a
    // sum of gradients is what moved the adapter.
    const size_t steps = test_device_is_cpu() ? n : 2;
    for (size_t i = 0; i < steps; i++) {
        double loss = 0;
        for (uint32_t row = 0; row + 1 < batch; row++)
            loss += machine_run(&accumulate, row, 1);
        write_hyper(&update, (int) i);
        loss += machine_run(&update, batch - 1, 1);
        assert_close(loss, expected[i], STEPS_TOLERANCE);
    }
    if (steps == n)
        check_adapter(adapter);
    machine_finish(&accumulate);
    machine_finish(&update);
    adapter_state_destroy(adapter);
    free(expected);
}

/*
 * Set-up.
 */

static void make_inputs(void)
{
    const struct safetensors_tensor *t = safetensors_find(reference, "tokens");
    float *mask = read_reference("mask", NULL);
    double total = 0;

    assert_non_null(t);
    assert_int_equal(t->n_dims, 2);
    batch = (uint32_t) t->ne[0];
    length = (uint32_t) t->ne[1];
    const size_t n = (size_t) batch * length;
    tokens = calloc(n, sizeof *tokens);
    pos = calloc(n, sizeof *pos);
    start = calloc(n, sizeof *start);
    targets = calloc(n, sizeof *targets);
    loss_weights = calloc(n, sizeof *loss_weights);
    memcpy(tokens, t->data, n * sizeof *tokens);
    for (size_t i = 0; i < n; i++)
        if (i % length != 0)
            total += mask[i];
    for (size_t i = 0; i < n; i++) {
        pos[i] = (int32_t) (i % length);
        start[i] = (int32_t) (i - i % length);
        if (i % length + 1 < length) {
            targets[i] = tokens[i + 1];
            loss_weights[i] = (float) (mask[i + 1] / total);
        }
    }
    free(mask);
}

static int set_up(void **state)
{
    const struct device_params device = {0};
    struct error err;
    size_t bytes;

    ok(gguf_load(&file, model_path, &err), &err);
    ok(safetensors_load(&reference, reference_path, &err), &err);
    ok(model_config_read(&config, file, &err), &err);
    ok(test_device_open(&dev, &device, &err), &err);
    const void *mapping = gguf_mapping(file, &bytes);
    ok(test_backend()->buffer_import(&weights, dev, mapping, bytes), &err);

    const struct safetensors_tensor *a =
        safetensors_find(reference, "lora.layers.0.self_attn.q_proj.A");
    assert_non_null(a);
    const struct scheme_lora lora = {
        .rank = (uint32_t) a->ne[0],
        .alpha = 2 * (float) a->ne[0], // reference_lora.py scales by 2
        .targets = LORA_ALL,
    };
    ok(scheme_from_lora(&scheme, &lora, &config, &err), &err);
    n_params = scheme_params(NULL, 0, &config, &scheme);
    params = calloc(n_params, sizeof *params);
    (void) scheme_params(params, n_params, &config, &scheme);
    make_inputs();
    return 0;
}

static int tear_down(void **state)
{
    free(tokens);
    free(pos);
    free(start);
    free(targets);
    free(loss_weights);
    free(params);
    test_backend()->buffer_destroy(weights);
    test_backend()->close(dev);
    safetensors_destroy(reference);
    gguf_destroy(file);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_base_loss_agrees),
        cmocka_unit_test(the_loss_and_every_gradient_agree),
        cmocka_unit_test(ten_steps_agree),
        cmocka_unit_test(ten_steps_in_micro_batches_agree),
    };
    test_device_begin();

    if (argc != 3) {
        (void) fprintf(stderr, "usage: parity_lora MODEL REFERENCE\n");
        return 2;
    }
    model_path = argv[1];
    reference_path = argv[2];
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
