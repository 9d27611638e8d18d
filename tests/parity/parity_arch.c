// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Agreement of every architecture with transformers: loss, losses of tokens,
 * logits and gradients of LoRA, on tiny models whose weights follow from their
 * names (tests/support/archfile.h). What PyTorch said is in arch/NAME.txt,
 * which tests/peers/archs.sh makes.
 *
 * usage: parity_arch DIR                        test against DIR/NAME.txt
 *        parity_arch --write DIR                models and adapters as files
 *        parity_arch --perplexity NAME          as llama-perplexity computes it
 */

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/formats/gguf.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_state.h"
#include "tests/support/archfile.h"
#include "tests/support/test_device.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

// The project's figures; a token's loss is of the size of its logits, which are
// a few units.
#define FORWARD_TOLERANCE  1e-4
#define GRADIENT_TOLERANCE 1e-3

enum {
    BATCH = 2,
    LENGTH = 24,
    TOKENS = BATCH * LENGTH,
    RANK = 4,
    PROJECTIONS = 4, // of each gradient
    CHUNKS = 4,      // of perplexity
    CHUNK = 48,
    MAX_TOKENS = CHUNKS * CHUNK,
};

static const char *golden_dir;

struct rig {
    struct gguf *file;
    struct buffer *weights;
    struct device *dev;
    struct model_config config;
    struct scheme scheme;
    struct adapter_state *state;
    struct param *params;
    uint32_t n_params;
};

static void ok(int rc, const struct error *err)
{
    if (rc >= 0)
        return;
    (void) fprintf(stderr, "%s\n", err->text);
    abort();
}

/*
 * The model, and a LoRA whose values follow from the names as well.
 */

static float *adapter_values(const struct rig *r, uint32_t i)
{
    const struct param *p = &r->params[i];
    const size_t n = (size_t) (p->ne[0] * p->ne[1]);
    float *x = calloc(n, sizeof *x);

    for (size_t k = 0; k < n; k++)
        x[k] = (float) ((p->kind == PARAM_LORA_A ? 0.5 : 0.25) *
                        archfile_value(p->name, k));
    return x;
}

static void make_adapter(struct rig *r)
{
    const struct adapter_state_params p = {
        .backend = test_backend(),
        .dev = r->dev,
        .config = &r->config,
        .scheme = &r->scheme,
    };
    struct error err;

    ok(adapter_state_create(&r->state, &p, &err), &err);
    float *all = calloc(adapter_state_floats(r->state), sizeof *all);
    float *at = all;
    for (uint32_t i = 0; i < r->n_params; i++) {
        const size_t n = (size_t) (r->params[i].ne[0] * r->params[i].ne[1]);
        float *x = adapter_values(r, i);
        memcpy(at, x, n * sizeof *x);
        free(x);
        at += n;
    }
    (void) adapter_state_write(r->state, ADAPTER_PART_VALUE, all);
    free(all);
}

static void open_rig(struct rig *r, const struct archfile *a)
{
    static const struct scheme_lora lora = {RANK, 2 * RANK, LORA_ALL, 0};
    const struct device_params device = {0};
    const int fd = archfile_create(a);
    struct error err;
    size_t bytes;

    memset(r, 0, sizeof *r);
    ok(gguf_load_fd(&r->file, fd, &err), &err);
    close(fd);
    ok(model_config_read(&r->config, r->file, &err), &err);
    ok(test_device_open(&r->dev, &device, &err), &err);
    const void *mapping = gguf_mapping(r->file, &bytes);
    ok(test_backend()->buffer_import(&r->weights, r->dev, mapping, bytes),
       &err);
    ok(scheme_from_lora(&r->scheme, &lora, &r->config, &err), &err);
    r->n_params = scheme_params(NULL, 0, &r->config, &r->scheme);
    r->params = calloc(r->n_params, sizeof *r->params);
    (void) scheme_params(r->params, r->n_params, &r->config, &r->scheme);
    make_adapter(r);
}

static void close_rig(struct rig *r)
{
    free(r->params);
    adapter_state_destroy(r->state);
    test_backend()->buffer_destroy(r->weights);
    test_backend()->close(r->dev);
    gguf_destroy(r->file);
}

static int bind_weight(struct binding *out, const struct program_slot *slot,
                       void *user, struct error *err)
{
    const struct rig *r = user;
    const struct gguf_tensor *t;
    size_t bytes;
    int rc = gguf_get_tensor(&t, r->file, slot->name, err);

    if (rc < 0)
        return rc;
    *out = (struct binding){
        .buffer = r->weights,
        .offset = (size_t) ((const char *) t->data -
                            (const char *) gguf_mapping(r->file, &bytes)),
    };
    return 0;
}

// Caches of a CACHED program: buffers of the executor's own would do, but it
// asks for every state.
static struct buffer *caches[64];
static int n_caches;

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct rig *r = user;

    if (strncmp(slot->name, "cache.", 6) != 0)
        return adapter_state_bind(out, r->state, slot, err);
    int rc =
        test_backend()->buffer_create(&caches[n_caches], r->dev, slot->bytes);
    *out = (struct binding){.buffer = caches[n_caches++]};
    return rc;
}

struct machine {
    struct program *program;
    struct executor *executor;
};

static void machine_init(struct machine *m, struct rig *r,
                         const struct program_params *p)
{
    const struct executor_params x = {
        .backend = test_backend(),
        .dev = r->dev,
        .bind_weight = bind_weight,
        .bind_state = bind_state,
        .user = r,
    };
    struct error err;

    ok(program_compile(&m->program, &r->config, p, test_backend(), r->dev,
                       &err),
       &err);
    ok(executor_create(&m->executor, m->program, &x, &err), &err);
}

static void machine_finish(struct machine *m)
{
    executor_destroy(m->executor);
    program_destroy(m->program);
}

struct batch {
    int32_t tokens[MAX_TOKENS], pos[MAX_TOKENS], start[MAX_TOKENS],
        targets[MAX_TOKENS];
    float weights[MAX_TOKENS];
};

// Tokens by the same hash; all but the first of each row count.
static void make_batch(struct batch *b)
{
    memset(b, 0, sizeof *b);
    for (int i = 0; i < TOKENS; i++)
        b->tokens[i] =
            (int32_t) ((archfile_value("tokens", (uint64_t) i) + 0.5) * 256) +
            4;
    for (int i = 0; i < TOKENS; i++) {
        b->pos[i] = i % LENGTH;
        b->start[i] = i - i % LENGTH;
        if (i % LENGTH == LENGTH - 1)
            continue;
        b->targets[i] = b->tokens[i + 1];
        b->weights[i] = 1.0F / (BATCH * (LENGTH - 1));
    }
}

static void run(struct machine *m, const struct batch *b, size_t n)
{
    struct executor *x = m->executor;

    assert_int_equal(executor_write(x, "tokens", b->tokens, 4 * n), 0);
    assert_int_equal(executor_write(x, "pos", b->pos, 4 * n), 0);
    assert_int_equal(executor_write(x, "start", b->start, 4 * n), 0);
    assert_int_equal(executor_write(x, "targets", b->targets, 4 * n), 0);
    assert_int_equal(executor_write(x, "weights", b->weights, 4 * n), 0);
    assert_int_equal(executor_run(x), 0);
}

/*
 * What transformers said: lines of a name and numbers.
 */

// The numbers behind `name`; fails where there are fewer.
static void read_golden(const char *model, const char *name, double *out,
                        size_t n)
{
    char path[512], word[128];
    bool found = false;

    (void) snprintf(path, sizeof path, "%s/%s.txt", golden_dir, model);
    FILE *f = fopen(path, "re");
    if (!f)
        fail_msg("cannot read %s", path);
    while (!found && fscanf(f, "%127s", word) == 1)
        found = strcmp(word, name) == 0;
    for (size_t i = 0; i < n && found; i++)
        found = fscanf(f, "%lf", &out[i]) == 1;
    (void) fclose(f);
    if (!found)
        fail_msg("%s has no %zu numbers of %s", path, n, name);
}

static void assert_near(double got, double want, double scale, double tolerance,
                        const char *what)
{
    if (!(fabs(got - want) <= tolerance * scale))
        fail_msg("%s is %.8g, but transformers has %.8g", what, got, want);
}

/*
 * Tests, of one model each.
 */

static void check_forward(struct rig *r, const char *name, struct machine *m)
{
    double nll[TOKENS], loss;
    float got[TOKENS], got_loss;

    read_golden(name, "loss", &loss, 1);
    read_golden(name, "nll", nll, TOKENS);
    assert_int_equal(executor_read(m->executor, "loss", &got_loss, 4), 0);
    assert_int_equal(executor_read(m->executor, "nll", got, sizeof got), 0);
    assert_near(got_loss, loss, loss, FORWARD_TOLERANCE, "loss");
    for (int i = 0; i < TOKENS; i++)
        if (i % LENGTH != LENGTH - 1)
            assert_near(got[i], nll[i], 1 + nll[i], FORWARD_TOLERANCE, "nll");
    (void) r;
}

static void check_gradients(struct rig *r, const char *name, struct machine *m)
{
    double worst = 0;

    for (uint32_t i = 0; i < r->n_params; i++) {
        const size_t n = (size_t) (r->params[i].ne[0] * r->params[i].ne[1]);
        double want[PROJECTIONS + 1], square = 0;
        float *g = calloc(n, sizeof *g);
        char key[96], along[16];

        (void) snprintf(key, sizeof key, "grad.%s", r->params[i].name);
        read_golden(name, key, want, PROJECTIONS + 1);
        assert_int_equal(executor_read(m->executor, key, g, n * sizeof *g), 0);
        for (size_t k = 0; k < n; k++)
            square += (double) g[k] * g[k];
        assert_true(want[0] > 1e-6);
        assert_near(sqrt(square), want[0], want[0], GRADIENT_TOLERANCE, key);
        for (int p = 0; p < PROJECTIONS; p++) {
            double sum = 0;
            (void) snprintf(along, sizeof along, "along.%d", p);
            for (size_t k = 0; k < n; k++)
                sum += g[k] * archfile_value(along, k);
            assert_near(sum, want[1 + p], want[0], GRADIENT_TOLERANCE, key);
            worst = fmax(worst, fabs(sum - want[1 + p]) / want[0]);
        }
        free(g);
    }
    print_message("# %s: worst of %u gradients: %.2g\n", name, r->n_params,
                  worst);
}

// Generation: the same logits, from caches that were filled in two runs.
static void check_cached(struct rig *r, const char *name, const struct batch *b)
{
    enum { FIRST = 10, ROWS = 3 };
    const int32_t rows[ROWS] = {0, 5, LENGTH - FIRST - 1};
    double *want = calloc(ROWS * ARCHFILE_VOCAB, sizeof *want);
    float *got = calloc(ROWS * ARCHFILE_VOCAB, sizeof *got);
    double top = 0;
    struct program_params p = {
        .kind = PROGRAM_CACHED,
        .length = LENGTH,
        .cache_length = LENGTH,
        .n_rows = ROWS,
        .scheme = &r->scheme,
    };
    struct machine m;

    n_caches = 0;
    machine_init(&m, r, &p);
    // All tokens, then those from FIRST on again, and zeros behind.
    for (int at = 0; at < 2; at++) {
        int32_t pos[LENGTH], tokens[LENGTH];
        for (int i = 0; i < LENGTH; i++) {
            const int from = at * FIRST + i;
            pos[i] = from < LENGTH ? from : LENGTH - 1;
            tokens[i] = b->tokens[pos[i]];
        }
        assert_int_equal(executor_write(m.executor, "tokens", tokens,
                                        sizeof tokens),
                         0);
        assert_int_equal(executor_write(m.executor, "pos", pos, sizeof pos), 0);
        assert_int_equal(executor_write(m.executor, "rows", rows, sizeof rows),
                         0);
        assert_int_equal(executor_run(m.executor), 0);
    }
    assert_int_equal(executor_read(m.executor, "logits", got,
                                   ROWS * ARCHFILE_VOCAB * sizeof *got),
                     0);
    for (int i = 0; i < ROWS; i++) {
        char key[32];
        (void) snprintf(key, sizeof key, "logits.%d", FIRST + rows[i]);
        read_golden(name, key, want + i * ARCHFILE_VOCAB, 16);
        for (int v = 0; v < 16; v++)
            top = fmax(top, fabs(want[i * ARCHFILE_VOCAB + v]));
        for (int v = 0; v < 16; v++)
            assert_near(got[i * ARCHFILE_VOCAB + v],
                        want[i * ARCHFILE_VOCAB + v], top, FORWARD_TOLERANCE,
                        key);
    }
    machine_finish(&m);
    while (n_caches > 0)
        test_backend()->buffer_destroy(caches[--n_caches]);
    free(want);
    free(got);
}

static void agrees_with_transformers(void **state)
{
    const struct archfile *a = *state;
    const struct program_params p = {
        .kind = PROGRAM_GRADIENT,
        .batch = BATCH,
        .length = LENGTH,
    };
    struct program_params params = p;
    struct machine m;
    struct batch b;
    struct rig r;

    open_rig(&r, a);
    make_batch(&b);
    params.scheme = &r.scheme;
    machine_init(&m, &r, &params);
    run(&m, &b, TOKENS);
    check_forward(&r, a->name, &m);
    check_gradients(&r, a->name, &m);
    machine_finish(&m);
    check_cached(&r, a->name, &b);
    close_rig(&r);
}

/*
 * For other programs.
 */

static void copy_fd(int fd, const char *dir, const char *name)
{
    char path[512], buf[65536];
    ssize_t n;

    (void) snprintf(path, sizeof path, "%s/%s.gguf", dir, name);
    const int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0)
        abort();
    while ((n = read(fd, buf, sizeof buf)) > 0)
        if (write(out, buf, (size_t) n) != n)
            abort();
    close(out);
    close(fd);
}

static void write_adapter(const struct archfile *a, const char *dir)
{
    char path[512];
    struct error err;
    struct adapter *adapter;
    struct rig r;

    open_rig(&r, a);
    ok(adapter_create(&adapter, &r.config, &r.scheme, NULL, &err), &err);
    for (uint32_t i = 0; i < r.n_params; i++) {
        const size_t n = (size_t) (r.params[i].ne[0] * r.params[i].ne[1]);
        float *x = adapter_values(&r, i);
        memcpy(adapter_param(adapter, i), x, n * sizeof *x);
        free(x);
    }
    (void) snprintf(path, sizeof path, "%s/%s-lora.gguf", dir, a->name);
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ok(adapter_save_gguf_fd(adapter, a->arch, fd, &err), &err);
    close(fd);
    (void) snprintf(path, sizeof path, "%s/%s-peft", dir, a->name);
    (void) mkdir(path, 0755);
    const int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ok(adapter_save_peft(adapter, &r.config, a->name, dirfd, &err), &err);
    close(dirfd);
    adapter_destroy(adapter);
    close_rig(&r);
}

static int write_all(const char *dir)
{
    for (size_t i = 0; i < archfile_count; i++) {
        copy_fd(archfile_create(&archfiles[i]), dir, archfiles[i].name);
        write_adapter(&archfiles[i], dir);
    }
    return 0;
}

// Of letters a .. h by the hash behind the mark of a text, in chunks that begin
// with it; the second half of each counts, as in llama-perplexity -c CHUNK.
static int print_perplexity(const char *name, bool with_adapter)
{
    const struct archfile *a = archfile_find(name);
    struct machine m;
    struct batch b = {0};
    struct rig r;
    float nll[MAX_TOKENS];
    double sum = 0;
    int n = 0;

    if (!a)
        return 2;
    open_rig(&r, a);
    const struct program_params p = {
        .kind = PROGRAM_EVAL,
        .batch = CHUNKS,
        .length = CHUNK,
        .scheme = with_adapter ? &r.scheme : NULL,
    };
    machine_init(&m, &r, &p);
    for (int i = 0; i < MAX_TOKENS; i++) {
        b.tokens[i] =
            i % CHUNK == 0
                ? 0
                : 4 + 'a' +
                      (int) ((archfile_value("text", (uint64_t) i - 1) + 0.5) *
                             8);
        b.pos[i] = i % CHUNK;
        b.start[i] = i - i % CHUNK;
    }
    for (int i = 0; i < MAX_TOKENS; i++)
        if (i % CHUNK >= CHUNK / 2 && i % CHUNK < CHUNK - 1) {
            b.targets[i] = b.tokens[i + 1];
            b.weights[i] = 1;
            n++;
        }
    run(&m, &b, MAX_TOKENS);
    if (executor_read(m.executor, "nll", nll, sizeof nll) < 0)
        return 1;
    for (int i = 0; i < MAX_TOKENS; i++)
        sum += (double) b.weights[i] * nll[i];
    printf("%.4f\n", exp(sum / n));
    machine_finish(&m);
    close_rig(&r);
    return 0;
}

static int print_text(void)
{
    for (int i = 0; i < MAX_TOKENS; i++)
        putchar('a' + (int) ((archfile_value("text", (uint64_t) i) + 0.5) * 8));
    return 0;
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[32];

    test_device_begin();
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return write_all(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--perplexity") == 0)
        return print_perplexity(argv[2], false);
    if (argc == 3 && strcmp(argv[1], "--perplexity-lora") == 0)
        return print_perplexity(argv[2], true);
    if (argc == 2 && strcmp(argv[1], "--text") == 0)
        return print_text();
    if (argc != 2 || argv[1][0] == '-')
        return 2;
    golden_dir = argv[1];
    for (size_t i = 0; i < archfile_count; i++)
        tests[i] = (struct CMUnitTest){
            .name = archfiles[i].name,
            .test_func = agrees_with_transformers,
            .initial_state = (void *) (uintptr_t) &archfiles[i],
        };
    return _cmocka_run_group_tests("arch", tests, archfile_count, NULL, NULL);
}
