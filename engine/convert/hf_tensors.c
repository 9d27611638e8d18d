// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The safetensors of a directory: which files they are, and what their tensors
 * are called in GGUF.
 */

#include "engine/convert/source_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX  "model.safetensors.index.json"
#define SINGLE "model.safetensors"

static const struct {
    const char *name;
    const char *gguf;
    uint32_t archs;
    bool is_required;
} block_tensors[] = {
#define TENSOR(name, gguf, archs, required) {name, gguf, archs, required},
#include "engine/convert/hf_tensors.def"
};

enum { N_BLOCK_TENSORS = sizeof(block_tensors) / sizeof(block_tensors[0]) };

/*
 * Files
 */

static int add_shard(struct source *s, const char *name, struct error *err)
{
    const struct source_file *f = source_find_file(s, name);
    int rc;

    if (!f)
        return error_set(err, -ENOENT,
                         "the file %.200s is not among those of the model: put "
                         "all of its files into one directory",
                         name);
    rc = safetensors_load_memory(&s->shards[s->n_shards], f->data, f->bytes,
                                 err);
    if (rc < 0)
        return error_prefix(err, rc, "%.200s", name);
    s->n_shards++;
    return 0;
}

// A name that stays in its directory: no other can be among the files, but
// whoever wrote one should hear what is wrong with it.
static int check_shard_name(const struct json *v, struct error *err)
{
    if (v->type != JSON_STRING || v->bytes == 0 || strlen(v->text) != v->bytes)
        return error_set(err, -EINVAL, INDEX ": the file of %.200s is no name",
                         v->key);
    if (strchr(v->text, '/') || strcmp(v->text, "..") == 0)
        return error_set(err, -EINVAL,
                         INDEX ": the file \"%.200s\" is outside the model's "
                               "directory: refused",
                         v->text);
    return 0;
}

static bool has_shard(const struct source *s, const char **names,
                      const char *name)
{
    for (uint32_t i = 0; i < s->n_shards; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

// The files that an index names, each once.
static int add_indexed(struct source *s, const struct json *map,
                       struct error *err)
{
    const char **names = arena_calloc(s->arena, s->n_files, sizeof(*names));

    if (!names)
        return error_set(err, -ENOMEM, "not enough memory for the model");
    for (const struct json *v = map->first; v; v = v->next) {
        int rc = check_shard_name(v, err);
        if (rc < 0)
            return rc;
        if (has_shard(s, names, v->text))
            continue;
        const uint32_t at = s->n_shards;
        if ((rc = add_shard(s, v->text, err)) < 0)
            return rc;
        names[at] = v->text;
    }
    // Where the index says a tensor is, it must be.
    for (const struct json *v = map->first; v; v = v->next)
        for (uint32_t i = 0; i < s->n_shards; i++)
            if (strcmp(names[i], v->text) == 0 &&
                !safetensors_find(s->shards[i], v->key))
                return error_set(err, -EINVAL,
                                 INDEX ": tensor %.200s is not in %.200s",
                                 v->key, v->text);
    return 0;
}

static int open_shards(struct source *s, struct error *err)
{
    const struct json *root, *map;
    int rc;

    s->shards = arena_calloc(s->arena, s->n_files, sizeof(*s->shards));
    if (!s->shards)
        return error_set(err, -ENOMEM, "not enough memory for the model");
    if (!source_find_file(s, INDEX))
        return add_shard(s, SINGLE, err);
    if ((rc = source_json(&root, s, INDEX, err)) < 0)
        return rc;
    map = json_get(root, "weight_map");
    if (!map || map->type != JSON_OBJECT || map->count == 0)
        return error_set(err, -EINVAL, INDEX " has no weight_map");
    return add_indexed(s, map, err);
}

/*
 * Names
 */

static const char *after(const char *name, const char *prefix)
{
    const size_t n = strlen(prefix);

    return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

// "model.layers.7.rest": the rest, and 7.
static const char *after_block(uint32_t *block, const char *name)
{
    const char *rest = after(name, "model.layers.");
    uint32_t n = 0;

    if (!rest || *rest < '0' || *rest > '9')
        return NULL;
    for (; *rest >= '0' && *rest <= '9' && n < 1 << 16; rest++)
        n = 10 * n + (uint32_t) (*rest - '0');
    *block = n;
    return *rest == '.' ? rest + 1 : NULL;
}

// Parts of a file that are not of the language model, or can be made again.
static bool is_skipped(const char *name, const struct hf_config *c)
{
    const char *end = strstr(name, "rotary_emb.inv_freq");

    if (end && strcmp(end, "rotary_emb.inv_freq") == 0)
        return true;
    if (c->is_tied && strcmp(name, "lm_head.weight") == 0)
        return true;
    return c->arch->bit & HF_GEMMA3_IMG &&
           (after(name, "vision_tower.") ||
            after(name, "model.vision_tower.") ||
            after(name, "multi_modal_projector.") ||
            after(name, "model.multi_modal_projector."));
}

// Models that also see have theirs one level down.
static const char *plain_name(char out[256], const char *name,
                              const struct hf_config *c)
{
    const char *rest;

    if (!(c->arch->bit & HF_GEMMA3_IMG))
        return name;
    if ((rest = after(name, "language_model.")))
        return rest;
    if ((rest = after(name, "model.language_model."))) {
        (void) snprintf(out, 256, "model.%.200s", rest);
        return out;
    }
    return name;
}

struct place {
    char name[GGUF_NAME_BYTES];
    uint32_t block; // n_blocks for those outside
    int which;      // of block_tensors, or -1
};

static bool find_outside(struct place *p, const char *name)
{
    static const char *const outside[][2] = {
        {"model.embed_tokens.weight", "token_embd.weight"},
        {"model.norm.weight", "output_norm.weight"},
        {"lm_head.weight", "output.weight"},
    };

    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
        if (strcmp(name, outside[i][0]) == 0) {
            (void) snprintf(p->name, sizeof(p->name), "%s", outside[i][1]);
            p->which = -1;
            return true;
        }
    return false;
}

static bool find_place(struct place *p, const char *name,
                       const struct hf_config *c)
{
    const char *rest = after_block(&p->block, name);

    if (!rest) {
        p->block = c->n_blocks;
        return find_outside(p, name);
    }
    for (int i = 0; i < N_BLOCK_TENSORS && p->block < c->n_blocks; i++)
        if (block_tensors[i].archs & c->arch->bit &&
            strcmp(rest, block_tensors[i].name) == 0) {
            (void) snprintf(p->name, sizeof(p->name), "blk.%u.%s", p->block,
                            block_tensors[i].gguf);
            p->which = i;
            return true;
        }
    return false;
}

/*
 * Tensors
 */

static int take_shape(struct source_tensor *t,
                      const struct safetensors_tensor *in, struct error *err)
{
    if (!in->is_known || !dtype_is_weight(in->dtype))
        return error_set(err, -ENOTSUP,
                         "tensor %.200s is of type %.20s, but must be F32, F16 "
                         "or BF16",
                         in->name, in->type);
    if (in->n_dims < 1 || in->n_dims > 2)
        return error_set(err, -EINVAL,
                         "tensor %.200s has %u dimensions, but must have 1 or "
                         "2",
                         in->name, in->n_dims);
    for (uint32_t d = 0; d < in->n_dims; d++) {
        if (in->ne[d] < 1)
            return error_set(err, -EINVAL, "tensor %.200s is empty", in->name);
        t->ne[in->n_dims - 1 - d] = in->ne[d];
    }
    t->n_dims = in->n_dims;
    t->dtype = in->dtype;
    t->data = in->data;
    t->bytes = in->bytes;
    return 0;
}

static int take_fix(struct source_tensor *t, const char *gguf,
                    const struct hf_config *c, struct error *err)
{
    const bool is_q = after(gguf, "attn_q.") != NULL;

    if (c->arch->flags & HF_PERMUTE && (is_q || after(gguf, "attn_k."))) {
        const int64_t rows = t->n_dims == 1 ? t->ne[0] : t->ne[1];
        t->fix = SOURCE_FIX_PERMUTE;
        t->heads = is_q ? c->n_heads : c->n_kv_heads;
        if (rows != (int64_t) t->heads * c->head_dim)
            return error_set(err, -EINVAL,
                             "tensor %s has %lld rows, but config.json says "
                             "%u heads of %u",
                             t->name, (long long) rows, t->heads, c->head_dim);
    }
    const size_t n = strlen(gguf);
    if (c->arch->flags & HF_PLUS_ONE && n > 11 &&
        strcmp(gguf + n - 11, "norm.weight") == 0)
        t->fix = SOURCE_FIX_PLUS_ONE;
    return 0;
}

static int add_tensor(struct source *s, const struct safetensors_tensor *in,
                      const struct hf_config *c, uint8_t *seen,
                      struct error *err)
{
    struct place p;
    char buf[256];
    const char *name = plain_name(buf, in->name, c);
    int rc;

    if (is_skipped(name, c)) {
        s->n_skipped++;
        return 0;
    }
    if (!find_place(&p, name, c))
        return error_set(err, -ENOTSUP,
                         "tensor %.200s has no place in a model of type %s "
                         "with %u blocks",
                         in->name, c->arch->model_type, c->n_blocks);
    struct source_tensor *t = source_add(s, p.name, err);
    if (!t)
        return -EINVAL;
    if ((rc = take_shape(t, in, err)) < 0)
        return rc;
    if (p.which >= 0)
        seen[(size_t) p.block * N_BLOCK_TENSORS + (size_t) p.which]++;
    const char *stem = p.which >= 0 ? block_tensors[p.which].gguf : p.name;
    return take_fix(t, stem, c, err);
}

static int check_blocks(const struct hf_config *c, const uint8_t *seen,
                        struct error *err)
{
    for (uint32_t b = 0; b < c->n_blocks; b++)
        for (int i = 0; i < N_BLOCK_TENSORS; i++) {
            const uint8_t n = seen[(size_t) b * N_BLOCK_TENSORS + (size_t) i];
            if (n == 0 && block_tensors[i].is_required &&
                block_tensors[i].archs & c->arch->bit)
                return error_set(err, -EINVAL,
                                 "tensor model.layers.%u.%s is missing", b,
                                 block_tensors[i].name);
        }
    return 0;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(((const struct source_tensor *) a)->name,
                  ((const struct source_tensor *) b)->name);
}

static const struct source_tensor *find(const struct source *s,
                                        const char *name)
{
    struct source_tensor key = {0};

    (void) snprintf(key.name, sizeof(key.name), "%s", name);
    return bsearch(&key, s->tensors, s->n_tensors, sizeof(key), name_compare);
}

// Sorted, so that twins meet; and what every model has.
static int check_outside(struct source *s, const struct hf_config *c,
                         struct error *err)
{
    qsort(s->tensors, s->n_tensors, sizeof(*s->tensors), name_compare);
    for (uint32_t i = 1; i < s->n_tensors; i++)
        if (strcmp(s->tensors[i - 1].name, s->tensors[i].name) == 0)
            return error_set(err, -EINVAL, "tensor %s is there twice",
                             s->tensors[i].name);
    const struct source_tensor *embd = find(s, "token_embd.weight");
    if (!embd || !find(s, "output_norm.weight"))
        return error_set(err, -EINVAL, "tensor model.%s.weight is missing",
                         embd ? "norm" : "embed_tokens");
    if (!c->is_tied && !find(s, "output.weight"))
        return error_set(err, -EINVAL,
                         "tensor lm_head.weight is missing, and config.json "
                         "does not say tie_word_embeddings");
    if (embd->ne[0] != (int64_t) c->width || embd->ne[1] < c->n_vocab)
        return error_set(err, -EINVAL,
                         "the embeddings are %lld x %lld, but config.json says "
                         "%u x %u",
                         (long long) embd->ne[1], (long long) embd->ne[0],
                         c->n_vocab, c->width);
    return 0;
}

static int add_all(struct source *s, const struct hf_config *c, uint8_t *seen,
                   struct error *err)
{
    for (uint32_t i = 0; i < s->n_shards; i++)
        for (uint32_t k = 0; k < safetensors_n_tensors(s->shards[i]); k++) {
            int rc = add_tensor(s, safetensors_tensor_at(s->shards[i], k), c,
                                seen, err);
            if (rc < 0)
                return rc;
        }
    return 0;
}

// The embeddings once more, where a head is asked for.
static int add_head(struct source *s, const struct hf_config *c,
                    struct error *err)
{
    struct source_tensor *t, embd = {0};

    for (uint32_t i = 0; i < s->n_tensors; i++)
        if (strcmp(s->tensors[i].name, "token_embd.weight") == 0)
            embd = s->tensors[i];
    if (!(c->arch->flags & HF_HEAD) || !c->is_tied || !embd.data)
        return 0;
    if (!(t = source_add(s, "output.weight", err)))
        return -ENOMEM;
    (void) snprintf(embd.name, sizeof(embd.name), "%s", t->name);
    *t = embd;
    return 0;
}

int hf_tensors_read(struct source *s, const struct hf_config *c,
                    struct error *err)
{
    uint8_t *seen = arena_calloc(s->arena, c->n_blocks, N_BLOCK_TENSORS);
    int rc;

    if (!seen)
        return error_set(err, -ENOMEM, "not enough memory for the model");
    if ((rc = open_shards(s, err)) < 0 || (rc = add_all(s, c, seen, err)) < 0 ||
        (rc = check_blocks(c, seen, err)) < 0)
        return rc;
    if ((rc = hf_rope_tensors(s, c, err)) < 0 || (rc = add_head(s, c, err)) < 0)
        return rc;
    return check_outside(s, c, err);
}

int source_read_hf(struct source *s, struct gguf_writer *w, const char *name,
                   struct error *err)
{
    struct hf_config c;
    int rc;

    if ((rc = hf_config_read(&c, s, w, name, err)) < 0 ||
        (rc = hf_tensors_read(s, &c, err)) < 0)
        return rc;
    return hf_tokenizer_read(s, &c, w, err);
}
