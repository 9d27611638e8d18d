// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/adapter.h"

#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/half.h"
#include "engine/base/str.h"
#include "engine/formats/gguf.h"
#include "engine/models/scheme_text.h"
#include "engine/train/adapter_import.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Ours: which base the adapter was trained on. Other programs ignore it.
#define KEY_BASE "pock.base.sha256"
// What learnt and how, as scheme_print() says it.
#define KEY_SCHEME  "pockd.scheme"
#define KEY_JOURNAL "pockd.journal"
// What its records may have given away, as two numbers.
#define KEY_EPSILON "pockd.privacy.epsilon"
#define KEY_DELTA   "pockd.privacy.delta"

// Readers scale by alpha / rank. All that is rank-stabilised has one rank.
static float plain_alpha(const struct adapter *a)
{
    const float rank = (float) a->params[0].ne[0];
    return a->scheme.scale == SCHEME_SCALE_ROOT ? a->scheme.alpha * sqrtf(rank)
                                                : a->scheme.alpha;
}

static int fill_writer(struct gguf_writer *w, const struct adapter *a,
                       const char *name)
{
    const struct model_config m = {
        .n_blocks = a->n_blocks,
        .is_qkv_fused = a->is_qkv_fused,
        .is_gate_fused = a->is_gate_fused,
        .norms = a->norms,
    };
    const bool is_lora = adapter_check_lora(a, "", NULL) == 0;
    struct str scheme = {0};
    int rc;

    scheme_print(&scheme, &a->scheme, &m);
    if ((rc = str_finish(&scheme)) < 0)
        goto out;
    gguf_writer_str(w, "general.architecture", a->arch);
    gguf_writer_str(w, "general.type", "adapter");
    gguf_writer_str(w, "general.name", name);
    gguf_writer_str(w, "adapter.type", is_lora ? "lora" : "pockd");
    if (is_lora)
        gguf_writer_f32(w, "adapter.lora.alpha", plain_alpha(a));
    gguf_writer_str(w, KEY_SCHEME, scheme.data);
    if (a->base_sha256[0] != '\0')
        gguf_writer_str(w, KEY_BASE, a->base_sha256);
    if (a->journal)
        gguf_writer_str(w, KEY_JOURNAL, a->journal);
    if (a->privacy.epsilon > 0) {
        // Never less than it is.
        gguf_writer_f32(w, KEY_EPSILON,
                        nextafterf((float) a->privacy.epsilon, FLT_MAX));
        gguf_writer_f32(w, KEY_DELTA, nextafterf((float) a->privacy.delta, 1));
    }
    for (uint32_t i = 0; i < a->n_params; i++) {
        const struct param *p = &a->params[i];
        gguf_writer_tensor(w, p->name, DTYPE_f32, 2,
                           (int64_t[]){p->ne[1], p->ne[0]},
                           adapter_param(a, i));
    }

out:
    str_free(&scheme);
    return rc;
}

int adapter_save_gguf_fd(const struct adapter *a, const char *name, int fd,
                         struct error *err)
{
    struct gguf_writer *w = NULL;
    int rc = gguf_writer_create(&w);
    if (rc == 0)
        rc = fill_writer(w, a, name);
    rc = rc < 0 ? error_set(err, rc, "not enough memory to write the adapter")
                : gguf_writer_save_fd(w, fd, err);
    gguf_writer_destroy(w);
    return rc;
}

int adapter_save_gguf(const struct adapter *a, const char *name, int dirfd,
                      const char *file, struct error *err)
{
    struct gguf_writer *w = NULL;
    int rc = gguf_writer_create(&w);
    if (rc == 0)
        rc = fill_writer(w, a, name);
    rc = rc < 0 ? error_set(err, rc, "not enough memory to write the adapter")
                : gguf_writer_save(w, dirfd, file, err);
    gguf_writer_destroy(w);
    return rc;
}

// general.type and the like must be there and say this.
static int expect(const struct gguf *g, const char *key, const char *want,
                  const char *meaning, struct error *err)
{
    const char *have;
    int rc = gguf_get_str(&have, g, key, err);
    if (rc < 0)
        return error_prefix(err, rc, "this is not a LoRA adapter");
    if (strcmp(have, want) != 0)
        return error_set(err, -EINVAL,
                         "%s is \"%.60s\", but must be \"%s\": %s", key, have,
                         want, meaning);
    return 0;
}

static int check_base(const struct gguf *g, const char *base_sha256,
                      struct error *err)
{
    const char *have;

    if (!base_sha256 || base_sha256[0] == '\0' || !gguf_has(g, KEY_BASE))
        return 0;
    int rc = gguf_get_str(&have, g, KEY_BASE, err);
    if (rc < 0)
        return rc;
    if (strcmp(have, base_sha256) != 0)
        return error_set(err, -EINVAL,
                         "the adapter was trained on the base model %.12s..., "
                         "not on this one, %.12s...: choose that model",
                         have, base_sha256);
    return 0;
}

static int check_metadata(const struct gguf *g, const struct model_config *m,
                          const char *base_sha256, struct error *err)
{
    const char *type = "";
    int rc;

    if (gguf_has(g, KEY_SCHEME))
        (void) gguf_get_str(&type, g, "adapter.type", NULL);
    const bool is_ours = strcmp(type, "pockd") == 0;
    if ((rc = expect(g, "general.type", "adapter",
                     "this is not an adapter's file", err)) < 0 ||
        (!is_ours &&
         (rc = expect(g, "adapter.type", "lora",
                      "other kinds of adapters are not supported", err)) < 0) ||
        (rc = expect(g, "general.architecture", m->arch,
                     "the adapter was made for another kind of model", err)) <
            0 ||
        (rc = check_base(g, base_sha256, err)) < 0)
        return rc;
    if (gguf_has(g, "adapter.alora.invocation_tokens"))
        return error_set(err, -ENOTSUP,
                         "activated LoRA (adapter.alora.*) is not supported");
    return 0;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

// "blk.N.STEM.weight.lora_a" to block, linear and side.
static int parse_name(uint32_t *block, enum model_linear *linear,
                      enum adapter_side *side, const char *name,
                      const struct model_config *m)
{
    unsigned b;
    char base[MODEL_NAME_BYTES], want[MODEL_NAME_BYTES + 8];

    if (sscanf(name, "blk.%5u.", &b) != 1 || b >= m->n_blocks)
        return -ENOENT;
    for (int l = 0; l < MODEL_LINEARS; l++)
        for (int s = 0; s < ADAPTER_SIDES; s++) {
            if (!model_has_linear(m, (enum model_linear) l))
                continue;
            model_linear_name(base, m, b, (enum model_linear) l);
            (void) snprintf(want, sizeof(want), "%s.lora_%c", base, "ab"[s]);
            if (strcmp(name, want) == 0) {
                *block = b;
                *linear = (enum model_linear) l;
                *side = (enum adapter_side) s;
                return 0;
            }
        }
    return -ENOENT;
}

static int add_tensor(struct adapter_import *in, const struct gguf *g,
                      const char *name, struct error *err)
{
    const struct gguf_tensor *t;
    uint32_t block = 0;
    enum model_linear linear = MODEL_LINEAR_q;
    enum adapter_side side = ADAPTER_A;

    // Some trainers write pairs for norms that nothing ever uses.
    if (ends_with(name, "_norm.weight.lora_a") ||
        ends_with(name, "_norm.weight.lora_b"))
        return 0;
    if (parse_name(&block, &linear, &side, name, in->m) < 0)
        return error_set(err, -ENOTSUP,
                         "tensor %s adapts nothing that pockd can adapt in "
                         "this base model of %u blocks",
                         name, in->m->n_blocks);
    int rc = gguf_get_tensor(&t, g, name, err);
    if (rc < 0)
        return rc;
    if (t->ne[2] != 1 || t->ne[3] != 1)
        return error_set(err, -EINVAL, "tensor %s is not a matrix", name);
    const struct adapter_piece piece = {
        .name = t->name,
        .data = t->data,
        .dtype = t->dtype,
        .ne = {t->ne[1], t->ne[0]},
    };
    return adapter_import_add(in, block, linear, side, &piece, err);
}

/*
 * Ours: the scheme says which tensors there are.
 */

static float value_of(const struct gguf_tensor *t, size_t i)
{
    const unsigned char *data = t->data;
    if (t->dtype == DTYPE_f32)
        return bits_to_f32(bits_load32(data + 4 * i));
    const uint16_t h = bits_load16(data + 2 * i);
    return t->dtype == DTYPE_f16 ? half_to_f32(h) : bf16_to_f32(h);
}

static int check_own(const struct gguf *g, const struct param *p,
                     struct error *err)
{
    const struct gguf_tensor *t;
    int rc = gguf_get_tensor(&t, g, p->name, err);

    if (rc < 0)
        return rc;
    if (t->dtype != DTYPE_f32 && t->dtype != DTYPE_f16 &&
        t->dtype != DTYPE_bf16)
        return error_set(err, -ENOTSUP,
                         "tensor %s is of type %s, but an adapter's must be "
                         "f32, f16 or bf16",
                         p->name, dtype_infos[t->dtype].name);
    if (t->ne[0] != p->ne[1] || t->ne[1] != p->ne[0] || t->ne[2] != 1 ||
        t->ne[3] != 1)
        return error_set(err, -EINVAL,
                         "tensor %s is %lld x %lld, but its scheme and this "
                         "base model ask for %lld x %lld",
                         p->name, (long long) t->ne[1], (long long) t->ne[0],
                         (long long) p->ne[0], (long long) p->ne[1]);
    const size_t n = (size_t) p->ne[0] * (size_t) p->ne[1];
    for (size_t i = 0; i < n; i++)
        if (!isfinite(value_of(t, i)))
            return error_set(err, -EINVAL,
                             "tensor %s holds a value that is not a finite "
                             "number, in row %zu",
                             p->name, i / (size_t) p->ne[1]);
    return 0;
}

// Every tensor is looked at before memory for them is asked for.
static int check_all_own(const struct gguf *g, const struct scheme *s,
                         const struct model_config *m, struct error *err)
{
    const uint32_t n = scheme_params(NULL, 0, m, s);
    struct param *params = fault_calloc(n, sizeof(*params));
    int rc = 0;

    if (!params)
        return error_set(err, -ENOMEM, "not enough memory for the adapter");
    (void) scheme_params(params, n, m, s);
    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = check_own(g, &params[i], err);
    if (rc == 0 && gguf_n_tensors(g) != n)
        rc = error_set(err, -EINVAL,
                       "the adapter has %u tensors, but its scheme names %u",
                       gguf_n_tensors(g), n);
    free(params);
    return rc;
}

static int read_own(struct adapter **out, const struct gguf *g,
                    const struct model_config *m, const char *base_sha256,
                    struct error *err)
{
    const struct scheme_defaults defaults = {1, 1};
    const struct gguf_tensor *t;
    struct scheme scheme;
    struct adapter *a;
    const char *text;
    int rc;

    if ((rc = gguf_get_str(&text, g, KEY_SCHEME, err)) < 0)
        return rc;
    if ((rc = scheme_parse(&scheme, text, strlen(text), &defaults, m, err)) < 0)
        return error_prefix(err, rc, KEY_SCHEME);
    if ((rc = check_all_own(g, &scheme, m, err)) < 0 ||
        (rc = adapter_create(&a, m, &scheme, base_sha256, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < a->n_params; i++) {
        float *data = adapter_param(a, i);
        t = gguf_find(g, a->params[i].name);
        for (size_t k = 0; k < a->starts[i + 1] - a->starts[i]; k++)
            data[k] = value_of(t, k);
    }
    *out = a;
    return 0;
}

// Text that may be absent, or of no use: it is looked at when asked for.
static int read_journal(struct adapter *a, const struct gguf *g,
                        struct error *err)
{
    const char *text;

    if (!gguf_has(g, KEY_JOURNAL) ||
        gguf_get_str(&text, g, KEY_JOURNAL, NULL) < 0)
        return 0;
    a->journal = strdup(text);
    return a->journal
               ? 0
               : error_set(err, -ENOMEM, "not enough memory for the adapter");
}

static void read_privacy(struct adapter *a, const struct gguf *g)
{
    float epsilon, delta;

    if (!gguf_has(g, KEY_EPSILON) || !gguf_has(g, KEY_DELTA) ||
        gguf_get_f32(&epsilon, g, KEY_EPSILON, NULL) < 0 ||
        gguf_get_f32(&delta, g, KEY_DELTA, NULL) < 0)
        return;
    // Anything else is no promise.
    if (epsilon > 0 && epsilon <= FLT_MAX && delta > 0 && delta < 1)
        a->privacy = (struct privacy){(double) epsilon, (double) delta};
}

static int read_adapter(struct adapter **out, const struct gguf *g,
                        const struct model_config *m, const char *base_sha256,
                        struct error *err)
{
    struct adapter_import in;
    float alpha = 0;
    int rc = check_metadata(g, m, base_sha256, err);
    if (rc < 0)
        return rc;
    if (gguf_has(g, KEY_SCHEME)) {
        struct adapter *a;
        rc = read_own(&a, g, m, base_sha256, err);
        if (rc == 0 && (rc = read_journal(a, g, err)) < 0)
            adapter_destroy(a);
        if (rc < 0)
            return rc;
        read_privacy(a, g);
        *out = a;
        return 0;
    }
    if ((rc = adapter_import_init(&in, m, err)) < 0)
        return rc;
    if (gguf_has(g, "adapter.lora.alpha"))
        rc = gguf_get_f32(&alpha, g, "adapter.lora.alpha", err);
    for (uint32_t i = 0; i < gguf_n_tensors(g) && rc == 0; i++)
        rc = add_tensor(&in, g, gguf_tensor_at(g, i)->name, err);
    if (rc == 0)
        rc = adapter_import_make(out, &in, alpha, base_sha256, err);
    adapter_import_finish(&in);
    return rc;
}

int adapter_load_gguf_fd(struct adapter **out, const struct model_config *m,
                         const char *base_sha256, int fd, struct error *err)
{
    struct gguf *g;
    int rc = gguf_load_fd(&g, fd, err);
    if (rc < 0)
        return error_prefix(err, rc, "cannot read the adapter");
    rc = read_adapter(out, g, m, base_sha256, err);
    gguf_destroy(g);
    return rc;
}

int adapter_load_gguf_memory(struct adapter **out, const struct model_config *m,
                             const char *base_sha256, const void *data,
                             size_t bytes, struct error *err)
{
    struct gguf *g;
    int rc = gguf_load_memory(&g, data, bytes, err);
    if (rc < 0)
        return error_prefix(err, rc, "cannot read the adapter");
    rc = read_adapter(out, g, m, base_sha256, err);
    gguf_destroy(g);
    return rc;
}
