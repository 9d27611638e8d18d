// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Pipelines: compiles on the Vulkan driver at hand all that the backend asks it
 * for in the programs of cases.def, and prints what became of it. Nothing runs
 * and no weight is there, so it needs a driver, but no GPU.
 *
 * usage: pipelines RIG [--raw] [--used FILE]
 *        pipelines RIG [--raw] SHADER CONSTANT...
 *        pipelines --list
 *        RIG: the name by which rules.def knows the device; lavapipe and
 *             system may be a CPU
 *        --raw: all that the driver tells
 *        --used: writes the names of the shaders that were asked for to a file
 *        SHADER: this one alone, with these specialisation constants
 *        --list: all shaders, whether they were built, and whether rules.def
 *        excuses that no case reaches them
 *
 * Fails when a pipeline does not compile, or spills and rules.def does not
 * allow it. Exit status 77 without a device.
 */

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/models/scheme_text.h"
#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_prepare.h"
#include "tests/rigs/rig_driver.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

struct model {
    const char *name;
    uint32_t width, n_heads, n_kv_heads, head_dim, ffn_width, n_vocab;
};

static const struct model models[] = {
#define RIG_MODEL(name, ...) {#name, __VA_ARGS__},
#define RIG_CASE(...)
#include "tests/rigs/cases.def"
#undef RIG_MODEL
#undef RIG_CASE
};

static const struct rig_case {
    const char *model;
    enum dtype dtype;
    enum program_kind kind;
    uint32_t batch, length;
    const char *scheme;
    enum kept_how kept;
} cases[] = {
#define RIG_MODEL(...)
#define RIG_CASE(model, dtype, kind, batch, length, scheme, kept) \
    {#model, DTYPE_##dtype, PROGRAM_##kind, batch, length, scheme, KEPT_##kept},
#include "tests/rigs/cases.def"
#undef RIG_MODEL
#undef RIG_CASE
};

static const struct rule {
    const char *devices, *shaders, *why;
} rules[] = {
#define RIG_MAY_SPILL(devices, shaders, why) {devices, shaders, why},
#define RIG_NOT_REACHED(shaders, why)
#include "tests/rigs/rules.def"
#undef RIG_MAY_SPILL
#undef RIG_NOT_REACHED
    {NULL, NULL, NULL},
};

// Those that no case need reach.
static const char *const excused[] = {
#define RIG_MAY_SPILL(devices, shaders, why)
#define RIG_NOT_REACHED(shaders, why) shaders,
#include "tests/rigs/rules.def"
#undef RIG_MAY_SPILL
#undef RIG_NOT_REACHED
    NULL,
};

// The real thing, but that it says yes to every operator: those that Vulkan
// lacks are left out afterwards.
static bool supports(const struct device *dev, const struct instr *in)
{
    (void) dev;
    (void) in;
    return true;
}

static size_t scratch_bytes(const struct device *dev, const struct instr *in)
{
    return vulkan_backend.supports(dev, in)
               ? vulkan_backend.scratch_bytes(dev, in)
               : 0;
}

struct rig {
    const char *name;
    struct device *dev;
    struct rig_driver driver;
    struct backend backend;
    bool is_raw;
    uint32_t n_pipelines, n_failed, n_allowed;
    bool was_seen[VK_SHADER_COUNT];
    bool is_absent[OP_COUNT]; // operators that ran into no kernel
    const struct vk_pipeline **done;
    uint32_t n_done;
};

/*
 * Pipelines
 */

static const struct rule *rule_of(const struct rig *r, const char *shader)
{
    for (const struct rule *x = rules; x->devices; x++)
        if (fnmatch(x->devices, r->name, 0) == 0 &&
            fnmatch(x->shaders, shader, 0) == 0)
            return x;
    return NULL;
}

static void print_stats(const struct rig_stats *s)
{
#define RIG_STAT(id) \
    if (s->id >= 0)  \
        (void) printf("  " #id " %g", s->id);
#define RIG_STAT_NAME(id, name)
#include "tests/rigs/stats.def"
#undef RIG_STAT
#undef RIG_STAT_NAME
}

static void judge(struct rig *r, const struct vk_pipeline *p)
{
    const char *name = vk_shaders[p->shader].name;
    struct rig_stats s;
    struct error err;

    r->n_pipelines++;
    r->was_seen[p->shader] = true;
    (void) printf("#   %-28s", name);
    for (uint32_t i = 0; i < p->n_specs; i++)
        (void) printf(" %u", p->specs[i]);
    if (rig_driver_measure(&s, &r->driver, p, NULL, &err) < 0) {
        (void) printf("  FAILED: %s\n", err.text);
        r->n_failed++;
        return;
    }
    print_stats(&s);
    if (s.spills > 0 || s.scratch > 0) {
        const struct rule *rule = rule_of(r, name);
        (void) printf("  %s%s", rule ? "spills, allowed: " : "SPILLS",
                      rule ? rule->why : "");
        r->n_failed += !rule;
        r->n_allowed += rule != NULL;
    }
    (void) printf("\n");
    if (r->is_raw)
        (void) rig_driver_measure(&s, &r->driver, p, stdout, &err);
}

static int judge_once(struct rig *r, const struct vk_pipeline *p)
{
    for (uint32_t i = 0; i < r->n_done; i++)
        if (r->done[i] == p)
            return 0;
    const struct vk_pipeline **done =
        realloc(r->done, (r->n_done + 1u) * sizeof(*done));
    if (!done)
        return -ENOMEM;
    done[r->n_done++] = p;
    r->done = done;
    judge(r, p);
    return 0;
}

/*
 * Programs
 */

static struct model_config config_of(const struct rig_case *c)
{
    const struct model *h = models;

    while (strcmp(h->name, c->model) != 0)
        h++;
    struct model_config m = {
        .arch = "llama",
        .n_blocks = 2,
        .width = h->width,
        .n_heads = h->n_heads,
        .n_kv_heads = h->n_kv_heads,
        .head_dim = h->head_dim,
        .ffn_width = h->ffn_width,
        .n_vocab = h->n_vocab,
        .context = 4096,
        .rope_dims = h->head_dim,
        .rms_eps = 1e-5f,
        .rope_base = 10000,
        .is_tied = true,
        .embed_dtype = (uint8_t) c->dtype,
        .head_dtype = (uint8_t) c->dtype,
    };
    for (uint32_t i = 0; i < m.n_blocks; i++)
        memset(m.linear_dtypes[i], c->dtype, MODEL_LINEARS);
    if (strcmp(h->name, "qwen3") == 0)
        m.qk_norms = MODEL_QK_HEADS;
    if (strcmp(h->name, "gemma2") == 0) {
        m.norms = MODEL_NORMS_BOTH;
        m.is_gelu = true;
        m.score_cap = 50;
        m.logit_cap = 30;
        m.window = 4096;
        m.window_period = 2;
    }
    return m;
}

static int compile(struct program **out, const struct rig *r,
                   const struct rig_case *c, struct error *err)
{
    const struct model_config m = config_of(c);
    const struct scheme_defaults defaults = {8, 16};
    static struct scheme scheme;

    int rc =
        scheme_parse(&scheme, c->scheme, strlen(c->scheme), &defaults, &m, err);
    if (rc < 0)
        return rc;
    const struct program_params params = {
        .kind = c->kind,
        .batch = c->batch,
        .length = c->length,
        .cache_length = c->kind == PROGRAM_CACHED ? 512 : 0,
        .n_rows = 1,
        .scheme = &scheme,
        .first_block = c->kind == PROGRAM_PREFIX ? 1 : 0,
        .kept = {.how = (uint8_t) c->kept,
                 .targets = c->kept == KEPT_WHOLE ? 0 : LORA_ALL,
                 .groups = c->kept == KEPT_SUBTOKENS ? 8 : 0,
                 .scale = c->kept == KEPT_SUBTOKENS ? 1 : 0,
                 .part = c->kept == KEPT_TOKENS ? 0.3F : 0},
        .perturb = {.copies = 8, .queries = 4, .update = PERTURB_MOMENTUM},
        .precision = PRECISION_BF16,
    };
    return program_compile(out, &m, &params, &r->backend, r->dev, err);
}

// Makes the pipelines of `n` instructions, and looks at them. Operands have
// addresses, and nothing lies there.
static int look(struct rig *r, const struct instr *in, uint32_t n,
                const struct bindings *b, struct error *err)
{
    struct prepared *prepared;

    int rc = vk_prepare(&prepared, r->dev, in, n, b, n > 1, err);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < prepared->list.n && rc == 0; i++)
        rc = judge_once(r, prepared->list.items[i].pipeline);
    vk_release(prepared);
    return rc < 0 ? error_set(err, rc, "out of memory") : 0;
}

static int run_case(struct rig *r, const struct rig_case *c, struct error *err)
{
    struct buffer nowhere = {.dev = r->dev,
                             .block = {.address = 1 << 20},
                             .bytes = SIZE_MAX / 2};
    struct bindings b = {.arena = &nowhere};
    struct program *p;

    int rc = compile(&p, r, c, err);
    if (rc < 0)
        return rc;
    const uint32_t n = program_weight_count(p) + program_state_count(p);
    struct binding *all = calloc(n + 1u, sizeof(*all));
    for (uint32_t i = 0; all && i < n; i++)
        all[i].buffer = &nowhere;
    b.weights = b.states = all;
    rc = all ? 0 : error_set(err, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < program_instr_count(p) && rc == 0; i++) {
        struct instr in = *program_instr(p, i);
        struct backend_kernel kernels[BACKEND_KERNELS_MAX];
        r->is_absent[in.op] |= !vk_kernel_of((enum op) in.op);
        const uint32_t n_kernels =
            vulkan_backend.kernels(kernels, r->dev, (enum op) in.op);
        // Each way, but for the CPU, and tiles that only times can choose.
        for (uint32_t k = 0; k < n_kernels && rc == 0; k++) {
            if (kernels[k].number == VK_KERNEL_CPU || kernels[k].is_by_shape)
                continue;
            in.kernel = kernels[k].number;
            rc = look(r, &in, 1, &b, err);
        }
    }
    // What is made where it is used.
    if (c->kind == PROGRAM_PERTURBED && rc == 0)
        rc = look(r, program_instr(p, 0), program_instr_count(p), &b, err);
    free(all);
    program_destroy(p);
    return rc;
}

/*
 * The device
 */

// The backend makes its own pipelines too: to compile all twice is not needed.
static VkResult VKAPI_PTR no_pipelines(VkDevice device, VkPipelineCache cache,
                                       uint32_t n,
                                       const VkComputePipelineCreateInfo *infos,
                                       const VkAllocationCallbacks *allocator,
                                       VkPipeline *out)
{
    (void) device;
    (void) cache;
    (void) infos;
    (void) allocator;
    for (uint32_t i = 0; i < n; i++)
        out[i] = VK_NULL_HANDLE;
    return VK_SUCCESS;
}

static int open_rig(struct rig *r, struct error *err)
{
    const bool is_cpu =
        strcmp(r->name, "lavapipe") == 0 || strcmp(r->name, "system") == 0;
    int rc;

    r->dev = calloc(1, sizeof(*r->dev));
    if (!r->dev)
        return error_set(err, -ENOMEM, "out of memory");
    r->dev->cache_fd = -1;
    if ((rc = vk_device_open(r->dev, is_cpu ? "cpu" : NULL, err)) < 0)
        return rc;
    r->dev->vk.CreateComputePipelines = no_pipelines;
    r->backend = vulkan_backend;
    r->backend.supports = supports;
    r->backend.scratch_bytes = scratch_bytes;
    (void) printf("# %s: %s\n", r->name, r->dev->text);
    return rig_driver_open(&r->driver, r->dev, err);
}

static void close_rig(struct rig *r)
{
    rig_driver_close(&r->driver);
    if (r->dev)
        vk_device_close(r->dev);
    free(r->dev);
    free(r->done);
}

static int run(struct rig *r, FILE *used, struct error *err)
{
    int rc = open_rig(r, err);

    if (rc == 0 && !r->driver.tells)
        (void) printf("#   this driver tells nothing of registers\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && rc == 0; i++)
        rc = run_case(r, &cases[i], err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < VK_SHADER_COUNT && used; i++)
        if (r->was_seen[i])
            (void) fprintf(used, "%s\n", vk_shaders[i].name);
    (void) printf("#   no kernel:");
    for (int i = 0; i < OP_COUNT; i++)
        if (r->is_absent[i])
            (void) printf(" %s", op_infos[i].name);
    (void) printf("\n#   %u pipelines, %u failed, %u may spill and do\n",
                  r->n_pipelines, r->n_failed, r->n_allowed);
    return 0;
}

// A shader with constants that a person wants to compare.
static int run_one(struct rig *r, char **argv, int n, struct error *err)
{
    struct vk_pipeline p = {0};
    int i = 0;

    while (i < VK_SHADER_COUNT && strcmp(vk_shaders[i].name, argv[0]) != 0)
        i++;
    if (i == VK_SHADER_COUNT || n - 1 > VK_SPECS_MAX)
        return error_set(err, -EINVAL,
                         i == VK_SHADER_COUNT ? "there is no shader %.60s"
                                              : "too many constants for %.60s",
                         argv[0]);
    p.shader = (uint16_t) i;
    p.n_specs = (uint8_t) (n - 1);
    for (int k = 1; k < n; k++)
        p.specs[k - 1] = (uint32_t) strtoul(argv[k], NULL, 0);
    const int rc = open_rig(r, err);
    if (rc == 0)
        judge(r, &p);
    return rc;
}

static bool is_excused(const char *shader)
{
    // What prepares for cooperative matrices has nobody to do it for.
    if (!vk_shader_is_built(VK_SHADER_gemm_cm_f16) &&
        (strcmp(shader, "cm_pack_f32") == 0 ||
         strcmp(shader, "attention_prep_f16") == 0))
        return true;
    for (const char *const *x = excused; *x; x++)
        if (fnmatch(*x, shader, 0) == 0)
            return true;
    return false;
}

static int list(void)
{
    for (int i = 0; i < VK_SHADER_COUNT; i++)
        (void) printf("%s %s %s\n", vk_shaders[i].name,
                      vk_shader_is_built((enum vk_shader) i) ? "built" : "-",
                      is_excused(vk_shaders[i].name) ? "excused" : "-");
    return 0;
}

int main(int argc, char **argv)
{
    static struct rig r;
    struct error err = {0};
    FILE *used = NULL;
    int i = 2;
    int rc;

    if (argc < 2) {
        (void) fprintf(stderr,
                       "usage: pipelines RIG [--raw] [--used FILE]\n"
                       "       pipelines RIG [--raw] SHADER CONSTANT...\n"
                       "       pipelines --list\n");
        return 2;
    }
    if (strcmp(argv[1], "--list") == 0)
        return list();
    r.name = argv[1];
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--raw") == 0)
            r.is_raw = true;
        else if (strcmp(argv[i], "--used") == 0 && i + 1 < argc)
            used = fopen(argv[++i], "we");
    }
    rc = i < argc ? run_one(&r, argv + i, argc - i, &err) : run(&r, used, &err);
    close_rig(&r);
    if (used)
        (void) fclose(used);
    if (rc < 0)
        (void) fprintf(stderr, "pipelines: %s\n", err.text);
    return rc == -ENODEV ? 77 : rc < 0 || r.n_failed > 0;
}
