// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Whole steps of a tiny llama, as compiled: after every pass, in place, from
 * one arena. Gradients against finite differences of the evaluation program;
 * the learning programs against AdamW done here from those gradients.
 */

#include "tests/support/archfile.h"
#include "tests/support/test_device.h"
#include "tests/support/tiny.h"

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

#include "engine/autodiff/autodiff.h"
#include "engine/autodiff/optim.h"
#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/cpu/cpu_kernels.h"
#include "engine/exec/lower.h"
#include "engine/formats/gguf.h"

enum { PARAMS_MAX = 64, COUNT_MAX = 4096 };

// One of two directions for each parameter: sanitizers look at how they are
// computed, and an emulated GPU's kernels have cases of their own.
static bool is_brief;

struct fixture {
    struct device *dev;
    struct bank bank;
    struct model_config m;
    struct scheme scheme;
    struct tiny_batch batch;
    uint32_t n_batch;
    struct param params[PARAMS_MAX];
    uint32_t n_params;
};

typedef void (*make_fn)(struct scheme *s, const struct model_config *m);

static int open_config(struct fixture *f, const struct model_config *m,
                       make_fn make)
{
    const struct device_params dp = {.threads = 2, .tier = "c"};
    memset(f, 0, sizeof(*f));
    f->m = *m;
    scheme_init(&f->scheme);
    make(&f->scheme, &f->m);
    f->n_batch = 2;
    assert_int_equal(test_device_open(&f->dev, &dp, NULL), 0);
    bank_init(&f->bank, test_backend(), f->dev, 1);
    tiny_batch_make(&f->batch, 2, 13, f->m.n_vocab, 3);
    f->n_params = scheme_params(f->params, PARAMS_MAX, &f->m, &f->scheme);
    assert_in_range(f->n_params, 1, PARAMS_MAX);
    return 0;
}

static int open_made(struct fixture *f, uint8_t dtype, make_fn make)
{
    const struct model_config m = tiny_config(dtype, 2);
    return open_config(f, &m, make);
}

static const struct scheme_lora *lora_to_make;

static void make_lora(struct scheme *s, const struct model_config *m)
{
    *s = tiny_scheme(m, lora_to_make);
}

static int open_fixture(struct fixture *f, uint8_t dtype,
                        const struct scheme_lora *lora)
{
    lora_to_make = lora;
    return open_made(f, dtype, make_lora);
}

static void close_fixture(struct fixture *f)
{
    bank_finish(&f->bank);
    test_backend()->close(f->dev);
}

struct loaded {
    struct program *p;
    struct executor *e;
};

static struct loaded load(struct fixture *f, enum program_kind kind)
{
    const struct program_params params = {
        .kind = kind,
        .batch = f->n_batch,
        .length = f->batch.n / f->n_batch,
        .scheme = &f->scheme,
    };
    const struct executor_params ep = bank_executor_params(&f->bank);
    struct loaded l;
    struct error err = {0};

    if (program_compile(&l.p, &f->m, &params, test_backend(), f->dev, &err) < 0)
        fail_msg("%s", err.text);
    if (executor_create(&l.e, l.p, &ep, &err) < 0)
        fail_msg("%s", err.text);
    tiny_batch_write(l.e, &f->batch);
    return l;
}

static void unload(struct loaded *l)
{
    executor_destroy(l->e);
    program_destroy(l->p);
}

// In doubles from the rows, so that the sum adds no rounding of its own.
static double run_loss(struct fixture *f, struct loaded *l)
{
    float nll[64];
    double sum = 0;
    assert_int_equal(executor_run(l->e), 0);
    assert_int_equal(executor_read(l->e, "nll", nll, f->batch.n * sizeof(*nll)),
                     0);
    for (uint32_t i = 0; i < f->batch.n; i++)
        sum += (double) f->batch.weights[i] * (double) nll[i];
    return sum;
}

/*
 * DoRA takes the lengths of rows as constants where A and B learn: a difference
 * that moves A or B has to undo what that does to them, in the magnitude.
 */

static const struct param *find_param(const struct fixture *f, const char *name)
{
    for (uint32_t i = 0; i < f->n_params; i++)
        if (strcmp(f->params[i].name, name) == 0)
            return &f->params[i];
    return NULL;
}

static bool is_held(const struct fixture *f, const char *name)
{
    const struct param *p = find_param(f, name);
    return p && p->linear < MODEL_LINEARS && p->kind != PARAM_MAGNITUDE &&
           f->scheme.linears[p->block][p->linear].learn == LEARN_DORA;
}

static const char *beside(char *out, size_t bytes, const char *name,
                          const char *suffix)
{
    (void) snprintf(out, bytes, "%.*s%s", (int) (strrchr(name, '.') - name),
                    name, suffix);
    return out;
}

// The gains (O) of the linear that `name` belongs to: ratio * (1 + magnitude).
static void ratios_of(struct fixture *f, const char *name, float *ratio)
{
    static _Alignas(64) float scratch[1024];
    float a[COUNT_MAX], b[COUNT_MAX];
    char buf[96];
    const struct param *p = find_param(f, name);
    const uint32_t rank = f->scheme.linears[p->block][p->linear].rank;
    const struct bank_item *w =
        bank_find(&f->bank, beside(buf, sizeof(buf), name, ""));

    bank_read(&f->bank, beside(buf, sizeof(buf), name, ".lora_a"), a);
    bank_read(&f->bank, beside(buf, sizeof(buf), name, ".lora_b"), b);
    row_ratio_c(ratio, a, w->data, (enum dtype) w->slot.dtype, b, w->slot.ne[0],
                w->slot.ne[1], rank, scheme_lora_scale(&f->scheme, rank),
                scratch, NULL);
}

// The loss with a parameter moved by h along u.
static double loss_at(struct fixture *f, struct loaded *eval, const char *name,
                      const float *p, const float *u, size_t n, double h)
{
    float q[COUNT_MAX];
    float before[COUNT_MAX], after[COUNT_MAX], m[COUNT_MAX], held[COUNT_MAX];
    char magnitude[96];

    for (size_t i = 0; i < n; i++)
        q[i] = (float) ((double) p[i] + h * (double) u[i]);
    if (!is_held(f, name)) {
        bank_write(&f->bank, name, q);
        return run_loss(f, eval);
    }
    beside(magnitude, sizeof(magnitude), name, ".magnitude");
    bank_write(&f->bank, name, p);
    ratios_of(f, name, before);
    bank_write(&f->bank, name, q);
    ratios_of(f, name, after);
    bank_read(&f->bank, magnitude, m);
    for (size_t i = 0; i < bank_count(&f->bank, magnitude); i++)
        held[i] = before[i] / after[i] * (1 + m[i]) - 1;
    bank_write(&f->bank, magnitude, held);
    const double loss = run_loss(f, eval);
    bank_write(&f->bank, magnitude, m);
    return loss;
}

// Central differences at h and 2h, combined so that the error is of order h^4.
static double slope(struct fixture *f, struct loaded *eval, const char *name,
                    const float *u, double h)
{
    float p[COUNT_MAX];
    double d[2];
    const size_t n = bank_count(&f->bank, name);

    bank_read(&f->bank, name, p);
    for (int i = 0; i < 2; i++) {
        const double s = h * (i + 1);
        d[i] = (loss_at(f, eval, name, p, u, n, s) -
                loss_at(f, eval, name, p, u, n, -s)) /
               (2 * s);
    }
    bank_write(&f->bank, name, p);
    return (4 * d[0] - d[1]) / 3;
}

// The derivative along the gradient itself, and along a random direction. The
// loss is about 3 and known to 1e-7 of that, steps move it by h |g|: errors
// of the difference stay below 1e-3 of |g| for |g| above 1e-3.
static void check_param(struct fixture *f, struct loaded *eval,
                        struct loaded *grad, const char *name, uint64_t seed)
{
    const size_t n = bank_count(&f->bank, name);
    float g[COUNT_MAX];
    float u[COUNT_MAX];
    char output[96];
    struct rng r;

    (void) snprintf(output, sizeof(output), "grad.%s", name);
    assert_in_range(n, 1, COUNT_MAX);
    assert_int_equal(executor_read(grad->e, output, g, n * sizeof(*g)), 0);
    double norm = 0;
    for (size_t i = 0; i < n; i++)
        norm += (double) g[i] * (double) g[i];
    norm = sqrt(norm);
    if (!(norm > 1e-4))
        fail_msg("%s: |g| = %g says nothing", name, norm);

    rng_init(&r, seed, 9);
    for (int which = 0; which < 2; which++) {
        if (is_brief && seed % 2 != (uint64_t) which)
            continue;
        double want = 0;
        double length = 0;
        for (size_t i = 0; i < n; i++) {
            u[i] = which ? (float) rng_normal(&r) : g[i];
            length += (double) u[i] * (double) u[i];
        }
        length = sqrt(length);
        for (size_t i = 0; i < n; i++) {
            u[i] = (float) ((double) u[i] / length);
            want += (double) u[i] * (double) g[i];
        }
        const double got = slope(f, eval, name, u, 0.004);
        if (!(fabs(got - want) < 2e-3 * norm + 2e-5))
            fail_msg("%s: slope %g, gradient says %g (|g| %g)", name, got, want,
                     norm);
    }
}

static void check_config(const struct model_config *m, make_fn make)
{
    struct fixture f;
    open_config(&f, m, make);
    struct loaded eval = load(&f, PROGRAM_EVAL);
    struct loaded grad = load(&f, PROGRAM_GRADIENT);

    const double a = run_loss(&f, &eval);
    const double b = run_loss(&f, &grad);
    assert_true(fabs(a - b) < 1e-6);
    for (uint32_t i = 0; i < f.n_params; i++)
        if (!f.params[i].is_frozen)
            check_param(&f, &eval, &grad, f.params[i].name, i);
    unload(&grad);
    unload(&eval);
    close_fixture(&f);
}

static void check_made(uint8_t dtype, make_fn make)
{
    const struct model_config m = tiny_config(dtype, 2);
    check_config(&m, make);
}

static void check_gradients(uint8_t dtype, const struct scheme_lora *lora)
{
    lora_to_make = lora;
    check_made(dtype, make_lora);
}

static const struct scheme_lora all = {3, 6, LORA_ALL, 0};

static void gradients_of_all_linears(void **state)
{
    check_gradients(DTYPE_f32, &all);
}

static void gradients_over_a_quantised_base(void **state)
{
    check_gradients(DTYPE_q4_k, &all);
    if (!test_device_is_cpu())
        return; // an emulated GPU takes a minute
    check_gradients(DTYPE_q8_0, &all);
    check_gradients(DTYPE_q5_1, &all);
}

static void gradients_of_the_last_block(void **state)
{
    const struct scheme_lora last = {2, 3, LORA_Q | LORA_V | LORA_DOWN, 1};
    check_gradients(DTYPE_f32, &last);
}

// Of the last two blocks, which in every model have all there is of it.
static void gradients_of_every_architecture(void **state)
{
    static const struct scheme_lora two = {2, 3, LORA_ALL, 2};

    for (size_t i = 0; i < archfile_count; i++) {
        // Emulated GPUs take minutes for all; these two have what others have.
        if (!test_device_is_cpu() && strcmp(archfiles[i].name, "gemma2") != 0 &&
            strcmp(archfiles[i].name, "phi3") != 0)
            continue;
        const int fd = archfile_create(&archfiles[i]);
        struct error err = {0};
        struct model_config m;
        struct gguf *g;

        assert_int_equal(gguf_load_fd(&g, fd, &err), 0);
        close(fd);
        if (model_config_read(&m, g, &err) < 0)
            fail_msg("%s", err.text);
        gguf_destroy(g);
        lora_to_make = &two;
        check_config(&m, make_lora);
    }
}

/*
 * All other ways to learn.
 */

static void set_all(struct scheme *s, const struct model_config *m,
                    struct scheme_linear how)
{
    for (uint32_t i = 0; i < m->n_blocks; i++)
        for (int l = 0; l < MODEL_LINEARS; l++)
            s->linears[i][l] = how;
}

static void make_fixed_a(struct scheme *s, const struct model_config *m)
{
    s->alpha = 2;
    s->scale = SCHEME_SCALE_ROOT;
    set_all(s, m, (struct scheme_linear){LEARN_LORA_B, 0, 3});
}

static void make_dora(struct scheme *s, const struct model_config *m)
{
    s->alpha = 6;
    set_all(s, m, (struct scheme_linear){LEARN_DORA, 0, 2});
}

static void make_whole(struct scheme *s, const struct model_config *m)
{
    set_all(s, m, (struct scheme_linear){LEARN_DELTA, 0, 0});
    memset(s->norms, SCHEME_BOTH_NORMS, m->n_blocks);
    s->output_norm = 1;
}

static void make_parts(struct scheme *s, const struct model_config *m)
{
    static const uint8_t parts[] = {1, 0x81, 0x3c, 0x7f, 0x80, 0x55, 0xfe};
    for (uint32_t i = 0; i < m->n_blocks; i++)
        for (int l = 0; l < MODEL_LINEARS; l++)
            s->linears[i][l] =
                (struct scheme_linear){LEARN_DELTA,
                                       parts[(i + (uint32_t) l) % 7], 0};
}

static void make_norms(struct scheme *s, const struct model_config *m)
{
    s->norms[0] = SCHEME_FFN_NORM;
    s->norms[1] = SCHEME_ATTN_NORM;
    s->output_norm = 1;
}

// Every kind at once, the last block left out of the model.
static void make_window(struct scheme *s, const struct model_config *m)
{
    s->alpha = 4;
    s->exit_block = 1;
    s->norms[0] = SCHEME_BOTH_NORMS;
    s->linears[0][MODEL_LINEAR_q] = (struct scheme_linear){LEARN_LORA, 0, 2};
    s->linears[0][MODEL_LINEAR_v] = (struct scheme_linear){LEARN_DORA, 0, 3};
    s->linears[0][MODEL_LINEAR_o] = (struct scheme_linear){LEARN_LORA_B, 0, 1};
    s->linears[0][MODEL_LINEAR_gate] =
        (struct scheme_linear){LEARN_DELTA, 6, 0};
}

static void gradients_where_a_is_fixed(void **state)
{
    check_made(DTYPE_f32, make_fixed_a);
}

static void gradients_of_magnitudes(void **state)
{
    check_made(DTYPE_f32, make_dora);
    check_made(DTYPE_q8_0, make_dora);
}

static void gradients_of_whole_weights(void **state)
{
    check_made(DTYPE_f32, make_whole);
    check_made(DTYPE_q8_0, make_whole);
}

static void gradients_of_parts_of_weights(void **state)
{
    check_made(DTYPE_f32, make_parts);
}

static void gradients_of_norms(void **state)
{
    check_made(DTYPE_q8_0, make_norms);
}

static void gradients_before_an_early_exit(void **state)
{
    check_made(DTYPE_f32, make_window);
}

/*
 * Learning programs. The device runs the plain kernels, so that adamw_c() here
 * must give the same bytes.
 */

static void fill_hyper(float h[ADAMW_HYPERS], int step)
{
    h[ADAMW_LR] = 0.01f;
    h[ADAMW_BETA1] = 0.9f;
    h[ADAMW_BETA2] = 0.999f;
    h[ADAMW_EPS] = 1e-8f;
    h[ADAMW_DECAY] = 0.1f;
    h[ADAMW_CORRECT1] = (float) (1 - pow(0.9, step));
    h[ADAMW_CORRECT2] = (float) (1 - pow(0.999, step));
    h[ADAMW_CLIP] = 0.5f;
}

struct copy {
    float p[COUNT_MAX];
    float m[COUNT_MAX];
    float v[COUNT_MAX];
    float g[COUNT_MAX];
};

// The rule of the paper, in doubles, as a check on the kernel itself.
static void check_adamw(const struct copy *before, const struct copy *after,
                        const float *h, size_t n)
{
    double norm = 0;
    for (size_t i = 0; i < n; i++)
        norm += (double) before->g[i] * (double) before->g[i];
    const double clip = (double) h[ADAMW_CLIP];
    const double k = sqrt(norm) > clip ? clip / sqrt(norm) : 1;
    for (size_t i = 0; i < n; i++) {
        const double g = k * (double) before->g[i];
        const double m = 0.9 * (double) before->m[i] + 0.1 * g;
        const double v = 0.999 * (double) before->v[i] + 0.001 * g * g;
        const double p = (double) before->p[i];
        const double step = m / (double) h[ADAMW_CORRECT1] /
                            (sqrt(v / (double) h[ADAMW_CORRECT2]) + 1e-8);
        const double want = p - 0.01 * (step + 0.1 * p);
        // Where g is near 0 the float v has few bits: bounded by the step.
        assert_true(fabs((double) after->p[i] - want) < 2e-4);
    }
}

// Every param, by hand, from the gradients that were summed in `copies`.
static void update_by_hand(struct fixture *f, struct copy *copies, int step)
{
    static _Alignas(64) unsigned char scratch[1 << 16];
    float h[ADAMW_HYPERS];
    fill_hyper(h, step);
    for (uint32_t i = 0; i < f->n_params; i++) {
        struct copy *c = &copies[i];
        const struct copy before = *c;
        const size_t n = (size_t) (f->params[i].ne[0] * f->params[i].ne[1]);
        adamw_c(c->p, c->m, c->v, c->g, h, (int64_t) n, scratch, NULL);
        check_adamw(&before, c, h, n);
    }
}

static void read_params(struct fixture *f, struct copy *copies)
{
    for (uint32_t i = 0; i < f->n_params; i++)
        bank_read(&f->bank, f->params[i].name, copies[i].p);
}

// Adds the gradients of the current batch to g.
static void add_gradients(struct fixture *f, struct loaded *grad,
                          struct copy *copies)
{
    static float g[COUNT_MAX];
    char name[96];

    tiny_batch_write(grad->e, &f->batch);
    assert_int_equal(executor_run(grad->e), 0);
    for (uint32_t i = 0; i < f->n_params; i++) {
        const size_t n = (size_t) (f->params[i].ne[0] * f->params[i].ne[1]);
        (void) snprintf(name, sizeof(name), "grad.%s", f->params[i].name);
        assert_int_equal(executor_read(grad->e, name, g, n * sizeof(*g)), 0);
        for (size_t k = 0; k < n; k++)
            copies[i].g[k] += g[k];
    }
}

// The plain kernels' bytes on the CPU; elsewhere adamw is not in double.
static void check_near(const float *x, const float *want, size_t n)
{
    if (test_device_is_cpu()) {
        assert_memory_equal(x, want, n * sizeof(*x));
        return;
    }
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(x[i] - want[i]) <= 1e-5f * fabsf(want[i]) + 1e-7f);
}

static void check_same(struct fixture *f, const struct copy *copies)
{
    static float x[COUNT_MAX];
    char name[96];

    for (uint32_t i = 0; i < f->n_params; i++) {
        const float *const want[] = {copies[i].p, copies[i].m, copies[i].v};
        static const char *const suffixes[] = {"", ".m", ".v"};
        for (int k = 0; k < 3; k++) {
            (void) snprintf(name, sizeof(name), "%s%s", f->params[i].name,
                            suffixes[k]);
            const size_t n = bank_count(&f->bank, name);
            bank_read(&f->bank, name, x);
            check_near(x, want[k], n);
        }
    }
}

static void write_hyper(struct loaded *l, int step)
{
    float h[ADAMW_HYPERS];
    fill_hyper(h, step);
    assert_int_equal(executor_write(l->e, "hyper", h, sizeof(h)), 0);
}

static void new_batch(struct fixture *f, uint64_t seed)
{
    tiny_batch_make(&f->batch, 2, 13, f->m.n_vocab, seed);
}

static void clear_gradients(struct fixture *f, struct copy *copies)
{
    for (uint32_t i = 0; i < f->n_params; i++)
        memset(copies[i].g, 0, sizeof(copies[i].g));
}

static struct copy *open_learning(struct fixture *f)
{
    open_fixture(f, DTYPE_f32, &all);
    struct copy *copies = calloc(PARAMS_MAX, sizeof(*copies));
    assert_non_null(copies);
    return copies;
}

static void training_equals_adamw_by_hand(void **state)
{
    struct fixture f;
    struct copy *copies = open_learning(&f);
    struct loaded grad = load(&f, PROGRAM_GRADIENT);
    struct loaded train = load(&f, PROGRAM_TRAIN);

    read_params(&f, copies);
    for (int step = 1; step <= 3; step++) {
        new_batch(&f, (uint64_t) step);
        clear_gradients(&f, copies);
        add_gradients(&f, &grad, copies);
        update_by_hand(&f, copies, step);
        tiny_batch_write(train.e, &f.batch);
        write_hyper(&train, step);
        assert_int_equal(executor_run(train.e), 0);
        check_same(&f, copies);
    }
    free(copies);
    unload(&train);
    unload(&grad);
    close_fixture(&f);
}

static void accumulation_equals_adamw_on_the_sum(void **state)
{
    struct fixture f;
    struct copy *copies = open_learning(&f);
    struct loaded grad = load(&f, PROGRAM_GRADIENT);
    struct loaded accumulate = load(&f, PROGRAM_ACCUMULATE);
    struct loaded update = load(&f, PROGRAM_UPDATE);

    read_params(&f, copies);
    for (int step = 1; step <= 2; step++) {
        clear_gradients(&f, copies);
        for (int micro = 0; micro < 3; micro++) {
            struct loaded *l = micro == 2 ? &update : &accumulate;
            new_batch(&f, (uint64_t) (10 * step + micro));
            add_gradients(&f, &grad, copies);
            tiny_batch_write(l->e, &f.batch);
            if (micro == 2)
                write_hyper(l, step);
            assert_int_equal(executor_run(l->e), 0);
        }
        update_by_hand(&f, copies, step);
        check_same(&f, copies);
    }
    free(copies);
    unload(&update);
    unload(&accumulate);
    unload(&grad);
    close_fixture(&f);
}

/*
 * The same graph without recomputation, reordering and in-place storage; if not
 * `has_passes`, as autodiff left it.
 */

static struct program *compile_naive(struct fixture *f, bool has_passes,
                                     enum program_kind kind)
{
    const struct model_graph_params params = {
        .batch = f->n_batch,
        .length = f->batch.n / f->n_batch,
        .scheme = &f->scheme,
    };
    struct liveness_params lp = {.no_inplace = true};
    struct lower_target target = {test_backend(), f->dev};
    struct program *p = calloc(1, sizeof(*p));
    value_id wrt[PARAMS_MAX];
    float rates[PARAMS_MAX];
    value_id grads[PARAMS_MAX];
    struct arena *work;
    struct graph *g;
    struct schedule *s;
    struct liveness *l;
    struct memplan *plan;
    size_t *scratch;

    assert_non_null(p);
    assert_int_equal(arena_create(&work, 64u << 20), 0);
    assert_int_equal(arena_create(&p->arena, 64u << 20), 0);
    assert_int_equal(model_build(&g, &f->m, &params, work, NULL), 0);
    for (uint32_t i = 0; i < f->n_params; i++) {
        wrt[i] = graph_find(g, f->params[i].name);
        rates[i] = f->params[i].rate;
    }
    assert_int_equal(autodiff(grads, g, graph_find(g, "loss"), wrt, f->n_params,
                              NULL),
                     0);
    const struct optim_params optim = {
        .mode = kind == PROGRAM_GRADIENT ? OPTIM_OUTPUT : OPTIM_UPDATE,
        .values = wrt,
        .grads = grads,
        .rates = rates,
        .n = f->n_params,
    };
    assert_int_equal(optim_apply(g, &optim, NULL), 0);
    if (has_passes)
        assert_int_equal(passes_run(g, 1u << PASS_remat, NULL, NULL), 0);
    assert_int_equal(schedule_create_kind(&s, g, SCHEDULE_GIVEN, work), 0);
    assert_int_equal(lower_schedule(p, s, false, &target, NULL), 0);
    scratch = calloc(s->n + 1u, sizeof(*scratch));
    assert_non_null(scratch);
    for (uint32_t i = 0; i < s->n; i++)
        scratch[i] = lower_scratch(&target, g, &g->nodes[s->order[i]]);
    lp.scratch = scratch;
    assert_int_equal(liveness_find(&l, s, &lp, work), 0);
    assert_int_equal(memplan_assign(&plan, l, work), 0);
    assert_int_equal(lower_places(p, plan), 0);
    free(scratch);
    arena_destroy(work);
    return p;
}

static void gradients_of(struct fixture *f, struct program *p, float *out)
{
    const struct executor_params ep = bank_executor_params(&f->bank);
    struct executor *e;
    char name[96];

    assert_int_equal(executor_create(&e, p, &ep, NULL), 0);
    tiny_batch_write(e, &f->batch);
    assert_int_equal(executor_run(e), 0);
    for (uint32_t i = 0; i < f->n_params; i++, out += COUNT_MAX) {
        const size_t n = (size_t) (f->params[i].ne[0] * f->params[i].ne[1]);
        (void) snprintf(name, sizeof(name), "grad.%s", f->params[i].name);
        assert_int_equal(executor_read(e, name, out, n * sizeof(*out)), 0);
    }
    executor_destroy(e);
    program_destroy(p);
}

static void check_planning(uint8_t dtype, make_fn make)
{
    const size_t n = (size_t) PARAMS_MAX * COUNT_MAX;
    struct fixture f;
    float *g[3];

    open_made(&f, dtype, make);
    for (int i = 0; i < 3; i++) {
        g[i] = calloc(n, sizeof(float));
        assert_non_null(g[i]);
    }
    struct loaded full = load(&f, PROGRAM_GRADIENT);
    executor_destroy(full.e);
    gradients_of(&f, full.p, g[0]);
    gradients_of(&f, compile_naive(&f, true, PROGRAM_GRADIENT), g[1]);
    gradients_of(&f, compile_naive(&f, false, PROGRAM_GRADIENT), g[2]);
    assert_memory_equal(g[0], g[1], n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(g[0][i] - g[2][i]) < 1e-5f + 1e-4f * fabsf(g[0][i]));
    for (int i = 0; i < 3; i++)
        free(g[i]);
    close_fixture(&f);
}

// Reordering and in-place storage change no byte; fusion only rounding.
static void planning_changes_no_byte(void **state)
{
    lora_to_make = &all;
    check_planning(DTYPE_q8_0, make_lora);
    check_planning(DTYPE_q8_0, make_dora);
    check_planning(DTYPE_q8_0, make_whole);
    check_planning(DTYPE_f32, make_parts);
}

static struct program_costs gradients_within(struct fixture *f, uint64_t budget,
                                             float *out)
{
    const struct program_params params = {
        .kind = PROGRAM_GRADIENT,
        .batch = f->n_batch,
        .length = f->batch.n / f->n_batch,
        .scheme = &f->scheme,
        .arena_budget = budget,
    };
    struct program_costs costs;
    struct error err = {0};
    struct program *p;

    if (program_compile(&p, &f->m, &params, test_backend(), f->dev, &err) < 0)
        fail_msg("%s", err.text);
    program_costs(&costs, p);
    if (budget > 1)
        assert_in_range(program_arena_bytes(p), 1, budget);
    gradients_of(f, p, out);
    return costs;
}

// Whatever the planner makes again for a budget: nothing, some, all that it
// can.
static void recomputation_changes_no_byte(void **state)
{
    enum { STEPS = 6 };
    const size_t n = (size_t) PARAMS_MAX * COUNT_MAX;
    struct fixture f;
    float *g[2];

    open_fixture(&f, DTYPE_q8_0, &all);
    for (int i = 0; i < 2; i++) {
        g[i] = calloc(n, sizeof(float));
        assert_non_null(g[i]);
    }
    const struct program_costs all_kept = gradients_within(&f, 0, g[0]);
    const struct program_costs least = gradients_within(&f, 1, g[1]);
    assert_memory_equal(g[0], g[1], n * sizeof(float));
    assert_int_equal(all_kept.n_recomputed, 0);
    assert_true(least.n_recomputed > 20 && least.flops_extra > 0);
    assert_true(least.live_bytes < all_kept.live_bytes);
    assert_int_equal(least.kept_bytes, all_kept.live_bytes);
    assert_true(least.flops == all_kept.flops + least.flops_extra);

    // The more there is, the less is made again.
    uint64_t extra = least.flops_extra;
    const size_t span = all_kept.live_bytes - least.live_bytes;
    for (size_t i = 1; i <= STEPS; i++) {
        const size_t budget = least.live_bytes + span * i / STEPS;
        const struct program_costs c = gradients_within(&f, budget, g[1]);
        assert_memory_equal(g[0], g[1], n * sizeof(float));
        assert_true(c.flops_extra <= extra);
        extra = c.flops_extra;
    }
    assert_true(extra == 0);
    free(g[0]);
    free(g[1]);
    close_fixture(&f);
}

static float *params_after_two_steps(make_fn make, bool is_naive)
{
    struct fixture f;
    struct loaded l = {0};

    open_made(&f, DTYPE_f32, make);
    const struct executor_params ep = bank_executor_params(&f.bank);
    if (is_naive) {
        l.p = compile_naive(&f, true, PROGRAM_TRAIN);
        assert_int_equal(executor_create(&l.e, l.p, &ep, NULL), 0);
        tiny_batch_write(l.e, &f.batch);
    } else {
        l = load(&f, PROGRAM_TRAIN);
    }
    for (int step = 1; step <= 2; step++) {
        write_hyper(&l, step);
        assert_int_equal(executor_run(l.e), 0);
    }
    float *p = calloc((size_t) PARAMS_MAX * COUNT_MAX, sizeof(float));
    assert_non_null(p);
    for (uint32_t i = 0; i < f.n_params; i++)
        bank_read(&f.bank, f.params[i].name, p + (size_t) i * COUNT_MAX);
    unload(&l);
    close_fixture(&f);
    return p;
}

// Updating late, from separate storage, must give the same weights as updating
// as soon as each gradient is known: dX must have seen the old weight. In the
// second step the first one's differences are not zero.
static void updating_early_changes_no_byte(void **state)
{
    static const make_fn makes[] = {make_lora, make_dora, make_whole,
                                    make_parts};
    lora_to_make = &all;
    for (size_t i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
        float *early = params_after_two_steps(makes[i], false);
        float *late = params_after_two_steps(makes[i], true);
        assert_memory_equal(early, late,
                            (size_t) PARAMS_MAX * COUNT_MAX * sizeof(float));
        free(early);
        free(late);
    }
}

static void read_all(struct fixture *f, float *out)
{
    for (uint32_t i = 0; i < f->n_params; i++)
        bank_read(&f->bank, f->params[i].name, out + (size_t) i * COUNT_MAX);
}

// Deferred updates: until they begin the parameters are as they were, and at
// the end they are what updates at once make of them.
static void deferred_updates_change_nothing_before_and_no_byte_after(
    void **state)
{
    const size_t bytes = (size_t) PARAMS_MAX * COUNT_MAX * sizeof(float);
    float *p[4]; // at once; before, at the last gradient, after
    struct error err = {0};

    for (int i = 0; i < 4; i++) {
        p[i] = calloc(1, bytes);
        assert_non_null(p[i]);
    }
    for (int is_deferred = 0; is_deferred <= 1; is_deferred++) {
        struct fixture f;
        struct loaded l;
        open_fixture(&f, DTYPE_f32, &all);
        const struct executor_params ep = bank_executor_params(&f.bank);
        const struct program_params params = {
            .kind = PROGRAM_TRAIN,
            .batch = f.n_batch,
            .length = f.batch.n / f.n_batch,
            .scheme = &f.scheme,
            .is_deferred = is_deferred,
        };
        assert_int_equal(program_compile(&l.p, &f.m, &params, test_backend(),
                                         f.dev, &err),
                         0);
        assert_int_equal(executor_create(&l.e, l.p, &ep, &err), 0);
        tiny_batch_write(l.e, &f.batch);
        write_hyper(&l, 1);
        if (is_deferred) {
            read_all(&f, p[1]);
            assert_int_equal(executor_run_gradients(l.e), 0);
            read_all(&f, p[2]);
        }
        assert_int_equal(executor_run(l.e), 0);
        read_all(&f, is_deferred ? p[3] : p[0]);
        unload(&l);
        close_fixture(&f);
    }
    assert_memory_equal(p[1], p[2], bytes);
    assert_memory_equal(p[0], p[3], bytes);
    assert_memory_not_equal(p[2], p[3], bytes);
    for (int i = 0; i < 4; i++)
        free(p[i]);
}

// With zeros in the adapters of block 0, a scheme that learns all blocks
// computes the same network as one that learns block 1 only; what it derives
// in addition must not change a bit of what both derive.
static void a_sparse_scheme_equals_the_dense_one_with_the_rest_discarded(
    void **state)
{
    static const float zeros[COUNT_MAX];
    const struct scheme_lora last = {all.rank, all.alpha, LORA_ALL, 1};
    float *g[2];
    struct fixture f;

    open_fixture(&f, DTYPE_q8_0, &all);
    const struct param *params = f.params + f.n_params / 2; // of block 1
    const uint32_t n_params = f.n_params / 2;
    struct loaded dense = load(&f, PROGRAM_GRADIENT);
    for (uint32_t i = 1; i < n_params; i += 2)
        bank_write(&f.bank, f.params[i].name, zeros);
    f.scheme = tiny_scheme(&f.m, &last);
    struct loaded sparse = load(&f, PROGRAM_GRADIENT);
    assert_true(program_arena_bytes(sparse.p) < program_arena_bytes(dense.p));

    struct loaded *const both[] = {&dense, &sparse};
    for (int which = 0; which < 2; which++) {
        g[which] = calloc((size_t) n_params * COUNT_MAX, sizeof(float));
        assert_non_null(g[which]);
        assert_int_equal(executor_run(both[which]->e), 0);
        for (uint32_t i = 0; i < n_params; i++) {
            const size_t n = (size_t) (params[i].ne[0] * params[i].ne[1]);
            char name[96];
            (void) snprintf(name, sizeof(name), "grad.%s", params[i].name);
            assert_int_equal(executor_read(both[which]->e, name,
                                           g[which] + (size_t) i * COUNT_MAX,
                                           n * sizeof(float)),
                             0);
        }
    }
    assert_memory_equal(g[0], g[1],
                        (size_t) n_params * COUNT_MAX * sizeof(float));
    free(g[0]);
    free(g[1]);
    unload(&sparse);
    unload(&dense);
    close_fixture(&f);
}

// usage: grad_step [--brief]
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_all_linears),
        cmocka_unit_test(gradients_over_a_quantised_base),
        cmocka_unit_test(gradients_of_the_last_block),
        cmocka_unit_test(gradients_of_every_architecture),
        cmocka_unit_test(gradients_where_a_is_fixed),
        cmocka_unit_test(gradients_of_magnitudes),
        cmocka_unit_test(gradients_of_whole_weights),
        cmocka_unit_test(gradients_of_parts_of_weights),
        cmocka_unit_test(gradients_of_norms),
        cmocka_unit_test(gradients_before_an_early_exit),
        cmocka_unit_test(training_equals_adamw_by_hand),
        cmocka_unit_test(accumulation_equals_adamw_on_the_sum),
        cmocka_unit_test(planning_changes_no_byte),
        cmocka_unit_test(recomputation_changes_no_byte),
        cmocka_unit_test(updating_early_changes_no_byte),
        cmocka_unit_test(
            deferred_updates_change_nothing_before_and_no_byte_after),
        cmocka_unit_test(
            a_sparse_scheme_equals_the_dense_one_with_the_rest_discarded),
    };
    test_device_begin();
    is_brief = argc > 1 || !test_device_is_cpu();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
