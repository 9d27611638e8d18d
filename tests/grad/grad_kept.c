// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Steps of a tiny llama that keep less of the inputs of linears than all: what
 * must not change does not change a bit, and what is estimated is what it
 * should be, computed here in another way.
 */

#include "tests/support/test_device.h"
#include "tests/support/tiny.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/passes/pass.h"

enum {
    BLOCKS = 2,
    ROWS = 2,
    LENGTH = 16,
    T = ROWS * LENGTH,
    PARAMS_MAX = 64,
    COUNT_MAX = 4096,
    GRADIENTS = PARAMS_MAX * COUNT_MAX,
};

static bool is_brief; // a tenth of the draws, for sanitizers

struct fixture {
    struct device *dev;
    struct bank bank;
    struct model_config m;
    struct scheme scheme;
    struct tiny_batch batch;
    float norms[T]; // of tokens, where some are chosen
    int32_t draw[4];
    struct param params[PARAMS_MAX];
    uint32_t n_params;
};

static void set_all(struct scheme *s, struct scheme_linear how)
{
    for (uint32_t i = 0; i < BLOCKS; i++)
        for (int l = 0; l < MODEL_LINEARS; l++)
            s->linears[i][l] = how;
}

static void open_fixture(struct fixture *f, struct scheme_linear how)
{
    const struct device_params dp = {.threads = 2};

    memset(f, 0, sizeof(*f));
    f->m = tiny_config(DTYPE_q8_0, BLOCKS);
    scheme_init(&f->scheme);
    set_all(&f->scheme, how);
    assert_int_equal(test_device_open(&f->dev, &dp, NULL), 0);
    bank_init(&f->bank, test_backend(), f->dev, 1);
    tiny_batch_make(&f->batch, ROWS, LENGTH, f->m.n_vocab, 3);
    for (int t = 0; t < T; t++)
        f->norms[t] = 1;
    f->n_params = scheme_params(f->params, PARAMS_MAX, &f->m, &f->scheme);
    assert_in_range(f->n_params, 1, PARAMS_MAX);
}

static void close_fixture(struct fixture *f)
{
    bank_finish(&f->bank);
    test_backend()->close(f->dev);
}

// Directions start anew with the next program.
static void forget_directions(struct fixture *f)
{
    static const float zeros[COUNT_MAX];

    for (uint32_t i = 0; i < f->bank.n; i++)
        if (strstr(f->bank.items[i].name, ".subtoken"))
            bank_write(&f->bank, f->bank.items[i].name, zeros);
}

static struct program *compile(struct fixture *f,
                               const struct program_params *more)
{
    struct program_params params = *more;
    struct error err = {0};
    struct program *p;

    params.batch = ROWS;
    params.length = LENGTH;
    params.scheme = &f->scheme;
    if (program_compile(&p, &f->m, &params, test_backend(), f->dev, &err) < 0)
        fail_msg("%s", err.text);
    return p;
}

static struct executor *bind(struct fixture *f, struct program *p)
{
    const struct executor_params ep = bank_executor_params(&f->bank);
    struct error err = {0};
    struct executor *e;

    if (executor_create(&e, p, &ep, &err) < 0)
        fail_msg("%s", err.text);
    tiny_batch_write(e, &f->batch);
    if (executor_has(e, "draw")) {
        assert_int_equal(executor_write(e, "draw", f->draw, sizeof(f->draw)),
                         0);
        assert_int_equal(executor_write(e, "token_norms", f->norms,
                                        sizeof(f->norms)),
                         0);
    }
    return e;
}

// Losses of the tokens, then the gradients, COUNT_MAX of each parameter.
struct result {
    float nll[T];
    float g[GRADIENTS];
};

static void read_result(struct result *out, struct fixture *f,
                        struct executor *e)
{
    char name[96];

    assert_int_equal(executor_read(e, "nll", out->nll, sizeof(out->nll)), 0);
    for (uint32_t i = 0; i < f->n_params; i++) {
        const size_t n = (size_t) (f->params[i].ne[0] * f->params[i].ne[1]);
        (void) snprintf(name, sizeof(name), "grad.%s", f->params[i].name);
        assert_in_range(n, 1, COUNT_MAX);
        assert_int_equal(executor_read(e, name, out->g + (size_t) i * COUNT_MAX,
                                       n * sizeof(*out->g)),
                         0);
    }
}

static struct result *gradients(struct fixture *f,
                                const struct program_params *params)
{
    struct result *r = calloc(1, sizeof(*r));
    struct program *p = compile(f, params);
    struct executor *e = bind(f, p);

    assert_non_null(r);
    assert_int_equal(executor_run(e), 0);
    read_result(r, f, e);
    executor_destroy(e);
    program_destroy(p);
    return r;
}

// Gradients that read an input of a linear, other than attention's output.
static bool is_estimated(const struct param *p)
{
    return p->linear != MODEL_LINEAR_o &&
           (p->kind == PARAM_LORA_A || p->kind == PARAM_DELTA);
}

static const struct scheme_linear ways[] = {
    {LEARN_LORA, 0, 3},
    {LEARN_DORA, 0, 2},
    {LEARN_DELTA, 0, 0},
    {LEARN_DELTA, 0x81, 0},
};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

static const struct program_params whole = {.kind = PROGRAM_GRADIENT};

static struct program_params by_subtokens(uint16_t groups, float scale)
{
    return (struct program_params){
        .kind = PROGRAM_GRADIENT,
        .kept = {KEPT_SUBTOKENS, LORA_ALL, groups, scale, 0},
    };
}

// What the gradients of the inputs, and the forward pass, do not read cannot
// change them. B of LoRA and the lengths of DoRA learn from all of these.
static void check_untouched(struct fixture *f, const struct result *a,
                            const struct result *b)
{
    uint32_t n_changed = 0;

    assert_memory_equal(a->nll, b->nll, sizeof(a->nll));
    for (uint32_t i = 0; i < f->n_params; i++) {
        const bool is_same =
            memcmp(a->g + (size_t) i * COUNT_MAX, b->g + (size_t) i * COUNT_MAX,
                   COUNT_MAX * sizeof(*a->g)) == 0;
        if (!is_estimated(&f->params[i]) && !is_same)
            fail_msg("%s changed", f->params[i].name);
        n_changed += !is_same;
    }
    assert_true(n_changed > 0);
}

static void forward_pass_and_gradients_of_inputs_stay_to_the_bit(void **state)
{
    const struct program_params less = by_subtokens(4, 1);

    for (int i = 0; i < WAYS; i++) {
        struct fixture f;
        open_fixture(&f, ways[i]);
        memset(f.scheme.norms, SCHEME_BOTH_NORMS, BLOCKS);
        f.n_params = scheme_params(f.params, PARAMS_MAX, &f.m, &f.scheme);
        struct result *a = gradients(&f, &whole);
        struct result *b = gradients(&f, &less);
        check_untouched(&f, a, b);
        free(a);
        free(b);
        close_fixture(&f);
    }
}

/*
 * Sub-tokens
 */

static const char *direction_of(const struct fixture *f, const struct param *p,
                                char out[96])
{
    static const enum model_linear first[MODEL_LINEARS] = {
        [MODEL_LINEAR_q] = MODEL_LINEAR_q,
        [MODEL_LINEAR_k] = MODEL_LINEAR_q,
        [MODEL_LINEAR_v] = MODEL_LINEAR_q,
        [MODEL_LINEAR_gate] = MODEL_LINEAR_gate,
        [MODEL_LINEAR_up] = MODEL_LINEAR_gate,
        [MODEL_LINEAR_down] = MODEL_LINEAR_down,
    };
    char name[MODEL_NAME_BYTES];

    model_linear_name(name, &f->m, p->block, first[p->linear]);
    (void) snprintf(out, 96, "%s.subtoken", name);
    return out;
}

// dY^T of inputs that are projected on v is the projected dY^T X.
static void check_projected(struct fixture *f, const struct param *p,
                            const float *exact, const float *got, float scale)
{
    float v[COUNT_MAX];
    char name[96];
    const int64_t size =
        (int64_t) bank_count(&f->bank, direction_of(f, p, name));
    double length = 0, largest = 0, worst = 0;

    assert_in_range(size, 2, COUNT_MAX);
    bank_read(&f->bank, name, v);
    for (int64_t k = 0; k < size; k++)
        length += (double) v[k] * (double) v[k];
    assert_true(fabs(length - 1) < 1e-5);
    for (int64_t at = 0; at < p->ne[0] * p->ne[1]; at += size) {
        double dot = 0;
        for (int64_t k = 0; k < size; k++)
            dot += (double) exact[at + k] * (double) v[k];
        for (int64_t k = 0; k < size; k++) {
            const double want = (double) scale * dot * (double) v[k];
            largest = fmax(largest, fabs(want));
            worst = fmax(worst, fabs(want - (double) got[at + k]));
        }
    }
    if (!(largest > 1e-5) || !(worst < 1e-5 * fmax(1, largest)))
        fail_msg("%s: off by %g of %g", p->name, worst, largest);
}

static void gradients_are_those_of_projected_inputs(void **state)
{
    const struct program_params less = by_subtokens(4, 0.5f);

    for (int i = 0; i < WAYS; i++) {
        struct fixture f;
        open_fixture(&f, ways[i]);
        struct result *a = gradients(&f, &whole);
        struct result *b = gradients(&f, &less);
        for (uint32_t k = 0; k < f.n_params; k++)
            if (is_estimated(&f.params[k]))
                check_projected(&f, &f.params[k], a->g + (size_t) k * COUNT_MAX,
                                b->g + (size_t) k * COUNT_MAX, 0.5f);
        free(a);
        free(b);
        close_fixture(&f);
    }
}

// v is 1 or -1 then, and neither product rounds.
static void subtokens_of_one_value_lose_nothing(void **state)
{
    struct fixture f;
    struct program_params all = by_subtokens(32, 1);

    all.kept.targets = LORA_Q | LORA_K | LORA_V | LORA_GATE | LORA_UP;
    open_fixture(&f, ways[0]);
    struct result *a = gradients(&f, &whole);
    struct result *b = gradients(&f, &all);
    assert_int_equal(bank_count(&f.bank, "blk.0.attn_q.weight.subtoken"), 1);
    assert_memory_equal(a, b, sizeof(*a));
    free(a);
    free(b);
    close_fixture(&f);
}

// The mean of the first batch's sub-tokens, whatever comes later.
static void directions_are_those_of_the_first_batch(void **state)
{
    const struct program_params less = by_subtokens(8, 1);
    float first[COUNT_MAX], later[COUNT_MAX], other[COUNT_MAX];
    struct fixture f;

    open_fixture(&f, ways[0]);
    free(gradients(&f, &less));
    bank_read(&f.bank, "blk.1.ffn_gate.weight.subtoken", first);
    tiny_batch_make(&f.batch, ROWS, LENGTH, f.m.n_vocab, 99);
    free(gradients(&f, &less));
    bank_read(&f.bank, "blk.1.ffn_gate.weight.subtoken", later);
    forget_directions(&f);
    free(gradients(&f, &less));
    bank_read(&f.bank, "blk.1.ffn_gate.weight.subtoken", other);
    assert_memory_equal(first, later, 4 * sizeof(float));
    assert_memory_not_equal(first, other, 4 * sizeof(float));
    close_fixture(&f);
}

/*
 * Tokens that are chosen
 */

static struct program_params by_tokens(float part)
{
    return (struct program_params){
        .kind = PROGRAM_GRADIENT,
        .kept = {KEPT_TOKENS, LORA_ALL, 0, 0, part},
    };
}

static void chosen_tokens_leave_the_rest_to_the_bit(void **state)
{
    const struct program_params some = by_tokens(0.4f);

    for (int i = 0; i < WAYS; i++) {
        struct fixture f;
        open_fixture(&f, ways[i]);
        memset(f.scheme.norms, SCHEME_BOTH_NORMS, BLOCKS);
        f.n_params = scheme_params(f.params, PARAMS_MAX, &f.m, &f.scheme);
        struct result *a = gradients(&f, &whole);
        struct result *b = gradients(&f, &some);
        check_untouched(&f, a, b);
        free(a);
        free(b);
        close_fixture(&f);
    }
}

static void all_tokens_are_the_exact_gradient(void **state)
{
    const struct program_params all = by_tokens(0.99f);

    for (int i = 0; i < WAYS; i++) {
        struct fixture f;
        open_fixture(&f, ways[i]);
        assert_int_equal(kept_tokens(&all.kept, T), T);
        struct result *a = gradients(&f, &whole);
        struct result *b = gradients(&f, &all);
        assert_memory_equal(a, b, sizeof(*a));
        free(a);
        free(b);
        close_fixture(&f);
    }
}

// The same program with other numbers each time: mean of what is estimated, and
// the mean square of its distance from `exact`, in that of `exact`.
struct draws {
    double *mean;    // (GRADIENTS)
    double variance; // of one draw
    double error;    // of the mean, a length
};

// |a - b|^2 over what is estimated, |a|^2 without b.
static double square_of(const struct fixture *f, const float *a,
                        const double *b)
{
    double sum = 0;

    for (uint32_t i = 0; i < f->n_params; i++) {
        const size_t first = (size_t) i * COUNT_MAX;
        const size_t n = (size_t) (f->params[i].ne[0] * f->params[i].ne[1]);
        for (size_t k = first; k < first + n; k++) {
            const double d = (double) a[k] - (b ? b[k] : 0);
            sum += is_estimated(&f->params[i]) ? d * d : 0;
        }
    }
    return sum;
}

// One more draw.
static void add_draw(struct draws *d, const struct fixture *f, const float *g,
                     const float *exact, double length, int n)
{
    for (uint32_t i = 0; i < f->n_params; i++) {
        const size_t first = (size_t) i * COUNT_MAX;
        const size_t count = (size_t) (f->params[i].ne[0] * f->params[i].ne[1]);
        for (size_t k = first; k < first + count && is_estimated(&f->params[i]);
             k++) {
            const double off = (double) g[k] - (double) exact[k];
            d->mean[k] += (double) g[k] / n;
            d->variance += off * off / length / n;
        }
    }
}

static void draw_many(struct draws *out, struct fixture *f,
                      const struct program_params *params, int n,
                      const struct result *exact)
{
    struct program *p = compile(f, params);
    struct executor *e = bind(f, p);
    struct result *r = calloc(1, sizeof(*r));
    const double length = square_of(f, exact->g, NULL);

    *out = (struct draws){.mean = calloc(GRADIENTS, sizeof(*out->mean))};
    assert_true(r && out->mean && length > 0);
    for (int i = 0; i < n; i++) {
        const int32_t draw[4] = {1, 0, i, 0};
        assert_int_equal(executor_write(e, "draw", draw, sizeof(draw)), 0);
        assert_int_equal(executor_run(e), 0);
        read_result(r, f, e);
        add_draw(out, f, r->g, exact->g, length, n);
    }
    out->error = sqrt(square_of(f, exact->g, out->mean) / length);
    free(r);
    executor_destroy(e);
    program_destroy(p);
}

// The mean of n draws is off by 1 / sqrt(n) of what one is off by: a bias of
// some percent would show. Inputs of a norm are all alike, so that one draw of
// a batch as small as this is off by much; tests/check has a larger one.
static void the_mean_of_draws_is_the_exact_gradient(void **state)
{
    const int draws = is_brief ? 160 : 1600;
    static const float parts[] = {0.75f, 0.4f};

    for (int i = 0; i < WAYS * 2; i++) {
        const struct program_params some = by_tokens(parts[i % 2]);
        struct fixture f;
        struct draws d;
        open_fixture(&f, ways[i / 2]);
        struct result *exact = gradients(&f, &whole);
        draw_many(&d, &f, &some, draws, exact);
        print_message("# one draw is off by %.1f %%, their mean by %.2f %%\n",
                      100 * sqrt(d.variance), 100 * d.error);
        assert_true(sqrt(d.variance) > 0.1);
        assert_true(d.error < 1.6 * sqrt(d.variance / draws));
        assert_true(is_brief || i % 2 || d.error < 0.03);
        free(d.mean);
        free(exact);
        close_fixture(&f);
    }
}

// What the program says of its tokens: each product adds T in all.
static void read_norms(struct fixture *f, const struct program_params *params)
{
    struct program *p = compile(f, params);
    struct executor *e = bind(f, p);
    double sum = 0;

    assert_int_equal(executor_run(e), 0);
    assert_int_equal(executor_read(e, "token_squares", f->norms,
                                   sizeof(f->norms)),
                     0);
    for (int t = 0; t < T; t++) {
        assert_true(f->norms[t] >= 0);
        sum += (double) f->norms[t];
        f->norms[t] = sqrtf(f->norms[t]) + 0.1f;
    }
    assert_true(fabs(sum / (T * (MODEL_LINEARS - 1) * BLOCKS) - 1) < 1e-5);
    executor_destroy(e);
    program_destroy(p);
}

// Tokens whose gradients are known to be long are drawn more often, and the
// estimate is better for it.
static void known_gradients_lower_the_variance(void **state)
{
    const struct program_params some = by_tokens(0.4f);
    struct draws by_inputs, by_both;
    struct fixture f;

    open_fixture(&f, ways[0]);
    struct result *exact = gradients(&f, &whole);
    draw_many(&by_inputs, &f, &some, 200, exact);
    read_norms(&f, &some);
    draw_many(&by_both, &f, &some, 200, exact);
    print_message("# variance %.3f by inputs, %.3f with known gradients\n",
                  by_inputs.variance, by_both.variance);
    assert_true(by_both.variance < 0.9 * by_inputs.variance);
    free(by_inputs.mean);
    free(by_both.mean);
    free(exact);
    close_fixture(&f);
}

static void the_same_numbers_choose_the_same_tokens(void **state)
{
    const struct program_params some = by_tokens(0.4f);
    struct fixture f;

    open_fixture(&f, ways[2]);
    struct result *a = gradients(&f, &some);
    struct result *b = gradients(&f, &some);
    assert_memory_equal(a, b, sizeof(*a));
    for (int i = 0; i < 4; i++) {
        free(b);
        f.draw[i] ^= 1;
        b = gradients(&f, &some);
        assert_memory_not_equal(a->g, b->g, sizeof(a->g));
        f.draw[i] ^= 1;
    }
    free(a);
    free(b);
    close_fixture(&f);
}

/*
 * Memory
 */

struct kept_bytes {
    uint32_t n;
    size_t bytes;
};

// Pieces of the forward pass that gradients read, made by this operator.
static struct kept_bytes kept_of(const struct program *p, const char *op)
{
    struct kept_bytes k = {0};

    for (uint32_t i = 0; i < program_piece_count(p); i++) {
        const struct program_piece *x = program_piece(p, i);
        if (x->kind != PROGRAM_PIECE_KEPT ||
            strncmp(x->what, op, strlen(op)) != 0)
            continue;
        k.n++;
        k.bytes += x->bytes;
    }
    return k;
}

static size_t width_of_inputs(const struct model_config *m)
{
    return 2 * (size_t) m->width + m->ffn_width;
}

// Three inputs in a block; of each a number for a token and group stays, and
// neither the normalised states nor the products of SwiGLU.
static void no_more_is_kept_than_promised(void **state)
{
    enum { GROUPS = 4 };
    const struct program_params less = by_subtokens(GROUPS, 1);

    for (int i = 0; i < WAYS - 1; i++) {
        struct fixture f;
        open_fixture(&f, ways[i]);
        struct program *a = compile(&f, &whole);
        struct program *b = compile(&f, &less);
        const struct kept_bytes z = kept_of(b, "subtoken_dot");
        assert_int_equal(z.n, 3 * BLOCKS);
        assert_int_equal(z.bytes, 3 * BLOCKS * T * GROUPS * sizeof(float));
        assert_int_equal(kept_of(a, "swiglu").n, BLOCKS);
        assert_int_equal(kept_of(b, "swiglu").n, 0);
        // rstd of each norm is kept by both, and with it no normalised state.
        assert_int_equal(kept_of(a, "rmsnorm").bytes -
                             kept_of(b, "rmsnorm").bytes,
                         2 * BLOCKS * T * f.m.width * sizeof(float));
        assert_true(program_arena_bytes(b) < program_arena_bytes(a));
        print_message("# arena %zu to %zu bytes; inputs were %zu\n",
                      program_arena_bytes(a), program_arena_bytes(b),
                      BLOCKS * T * width_of_inputs(&f.m) * sizeof(float));
        program_destroy(a);
        program_destroy(b);
        close_fixture(&f);
    }
}

// Of each input as many rows as tokens stay, and their numbers.
static void no_more_tokens_are_kept_than_chosen(void **state)
{
    const struct program_params half = by_tokens(0.5f);

    for (int i = 0; i < WAYS - 1; i++) {
        struct fixture f;
        open_fixture(&f, ways[i]);
        struct program *a = compile(&f, &whole);
        struct program *b = compile(&f, &half);
        const struct kept_bytes k = kept_of(b, "choose_rows");
        assert_int_equal(k.n, 2 * 3 * BLOCKS);
        assert_int_equal(k.bytes, BLOCKS * T / 2 *
                                      (width_of_inputs(&f.m) * sizeof(float) +
                                       3 * sizeof(int32_t)));
        assert_int_equal(kept_of(b, "swiglu").n, 0);
        assert_int_equal(kept_of(a, "rmsnorm").bytes -
                             kept_of(b, "rmsnorm").bytes,
                         2 * BLOCKS * T * f.m.width * sizeof(float));
        assert_true(program_arena_bytes(b) < program_arena_bytes(a));
        program_destroy(a);
        program_destroy(b);
        close_fixture(&f);
    }
}

/*
 * The compiler
 */

// Whatever the planner makes again, and whatever pass is left out.
static void check_compiler(struct program_params params)
{
    for (int i = 0; i < WAYS; i++) {
        struct fixture f;
        open_fixture(&f, ways[i]);
        params.arena_budget = 0;
        params.passes_off = 0;
        struct result *a = gradients(&f, &params);
        for (uint64_t budget = 1; budget < 1u << 20; budget *= 8) {
            params.arena_budget = budget;
            struct result *b = gradients(&f, &params);
            assert_memory_equal(a, b, sizeof(*a));
            free(b);
        }
        for (int pass = 0; pass < PASS_COUNT; pass++) {
            params.passes_off = 1u << pass;
            struct result *b = gradients(&f, &params);
            for (size_t k = 0; k < GRADIENTS; k++)
                assert_true(fabsf(a->g[k] - b->g[k]) <
                            1e-5f + 1e-4f * fabsf(a->g[k]));
            free(b);
        }
        free(a);
        close_fixture(&f);
    }
}

static void planning_and_passes_change_nothing(void **state)
{
    check_compiler(by_subtokens(4, 1));
    check_compiler(by_tokens(0.4f));
}

static bool has_state(const struct program *p, const char *suffix)
{
    for (uint32_t i = 0; i < program_state_count(p); i++)
        if (strstr(program_state(p, i)->name, suffix))
            return true;
    return false;
}

// An evaluation before the first step must not choose the directions.
static void only_programs_that_learn_keep_anything(void **state)
{
    struct program_params params = by_subtokens(4, 1);
    struct fixture f;

    open_fixture(&f, ways[0]);
    for (int kind = PROGRAM_TRAIN; kind <= PROGRAM_EVAL; kind++) {
        params.kind = (enum program_kind) kind;
        struct program *p = compile(&f, &params);
        assert_int_equal(has_state(p, ".subtoken"), kind != PROGRAM_EVAL);
        program_destroy(p);
    }
    close_fixture(&f);
}

// usage: grad_kept [--brief]
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_pass_and_gradients_of_inputs_stay_to_the_bit),
        cmocka_unit_test(gradients_are_those_of_projected_inputs),
        cmocka_unit_test(subtokens_of_one_value_lose_nothing),
        cmocka_unit_test(directions_are_those_of_the_first_batch),
        cmocka_unit_test(chosen_tokens_leave_the_rest_to_the_bit),
        cmocka_unit_test(all_tokens_are_the_exact_gradient),
        cmocka_unit_test(the_mean_of_draws_is_the_exact_gradient),
        cmocka_unit_test(known_gradients_lower_the_variance),
        cmocka_unit_test(the_same_numbers_choose_the_same_tokens),
        cmocka_unit_test(no_more_is_kept_than_promised),
        cmocka_unit_test(no_more_tokens_are_kept_than_chosen),
        cmocka_unit_test(planning_and_passes_change_nothing),
        cmocka_unit_test(only_programs_that_learn_keep_anything),
    };
    test_device_begin();
    is_brief = argc > 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
