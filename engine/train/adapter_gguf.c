// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/adapter.h"

#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/train/adapter_import.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Ours: which base the adapter was trained on. Other programs ignore it.
#define KEY_BASE "pock.base.sha256"

// Readers scale by alpha / rank. All that is rank-stabilised has one rank.
static float plain_alpha(const struct adapter *a)
{
    const float rank = (float) a->params[0].ne[0];
    return a->scheme.scale == SCHEME_SCALE_ROOT ? a->scheme.alpha * sqrtf(rank)
                                                : a->scheme.alpha;
}

static void fill_writer(struct gguf_writer *w, const struct adapter *a,
                        const char *name)
{
    gguf_writer_str(w, "general.architecture", a->arch);
    gguf_writer_str(w, "general.type", "adapter");
    gguf_writer_str(w, "general.name", name);
    gguf_writer_str(w, "adapter.type", "lora");
    gguf_writer_f32(w, "adapter.lora.alpha", plain_alpha(a));
    if (a->base_sha256[0] != '\0')
        gguf_writer_str(w, KEY_BASE, a->base_sha256);
    for (uint32_t i = 0; i < a->n_params; i++) {
        const struct param *p = &a->params[i];
        gguf_writer_tensor(w, p->name, DTYPE_f32, 2,
                           (int64_t[]){p->ne[1], p->ne[0]},
                           adapter_param(a, i));
    }
}

int adapter_save_gguf_fd(const struct adapter *a, const char *name, int fd,
                         struct error *err)
{
    struct gguf_writer *w;
    int rc = gguf_writer_create(&w);
    if (rc < 0)
        return error_set(err, rc, "not enough memory to write the adapter");
    fill_writer(w, a, name);
    rc = gguf_writer_save_fd(w, fd, err);
    gguf_writer_destroy(w);
    return rc;
}

int adapter_save_gguf(const struct adapter *a, const char *name, int dirfd,
                      const char *file, struct error *err)
{
    struct gguf_writer *w;
    int rc = gguf_writer_create(&w);
    if (rc < 0)
        return error_set(err, rc, "not enough memory to write the adapter");
    fill_writer(w, a, name);
    rc = gguf_writer_save(w, dirfd, file, err);
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
    int rc;

    if ((rc = expect(g, "general.type", "adapter",
                     "this is not an adapter's file", err)) < 0 ||
        (rc = expect(g, "adapter.type", "lora",
                     "other kinds of adapters are not supported", err)) < 0 ||
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
            model_linear_name(base, b, (enum model_linear) l);
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

static int read_adapter(struct adapter **out, const struct gguf *g,
                        const struct model_config *m, const char *base_sha256,
                        struct error *err)
{
    struct adapter_import in;
    float alpha = 0;
    int rc = check_metadata(g, m, base_sha256, err);
    if (rc < 0 || (rc = adapter_import_init(&in, m, err)) < 0)
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
