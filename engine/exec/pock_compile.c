// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * pock-compile: what the compiler makes of a model, for developers.
 *
 *   pock-compile MODEL.gguf [--kind train] [--batch 1] [--length 256]
 *                [--cache N] [--rows 1] [--rank 8] [--alpha 16]
 *                [--targets 127] [--last 0] [--scheme SCHEME]
 *                [--without PASS] [--dump PASS] [--summary]
 *                [--bf16] [--profile RUNS] [--threads N] [--budget MIB]
 *                [--device NAME]
 *
 * Prints the passes, how many nodes of each operator they leave, the
 * instructions and the map of the arena. --scheme is a preset or JSON, instead
 * of the LoRA of the options before it. --dump prints the graph after that pass
 * (or `build`, or `all`) on standard error.
 * --profile runs the program on empty inputs and prints where its time goes.
 */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/device.h"
#include "engine/exec/program.h"
#include "engine/formats/gguf.h"
#include "engine/models/scheme_text.h"
#include "engine/passes/pass.h"

static const char *const kinds[] = {
    [PROGRAM_TRAIN] = "train",         [PROGRAM_ACCUMULATE] = "accumulate",
    [PROGRAM_UPDATE] = "update",       [PROGRAM_GRADIENT] = "gradient",
    [PROGRAM_EVAL] = "eval",           [PROGRAM_CACHED] = "cached",
    [PROGRAM_PREFIX] = "prefix",       [PROGRAM_GAINS] = "gains",
    [PROGRAM_PERTURBED] = "perturbed", [PROGRAM_MOVE] = "move",
};

struct options {
    const char *model;
    bool is_summary;
    uint32_t profile_runs;
    uint32_t threads;
    const char *device;
    struct program_params params;
    struct scheme_lora lora;
    const char *scheme; // NULL: lora
};

static int parse_kind(enum program_kind *out, const char *text)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i], text) == 0) {
            *out = (enum program_kind) i;
            return 0;
        }
    }
    return -EINVAL;
}

static int parse_pass(uint32_t *off, const char *text)
{
    for (int i = 0; i < PASS_COUNT; i++) {
        if (strcmp(pass_name((enum pass) i), text) == 0) {
            *off |= 1u << i;
            return 0;
        }
    }
    return -EINVAL;
}

static int parse_u32(uint32_t *out, const char *text)
{
    char *end;
    errno = 0;
    const unsigned long x = strtoul(text, &end, 0);
    if (errno || *end || end == text || x > UINT32_MAX)
        return -EINVAL;
    *out = (uint32_t) x;
    return 0;
}

static int parse_options(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        {"kind", 1, NULL, 'k'},    {"batch", 1, NULL, 'b'},
        {"length", 1, NULL, 'l'},  {"cache", 1, NULL, 'c'},
        {"rows", 1, NULL, 'n'},    {"rank", 1, NULL, 'r'},
        {"alpha", 1, NULL, 'a'},   {"targets", 1, NULL, 't'},
        {"last", 1, NULL, 'L'},    {"summary", 0, NULL, 's'},
        {"bf16", 0, NULL, 'f'},    {"dump", 1, NULL, 'd'},
        {"profile", 1, NULL, 'p'}, {"threads", 1, NULL, 'T'},
        {"budget", 1, NULL, 'B'},  {"scheme", 1, NULL, 'S'},
        {"without", 1, NULL, 'w'}, {"device", 1, NULL, 'D'},
        {"without", 1, NULL, 'w'}, {"copies", 1, NULL, 'C'},
        {NULL, 0, NULL, 0},
    };
    struct program_params *p = &o->params;
    uint32_t alpha = 16;
    uint32_t budget = 0;
    int rc = 0;
    int c;

    *p = (struct program_params){.kind = PROGRAM_TRAIN,
                                 .batch = 1,
                                 .length = 256,
                                 .n_rows = 1};
    o->lora = (struct scheme_lora){8, 16, LORA_ALL, 0};
    o->device = getenv("POCK_DEVICE");
    while (rc == 0 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        uint32_t *const fields[] = {
            ['b'] = &p->batch,        ['l'] = &p->length,
            ['c'] = &p->cache_length, ['n'] = &p->n_rows,
            ['r'] = &o->lora.rank,    ['a'] = &alpha,
            ['t'] = &o->lora.targets, ['L'] = &o->lora.last_blocks,
            ['p'] = &o->profile_runs, ['T'] = &o->threads,
            ['B'] = &budget,          ['C'] = &p->perturb.copies,
        };
        if (c == 's')
            o->is_summary = true;
        else if (c == 'f')
            p->precision = PRECISION_BF16;
        else if (c == 'k')
            rc = parse_kind(&p->kind, optarg);
        else if (c == 'd')
            rc = setenv("POCK_DUMP", optarg, 1);
        else if (c == 'S')
            o->scheme = optarg;
        else if (c == 'D')
            o->device = optarg;
        else if (c == 'w')
            rc = parse_pass(&p->passes_off, optarg);
        else
            rc = c == '?' ? -EINVAL : parse_u32(fields[c], optarg);
    }
    o->lora.alpha = (float) alpha;
    p->perturb.queries = p->perturb.copies;
    p->arena_budget = (uint64_t) budget << 20;
    if (p->kind == PROGRAM_CACHED && p->cache_length == 0)
        p->cache_length = p->length;
    if (p->kind == PROGRAM_CACHED)
        p->precision = program_cached_precision(p->length);
    if (optind + 1 != argc)
        return -EINVAL;
    o->model = argv[optind];
    return rc;
}

static int print(const struct options *o, const struct program *p,
                 uint64_t compile_ns)
{
    char *text;
    int rc = program_print(&text, p);
    if (rc < 0)
        return rc;
    if (o->is_summary)
        *strstr(text, " instructions\n") = '\0';
    (void) printf("%s%scompiled in %.3f ms\n", text,
                  o->is_summary ? " instructions\n" : "\n",
                  (double) compile_ns * 1e-6);
    free(text);
    return 0;
}

/*
 * Where the time goes
 */

struct run {
    const struct gguf *file;
    const char *mapping;
    struct buffer *weights;
    struct buffer *states;
};

static int bind_weight(struct binding *out, const struct program_slot *slot,
                       void *user, struct error *err)
{
    const struct run *r = user;
    const struct gguf_tensor *t;
    int rc = gguf_get_tensor(&t, r->file, slot->name, err);
    if (rc < 0)
        return rc;
    out->offset = (size_t) ((const char *) t->data - r->mapping);
    out->buffer = r->weights;
    return 0;
}

// All states share zeros: what they hold does not change the time.
static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct run *r = user;
    (void) slot;
    (void) err;
    *out = (struct binding){.buffer = r->states};
    return 0;
}

static size_t largest_state(const struct program *p)
{
    size_t bytes = 64;
    for (uint32_t i = 0; i < program_state_count(p); i++)
        if (program_state(p, i)->bytes > bytes)
            bytes = program_state(p, i)->bytes;
    return bytes;
}

static void describe(char *out, size_t bytes, const struct instr *in)
{
    const int64_t *a = in->in[0].ne;
    const int64_t *b = in->in[in->n_in > 1].ne;
    (void) snprintf(out, bytes, "%s%s%s %lldx%lld %lldx%lld %s",
                    op_infos[in->op].name, in->attr.trans_a ? " ta" : "",
                    in->attr.trans_b ? " tb" : "", (long long) a[2],
                    (long long) a[3], (long long) b[2], (long long) b[3],
                    dtype_infos[in->in[in->n_in > 1].dtype].name);
}

struct line {
    char text[96];
    uint64_t ns;
    uint32_t count;
};

static int compare_lines(const void *a, const void *b)
{
    const struct line *x = a;
    const struct line *y = b;
    return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : 0;
}

// Instructions of one operator and one size are one line; the longest first.
static int print_profile(const struct program *p, const uint64_t *ns,
                         uint32_t runs)
{
    const uint32_t n = program_instr_count(p);
    uint64_t total = 0;
    uint32_t n_lines = 0;

    struct line *lines = calloc(n + 1u, sizeof(*lines));
    if (!lines)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        char text[96];
        uint32_t k = 0;
        describe(text, sizeof(text), program_instr(p, i));
        while (k < n_lines && strcmp(lines[k].text, text) != 0)
            k++;
        if (k == n_lines)
            memcpy(lines[n_lines++].text, text, sizeof(text));
        lines[k].ns += ns[i];
        lines[k].count++;
        total += ns[i];
    }
    qsort(lines, n_lines, sizeof(*lines), compare_lines);
    (void) printf("%.3f ms a run\n", (double) total / runs * 1e-6);
    for (uint32_t i = 0; i < n_lines && i < 24; i++)
        (void) printf("%9.3f ms %5.1f %% %5u x %s\n",
                      (double) lines[i].ns / runs * 1e-6,
                      100 * (double) lines[i].ns / (double) total,
                      lines[i].count, lines[i].text);
    free(lines);
    return 0;
}

static int run_all(struct executor *e, const struct program *p, uint32_t runs)
{
    int rc = 0;

    uint64_t *ns = calloc(program_instr_count(p) + 1u, sizeof(*ns));
    if (!ns)
        return -ENOMEM;
    for (uint32_t i = 0; i <= runs && rc == 0; i++) {
        if (i == 1) // the first run warms up
            memset(ns, 0, program_instr_count(p) * sizeof(*ns));
        rc = executor_profile(e, ns);
    }
    if (rc == 0)
        rc = print_profile(p, ns, runs);
    free(ns);
    return rc;
}

// Every token counts in the loss; each row is one segment.
static int fill_inputs(struct executor *e, const struct program_params *p)
{
    const size_t n = (size_t) p->batch * p->length;
    int rc = -ENOMEM;

    float *weights = calloc(n, sizeof(*weights));
    int32_t *pos = calloc(n, sizeof(*pos));
    int32_t *start = calloc(n, sizeof(*start));
    if (!weights || !pos || !start)
        goto out;
    for (size_t i = 0; i < n; i++) {
        weights[i] = 1.0f / (float) n;
        pos[i] = (int32_t) (i % p->length);
        start[i] = (int32_t) (i - i % p->length);
    }
    // Kinds differ in what they read; a program without this input says no.
    (void) executor_write(e, "weights", weights, n * sizeof(*weights));
    (void) executor_write(e, "pos", pos, n * sizeof(*pos));
    (void) executor_write(e, "start", start, n * sizeof(*start));
    rc = 0;

out:
    free(start);
    free(pos);
    free(weights);
    return rc;
}

static int profile(const struct options *o, const struct program *p,
                   const struct gguf *file, const struct device_opened *on,
                   struct error *err)
{
    const struct backend *backend = on->backend;
    struct run r = {.file = file};
    const struct executor_params params = {
        .backend = backend,
        .dev = on->dev,
        .bind_weight = bind_weight,
        .bind_state = bind_state,
        .user = &r,
    };
    struct executor *e = NULL;
    size_t bytes;
    int rc;

    r.mapping = gguf_mapping(file, &bytes);
    if ((rc = backend->buffer_import(&r.weights, on->dev, r.mapping, bytes)) <
        0)
        goto out;
    if ((rc = backend->buffer_create(&r.states, on->dev, largest_state(p))) < 0)
        goto out;
    if ((rc = executor_create(&e, p, &params, err)) < 0)
        goto out;
    if ((rc = fill_inputs(e, &o->params)) < 0)
        goto out;
    (void) printf("%s: ", backend->describe(on->dev));
    rc = run_all(e, p, o->profile_runs);

out:
    executor_destroy(e);
    backend->buffer_destroy(r.states);
    backend->buffer_destroy(r.weights);
    return rc;
}

static int make_scheme(struct scheme *out, const struct options *o,
                       const struct model_config *m, struct error *err)
{
    const struct scheme_defaults defaults = {o->lora.rank, o->lora.alpha};
    if (!o->scheme)
        return scheme_from_lora(out, &o->lora, m, err);
    return scheme_parse(out, o->scheme, strlen(o->scheme), &defaults, m, err);
}

static int compile(const struct options *o, struct error *err)
{
    const struct device_params dp = {.threads = o->threads};
    struct model_config m;
    struct gguf *file = NULL;
    struct device_opened on = {0};
    struct program *p = NULL;
    struct program_params params = o->params;
    struct scheme scheme;
    int rc;

    if ((rc = gguf_load(&file, o->model, err)) < 0)
        goto out;
    if ((rc = model_config_read(&m, file, err)) < 0)
        goto out;
    if ((rc = device_open(&on, o->device ? o->device : "cpu", &dp, err)) < 0)
        goto out;
    if ((rc = make_scheme(&scheme, o, &m, err)) < 0)
        goto out;
    params.scheme = &scheme;
    const uint64_t start = clock_monotonic_ns();
    if ((rc = program_compile(&p, &m, &params, on.backend, on.dev, err)) < 0)
        goto out;
    rc = print(o, p, clock_monotonic_ns() - start);
    if (rc == 0 && o->profile_runs > 0)
        rc = profile(o, p, file, &on, err);

out:
    program_destroy(p);
    device_close(&on);
    gguf_destroy(file);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct error err = {0};

    if (parse_options(&o, argc, argv) < 0) {
        (void) fprintf(
            stderr,
            "usage: pock-compile MODEL.gguf [--kind train|accumulate"
            "|update|gradient|eval|cached]\n"
            "       [--batch N] [--length N] [--cache N] [--rows N] "
            "[--rank N] [--alpha N]\n"
            "       [--targets BITS] [--last BLOCKS] [--scheme SCHEME]\n"
            "       [--without PASS] [--dump PASS] "
            "[--summary]\n"
            "       [--profile RUNS] [--threads N] [--device NAME]\n");
        return 2;
    }
    if (compile(&o, &err) < 0) {
        (void) fprintf(stderr, "pock-compile: %s\n", err.text);
        return 1;
    }
    return 0;
}
