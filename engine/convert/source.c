// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/convert/source.h"

#include "engine/base/bits.h"
#include "engine/base/fault.h"
#include "engine/base/half.h"
#include "engine/convert/source_inside.h"
#include "engine/formats/gguf_set.h"
#include "engine/tensor/quant.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    // A value of JSON has at least two bytes and takes under a hundred, so an
    // arena of so many times the files' size holds any tree of them.
    TREE_FACTOR = 56,
    TREE_BYTES_MIN = 4 << 20,
};
#define TREE_BYTES_MAX ((size_t) 3 << 30)
#define JSON_BYTES_MAX ((size_t) 128 << 20)

const struct source_file *source_find_file(const struct source *s,
                                           const char *name)
{
    for (uint32_t i = 0; i < s->n_files; i++)
        if (strcmp(s->files[i].name, name) == 0)
            return &s->files[i];
    return NULL;
}

int source_text(const struct source_file **out, const struct source *s,
                const char *name, struct error *err)
{
    const struct source_file *f = source_find_file(s, name);

    if (!f)
        return error_set(err, -ENOENT, "there is no %s", name);
    if (f->bytes > JSON_BYTES_MAX)
        return error_set(err, -EFBIG,
                         "%s has %zu bytes, but at most %zu are "
                         "read",
                         name, f->bytes, JSON_BYTES_MAX);
    *out = f;
    return 0;
}

int source_json(const struct json **out, struct source *s, const char *name,
                struct error *err)
{
    const struct source_file *f = NULL;
    const struct json *root;
    int rc = source_text(&f, s, name, err);

    if (rc < 0)
        return rc;
    rc = json_parse(&root, s->arena, f->data ? f->data : "", f->bytes, err);
    if (rc < 0)
        return error_prefix(err, rc, "%s", name);
    if (root->type != JSON_OBJECT)
        return error_set(err, -EINVAL, "%s is not an object of JSON", name);
    *out = root;
    return 0;
}

struct source_tensor *source_add(struct source *s, const char *name,
                                 struct error *err)
{
    const size_t n = strlen(name);

    if (n == 0 || n >= GGUF_NAME_BYTES) {
        error_set(err, -EINVAL,
                  "tensor %.200s: its name must have 1 to %d bytes", name,
                  GGUF_NAME_BYTES - 1);
        return NULL;
    }
    if (s->n_tensors == s->tensors_size) {
        const uint32_t size = s->tensors_size ? 2 * s->tensors_size : 256;
        void *p = size > 1 << 16
                      ? NULL
                      : fault_realloc(s->tensors, size * sizeof(*s->tensors));
        if (!p) {
            error_set(err, -ENOMEM, "not enough memory for %u tensors", size);
            return NULL;
        }
        s->tensors = p;
        s->tensors_size = size;
    }
    struct source_tensor *t = &s->tensors[s->n_tensors++];
    *t = (struct source_tensor){.ne = {1, 1, 1, 1}};
    memcpy(t->name, name, n + 1);
    return t;
}

/*
 * GGUF
 */

static bool is_own_key(const char *key)
{
    return strncmp(key, "split.", 6) == 0 ||
           strcmp(key, "general.alignment") == 0 ||
           strcmp(key, "general.file_type") == 0 ||
           strcmp(key, "general.quantization_version") == 0;
}

static int add_gguf_tensors(struct source *s, struct error *err)
{
    for (uint32_t i = 0; i < gguf_set_n_tensors(s->set); i++) {
        const struct gguf_tensor *in = gguf_set_tensor_at(s->set, i);
        if (!in->is_known)
            return error_set(err, -ENOTSUP,
                             "tensor %s is of type %u, which cannot be "
                             "converted: take a file of one of %s",
                             in->name, in->type_id, dtype_weight_names);
        struct source_tensor *t = source_add(s, in->name, err);
        if (!t)
            return -ENOMEM;
        t->dtype = in->dtype;
        t->n_dims = in->n_dims;
        memcpy(t->ne, in->ne, sizeof(t->ne));
        t->data = in->data;
        t->bytes = in->bytes;
    }
    return 0;
}

static int read_gguf(struct source *s, struct gguf_writer *w, struct error *err)
{
    int rc;

    s->is_gguf = true;
    s->parts = arena_calloc(s->arena, s->n_files, sizeof(struct gguf *));
    if (!s->parts)
        return error_set(err, -ENOMEM, "not enough memory for the files");
    for (uint32_t i = 0; i < s->n_files; i++) {
        const struct source_file *f = &s->files[i];
        rc = gguf_load_part_memory(&s->parts[i], f->data, f->bytes, err);
        if (rc < 0)
            return error_prefix(err, rc, "%.100s", f->name);
        s->n_parts++;
    }
    rc = gguf_set_create(&s->set, s->parts, s->n_parts, err);
    if (rc < 0)
        return rc;
    const struct gguf *first = gguf_set_first(s->set);
    for (uint32_t i = 0; i < gguf_n_pairs(first); i++) {
        const char *key;
        size_t bytes;
        const void *pair = gguf_pair_at(first, i, &key, &bytes);
        if (!is_own_key(key))
            gguf_writer_pair(w, pair, bytes);
    }
    return add_gguf_tensors(s, err);
}

/*
 * Both
 */

static bool is_gguf_file(const struct source_file *f)
{
    return f->bytes >= 4 && memcmp(f->data, "GGUF", 4) == 0;
}

static int read_files(struct source *s, struct gguf_writer *w, const char *name,
                      struct error *err)
{
    if (is_gguf_file(&s->files[0]))
        return read_gguf(s, w, err);
    if (source_find_file(s, "config.json"))
        return source_read_hf(s, w, name, err);
    return error_set(err, -EINVAL,
                     "this is no model: neither a GGUF file, nor a directory "
                     "with config.json, tokenizer.json and safetensors");
}

int source_create(struct source **out, struct gguf_writer *w,
                  const struct source_file *files, uint32_t n_files,
                  const char *name, struct error *err)
{
    size_t tree = TREE_BYTES_MIN;
    struct source *s;
    int rc;

    if (n_files == 0 || n_files > SOURCE_FILES_MAX)
        return error_set(err, -EINVAL,
                         "a model has 1 to %d files, but there are %u",
                         SOURCE_FILES_MAX, n_files);
    if (!(s = fault_calloc(1, sizeof(*s))))
        return error_set(err, -ENOMEM, "not enough memory for the model");
    s->files = files;
    s->n_files = n_files;
    for (uint32_t i = 0; i < n_files; i++)
        if (files[i].bytes <= JSON_BYTES_MAX)
            tree += TREE_FACTOR * files[i].bytes;
    tree = tree < TREE_BYTES_MAX ? tree : TREE_BYTES_MAX;
    if ((rc = arena_create(&s->arena, tree)) < 0) {
        error_set(err, rc, "not enough memory for the model");
        goto error;
    }
    if ((rc = read_files(s, w, name, err)) < 0)
        goto error;
    *out = s;
    return 0;

error:
    source_destroy(s);
    return rc;
}

void source_destroy(struct source *s)
{
    if (!s)
        return;
    gguf_set_destroy(s->set);
    for (uint32_t i = 0; i < s->n_parts; i++)
        gguf_destroy(s->parts[i]);
    for (uint32_t i = 0; i < s->n_shards; i++)
        safetensors_destroy(s->shards[i]);
    free(s->tensors);
    arena_destroy(s->arena);
    free(s);
}

const char *source_format(const struct source *s)
{
    return s->is_gguf ? "GGUF" : "safetensors";
}

uint32_t source_n_tensors(const struct source *s)
{
    return s->n_tensors;
}

const struct source_tensor *source_tensor_at(const struct source *s, uint32_t i)
{
    return &s->tensors[i];
}

uint32_t source_n_skipped(const struct source *s)
{
    return s->n_skipped;
}

int64_t source_rows(const struct source_tensor *t)
{
    return t->ne[1] * t->ne[2] * t->ne[3];
}

// Row `row` of the result is which row of the tensor? With D rows a head, row
// 2 i + j of a head was row j D / 2 + i.
static int64_t permuted(const struct source_tensor *t, int64_t row,
                        int64_t rows)
{
    const int64_t D = rows / t->heads;
    const int64_t head = row / D, in = row % D;

    return head * D + in % 2 * (D / 2) + in / 2;
}

const void *source_row_bytes(const struct source_tensor *t, int64_t row)
{
    const size_t bytes = dtype_row_bytes(t->dtype, t->ne[0]);

    assert(t->n_dims > 1 || row == 0);
    if (t->fix == SOURCE_FIX_PERMUTE && t->n_dims > 1)
        row = permuted(t, row, source_rows(t));
    return (const char *) t->data + (size_t) row * bytes;
}

// Element i of a tensor whose values are stored singly, wherever they lie.
static float value_at(const struct source_tensor *t, const char *row, int64_t i)
{
    if (t->dtype == DTYPE_f32)
        return bits_to_f32(bits_load32(row + 4 * i));
    const uint16_t h = bits_load16(row + 2 * i);
    return t->dtype == DTYPE_f16 ? half_to_f32(h) : bf16_to_f32(h);
}

void source_row(float *out, const struct source_tensor *t, int64_t row)
{
    const char *from = source_row_bytes(t, row);
    const bool is_bias = t->n_dims == 1 && t->fix == SOURCE_FIX_PERMUTE;

    assert(dtype_is_weight(t->dtype));
    if (dtype_infos[t->dtype].block > 1)
        quant_decode(t->dtype, out, from, t->ne[0]);
    else
        for (int64_t i = 0; i < t->ne[0]; i++)
            out[i] = value_at(t, from, is_bias ? permuted(t, i, t->ne[0]) : i);
    if (t->fix == SOURCE_FIX_PLUS_ONE)
        for (int64_t i = 0; i < t->ne[0]; i++)
            out[i] += 1.0f;
}
