// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * config.json, as keys of GGUF.
 */

#include "engine/convert/source_inside.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    KEY_BYTES = 96,
    BLOCKS_MAX = 1024,
    SIZE_MAX_ANY = 1 << 24,
};

static const struct hf_arch archs[] = {
#define ARCH(model_type, id, arch, flags) {#model_type, arch, HF_##id, flags},
#include "engine/convert/hf_archs.def"
};

static const char supported[] =
#define ARCH(model_type, id, arch, flags) " " #model_type
#include "engine/convert/hf_archs.def"
    ;

int hf_get_count(uint32_t *out, const struct json *object, const char *key,
                 uint32_t max, struct error *err)
{
    const struct json *v = json_get(object, key);

    if (!v || v->type == JSON_NULL)
        return error_set(err, -ENOENT, "config.json has no %s", key);
    if (v->type != JSON_NUMBER || !v->is_integer || v->integer < 1 ||
        v->integer > max)
        return error_set(err, -EINVAL,
                         "config.json: %s must be a whole number from 1 to %u",
                         key, max);
    *out = (uint32_t) v->integer;
    return 0;
}

int hf_get_float(float *out, const struct json *object, const char *key,
                 struct error *err)
{
    const struct json *v = json_get(object, key);

    if (!v || v->type == JSON_NULL)
        return error_set(err, -ENOENT, "config.json has no %s", key);
    if (v->type != JSON_NUMBER || !(fabs(v->number) <= 3e38) ||
        !(v->number > 0))
        return error_set(err, -EINVAL,
                         "config.json: %s must be a positive number", key);
    *out = (float) v->number;
    return 0;
}

// Absent is fine, wrong is not.
static int optional(int rc)
{
    return rc == -ENOENT ? 0 : rc;
}

/*
 * Writing.
 */

struct keys {
    struct gguf_writer *w;
    const char *arch;
};

static const char *key_of(char out[KEY_BYTES], const struct keys *k,
                          const char *name)
{
    (void) snprintf(out, KEY_BYTES, "%s.%s", k->arch, name);
    return out;
}

static void put_count(const struct keys *k, const char *name, uint32_t value)
{
    char key[KEY_BYTES];
    gguf_writer_u32(k->w, key_of(key, k, name), value);
}

static void put_float(const struct keys *k, const char *name, float value)
{
    char key[KEY_BYTES];
    gguf_writer_f32(k->w, key_of(key, k, name), value);
}

static int copy_count(const struct keys *k, const char *name,
                      const struct json *object, const char *from,
                      struct error *err)
{
    uint32_t value = 0;
    int rc = hf_get_count(&value, object, from, SIZE_MAX_ANY, err);

    if (rc == 0)
        put_count(k, name, value);
    return rc;
}

static int copy_float(const struct keys *k, const char *name,
                      const struct json *object, const char *from,
                      struct error *err)
{
    float value = 0;
    int rc = hf_get_float(&value, object, from, err);

    if (rc == 0)
        put_float(k, name, value);
    return rc;
}

/*
 * Which model, and its sizes.
 */

static int find_arch(struct hf_config *c, struct error *err)
{
    const char *type = json_get_text(c->root, "model_type");

    if (!type)
        return error_set(err, -EINVAL, "config.json has no model_type");
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++)
        if (strcmp(archs[i].model_type, type) == 0)
            c->arch = &archs[i];
    if (!c->arch)
        return error_set(err, -ENOTSUP,
                         "models of type \"%.40s\" cannot be converted; "
                         "supported:%s",
                         type, supported);
    c->text = json_get(c->root, "text_config");
    if (!c->text || c->text->type != JSON_OBJECT)
        c->text = c->root;
    return 0;
}

static int read_sizes(struct hf_config *c, struct error *err)
{
    const struct json *tied = json_get(c->root, "tie_word_embeddings");
    int rc;

    if ((rc = hf_get_count(&c->n_blocks, c->text, "num_hidden_layers",
                           BLOCKS_MAX, err)) < 0 ||
        (rc = hf_get_count(&c->width, c->text, "hidden_size", SIZE_MAX_ANY,
                           err)) < 0 ||
        (rc = hf_get_count(&c->n_heads, c->text, "num_attention_heads", 4096,
                           err)) < 0 ||
        (rc = hf_get_count(&c->n_vocab, c->text, "vocab_size", SIZE_MAX_ANY,
                           err)) < 0)
        return rc;
    c->n_kv_heads = c->n_heads;
    c->head_dim = c->width / c->n_heads;
    if ((rc = optional(hf_get_count(&c->n_kv_heads, c->text,
                                    "num_key_value_heads", 4096, err))) < 0 ||
        (rc = optional(
             hf_get_count(&c->head_dim, c->text, "head_dim", 4096, err))) < 0)
        return rc;
    if (c->n_heads % c->n_kv_heads != 0 || c->head_dim == 0 ||
        c->head_dim % 2 != 0)
        return error_set(err, -EINVAL,
                         "config.json: %u heads, of them %u of keys, of %u "
                         "values do not fit together",
                         c->n_heads, c->n_kv_heads, c->head_dim);
    c->is_tied = tied && tied->type == JSON_BOOL
                     ? tied->boolean
                     : c->arch->flags & HF_PLUS_ONE; // what gemma means by none
    return 0;
}

/*
 * Rotary embeddings. Newer files have rope_parameters where older ones have
 * rope_theta and rope_scaling, and for gemma3 one of them for each kind of
 * layer.
 */

static const struct json *rope_of(const struct hf_config *c)
{
    const struct json *r = json_get(c->text, "rope_parameters");
    const struct json *full = json_get(r, "full_attention");

    if (full)
        return full;
    return r ? r : json_get(c->text, "rope_scaling");
}

static const char *rope_type_of(const struct json *r)
{
    const char *type = json_get_text(r, "rope_type");

    return type ? type : json_get_text(r, "type");
}

static int read_rope_base(struct hf_config *c, struct error *err)
{
    int rc = hf_get_float(&c->rope_base, c->text, "rope_theta", err);

    if (rc == -ENOENT)
        rc = hf_get_float(&c->rope_base, rope_of(c), "rope_theta", err);
    if (rc == -ENOENT)
        c->rope_base = c->arch->bit & (HF_GEMMA3 | HF_GEMMA3_IMG) ? 1e6f : 1e4f;
    return optional(rc);
}

// The factor of attention that longrope's definition gives.
static int put_longrope(const struct keys *k, const struct hf_config *c,
                        uint32_t context, struct error *err)
{
    const struct json *r = rope_of(c);
    uint32_t original = 0;
    int rc =
        hf_get_count(&original, c->text, "original_max_position_embeddings",
                     SIZE_MAX_ANY, err);

    if (rc == -ENOENT)
        rc = hf_get_count(&original, r, "original_max_position_embeddings",
                          SIZE_MAX_ANY, err);
    if (rc < 0)
        return rc;
    const float scale = (float) context / (float) original;
    float factor = 1;
    if (scale > 1)
        factor = sqrtf(1 + logf(scale) / logf((float) original));
    if ((rc = optional(hf_get_float(&factor, r, "attention_factor", err))) < 0)
        return rc;
    put_count(k, "rope.scaling.original_context_length", original);
    put_float(k, "rope.scaling.attn_factor", factor);
    return 0;
}

static int put_scaling(const struct keys *k, const struct hf_config *c,
                       uint32_t context, struct error *err)
{
    const struct json *r = rope_of(c);
    const char *type = rope_type_of(r);
    char key[KEY_BYTES];
    int rc;

    if (!type || strcmp(type, "default") == 0 || strcmp(type, "llama3") == 0)
        return 0;
    if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0)
        return put_longrope(k, c, context, err);
    if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0)
        return error_set(err, -ENOTSUP,
                         "config.json: scaling of rotary embeddings of type "
                         "\"%.40s\" is not supported",
                         type);
    gguf_writer_str(k->w, key_of(key, k, "rope.scaling.type"), type);
    if ((rc = copy_float(k, "rope.scaling.factor", r, "factor", err)) < 0)
        return rc;
    return optional(copy_count(k, "rope.scaling.original_context_length", r,
                               "original_max_position_embeddings", err));
}

static int put_rope(const struct keys *k, struct hf_config *c, uint32_t context,
                    struct error *err)
{
    float part = 1;
    int rc = read_rope_base(c, err);

    if (rc == 0)
        rc = optional(
            hf_get_float(&part, c->text, "partial_rotary_factor", err));
    if (rc < 0)
        return rc;
    const float dims = part * (float) c->head_dim;
    if (!(dims >= 2) || dims > (float) c->head_dim)
        return error_set(err, -EINVAL,
                         "config.json: partial_rotary_factor must be over 0 "
                         "and at most 1");
    put_float(k, "rope.freq_base", c->rope_base);
    put_count(k, "rope.dimension_count", (uint32_t) dims);
    return put_scaling(k, c, context, err);
}

/*
 * What only gemma has.
 */

// Every so many layers one sees everything.
static int check_pattern(const struct hf_config *c, uint32_t period,
                         struct error *err)
{
    const struct json *types = json_get(c->text, "layer_types");
    uint32_t given = period, i = 0;
    bool is_other = false;
    int rc = optional(hf_get_count(&given, c->text, "sliding_window_pattern",
                                   BLOCKS_MAX, err));

    if (rc < 0)
        return rc;
    if (types && types->type == JSON_ARRAY)
        for (const struct json *t = types->first; t; t = t->next, i++) {
            const bool is_full = i % period == period - 1;
            is_other = is_other || t->type != JSON_STRING ||
                       strcmp(t->text, is_full ? "full_attention"
                                               : "sliding_attention") != 0;
        }
    if (given != period || is_other)
        return error_set(err, -ENOTSUP,
                         "config.json: only models of which each %uth layer "
                         "sees the whole context are supported",
                         period);
    return 0;
}

// The scale of attention is not stored in GGUF: it follows from the sizes.
static int check_query_scale(const struct hf_config *c, uint32_t large_blocks,
                             struct error *err)
{
    const float usual = c->n_blocks == large_blocks
                            ? (float) c->width / (float) c->n_heads
                            : (float) c->head_dim;
    float scale = usual;
    int rc =
        optional(hf_get_float(&scale, c->text, "query_pre_attn_scalar", err));

    if (rc == 0 && scale != usual)
        return error_set(err, -ENOTSUP,
                         "config.json: query_pre_attn_scalar is %g, but only "
                         "%g is supported for these sizes",
                         (double) scale, (double) usual);
    return rc;
}

static int put_gemma2(const struct keys *k, const struct hf_config *c,
                      struct error *err)
{
    int rc;

    if ((rc = check_pattern(c, 2, err)) < 0 ||
        (rc = check_query_scale(c, 46, err)) < 0 ||
        (rc = copy_count(k, "attention.sliding_window", c->text,
                         "sliding_window", err)) < 0 ||
        (rc = optional(copy_float(k, "attn_logit_softcapping", c->text,
                                  "attn_logit_softcapping", err))) < 0)
        return rc;
    return optional(copy_float(k, "final_logit_softcapping", c->text,
                               "final_logit_softcapping", err));
}

static int put_gemma3(const struct keys *k, const struct hf_config *c,
                      struct error *err)
{
    const struct json *local =
        json_get(json_get(c->text, "rope_parameters"), "sliding_attention");
    float base = 10000;
    int rc;

    if ((rc = check_pattern(c, 6, err)) < 0 ||
        (rc = check_query_scale(c, 62, err)) < 0 ||
        (rc = optional(
             hf_get_float(&base, c->text, "rope_local_base_freq", err))) < 0 ||
        (rc = optional(hf_get_float(&base, local, "rope_theta", err))) < 0)
        return rc;
    put_float(k, "rope.freq_base_swa", base);
    return copy_count(k, "attention.sliding_window", c->text, "sliding_window",
                      err);
}

static int put_special(const struct keys *k, const struct hf_config *c,
                       struct error *err)
{
    if (c->arch->bit & HF_GEMMA2)
        return put_gemma2(k, c, err);
    if (c->arch->bit & (HF_GEMMA3 | HF_GEMMA3_IMG))
        return put_gemma3(k, c, err);
    if (c->arch->bit & HF_PHI3)
        return optional(copy_count(k, "attention.sliding_window", c->text,
                                   "sliding_window", err));
    return 0;
}

/*
 * All.
 */

// Within its sliding window a model of mistral's sees everything, as GGUF's
// llama does; beyond, it does not.
static int read_context(uint32_t *out, const struct hf_config *c,
                        struct error *err)
{
    uint32_t context = 0, window = SIZE_MAX_ANY;
    int rc = hf_get_count(&context, c->text, "max_position_embeddings",
                          SIZE_MAX_ANY, err);

    if (rc == 0 && c->arch->bit & HF_MISTRAL)
        rc = optional(hf_get_count(&window, c->text, "sliding_window",
                                   SIZE_MAX_ANY, err));
    if (rc == 0)
        *out = context < window ? context : window;
    return rc;
}

static int put_keys(const struct keys *k, struct hf_config *c,
                    struct error *err)
{
    uint32_t context = 0;
    float eps = 1e-6f;
    int rc;

    if ((rc = read_context(&context, c, err)) < 0 ||
        (rc = optional(hf_get_float(&eps, c->text, "rms_norm_eps", err))) < 0 ||
        (rc = copy_count(k, "feed_forward_length", c->text, "intermediate_size",
                         err)) < 0)
        return rc;
    put_count(k, "context_length", context);
    put_count(k, "embedding_length", c->width);
    put_count(k, "block_count", c->n_blocks);
    put_count(k, "attention.head_count", c->n_heads);
    put_count(k, "attention.head_count_kv", c->n_kv_heads);
    put_count(k, "attention.key_length", c->head_dim);
    put_count(k, "attention.value_length", c->head_dim);
    put_count(k, "vocab_size", c->n_vocab);
    put_float(k, "attention.layer_norm_rms_epsilon", eps);
    if ((rc = put_rope(k, c, context, err)) < 0)
        return rc;
    return put_special(k, c, err);
}

int hf_config_read(struct hf_config *out, struct source *s,
                   struct gguf_writer *w, const char *name, struct error *err)
{
    struct hf_config c = {0};
    int rc;

    if ((rc = source_json(&c.root, s, "config.json", err)) < 0 ||
        (rc = find_arch(&c, err)) < 0 || (rc = read_sizes(&c, err)) < 0)
        return rc;
    gguf_writer_str(w, "general.architecture", c.arch->arch);
    gguf_writer_str(w, "general.type", "model");
    if (name && name[0])
        gguf_writer_str(w, "general.name", name);
    const struct keys k = {w, c.arch->arch};
    if ((rc = put_keys(&k, &c, err)) < 0)
        return rc == -ENOENT ? -EINVAL : rc;
    *out = c;
    return 0;
}

/*
 * Frequencies that are stored as tensors.
 */

static int add_factors(struct source *s, const char *name, float *values,
                       uint32_t n, struct error *err)
{
    struct source_tensor *t = source_add(s, name, err);

    if (!t)
        return -ENOMEM;
    t->dtype = DTYPE_f32;
    t->n_dims = 1;
    t->ne[0] = n;
    t->data = values;
    t->bytes = n * sizeof(*values);
    return 0;
}

// Slow frequencies are divided by a factor, fast ones are left, and those
// between are mixed: Llama 3.1.
static int add_llama3(struct source *s, const struct hf_config *c,
                      struct error *err)
{
    const struct json *r = rope_of(c);
    const uint32_t n = c->head_dim / 2;
    float *values = arena_calloc(s->arena, n, sizeof(*values));
    float factor = 8, low = 1, high = 4, original = 8192;
    int rc;

    if (!values)
        return error_set(err, -ENOMEM, "not enough memory for the model");
    if ((rc = optional(hf_get_float(&factor, r, "factor", err))) < 0 ||
        (rc = optional(hf_get_float(&low, r, "low_freq_factor", err))) < 0 ||
        (rc = optional(hf_get_float(&high, r, "high_freq_factor", err))) < 0 ||
        (rc = optional(hf_get_float(&original, r,
                                    "original_max_position_embeddings", err))) <
            0)
        return rc;
    if (!(high > low))
        return error_set(err, -EINVAL,
                         "config.json: high_freq_factor must be larger than "
                         "low_freq_factor");
    for (uint32_t i = 0; i < n; i++) {
        const double turn =
            pow((double) c->rope_base, 2.0 * i / (double) c->head_dim);
        const double wave = 2 * 3.14159265358979323846 * turn;
        const double turns = (double) original / wave;
        const double mix =
            (turns - (double) low) / ((double) high - (double) low);
        if (turns > (double) high)
            values[i] = 1;
        else if (turns < (double) low)
            values[i] = factor;
        else
            values[i] = (float) (1 / ((1 - mix) / (double) factor + mix));
    }
    return add_factors(s, "rope_freqs.weight", values, n, err);
}

static int add_list(struct source *s, const char *name, const struct json *list,
                    struct error *err)
{
    uint32_t n = 0;

    if (!list || list->type != JSON_ARRAY || list->count == 0)
        return error_set(err, -EINVAL,
                         "config.json: longrope needs short_factor and "
                         "long_factor, lists of numbers");
    float *values = arena_calloc(s->arena, list->count, sizeof(*values));
    if (!values)
        return error_set(err, -ENOMEM, "not enough memory for the model");
    for (const struct json *v = list->first; v; v = v->next) {
        if (v->type != JSON_NUMBER || !(v->number > 0) || v->number > 1e9)
            return error_set(err, -EINVAL,
                             "config.json: a factor of longrope is no positive "
                             "number");
        values[n++] = (float) v->number;
    }
    return add_factors(s, name, values, n, err);
}

int hf_rope_tensors(struct source *s, const struct hf_config *c,
                    struct error *err)
{
    const struct json *r = rope_of(c);
    const char *type = rope_type_of(r);
    int rc;

    if (type && strcmp(type, "llama3") == 0)
        return add_llama3(s, c, err);
    if (!type || (strcmp(type, "longrope") != 0 && strcmp(type, "su") != 0))
        return 0;
    rc = add_list(s, "rope_factors_long.weight", json_get(r, "long_factor"),
                  err);
    if (rc < 0)
        return rc;
    return add_list(s, "rope_factors_short.weight", json_get(r, "short_factor"),
                    err);
}
