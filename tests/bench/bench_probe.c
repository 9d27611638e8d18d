// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Learning without gradients: what a query costs when all copies of the
 * adapter share a sweep of the weights (dual), against one copy at a time
 * (sequential); with the first blocks shared by the copies of a batch, or not
 * run at all; and the memory of each. A query is two passes, and its share of
 * the update. Best of the rounds.
 *
 * How near that is to what the cores can do, before and behind it measured:
 * products of the shared sweep against fused multiply-adds (of bf16, where it
 * has that and --bf16 is given), and the weights that one pass of one copy
 * reads against reading memory.
 *
 * usage: bench_probe MODEL.gguf [--queries N] [--rounds N] [--rank N]
 *                    [--last K] [--threads N] [--bf16] [--vulkan NAME]
 *                    [--json] ROWSxLENGTH...
 *        --vulkan: on that device; what it could do is not measured then
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/train/adapter_state.h"
#include "engine/train/base_model.h"
#include "engine/train/program_cache.h"
#include "tests/bench/peak.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct bench {
    const struct backend *backend;
    const char *name; // of a Vulkan device; NULL: the CPU
    struct device *dev;
    struct base_model *base;
    struct scheme scheme;
    struct adapter_state *state;
    struct program_cache *programs;
    uint32_t queries, rounds, rank, last, threads;
    enum precision precision;
    bool is_json;
    struct peak peak;
};

// What a program takes.
struct cost {
    double seconds; // best
    double cpu;     // best, of all threads
    double flops;   // of its products
    double weights; // bytes, each read once
    size_t arena;
};

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct bench *b = user;
    return adapter_state_bind(out, b->state, slot, err);
}

static int open_all(struct bench *b, const char *path, struct error *err)
{
    const struct device_params device = {
        .threads = b->threads,
        .tier = b->name,
    };
    const struct scheme_lora lora = {b->rank, 16, LORA_ALL, b->last};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened", path);
    if ((rc = b->backend->open(&b->dev, &device, err)) == 0)
        rc = base_model_open(&b->base, b->backend, b->dev, fd, err);
    close(fd);
    if (rc < 0)
        return rc;
    const struct model_config *m = &b->base->config;
    if ((rc = scheme_from_lora(&b->scheme, &lora, m, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < m->n_blocks; i++)
        for (int k = 0; k < MODEL_LINEARS; k++)
            if (b->scheme.linears[i][k].learn == LEARN_LORA)
                b->scheme.linears[i][k].learn = LEARN_LORA_B;
    const struct adapter_state_params params = {.backend = b->backend,
                                                .dev = b->dev,
                                                .config = m,
                                                .scheme = &b->scheme};
    if ((rc = adapter_state_create(&b->state, &params, err)) < 0)
        return rc;
    return program_cache_create(&b->programs, b->base, bind_state, b);
}

static int write_rows(struct executor *x, const struct bench *b, uint32_t rows,
                      uint32_t length)
{
    const size_t n = (size_t) rows * length;
    int32_t *ints = calloc(n, 3 * sizeof *ints);
    float *floats = calloc(n * b->base->config.width, sizeof *floats);
    int rc = ints && floats ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && rc == 0; i++) {
        ints[i] = (int32_t) (i * 7919 % b->base->config.n_vocab);
        ints[n + i] = (int32_t) (i % length);
        ints[2 * n + i] = (int32_t) (i / length * length);
        floats[i] = 1;
    }
    const struct {
        const char *name;
        const void *data;
    } inputs[] = {{"tokens", ints},    {"targets", ints},
                  {"pos", ints + n},   {"start", ints + 2 * n},
                  {"weights", floats}, {"state", ints + n}};
    for (size_t i = 0; i < 6 && rc == 0; i++)
        if (executor_has(x, inputs[i].name))
            rc = executor_write(x, inputs[i].name, inputs[i].data, n * 4);
    free(ints);
    free(floats);
    return rc;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static double numbers(const struct operand *o)
{
    return (double) (o->ne[0] * o->ne[1] * o->ne[2] * o->ne[3]);
}

// Products with weights and factors, two operations for each number of one side
// and row of the other; what is in attention and the rest is little beside it.
static double products(const struct program *p)
{
    double flops = 0;

    for (uint32_t i = 0; i < program_instr_count(p); i++) {
        const struct instr *in = program_instr(p, i);
        const struct operand *x = &in->in[0], *w = &in->in[1];
        if (in->op == OP_matmul || in->op == OP_matmul_copies ||
            in->op == OP_matmul_lora)
            flops += 2 * numbers(&in->out[0]) *
                     (double) x->ne[in->attr.trans_a ? 2 : 3];
        if (in->op == OP_xent)
            flops += 2 * numbers(w) * numbers(x) / (double) x->ne[3];
    }
    return flops;
}

static double weight_bytes(const struct program *p)
{
    double bytes = 0;

    for (uint32_t i = 0; i < program_weight_count(p); i++)
        bytes += (double) program_weight(p, i)->bytes;
    return bytes;
}

static int time_program(struct cost *out, struct bench *b,
                        const struct program_params *params, uint32_t rows,
                        struct error *err)
{
    const struct perturb *p = &params->perturb;
    const char *sizes = params->kind == PROGRAM_MOVE ? "coefs" : "sizes";
    const int32_t draw[4] = {1, 0, 1, 0};
    int32_t queries[PERTURB_COPIES_MAX];
    float size[PERTURB_COPIES_MAX];
    struct program *program;
    struct executor *x;
    int rc = program_compile(&program, &b->base->config, params, b->backend,
                             b->dev, err);

    if (rc < 0)
        return rc;
    *out = (struct cost){
        .seconds = 1e9,
        .cpu = 1e9,
        .flops = products(program),
        .weights = weight_bytes(program),
        .arena = program_arena_bytes(program),
    };
    program_destroy(program);
    if ((rc = program_cache_get(&x, b->programs, params, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < p->copies; i++) {
        queries[i] = (int32_t) (params->kind == PROGRAM_MOVE ? i : i / 2);
        size[i] = i % 2 ? -1e-2F : 1e-2F;
    }
    if (params->kind != PROGRAM_MOVE)
        rc = write_rows(x, b, rows, params->length);
    if (rc == 0 && p->copies > 0 &&
        ((rc = executor_write(x, "draw", draw, sizeof draw)) < 0 ||
         (rc = executor_write(x, "queries", queries, 4 * p->copies)) < 0))
        return rc;
    if (rc == 0 && p->copies > 0)
        rc = executor_write(x, sizes, size, 4 * p->copies);
    for (uint32_t i = 0; i <= b->rounds && rc == 0; i++) {
        const uint64_t begin = clock_monotonic_ns();
        const double cpu = cpu_s();
        rc = executor_run(x);
        const double wall = (double) (clock_monotonic_ns() - begin) * 1e-9;
        if (i > 0) {
            out->seconds = fmin(out->seconds, wall);
            out->cpu = fmin(out->cpu, cpu_s() - cpu);
        }
    }
    return rc;
}

static double mib(size_t bytes)
{
    return (double) bytes / (1 << 20);
}

struct costs {
    struct cost move, dual, one, eval, prefix, rest;
};

static int time_all(struct costs *c, struct bench *b, uint32_t rows,
                    uint32_t length, struct error *err)
{
    const uint32_t q = b->queries;
    struct program_params params = {.kind = PROGRAM_MOVE,
                                    .batch = rows,
                                    .length = length,
                                    .scheme = &b->scheme,
                                    .precision = b->precision,
                                    .perturb = {.copies = q, .queries = q}};
    const uint32_t first = scheme_first_block(&b->scheme, &b->base->config);
    int rc;

    if ((rc = time_program(&c->move, b, &params, rows, err)) < 0)
        return rc;
    params.kind = PROGRAM_PERTURBED;
    params.perturb.copies = 2 * q;
    if ((rc = time_program(&c->dual, b, &params, 2 * q * rows, err)) < 0)
        return rc;
    if (first > 0) {
        params.first_block = first;
        if ((rc = time_program(&c->rest, b, &params, 2 * q * rows, err)) < 0)
            return rc;
        params.kind = PROGRAM_PREFIX;
        params.scheme = NULL;
        params.perturb = (struct perturb){0};
        if ((rc = time_program(&c->prefix, b, &params, rows, err)) < 0)
            return rc;
        params.scheme = &b->scheme;
        params.first_block = 0;
        params.kind = PROGRAM_PERTURBED;
        params.perturb = (struct perturb){.queries = q};
    }
    params.perturb.copies = 1;
    if ((rc = time_program(&c->one, b, &params, rows, err)) < 0)
        return rc;
    params.kind = PROGRAM_EVAL;
    params.perturb = (struct perturb){0};
    return time_program(&c->eval, b, &params, rows, err);
}

static double peak_flops(const struct bench *b)
{
    return b->precision == PRECISION_BF16 && !isnan(b->peak.bf16_flops)
               ? b->peak.bf16_flops
               : b->peak.f32_flops;
}

static int bench_shape(struct bench *b, uint32_t rows, uint32_t length,
                       struct error *err)
{
    const uint32_t q = b->queries;
    struct costs c = {0};
    struct peak after = {NAN, NAN, NAN};
    const bool is_cpu = b->backend == &cpu_backend;
    const uint32_t threads = b->backend->threads(b->dev);
    int rc = is_cpu ? peak_measure(&b->peak, threads) : 0;

    if (rc == 0 && (rc = time_all(&c, b, rows, length, err)) == 0 && is_cpu)
        rc = peak_measure(&after, threads);
    if (rc < 0)
        return rc;
    b->peak.f32_flops = fmax(b->peak.f32_flops, after.f32_flops);
    b->peak.bf16_flops = fmax(b->peak.bf16_flops, after.bf16_flops);
    b->peak.read_bytes = fmax(b->peak.read_bytes, after.read_bytes);
    const double move = c.move.seconds;
    const double each = (2 * q * c.one.seconds + move) / q * 1e3;
    const double all = (c.dual.seconds + move) / q * 1e3;
    const double gflops = c.dual.flops / c.dual.seconds * 1e-9;
    const double share = gflops * 1e11 / peak_flops(b);
    const double read = c.one.weights / c.one.seconds * 1e-9;
    const double read_share = read * 1e11 / b->peak.read_bytes;
    if (b->is_json) {
        (void) printf(
            "{\"bench\":\"probe\",\"device\":\"%s\",\"queries\":%u,"
            "\"rows\":%u,\"length\":%u,\"sequential_ms\":%.2f,"
            "\"query_ms\":%.2f,\"gflops\":%.1f,\"peak_gflops\":%.1f,"
            "\"cpu_ms\":%.2f,\"sequential_cpu_ms\":%.2f,"
            "\"move_cpu_ms\":%.2f,\"read_gb_s\":%.2f,\"peak_gb_s\":%.2f}\n",
            b->backend->describe(b->dev), q, rows, length, each, all, gflops,
            peak_flops(b) * 1e-9, (c.dual.cpu + c.move.cpu) / q * 1e3,
            (2 * q * c.one.cpu + c.move.cpu) / q * 1e3, c.move.cpu / q * 1e3,
            read, b->peak.read_bytes * 1e-9);
        return 0;
    }
    (void) printf("| %u x %u | %.1f | %.1f | %.2f | %.1f | %.1f | %.1f | %.1f "
                  "| %.1f | %.0f | %.0f %% | %.1f | %.0f %% |\n",
                  rows, length, each, all, each / all, move * 1e3,
                  mib(c.eval.arena), mib(c.one.arena), mib(c.dual.arena),
                  c.eval.seconds * 1e3, gflops, share, read, read_share);
    if (c.rest.seconds > 0) {
        const double shared =
            (c.rest.seconds + c.prefix.seconds + move) / q * 1e3;
        const double cached = (c.rest.seconds + move) / q * 1e3;
        (void) printf("  last %u blocks: shared prefix %.1f ms (%.2fx), "
                      "cached %.1f ms (%.2fx)\n",
                      b->last, shared, all / shared, cached, all / cached);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct bench b = {
        .backend = &cpu_backend,
        .queries = 8,
        .rounds = 3,
        .rank = 8,
        .peak = {NAN, NAN, NAN},
    };
    struct error err = {0};
    int rc = 0;
    int at = 2;

    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        if (strcmp(argv[at], "--bf16") == 0) {
            b.precision = PRECISION_BF16;
            continue;
        }
        if (strcmp(argv[at], "--json") == 0) {
            b.is_json = true;
            continue;
        }
#ifdef POCK_VULKAN
        if (strcmp(argv[at], "--vulkan") == 0 && at + 1 < argc) {
            b.backend = &vulkan_backend;
            b.name = argv[++at];
            continue;
        }
#endif
        uint32_t *value = strcmp(argv[at], "--queries") == 0   ? &b.queries
                          : strcmp(argv[at], "--rounds") == 0  ? &b.rounds
                          : strcmp(argv[at], "--rank") == 0    ? &b.rank
                          : strcmp(argv[at], "--last") == 0    ? &b.last
                          : strcmp(argv[at], "--threads") == 0 ? &b.threads
                                                               : NULL;
        if (!value || at + 1 >= argc)
            break;
        *value = (uint32_t) strtoul(argv[++at], NULL, 10);
    }
    if (at >= argc || b.queries < 1 || b.queries > PERTURB_COPIES_MAX / 2) {
        (void) fprintf(stderr, "usage: bench_probe MODEL [--queries N] "
                               "[--rounds N] [--rank N] [--last K] "
                               "[--threads N] [--bf16] "
                               "[--vulkan NAME] [--json] "
                               "ROWSxLENGTH...\n");
        return 2;
    }
    if ((rc = open_all(&b, argv[1], &err)) == 0 && !b.is_json)
        (void) printf(
            "probe: %s, %u queries\n"
            "| tokens | sequential, ms a query | dual | ratio | move, ms | "
            "MiB eval | one copy | dual | eval, ms | dual, GFLOP/s | of peak | "
            "one copy reads, GB/s | of peak |\n|---|---|---|---|---|---|"
            "---|---|---|---|---|---|---|\n",
            b.backend->describe(b.dev), b.queries);
    for (; at < argc && rc == 0; at++) {
        char *x;
        const uint32_t rows = (uint32_t) strtoul(argv[at], &x, 10);
        const uint32_t length = *x ? (uint32_t) strtoul(x + 1, NULL, 10) : 0;
        rc = bench_shape(&b, rows, length, &err);
        (void) fflush(stdout);
    }
    if (rc < 0)
        (void) fprintf(stderr, "bench_probe: %s\n",
                       err.text[0] ? err.text : strerror(-rc));
    program_cache_destroy(b.programs);
    adapter_state_destroy(b.state);
    base_model_close(b.base);
    if (b.dev)
        b.backend->close(b.dev);
    return rc < 0;
}
