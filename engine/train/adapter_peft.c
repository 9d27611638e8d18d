// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/adapter.h"

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/json.h"
#include "engine/base/mapfile.h"
#include "engine/base/str.h"
#include "engine/formats/safetensors.h"
#include "engine/train/adapter_import.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PEFT_NAME_BYTES = 96,
    CONFIG_ARENA_MAX = 16 << 20,
};

struct module {
    const char *part; // of the layer
    const char *name;
};

// Where transformers has a linear: for all architectures the same, but that
// some have several in one, in the place of the first.
static struct module module_of(bool is_qkv_fused, bool is_gate_fused,
                               enum model_linear linear)
{
    static const struct module modules[MODEL_LINEARS] = {
        [MODEL_LINEAR_q] = {"self_attn", "q_proj"},
        [MODEL_LINEAR_k] = {"self_attn", "k_proj"},
        [MODEL_LINEAR_v] = {"self_attn", "v_proj"},
        [MODEL_LINEAR_o] = {"self_attn", "o_proj"},
        [MODEL_LINEAR_gate] = {"mlp", "gate_proj"},
        [MODEL_LINEAR_up] = {"mlp", "up_proj"},
        [MODEL_LINEAR_down] = {"mlp", "down_proj"},
    };
    if (linear == MODEL_LINEAR_q && is_qkv_fused)
        return (struct module){"self_attn", "qkv_proj"};
    if (linear == MODEL_LINEAR_up && is_gate_fused)
        return (struct module){"mlp", "gate_up_proj"};
    return modules[linear];
}

static struct module adapter_module(const struct adapter *a, int linear)
{
    return module_of(a->is_qkv_fused, a->is_gate_fused,
                     (enum model_linear) linear);
}

static void peft_name(char out[PEFT_NAME_BYTES], const struct model_config *m,
                      uint32_t block, enum model_linear linear,
                      enum adapter_side side)
{
    const struct module to =
        module_of(m->is_qkv_fused, m->is_gate_fused, linear);
    (void) snprintf(out, PEFT_NAME_BYTES,
                    "base_model.model.model.layers.%u.%s.%s.lora_%c.weight",
                    block, to.part, to.name, "AB"[side]);
}

// Fills entry i, with data in the order of Hugging Face in `copy` where it
// differs.
static void fill_entry(struct safetensors_tensor *t, char name[PEFT_NAME_BYTES],
                       float *copy, const struct adapter *a,
                       const struct model_config *m, uint32_t i)
{
    const struct param *p = &a->params[i];
    const float *data = adapter_param(a, i);
    const enum model_linear linear = (enum model_linear) p->linear;
    const enum adapter_side side =
        p->kind == PARAM_LORA_A ? ADAPTER_A : ADAPTER_B;

    peft_name(name, m, p->block, linear, side);
    if (side == ADAPTER_B) {
        for (int64_t r = 0; r < p->ne[0]; r++)
            memcpy(copy + r * p->ne[1],
                   data + adapter_gguf_row(m, linear, r) * p->ne[1],
                   (size_t) p->ne[1] * sizeof(float));
        data = copy;
    }
    *t = (struct safetensors_tensor){
        .name = name,
        .dtype = DTYPE_f32,
        .n_dims = 2,
        .ne = {p->ne[0], p->ne[1]},
        .data = data,
    };
}

int adapter_save_peft_fd(const struct adapter *a, const struct model_config *m,
                         int fd, struct error *err)
{
    static const char *const metadata[] = {"format", "pt", NULL};
    struct safetensors_tensor *tensors =
        fault_calloc(a->n_params, sizeof(*tensors));
    char(*names)[PEFT_NAME_BYTES] = fault_calloc(a->n_params, sizeof(*names));
    float *copy = fault_malloc(adapter_floats(a) * sizeof(*copy));
    int rc = adapter_check_peft(a, err);

    if (rc < 0)
        goto out;
    if (!tensors || !names || !copy) {
        rc = error_set(err, -ENOMEM, "not enough memory to write the adapter");
        goto out;
    }
    for (uint32_t i = 0; i < a->n_params; i++)
        fill_entry(&tensors[i], names[i], copy + a->starts[i], a, m, i);
    rc = safetensors_save_fd(fd, tensors, a->n_params, metadata, err);

out:
    free(copy);
    free(names);
    free(tensors);
    return rc;
}

// The linears of this block that learn, as bits.
static uint32_t block_targets(const struct adapter *a, uint32_t block)
{
    uint32_t bits = 0;

    for (int l = 0; l < MODEL_LINEARS; l++)
        if (a->scheme.linears[block][l].learn != LEARN_NONE)
            bits |= 1u << l;
    return bits;
}

struct summary {
    uint32_t targets; // of some block
    uint32_t rank;    // the highest
    bool is_uniform;  // blocks that learn have the same linears
    bool is_mixed;    // there are several ranks
    bool has_all;     // all blocks learn
};

static struct summary summarise(const struct adapter *a)
{
    struct summary s = {.is_uniform = true, .has_all = true};

    for (uint32_t i = 0; i < a->n_blocks; i++) {
        const uint32_t bits = block_targets(a, i);
        if (bits == 0)
            s.has_all = false;
        else if (s.targets && bits != s.targets)
            s.is_uniform = false;
        s.targets |= bits;
    }
    for (uint32_t i = 0; i < a->n_params; i++) {
        const uint32_t rank = (uint32_t) a->params[i].ne[0];
        if (a->params[i].kind != PARAM_LORA_A)
            continue;
        s.is_mixed |= s.rank != 0 && rank != s.rank;
        s.rank = rank > s.rank ? rank : s.rank;
    }
    return s;
}

// Where blocks differ each linear is named in full, which is looked for at the
// end of a module's path.
static void put_modules(struct str *s, const struct adapter *a,
                        const struct summary *sum)
{
    const char *comma = "";

    str_puts(s, "  \"target_modules\": [");
    for (int l = 0; l < MODEL_LINEARS && sum->is_uniform; l++) {
        if (!(sum->targets >> l & 1))
            continue;
        str_printf(s, "%s\"%s\"", comma, adapter_module(a, l).name);
        comma = ", ";
    }
    for (uint32_t i = 0; i < a->n_params && !sum->is_uniform; i++) {
        const struct param *p = &a->params[i];
        if (p->kind != PARAM_LORA_A)
            continue;
        str_printf(s, "%s\"layers.%u.%s.%s\"", comma, p->block,
                   adapter_module(a, p->linear).part,
                   adapter_module(a, p->linear).name);
        comma = ", ";
    }
    str_puts(s, "],\n");
}

static void put_ranks(struct str *s, const struct adapter *a,
                      const struct summary *sum)
{
    const char *comma = "";

    if (!sum->is_mixed)
        return;
    str_puts(s, "  \"rank_pattern\": {");
    for (uint32_t i = 0; i < a->n_params; i++) {
        const struct param *p = &a->params[i];
        if (p->kind != PARAM_LORA_A || p->ne[0] == sum->rank)
            continue;
        str_printf(s, "%s\"layers.%u.%s.%s\": %d", comma, p->block,
                   adapter_module(a, p->linear).part,
                   adapter_module(a, p->linear).name, (int) p->ne[0]);
        comma = ", ";
    }
    str_puts(s, "},\n");
}

// Only where some blocks alone are adapted: their numbers, for transformers to
// leave the others as they are.
static void put_layers(struct str *s, const struct adapter *a,
                       const struct summary *sum)
{
    const char *comma = "[";

    str_puts(s, "  \"layers_to_transform\": ");
    if (sum->has_all || !sum->is_uniform) {
        str_puts(s, "null,\n");
        return;
    }
    for (uint32_t i = 0; i < a->n_blocks; i++) {
        if (block_targets(a, i) == 0)
            continue;
        str_printf(s, "%s%u", comma, i);
        comma = ", ";
    }
    str_puts(s, "],\n");
}

void adapter_peft_config(const struct adapter *a, const char *base_name,
                         struct str *out)
{
    const struct summary sum = summarise(a);

    str_puts(out, "{\n  \"peft_type\": \"LORA\",\n"
                  "  \"task_type\": \"CAUSAL_LM\",\n"
                  "  \"base_model_name_or_path\": ");
    str_json(out, base_name, strlen(base_name));
    str_printf(out,
               ",\n  \"r\": %u,\n  \"lora_alpha\": %.9g,\n"
               "  \"lora_dropout\": 0.0,\n  \"bias\": \"none\",\n",
               sum.rank, (double) a->scheme.alpha);
    put_modules(out, a, &sum);
    put_ranks(out, a, &sum);
    put_layers(out, a, &sum);
    str_printf(out,
               "  \"fan_in_fan_out\": false,\n"
               "  \"inference_mode\": true,\n"
               "  \"use_rslora\": %s\n}\n",
               a->scheme.scale == SCHEME_SCALE_ROOT ? "true" : "false");
}

static int save_tensors(const struct adapter *a, const struct model_config *m,
                        int dirfd, struct error *err)
{
    static const char name[] = "adapter_model.safetensors";
    struct file_draft d;
    int rc = file_draft_init(&d, dirfd, name);
    if (rc < 0)
        return error_set(err, rc, "cannot create %s: %s", name, strerror(-rc));
    if ((rc = adapter_save_peft_fd(a, m, d.fd, err)) < 0) {
        file_draft_abort(&d);
        return rc;
    }
    if ((rc = file_draft_commit(&d)) < 0)
        return error_set(err, rc, "cannot write %s: %s", name, strerror(-rc));
    return 0;
}

int adapter_save_peft(const struct adapter *a, const struct model_config *m,
                      const char *base_name, int dirfd, struct error *err)
{
    struct str config = {0};
    int rc = save_tensors(a, m, dirfd, err);

    if (rc < 0)
        return rc;
    adapter_peft_config(a, base_name, &config);
    rc = str_finish(&config);
    if (rc == 0)
        rc = file_write_atomic(dirfd, "adapter_config.json", config.data,
                               config.bytes);
    str_free(&config);
    if (rc < 0)
        return error_set(err, rc, "cannot write adapter_config.json: %s",
                         strerror(-rc));
    return 0;
}

struct peft_config {
    float alpha;
    int64_t rank;   // of all tensors, unless has_ranks
    bool has_ranks; // they say their own
    bool is_root;   // rank-stabilised: alpha / sqrt(rank)
};

static bool is_true(const struct json *v, const char *key)
{
    const struct json *b = json_get(v, key);
    return b && b->type == JSON_BOOL && b->boolean;
}

// null, absent, [] and {} say nothing.
static bool says_something(const struct json *v, const char *key)
{
    const struct json *x = json_get(v, key);
    if (!x || x->type == JSON_NULL)
        return false;
    return (x->type != JSON_ARRAY && x->type != JSON_OBJECT) || x->count > 0;
}

static int check_features(const struct json *v, struct error *err)
{
    static const char *const flags[] = {"use_dora", "fan_in_fan_out",
                                        "use_qalora", "use_bdlora"};
    static const char *const lists[] = {"alpha_pattern", "modules_to_save",
                                        "trainable_token_indices"};
    const char *type = json_get_text(v, "peft_type");
    const char *bias = json_get_text(v, "bias");

    if (!type || strcmp(type, "LORA") != 0)
        return error_set(err, -ENOTSUP,
                         "adapter_config.json: peft_type is %.40s, but must be "
                         "LORA",
                         type ? type : "missing");
    if (bias && strcmp(bias, "none") != 0)
        return error_set(err, -ENOTSUP,
                         "adapter_config.json: bias is \"%.40s\", but only "
                         "\"none\" is supported",
                         bias);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (is_true(v, flags[i]))
            return error_set(err, -ENOTSUP,
                             "adapter_config.json: %s is not supported",
                             flags[i]);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        if (says_something(v, lists[i]))
            return error_set(err, -ENOTSUP,
                             "adapter_config.json: %s is not supported",
                             lists[i]);
    return 0;
}

static int read_config(struct peft_config *out, const char *text, size_t bytes,
                       struct error *err)
{
    struct arena *arena;
    const struct json *v;
    int rc = arena_create(&arena, CONFIG_ARENA_MAX);
    if (rc < 0)
        return error_set(err, rc, "not enough memory for the adapter");
    if ((rc = json_parse(&v, arena, text, bytes, err)) < 0) {
        rc = error_prefix(err, rc, "adapter_config.json");
        goto out;
    }
    if ((rc = check_features(v, err)) < 0)
        goto out;
    const struct json *r = json_get(v, "r");
    const struct json *alpha = json_get(v, "lora_alpha");
    if (!r || !r->is_integer || r->integer < 1 || r->integer > LORA_RANK_MAX) {
        rc = error_set(err, -EINVAL,
                       "adapter_config.json: r must be a number from 1 to %d",
                       LORA_RANK_MAX);
        goto out;
    }
    if (!alpha || alpha->type != JSON_NUMBER || !(alpha->number > 0) ||
        !(alpha->number < 1e6)) {
        rc = error_set(err, -EINVAL,
                       "adapter_config.json: lora_alpha must be a positive "
                       "number");
        goto out;
    }
    out->rank = r->integer;
    out->alpha = (float) alpha->number;
    out->has_ranks = says_something(v, "rank_pattern");
    out->is_root = is_true(v, "use_rslora");

out:
    arena_destroy(arena);
    return rc;
}

static int parse_name(uint32_t *block, enum model_linear *linear,
                      enum adapter_side *side, const char *name,
                      const struct model_config *m)
{
    unsigned b;
    char want[PEFT_NAME_BYTES];

    if (sscanf(name, "base_model.model.model.layers.%5u.", &b) != 1 ||
        b >= m->n_blocks)
        return -ENOENT;
    for (int l = 0; l < MODEL_LINEARS; l++)
        for (int s = 0; s < ADAPTER_SIDES; s++) {
            if (!model_has_linear(m, (enum model_linear) l))
                continue;
            peft_name(want, m, b, (enum model_linear) l, (enum adapter_side) s);
            if (strcmp(name, want) == 0) {
                *block = b;
                *linear = (enum model_linear) l;
                *side = (enum adapter_side) s;
                return 0;
            }
        }
    return -ENOENT;
}

static int add_tensor(struct adapter_import *in,
                      const struct safetensors_tensor *t,
                      const struct peft_config *config, struct error *err)
{
    uint32_t block = 0;
    enum model_linear linear = MODEL_LINEAR_q;
    enum adapter_side side = ADAPTER_A;

    if (parse_name(&block, &linear, &side, t->name, in->m) < 0)
        return error_set(err, -ENOTSUP,
                         "tensor %.200s adapts nothing that pockd can adapt in "
                         "this base model of %u blocks",
                         t->name, in->m->n_blocks);
    if (!t->is_known)
        return error_set(err, -ENOTSUP,
                         "tensor %.200s is of type %.20s, but must be F32, F16 "
                         "or BF16",
                         t->name, t->type);
    if (t->n_dims != 2)
        return error_set(err, -EINVAL, "tensor %.200s is not a matrix",
                         t->name);
    const struct adapter_piece piece = {
        .name = t->name,
        .data = t->data,
        .dtype = t->dtype,
        .ne = {t->ne[0], t->ne[1]},
    };
    int rc = adapter_import_add(in, block, linear, side, &piece, err);
    const uint32_t rank = adapter_piece_rank(&piece, side);
    if (rc == 0 && !config->has_ranks && rank != config->rank)
        rc = error_set(err, -EINVAL,
                       "tensor %.200s has rank %u, but adapter_config.json "
                       "says r = %lld",
                       t->name, rank, (long long) config->rank);
    return rc;
}

// Takes `s`.
static int read_adapter(struct adapter **out, struct safetensors *s,
                        const struct model_config *m, const char *base_sha256,
                        const struct peft_config *config, struct error *err)
{
    struct adapter_import in = {0};
    int rc = adapter_import_init(&in, m, err);

    in.has_hf_rows = true;
    in.scale = config->is_root ? SCHEME_SCALE_ROOT : SCHEME_SCALE_RANK;
    for (uint32_t i = 0; i < safetensors_n_tensors(s) && rc == 0; i++)
        rc = add_tensor(&in, safetensors_tensor_at(s, i), config, err);
    if (rc == 0)
        rc = adapter_import_make(out, &in, config->alpha, base_sha256, err);
    adapter_import_finish(&in);
    safetensors_destroy(s);
    return rc;
}

int adapter_load_peft_fd(struct adapter **out, const struct model_config *m,
                         const char *base_sha256, const char *config,
                         size_t config_bytes, int tensors_fd, struct error *err)
{
    struct peft_config c = {0};
    struct safetensors *s;
    int rc = read_config(&c, config, config_bytes, err);
    if (rc < 0)
        return rc;
    if ((rc = safetensors_load_fd(&s, tensors_fd, err)) < 0)
        return error_prefix(err, rc, "adapter_model.safetensors");
    return read_adapter(out, s, m, base_sha256, &c, err);
}

int adapter_load_peft_memory(struct adapter **out, const struct model_config *m,
                             const char *base_sha256, const char *config,
                             size_t config_bytes, const void *data,
                             size_t bytes, struct error *err)
{
    struct peft_config c = {0};
    struct safetensors *s;
    int rc = read_config(&c, config, config_bytes, err);
    if (rc < 0)
        return rc;
    if ((rc = safetensors_load_memory(&s, data, bytes, err)) < 0)
        return error_prefix(err, rc, "adapter_model.safetensors");
    return read_adapter(out, s, m, base_sha256, &c, err);
}
