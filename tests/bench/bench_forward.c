// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What learning by forward passes alone reaches beside learning by gradient:
 * held-out loss over steps and work, from the same records and start, and where
 * it has half of what gradients gain with their defaults. Work is floating
 * point operations by the programs' own count (engine/plan/flops.h).
 *
 * Tasks: "sst2" wants a directory with train.tsv and dev.tsv of SST-2 (columns
 * label and sentence) and asks whether a review is good or bad; "demo" one with
 * the demo's records. What is held out is never learned, and chooses nothing.
 * --alone leaves the gradients out, and the table, for finding settings. Exits
 * with 77 where the task's files are not there.
 *
 * usage: bench_forward MODEL.gguf sst2|demo DIR [--json] [--alone]
 *                      [--seeds N] [--first-seed N] [--steps N] [--every N]
 *                      [--records N] [--held-out N] [--threads N]
 *                      [--device NAME]
 *                      [--gradient NAME=VALUE]... [NAME=VALUE ...]
 */

#include "engine/base/error.h"
#include "engine/engine.h"
#include "tests/support/choicedata.h"
#include "tests/support/demodata.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { POINTS_MAX = 256, SEEDS_MAX = 32 };

static const char *const labels[] = {"bad", "good"};

struct task {
    struct record *learned, *held;
    size_t n_learned, n_held;
    // Of a choice: the same held-out prompts with the reply that is wrong.
    struct record *wrong; // NULL: there is none
    struct choicedata choice;
    struct demodata demo;
};

struct point {
    uint64_t step;
    double loss, accuracy; // held out; NAN: no choice
};

struct curve {
    struct point points[POINTS_MAX];
    uint32_t n;
    double step_flops;
    double seconds; // of the CPU, without evaluations
};

struct bench {
    struct engine *engine;
    struct engine_model *model;
    const char *device; // NULL: the CPU
    struct task task;
    struct recipe forward, gradient;
    uint32_t steps, every, seeds, first_seed, records, held_out, threads;
    bool is_json;
    bool is_alone;
    struct point start;                // of all curves
    struct curve curves[2][SEEDS_MAX]; // by gradient, and without
};

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

/*
 * Tasks
 */

// Of a choice, `n` records of [first, first + n) with replies as the labels
// say, or (flip) not.
static struct record *ask(const struct choicedata *d, size_t first, size_t n,
                          bool flip)
{
    struct record *out = calloc(n + 1, sizeof *out);

    for (size_t i = 0; i < n && out; i++) {
        const struct choice *c = &d->choices[first + i];
        const char *reply = labels[c->label ^ flip];
        out[i] = (struct record){.id = (int64_t) (first + i + 1),
                                 .kind = RECORD_PAIR,
                                 .prompt = {c->prompt, strlen(c->prompt)},
                                 .completion = {reply, strlen(reply)}};
    }
    return out;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Records that the trainer would hold out are left out: what is held out comes
// from the other file.
static int load_choice(struct bench *b, const char *dir, struct error *err)
{
    struct task *t = &b->task;
    int rc = choicedata_load(&t->choice, dir, b->records + b->records / 4,
                             b->held_out, err);

    if (rc < 0)
        return rc;
    const size_t n = t->choice.n_learned;
    t->n_held = t->choice.n - n;
    t->learned = ask(&t->choice, 0, n, false);
    t->held = ask(&t->choice, n, t->n_held, false);
    t->wrong = ask(&t->choice, n, t->n_held, true);
    if (!t->learned || !t->held || !t->wrong)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < n && t->n_learned < b->records; i++)
        if (!record_is_held_out(&t->learned[i]))
            t->learned[t->n_learned++] = t->learned[i];
    return 0;
}

static int load_demo(struct bench *b, const char *dir, struct error *err)
{
    struct task *t = &b->task;
    int rc = demodata_load(&t->demo, dir, err);

    if (rc < 0)
        return rc;
    const size_t n = t->demo.n_records;
    t->learned = calloc(n + 1, sizeof *t->learned);
    t->held = calloc(n + 1, sizeof *t->held);
    if (!t->learned || !t->held)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const struct record *r = &t->demo.records[i];
        if (record_is_held_out(r))
            t->held[t->n_held++] = *r;
        else
            t->learned[t->n_learned++] = *r;
    }
    return 0;
}

/*
 * Curves
 */

// With `is_end`, also how many choices are right.
static int measure(struct point *out, struct bench *b, const struct adapter *a,
                   bool is_end, struct error *err)
{
    const struct task *t = &b->task;
    struct engine_loss *each = calloc(2 * t->n_held + 1, sizeof *each);
    struct engine_eval eval;
    size_t n_right = 0;
    int rc = each ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (rc == 0)
        rc = engine_evaluate(&eval, each, b->model, a, t->held, t->n_held,
                             ENGINE_SUBSET_ALL, err);
    out->loss = rc == 0 ? engine_loss_mean(&eval.total) : (double) NAN;
    out->accuracy = (double) NAN;
    if (rc == 0 && t->wrong && is_end) {
        rc = engine_evaluate(&eval, each + t->n_held, b->model, a, t->wrong,
                             t->n_held, ENGINE_SUBSET_ALL, err);
        for (size_t i = 0; i < t->n_held; i++)
            n_right += engine_loss_mean(&each[i]) <
                       engine_loss_mean(&each[t->n_held + i]);
        out->accuracy = (double) n_right / (double) t->n_held;
    }
    free(each);
    return rc;
}

static int add_point(struct curve *c, struct bench *b, struct engine_train *t,
                     uint64_t step, bool is_end, struct error *err)
{
    struct adapter *a = NULL;
    struct point *p = &c->points[c->n];
    int rc = t ? engine_train_best(&a, t, err) : 0;

    if (!t)
        *p = b->start;
    p->step = step;
    if (rc == 0 && t)
        rc = measure(p, b, a, is_end, err);
    engine_adapter_destroy(a);
    if (rc < 0)
        return rc;
    c->n++;
    if (!b->is_json)
        (void) printf("  step %5llu  %9.3f TFLOP  %6.1f s  loss %.4f  "
                      "right %.3f\n",
                      (unsigned long long) step,
                      (double) step * c->step_flops * 1e-12, c->seconds,
                      p->loss, p->accuracy);
    return 0;
}

// Operations of a step: those of a place, for the places that records fill.
static int count_work(struct curve *c, struct bench *b, const struct recipe *r,
                      const struct engine_train *t, struct error *err)
{
    struct engine_train_info info;
    struct trainplan plan;
    uint64_t places = 0;
    int rc = engine_plan(&plan, NULL, b->model, r, err);

    if (rc < 0)
        return rc;
    engine_train_describe(&info, t);
    for (size_t i = 0; i < b->task.n_learned; i++) {
        struct engine_shown *shown = NULL;
        size_t n = 0;
        rc = engine_show(&shown, &n, b->model, &b->task.learned[i], r->loss_on,
                         err);
        free(shown);
        if (rc < 0)
            return rc;
        places += n - 1;
    }
    c->step_flops =
        plan.flops_token * (double) places / (double) info.steps_epoch;
    return 0;
}

static int run_steps(struct curve *c, struct bench *b, struct engine_train *t,
                     uint64_t steps, uint64_t every, struct error *err)
{
    struct engine_progress now = {0};
    int rc = 1;

    while (rc == 1 && now.step < steps && c->n < POINTS_MAX) {
        const double begin = cpu_s();
        rc = engine_train_run(t, least(every, steps - now.step), NULL, NULL,
                              err);
        c->seconds += cpu_s() - begin;
        engine_train_progress(&now, t);
        int added = rc < 0 ? rc
                           : add_point(c, b, t, now.step,
                                       rc != 1 || now.step >= steps, err);
        if (added < 0)
            return added;
    }
    if (now.end == ENGINE_TRAIN_DIVERGED && !b->is_json)
        (void) printf("  diverged after step %llu\n",
                      (unsigned long long) now.step);
    return 0;
}

static int draw(struct curve *c, struct bench *b, struct recipe *r,
                uint32_t seed, struct error *err)
{
    const bool is_forward = recipe_is_forward(r);
    const uint64_t per_epoch = (b->task.n_learned + r->batch - 1) / r->batch;
    struct engine_train *t;

    r->seed = seed;
    if (is_forward)
        r->epochs = (uint32_t) ((b->steps + per_epoch - 1) / per_epoch);
    const uint64_t steps = is_forward ? b->steps : per_epoch * r->epochs;
    const struct engine_train_params params = {
        .recipe = r,
        .records = b->task.learned,
        .n_records = b->task.n_learned,
    };
    int rc = engine_train_create(&t, b->model, &params, err);
    if (rc < 0)
        return rc;
    if (!b->is_json)
        (void) printf("%s, seed %u\n", is_forward ? "forward" : "gradient",
                      seed);
    if ((rc = count_work(c, b, r, t, err)) == 0 &&
        (rc = add_point(c, b, NULL, 0, true, err)) == 0)
        rc = run_steps(c, b, t, steps,
                       is_forward ? b->every : (steps + 11) / 12, err);
    engine_train_destroy(t);
    return rc;
}

/*
 * The table
 */

static const struct point *best_of(const struct curve *c)
{
    const struct point *best = &c->points[0];

    for (uint32_t i = 1; i < c->n; i++)
        if (c->points[i].loss < best->loss)
            best = &c->points[i];
    return best;
}

// Steps until the loss is at most that, between points in proportion; NAN when
// it never is.
static double steps_to(const struct curve *c, double loss)
{
    for (uint32_t i = 1; i < c->n; i++) {
        const struct point *p = &c->points[i - 1], *q = &c->points[i];
        if (!(q->loss <= loss))
            continue;
        const double part =
            p->loss > q->loss ? (p->loss - loss) / (p->loss - q->loss) : 1;
        return (double) p->step + part * (double) (q->step - p->step);
    }
    return (double) NAN;
}

struct summary {
    double before, best, last, right_before, right; // means; right of the last
    double half_steps, half_flops;                  // NAN: not by all
    double seconds;
    uint32_t n_fell, n_half;
};

static void sum_up(struct summary *s, const struct bench *b, bool is_forward)
{
    const double n = b->seeds;

    *s = (struct summary){0};
    for (uint32_t i = 0; i < b->seeds; i++) {
        const struct curve *c = &b->curves[is_forward][i];
        const struct point *first = &c->points[0];
        const struct point *last = &c->points[c->n - 1];
        const double gain = first->loss - best_of(&b->curves[0][i])->loss;
        const double half = steps_to(c, first->loss - gain / 2);
        s->before += first->loss / n;
        s->best += best_of(c)->loss / n;
        s->last += last->loss / n;
        s->right_before += first->accuracy / n;
        s->right += last->accuracy / n;
        s->half_steps += half / n;
        s->half_flops += half * c->step_flops / n;
        s->seconds += c->seconds / n;
        s->n_fell += last->loss < first->loss;
        s->n_half += !isnan(half);
    }
}

static void print_number(int digits, double value)
{
    if (isnan(value))
        (void) printf(" | -");
    else
        (void) printf(" | %.*f", digits, value);
}

static void print_table(const struct bench *b, const struct summary s[2])
{
    static const char *const names[] = {"by gradient", "forward passes only"};

    (void) printf("forward: %s, %zu records learned, %zu held out, %u seeds\n",
                  engine_describe(b->engine), b->task.n_learned, b->task.n_held,
                  b->seeds);
    (void) printf("| | loss before | best | last | right before | right | "
                  "lower on | steps to half | TFLOP to half | of | CPU s |\n"
                  "|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < 2; i++) {
        (void) printf("| %s | %.3f | %.3f | %.3f", names[i], s[i].before,
                      s[i].best, s[i].last);
        print_number(3, s[i].right_before);
        print_number(3, s[i].right);
        (void) printf(" | %u of %u", s[i].n_fell, b->seeds);
        print_number(0, s[i].half_steps);
        print_number(3, s[i].half_flops * 1e-12);
        (void) printf(" | %u | %.0f |\n", s[i].n_half, s[i].seconds);
    }
    (void) printf("share of the gradients' gain: %.2f\n",
                  (s[1].before - s[1].best) / (s[0].before - s[0].best));
}

static void print_json(const struct bench *b, const char *task,
                       const struct summary s[2])
{
    (void) printf("{\"bench\":\"forward\",\"task\":\"%s\",\"device\":\"%s\","
                  "\"seeds\":%u,\"learned\":%zu,\"held_out\":%zu",
                  task, engine_describe(b->engine), b->seeds, b->task.n_learned,
                  b->task.n_held);
    for (int i = 0; i < 2; i++) {
        (void) printf(",\"%s\":{\"before\":%.4f,\"best\":%.4f,\"last\":%.4f,"
                      "\"lower\":%u,\"half\":%u,\"cpu_s\":%.1f",
                      i ? "forward" : "gradient", s[i].before, s[i].best,
                      s[i].last, s[i].n_fell, s[i].n_half, s[i].seconds);
        if (!isnan(s[i].right))
            (void) printf(",\"right_before\":%.4f,\"right\":%.4f",
                          s[i].right_before, s[i].right);
        if (!isnan(s[i].half_steps))
            (void) printf(",\"half_steps\":%.1f,\"half_tflop\":%.4f",
                          s[i].half_steps, s[i].half_flops * 1e-12);
        (void) printf("}");
    }
    (void) printf("}\n");
}

static int run(struct bench *b, const char *model, const char *task,
               const char *dir, struct error *err)
{
    const struct engine_params device = {.threads = b->threads,
                                         .device = b->device};
    const int fd = open(model, O_RDONLY | O_CLOEXEC);
    struct summary s[2];
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened", model);
    rc = engine_create(&b->engine, &device, err);
    if (rc == 0)
        rc = engine_model_open(&b->model, b->engine, fd, err);
    close(fd);
    if (rc == 0)
        rc = strcmp(task, "sst2") == 0 ? load_choice(b, dir, err)
                                       : load_demo(b, dir, err);
    if (rc == 0)
        rc = measure(&b->start, b, NULL, true, err);
    for (uint32_t i = 0; i < b->seeds && rc == 0; i++) {
        const uint32_t seed = b->first_seed + i;
        if (!b->is_alone)
            rc = draw(&b->curves[0][i], b, &b->gradient, seed, err);
        if (rc == 0)
            rc = draw(&b->curves[1][i], b, &b->forward, seed, err);
    }
    if (rc < 0 || b->is_alone)
        return rc;
    sum_up(&s[0], b, false);
    sum_up(&s[1], b, true);
    if (b->is_json)
        print_json(b, task, s);
    else
        print_table(b, s);
    return 0;
}

static int parse(struct bench *b, int argc, char **argv, struct error *err)
{
    int rc = 0;

    for (int i = 4; i < argc && rc == 0; i++) {
        const char *a = argv[i];
        uint32_t *value = strcmp(a, "--seeds") == 0        ? &b->seeds
                          : strcmp(a, "--first-seed") == 0 ? &b->first_seed
                          : strcmp(a, "--steps") == 0      ? &b->steps
                          : strcmp(a, "--every") == 0      ? &b->every
                          : strcmp(a, "--records") == 0    ? &b->records
                          : strcmp(a, "--held-out") == 0   ? &b->held_out
                          : strcmp(a, "--threads") == 0    ? &b->threads
                                                           : NULL;
        if (strcmp(a, "--json") == 0)
            b->is_json = true;
        else if (strcmp(a, "--alone") == 0)
            b->is_alone = true;
        else if (value && i + 1 < argc)
            *value = (uint32_t) strtoul(argv[++i], NULL, 10);
        else if (strcmp(a, "--device") == 0 && i + 1 < argc)
            b->device = argv[++i];
        else if (strcmp(a, "--gradient") == 0 && i + 1 < argc)
            rc = recipe_parse(&b->gradient, argv[++i], err);
        else
            rc = recipe_parse(&b->forward, a, err);
    }
    if (rc == 0 && (b->seeds < 1 || b->seeds > SEEDS_MAX || b->every < 1 ||
                    !recipe_is_forward(&b->forward)))
        rc = error_set(err, -EINVAL,
                       "1 to %d seeds, a positive --every, and a method "
                       "without gradients are wanted",
                       SEEDS_MAX);
    return rc;
}

int main(int argc, char **argv)
{
    static struct bench b = {.seeds = 5,
                             .first_seed = 1,
                             .steps = 200,
                             .every = 20,
                             .records = 1024,
                             .held_out = 436};
    struct error err = {0};
    int rc;

    (void) setvbuf(stdout, NULL, _IOLBF, 0);
    recipe_init(&b.gradient);
    recipe_init(&b.forward);
    recipe_set_method(&b.forward, RECIPE_METHOD_PRGE);
    if (argc < 4 ||
        (strcmp(argv[2], "sst2") != 0 && strcmp(argv[2], "demo") != 0)) {
        (void) fprintf(
            stderr,
            "usage: bench_forward MODEL sst2|demo DIR "
            "[--json] [--alone] [--seeds N] [--steps N] [--every N] "
            "[--records N] [--held-out N] [--threads N] "
            "[--device NAME] [--gradient NAME=VALUE] [NAME=VALUE ...]\n");
        return 2;
    }
    if ((rc = parse(&b, argc, argv, &err)) == 0)
        rc = run(&b, argv[1], argv[2], argv[3], &err);
    if (rc < 0)
        (void) fprintf(stderr, "bench_forward: %s\n", err.text);
    free(b.task.learned);
    free(b.task.held);
    free(b.task.wrong);
    choicedata_finish(&b.task.choice);
    demodata_finish(&b.task.demo);
    engine_model_close(b.model);
    engine_destroy(b.engine);
    return rc == -ENOENT ? 77 : rc < 0;
}
