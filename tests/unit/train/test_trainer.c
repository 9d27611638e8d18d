// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/trainer.h"

#include "engine/base/error.h"
#include "engine/base/memfile.h"
#include "engine/base/rng.h"
#include "engine/train/adapter.h"
#include "engine/train/base_model.h"
#include "engine/train/prefix_cache.h"
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

/*
 * A CPU that stops after so many instructions, as if the owner came back.
 */
static uint64_t instrs_left = UINT64_MAX;
// Precisions of products in programs that compute frozen prefixes, as bits.
static unsigned prefix_precisions;

static void note_prefix(const struct instr *instrs, uint32_t count)
{
    unsigned seen = 0;

    if (instrs[0].op != OP_embed)
        return;
    for (uint32_t i = 0; i < count; i++) {
        if (instrs[i].op == OP_xent)
            return;
        if (op_infos[instrs[i].op].flags & OP_PRODUCTS)
            seen |= 1u << instrs[i].attr.precision;
    }
    prefix_precisions |= seen;
}

static int run_some(struct device *dev, const struct instr *instrs,
                    uint32_t count, const struct bindings *b)
{
    uint32_t n = instrs_left < count ? (uint32_t) instrs_left : count;
    const uint32_t counted = n;

    note_prefix(instrs, count);
    // What ends a thing that has begun is not stopped.
    while (n > 0 && n < count && instrs[n].is_tail)
        n++;
    int rc = n > 0 ? test_backend()->run(dev, instrs, n, b) : 0;
    if (rc >= 0)
        instrs_left -= instrs_left == UINT64_MAX ? 0 : counted;
    return rc;
}

static struct backend backend;

/*
 * A model, records and a recipe.
 */
enum { N_RECORDS = 30 };

struct rig {
    struct device *dev;
    struct base_model *base;
    struct recipe recipe;
    struct record records[N_RECORDS];
    char texts[N_RECORDS][96];
    const struct prefix_file *prefix;
};

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

static void make_records(struct rig *r)
{
    static const char *const words[] = {"bees ",  "honey ", "rain ", "the ",
                                        "wheel ", "bell ",  "tea ",  "dog "};
    struct rng rng;

    rng_init(&rng, 11, 0);
    for (int i = 0; i < N_RECORDS; i++) {
        const uint32_t n = 2 + rng_below(&rng, 12);
        for (uint32_t j = 0; j < n; j++)
            strcat(r->texts[i], words[rng_below(&rng, 8)]);
        r->records[i] = (struct record){
            .id = i + 1,
            .kind = i % 3 == 2 ? RECORD_PAIR : RECORD_TEXT,
            .text = {r->texts[i], strlen(r->texts[i])},
            .prompt = {"say", 3},
            .completion = {r->texts[i], strlen(r->texts[i])},
        };
    }
}

static void rig_init(struct rig *r, uint32_t threads)
{
    const struct device_params device = {.threads = threads};
    struct error err;
    const int fd = tinyfile_create(1);

    memset(r, 0, sizeof *r);
    backend = *test_backend();
    backend.run = run_some;
    instrs_left = UINT64_MAX;
    ok(test_device_open(&r->dev, &device, &err), &err);
    ok(base_model_open(&r->base, &backend, r->dev, fd, &err), &err);
    close(fd);
    recipe_init(&r->recipe);
    ok(recipe_parse(&r->recipe,
                    "rank=4 alpha=8 lr=0.01 warmup=3 epochs=2 length=64 "
                    "eval_every=4 patience=100",
                    &err),
       &err);
    make_records(r);
}

static void rig_finish(struct rig *r)
{
    base_model_close(r->base);
    backend.close(r->dev);
}

static struct trainer *rig_trainer(struct rig *r)
{
    const struct trainer_params params = {
        .recipe = &r->recipe,
        .records = r->records,
        .n_records = N_RECORDS,
        .prefix = r->prefix,
    };
    struct trainer *t;
    struct error err;

    ok(trainer_create(&t, r->base, &params, &err), &err);
    return t;
}

struct bytes {
    void *data;
    size_t n;
};

static struct bytes save(const struct trainer *t)
{
    struct bytes b;
    struct error err;

    ok(trainer_save(&b.data, &b.n, t, &err), &err);
    return b;
}

// The checkpoint at the end of a run that nothing disturbs.
static struct bytes run_through(struct rig *r)
{
    struct trainer *t = rig_trainer(r);
    struct error err = {0};

    assert_int_equal(trainer_run(t, 0, NULL, NULL, &err), 0);
    struct bytes b = save(t);
    trainer_destroy(t);
    return b;
}

/*
 * Tests.
 */

static void held_out_loss_falls(void **state)
{
    struct rig r;
    struct error err;
    struct trainer_progress p;
    struct trainer_info info;

    rig_init(&r, 1);
    struct trainer *t = rig_trainer(&r);
    trainer_describe(&info, t);
    assert_int_equal(info.n_trained + info.n_held_out, N_RECORDS);
    assert_true(info.n_held_out > 0);
    assert_int_equal(info.steps_total, 2 * info.steps_epoch);
    assert_int_equal(trainer_run(t, 0, NULL, NULL, &err), 0);
    trainer_progress(&p, t);
    assert_int_equal(p.step, p.steps_total);
    assert_int_equal(p.end, TRAINER_COMPLETE);
    assert_true(p.best_loss < 0.95 * p.start_loss);
    trainer_destroy(t);
    rig_finish(&r);
}

static void bytes_are_the_same_for_any_number_of_threads(void **state)
{
    struct bytes one;
    struct rig r;

    rig_init(&r, 1);
    one = run_through(&r);
    rig_finish(&r);
    // An emulated GPU has others, and is asked once more.
    for (uint32_t threads = 2; threads <= (test_device_is_cpu() ? 3 : 2);
         threads++) {
        rig_init(&r, threads);
        struct bytes more = run_through(&r);
        assert_int_equal(more.n, one.n);
        assert_memory_equal(more.data, one.data, one.n);
        free(more.data);
        rig_finish(&r);
    }
    free(one.data);
}

// Runs to the end, stopped after random numbers of instructions, and begun
// anew from a checkpoint each time.
static struct bytes run_in_pieces(struct rig *r, uint64_t seed,
                                  uint64_t longest)
{
    struct bytes last = {0};
    struct rng rng;
    int rc = -EINTR;

    rng_init(&rng, seed, 0);
    while (rc == -EINTR) {
        struct trainer *t = rig_trainer(r);
        struct error err = {0};
        if (last.data)
            ok(trainer_restore(t, last.data, last.n, &err), &err);
        // Sometimes the same process goes on.
        for (int i = rng_below(&rng, 3) == 0; i >= 0 && rc == -EINTR; i--) {
            instrs_left = 1 + rng_below(&rng, (uint32_t) longest);
            rc = trainer_run(t, 0, NULL, NULL, &err);
            assert_true(rc == 0 || rc == -EINTR);
        }
        free(last.data);
        last = save(t);
        trainer_destroy(t);
    }
    instrs_left = UINT64_MAX;
    return last;
}

static void stops_anywhere_and_ends_with_the_same_bytes(void **state)
{
    struct rig r;

    rig_init(&r, 1);
    struct bytes straight = run_through(&r);
    // An emulated GPU takes its time for one.
    const uint64_t seeds = test_device_is_cpu() ? 2 : 1;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct bytes pieces = run_in_pieces(&r, seed, 2500);
        assert_int_equal(pieces.n, straight.n);
        assert_memory_equal(pieces.data, straight.data, straight.n);
        free(pieces.data);
    }
    free(straight.data);
    rig_finish(&r);
}

// Whatever learns, the loss falls, and pieces make the same bytes as one run.
static void every_scheme_learns_and_resumes(void **state)
{
    static const char *const recipes[] = {
        "scheme=dora:1 epochs=1",
        "scheme=lora-fa epochs=1",
        "scheme=lora-plus epochs=1 lr=0.003",
        "scheme=pockengine:1 epochs=1",
        "scheme=norms epochs=1 lr=0.02",
        "scheme=window:0-0 epochs=1",
        "act_compress=velora velora_groups=4 epochs=1",
        ("act_compress=velora velora_groups=4 act_targets=q,v,down "
         "scheme=pockengine:1 epochs=1"),
        "act_compress=velora velora_groups=8 drop_rate=0.5 epochs=1",
        "dw_tokens=0.4 epochs=2",
        "dw_tokens=0.3 scheme=pockengine:1 epochs=2",
        "dw_tokens=0.3 act_targets=v drop_rate=0.5 epochs=2",
        "dw_tokens=0.5 last_blocks=1 epochs=2",
        "act_compress=velora velora_groups=8 last_blocks=1 epochs=2",
        ("epochs=1 scheme={\"rules\":[{\"tensors\":\"ffn_*\",\"learn\":"
         "\"delta\",\"part\":[0,3]}]}"),
    };
    // An emulated GPU, whose kernels have cases of their own, takes a third.
    const size_t stride = test_device_is_cpu() ? 1 : 3;
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i += stride) {
        struct rig r;
        struct error err;
        struct trainer_progress p;

        rig_init(&r, 1);
        ok(recipe_parse(&r.recipe, recipes[i], &err), &err);
        struct trainer *t = rig_trainer(&r);
        assert_int_equal(trainer_run(t, 0, NULL, NULL, &err), 0);
        trainer_progress(&p, t);
        if (!(p.best_loss < p.start_loss - 0.01))
            fail_msg("%s: %g to %g", recipes[i], p.start_loss, p.best_loss);
        struct bytes straight = save(t);
        trainer_destroy(t);
        struct bytes pieces = run_in_pieces(&r, i, 4000);
        assert_int_equal(pieces.n, straight.n);
        assert_memory_equal(pieces.data, straight.data, straight.n);
        free(pieces.data);
        free(straight.data);
        rig_finish(&r);
    }
}

// Early updates are undone when a step is cut off, late ones are not begun.
static void early_and_late_updates_learn_the_same(void **state)
{
    static const char *const recipes[] = {
        "epochs=1 updates=early scheme=pockengine:1",
        "epochs=1 updates=late scheme=pockengine:1",
    };
    struct adapter *a[2];
    struct error err;

    for (int i = 0; i < 2; i++) {
        struct rig r;
        rig_init(&r, 1);
        ok(recipe_parse(&r.recipe, recipes[i], &err), &err);
        struct trainer *t = rig_trainer(&r);
        assert_int_equal(trainer_run(t, 0, NULL, NULL, &err), 0);
        ok(trainer_best(&a[i], t, &err), &err);
        struct bytes straight = save(t);
        trainer_destroy(t);
        struct bytes pieces = run_in_pieces(&r, 5, 2500);
        assert_int_equal(pieces.n, straight.n);
        assert_memory_equal(pieces.data, straight.data, straight.n);
        free(pieces.data);
        free(straight.data);
        rig_finish(&r);
    }
    assert_int_equal(adapter_floats(a[0]), adapter_floats(a[1]));
    assert_memory_equal(a[0]->data, a[1]->data,
                        adapter_floats(a[0]) * sizeof(float));
    adapter_destroy(a[0]);
    adapter_destroy(a[1]);
}

// Rows of a step that do not fit together go through several programs, and what
// is kept of inputs follows from the rows of each.
static void micro_batches_can_be_stopped_too(void **state)
{
    static const char *const recipes[] = {
        "epochs=1 length=80 batch=20 memory_mib=16",
        "epochs=1 act_compress=velora velora_groups=8",
        "epochs=2 act_compress=off dw_tokens=0.3",
    };
    struct rig r;
    struct error err;
    struct trainer_info info;

    rig_init(&r, 1);
    // A tiny model's rows all fit: pretend that few do, by many targets.
    ok(recipe_parse(&r.recipe, "rank=256", &err), &err);
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        ok(recipe_parse(&r.recipe, recipes[i], &err), &err);
        ok(trainer_plan(&info, r.base, &r.recipe, &err), &err);
        struct bytes straight = run_through(&r);
        struct bytes pieces = run_in_pieces(&r, 3, 2500);
        assert_int_equal(pieces.n, straight.n);
        assert_memory_equal(pieces.data, straight.data, straight.n);
        print_message("# rows in a micro-batch: %u\n", info.micro_rows);
        free(pieces.data);
        free(straight.data);
    }
    rig_finish(&r);
}

static void checkpoints_of_other_runs_are_refused(void **state)
{
    struct rig r;
    struct error err = {0};

    rig_init(&r, 1);
    struct trainer *t = rig_trainer(&r);
    assert_int_equal(trainer_run(t, 3, NULL, NULL, &err), 1);
    struct bytes b = save(t);
    trainer_destroy(t);

    r.recipe.lr *= 2;
    t = rig_trainer(&r);
    assert_int_equal(trainer_restore(t, b.data, b.n, &err), -ESTALE);
    assert_non_null(strstr(err.text, "recipe"));
    trainer_destroy(t);
    r.recipe.lr /= 2;

    r.texts[0][0] ^= 1;
    t = rig_trainer(&r);
    assert_int_equal(trainer_restore(t, b.data, b.n, &err), -ESTALE);
    assert_non_null(strstr(err.text, "records"));
    // A refused checkpoint leaves the trainer as it was.
    struct trainer_progress p;
    trainer_progress(&p, t);
    assert_int_equal(p.step, 0);
    ((char *) b.data)[b.n / 2] ^= 1;
    assert_int_equal(trainer_restore(t, b.data, b.n, &err), -EBADMSG);
    trainer_destroy(t);
    free(b.data);
    rig_finish(&r);
}

struct watch {
    double best;
    uint64_t best_step;
    uint32_t evals;
};

static void on_news(void *user, const struct trainer_progress *p)
{
    struct watch *w = user;

    if (!p->has_held_out)
        return;
    w->evals++;
    if (p->held_out_loss < w->best) {
        w->best = p->held_out_loss;
        w->best_step = p->step;
    }
}

static void the_best_is_kept_and_patience_ends_the_run(void **state)
{
    struct rig r;
    struct error err;
    struct trainer_progress p;
    struct watch w = {.best = INFINITY};

    rig_init(&r, 1);
    // A rate that first learns and then hovers.
    ok(recipe_parse(&r.recipe,
                    "lr=0.1 schedule=constant epochs=60 eval_every=2 "
                    "patience=3 min_delta=0",
                    &err),
       &err);
    struct trainer *t = rig_trainer(&r);
    assert_int_equal(trainer_run(t, 0, on_news, &w, &err), 0);
    trainer_progress(&p, t);
    assert_int_equal(p.end, TRAINER_CONVERGED);
    assert_true(p.step < p.steps_total);
    assert_int_equal(p.step, p.best_step + 3 * 2);
    assert_int_equal(p.best_step, w.best_step);
    assert_true(p.best_loss == w.best);
    assert_true(p.held_out_loss > p.best_loss);

    // The adapter that comes out is the one of the best step.
    struct adapter *best;
    ok(trainer_best(&best, t, &err), &err);
    struct trainer_params params = {
        .recipe = &r.recipe,
        .records = r.records,
        .n_records = N_RECORDS,
        .start = best,
    };
    struct trainer *again;
    ok(trainer_create(&again, r.base, &params, &err), &err);
    assert_int_equal(trainer_run(again, 1, NULL, NULL, &err), 1);
    trainer_progress(&p, again);
    assert_true(p.start_loss == w.best);
    trainer_destroy(again);
    adapter_destroy(best);
    trainer_destroy(t);
    rig_finish(&r);
}

static void nothing_to_learn_from_is_said(void **state)
{
    struct rig r;
    struct error err = {0};
    struct trainer *t;

    rig_init(&r, 1);
    const struct trainer_params params = {.recipe = &r.recipe};
    assert_int_equal(trainer_create(&t, r.base, &params, &err), -ENODATA);
    assert_non_null(strstr(err.text, "no records to learn from"));
    rig_finish(&r);
}

static void a_start_adapter_of_another_shape_is_refused(void **state)
{
    struct rig r;
    struct error err = {0};
    const struct scheme_lora lora = {.rank = 2, .alpha = 4, .targets = LORA_Q};
    struct scheme other;
    struct adapter *a;
    struct trainer *t;

    rig_init(&r, 1);
    ok(scheme_from_lora(&other, &lora, &r.base->config, &err), &err);
    ok(adapter_create(&a, &r.base->config, &other, NULL, &err), &err);
    const struct trainer_params params = {
        .recipe = &r.recipe,
        .records = r.records,
        .n_records = N_RECORDS,
        .start = a,
    };
    assert_int_equal(trainer_create(&t, r.base, &params, &err), -EMEDIUMTYPE);
    assert_non_null(strstr(err.text, "learns other tensors"));
    adapter_destroy(a);
    rig_finish(&r);
}

static void dropped_branches_still_learn_and_repeat(void **state)
{
    struct rig r;
    struct error err = {0};
    struct trainer_progress p;

    rig_init(&r, 1);
    struct bytes whole = run_through(&r);
    ok(recipe_parse(&r.recipe, "drop_rate=0.5 batch=4 epochs=3", &err), &err);
    struct trainer *t = rig_trainer(&r);
    assert_int_equal(trainer_run(t, 0, NULL, NULL, &err), 0);
    trainer_progress(&p, t);
    assert_true(p.best_loss < 0.95 * p.start_loss);
    struct bytes straight = save(t);
    trainer_destroy(t);
    struct bytes pieces = run_in_pieces(&r, 4, 4000);
    assert_int_equal(pieces.n, straight.n);
    assert_memory_equal(pieces.data, straight.data, straight.n);
    assert_true(whole.n != straight.n ||
                memcmp(whole.data, straight.data, whole.n) != 0);
    free(whole.data);
    free(pieces.data);
    free(straight.data);
    rig_finish(&r);
}

/*
 * A frozen prefix
 */

// Only the last of two blocks learns.
static void prefix_rig_init(struct rig *r, const char *recipe)
{
    struct error err;

    rig_init(r, 1);
    ok(recipe_parse(&r->recipe, "last_blocks=1 epochs=3", &err), &err);
    ok(recipe_parse(&r->recipe, recipe, &err), &err);
}

static struct prefix_file prefix_file(uint64_t bytes_max)
{
    struct prefix_file f = {.bytes_max = bytes_max};

    assert_int_equal(memfile_create(&f.fd, "prefix"), 0);
    return f;
}

static void assert_same(struct bytes a, struct bytes b)
{
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.data, b.data, a.n);
    free(b.data);
}

static void a_prefix_is_computed_once(void **state)
{
    struct prefix_file file = prefix_file(1 << 20);
    struct prefix_cache_stats first, later;
    struct trainer_info info;
    struct rig r;
    struct error err = {0};

    prefix_rig_init(&r, "eval_every=100000");
    r.prefix = &file;
    struct trainer *t = rig_trainer(&r);
    trainer_describe(&info, t);
    const uint64_t steps = info.steps_epoch;
    instrs_left = UINT64_MAX - 1;
    assert_int_equal(trainer_run(t, steps, NULL, NULL, &err), 1);
    const uint64_t epoch_1 = UINT64_MAX - 1 - instrs_left;
    trainer_prefix_stats(&first, t);
    // Each window once; long records are several.
    assert_true(first.misses >= info.n_trained + info.n_held_out);
    assert_int_equal(first.hits, 0);
    assert_true(first.entries > 0 && first.entries <= first.misses);
    instrs_left = UINT64_MAX - 1;
    assert_int_equal(trainer_run(t, steps, NULL, NULL, &err), 1);
    const uint64_t epoch_2 = UINT64_MAX - 1 - instrs_left;
    trainer_prefix_stats(&later, t);
    assert_int_equal(later.misses, first.misses);
    assert_true(later.hits >= info.n_trained && later.hits < first.misses);
    assert_int_equal(later.bytes, first.bytes);
    assert_true(epoch_2 < epoch_1);
    assert_null(trainer_notice(t));
    trainer_destroy(t);

    // The next run finds them all.
    t = rig_trainer(&r);
    assert_int_equal(trainer_run(t, steps, NULL, NULL, &err), 1);
    trainer_prefix_stats(&later, t);
    assert_int_equal(later.misses, 0);
    trainer_destroy(t);
    close(file.fd);
    rig_finish(&r);
}

static void bytes_do_not_depend_on_what_was_kept(void **state)
{
    static const char *const recipes[] = {"", "prefix_cache=int8"};
    const uint8_t noise[16] = "not what it was";
    struct rig r;

    // A GPU cuts sums by how many rows there are.
    if (!test_device_is_cpu())
        return;

    for (int i = 0; i < 2; i++) {
        struct prefix_file file = prefix_file(1 << 20);
        struct prefix_file small = prefix_file(20000);
        prefix_rig_init(&r, recipes[i]);
        struct bytes without = run_through(&r);
        r.prefix = &file;
        assert_same(without, run_through(&r)); // fills it
        assert_same(without, run_through(&r)); // reads it
        for (off_t at = 3000; at < 30000; at += 9000)
            assert_int_equal(pwrite(file.fd, noise, sizeof noise, at),
                             sizeof noise);
        assert_same(without, run_through(&r)); // finds it damaged
        if (i == 0)
            assert_same(without, run_in_pieces(&r, 5, 2500));
        r.prefix = &small; // some fit, others do not
        assert_same(without, run_through(&r));
        assert_same(without, run_through(&r));
        if (i == 1)
            assert_same(without, run_in_pieces(&r, 6, 2500));
        free(without.data);
        close(file.fd);
        close(small.fd);
        rig_finish(&r);
    }
}

static void a_kept_prefix_learns_as_well(void **state)
{
    static const char *const recipes[] = {"prefix_cache=off",
                                          "prefix_cache=f16",
                                          "prefix_cache=int8"};
    double best[3];

    for (int i = 0; i < 3; i++) {
        struct prefix_file file = prefix_file(1 << 20);
        struct trainer_progress p;
        struct error err = {0};
        struct rig r;
        prefix_rig_init(&r, recipes[i]);
        r.prefix = &file;
        struct trainer *t = rig_trainer(&r);
        assert_int_equal(trainer_run(t, 0, NULL, NULL, &err), 0);
        trainer_progress(&p, t);
        best[i] = p.best_loss;
        assert_true(p.best_loss < p.start_loss);
        trainer_destroy(t);
        close(file.fd);
        rig_finish(&r);
    }
    assert_true(fabs(best[1] - best[0]) < 2e-3);
    assert_true(fabs(best[2] - best[0]) < 2e-2);
}

// What is learned from is computed as training computes, what is judged by is
// not rounded, and neither is taken for the other.
static void a_prefix_is_rounded_where_the_recipe_allows_it(void **state)
{
    const unsigned f32 = 1u << PRECISION_F32, bf16 = 1u << PRECISION_BF16;
    static const char *const recipes[] = {"precision=bf16", "precision=f32"};
    struct prefix_file file = prefix_file(1 << 20);
    struct prefix_cache_stats stats;
    struct trainer_info info;
    struct error err = {0};
    uint64_t misses = 0;
    struct rig r;

    for (int i = 0; i < 2; i++) {
        prefix_rig_init(&r, recipes[i]);
        r.prefix = &file;
        prefix_precisions = 0;
        struct trainer *t = rig_trainer(&r);
        trainer_describe(&info, t);
        assert_int_equal(trainer_run(t, info.steps_epoch, NULL, NULL, &err), 1);
        assert_int_equal(prefix_precisions, i == 0 ? f32 | bf16 : f32);
        trainer_prefix_stats(&stats, t);
        assert_true(stats.misses >= info.n_trained);
        // Only held-out ones were there.
        assert_true(i == 0 || stats.misses < misses);
        misses = stats.misses;
        trainer_destroy(t);
        rig_finish(&r);
    }
    close(file.fd);
}

static void a_damaged_or_stale_prefix_is_said_once(void **state)
{
    struct prefix_file file = prefix_file(1 << 20);
    struct error err = {0};
    struct rig r;

    prefix_rig_init(&r, "epochs=1");
    r.prefix = &file;
    free(run_through(&r).data);
    assert_int_equal(pwrite(file.fd, "x", 1, 200), 1);
    struct trainer *t = rig_trainer(&r);
    assert_int_equal(trainer_run(t, 0, NULL, NULL, &err), 0);
    assert_non_null(strstr(trainer_notice(t), "damaged"));
    assert_null(trainer_notice(t));
    trainer_destroy(t);

    r.recipe.prefix_cache = 2;
    t = rig_trainer(&r);
    assert_non_null(strstr(trainer_notice(t), "another model"));
    assert_null(trainer_notice(t));
    trainer_destroy(t);

    // What is no file at all ends no run.
    const struct prefix_file none = {.fd = -1, .bytes_max = 1 << 20};
    r.prefix = &none;
    t = rig_trainer(&r);
    assert_non_null(strstr(trainer_notice(t), "cannot be used"));
    assert_null(trainer_notice(t));
    assert_int_equal(trainer_run(t, 0, NULL, NULL, &err), 0);
    trainer_destroy(t);
    close(file.fd);
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_out_loss_falls),
        cmocka_unit_test(bytes_are_the_same_for_any_number_of_threads),
        cmocka_unit_test(stops_anywhere_and_ends_with_the_same_bytes),
        cmocka_unit_test(every_scheme_learns_and_resumes),
        cmocka_unit_test(early_and_late_updates_learn_the_same),
        cmocka_unit_test(micro_batches_can_be_stopped_too),
        cmocka_unit_test(checkpoints_of_other_runs_are_refused),
        cmocka_unit_test(the_best_is_kept_and_patience_ends_the_run),
        cmocka_unit_test(nothing_to_learn_from_is_said),
        cmocka_unit_test(a_start_adapter_of_another_shape_is_refused),
        cmocka_unit_test(dropped_branches_still_learn_and_repeat),
        cmocka_unit_test(a_prefix_is_computed_once),
        cmocka_unit_test(bytes_do_not_depend_on_what_was_kept),
        cmocka_unit_test(a_kept_prefix_learns_as_well),
        cmocka_unit_test(a_prefix_is_rounded_where_the_recipe_allows_it),
        cmocka_unit_test(a_damaged_or_stale_prefix_is_said_once),
    };
    test_device_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
