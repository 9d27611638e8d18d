// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/convert/convert.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/pool.h"
#include "engine/tensor/quant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE_BYTES = 4 << 20, // written at once
    COLUMNS_MAX = 1 << 28,
};

struct convert {
    const struct source *source;
    const struct convert_params *params;
    enum dtype *types; // of the tensors
    uint64_t done, total;
    char *piece; // rows that were made
    float *rows; // one for each thread
    size_t row_floats;
    // What the pool works on
    const struct source_tensor *t;
    enum dtype type;
    int64_t first;
    bool is_copy;
};

// The bytes stay what they are.
static bool is_plain(const struct source_tensor *t, enum dtype type)
{
    return t->dtype == type &&
           (t->fix == SOURCE_FIX_NONE ||
            (t->fix == SOURCE_FIX_PERMUTE && t->n_dims > 1));
}

static void make_row(void *ctx, uint32_t task, uint32_t worker)
{
    struct convert *c = ctx;
    const struct source_tensor *t = c->t;
    const size_t bytes = dtype_row_bytes(c->type, t->ne[0]);
    char *to = c->piece + task * bytes;
    const int64_t row = c->first + (int64_t) task;

    if (c->is_copy) {
        memcpy(to, source_row_bytes(t, row), bytes);
        return;
    }
    float *values = c->rows + worker * c->row_floats;
    source_row(values, t, row);
    quant_encode(c->type, to, values, t->ne[0]);
}

static void tell(struct convert *c, size_t bytes)
{
    c->done += bytes;
    if (c->params->progress)
        c->params->progress(c->params->user, c->done, c->total);
}

static int make_piece(const void **data, size_t *bytes, void *user, uint32_t i,
                      uint64_t at, struct error *err)
{
    struct convert *c = user;
    const struct source_tensor *t = source_tensor_at(c->source, i);
    const enum dtype type = c->types[i];
    const size_t row_bytes = dtype_row_bytes(type, t->ne[0]);
    int64_t rows = PIECE_BYTES / (int64_t) row_bytes;
    const int64_t first = (int64_t) (at / row_bytes);

    if (c->params->stop && atomic_load(c->params->stop))
        return error_set(err, -EINTR, "it was stopped");
    rows = rows > 0 ? rows : 1;
    if (rows > source_rows(t) - first)
        rows = source_rows(t) - first;
    *bytes = (size_t) rows * row_bytes;
    if (is_plain(t, type) && t->fix == SOURCE_FIX_NONE) {
        *data = (const char *) t->data + at;
    } else {
        c->t = t;
        c->type = type;
        c->first = first;
        c->is_copy = is_plain(t, type);
        if (!pool_run(c->params->pool, (uint32_t) rows, make_row, c))
            return error_set(err, -EINTR, "it was stopped");
        *data = c->piece;
    }
    tell(c, *bytes);
    return 0;
}

/*
 * Before the first byte
 */

static bool has_tensor(const struct source *s, const char *name)
{
    for (uint32_t i = 0; i < source_n_tensors(s); i++)
        if (strcmp(source_tensor_at(s, i)->name, name) == 0)
            return true;
    return false;
}

static uint32_t count_blocks(const struct source *s)
{
    uint32_t n = 0;
    unsigned block;

    for (uint32_t i = 0; i < source_n_tensors(s); i++)
        if (sscanf(source_tensor_at(s, i)->name, "blk.%5u.", &block) == 1 &&
            block + 1 > n)
            n = block + 1;
    return n;
}

// Room for the rows of the tensors, and for a piece.
static int make_room(struct convert *c, struct error *err)
{
    size_t piece = PIECE_BYTES;

    for (uint32_t i = 0; i < source_n_tensors(c->source); i++) {
        const struct source_tensor *t = source_tensor_at(c->source, i);
        const size_t row = dtype_row_bytes(c->types[i], t->ne[0]);
        if (is_plain(t, c->types[i]) && t->fix == SOURCE_FIX_NONE)
            continue;
        if (t->ne[0] > COLUMNS_MAX)
            return error_set(err, -EINVAL,
                             "tensor %s has rows of %lld values, but at most "
                             "%d are converted",
                             t->name, (long long) t->ne[0], COLUMNS_MAX);
        if ((size_t) t->ne[0] > c->row_floats)
            c->row_floats = (size_t) t->ne[0];
        piece = row > piece ? row : piece;
    }
    // A row is a part of a file that is mapped, or at most 18 times as large.
    c->piece = fault_malloc(piece);
    c->rows = fault_calloc(pool_threads(c->params->pool),
                           (c->row_floats + 1) * sizeof(float));
    if (!c->piece || !c->rows)
        return error_set(err, -ENOMEM, "not enough memory for a row");
    return 0;
}

static int choose_types(struct convert *c, struct convert_result *out,
                        struct error *err)
{
    const struct source *s = c->source;
    const uint32_t n = source_n_tensors(s);
    struct convert_place p = {
        .n_blocks = count_blocks(s),
        .is_tied = !has_tensor(s, "output.weight"),
    };

    c->types = fault_calloc(n + 1, sizeof(*c->types));
    if (!c->types)
        return error_set(err, -ENOMEM, "not enough memory for the tensors");
    for (uint32_t i = 0; i < n; i++) {
        const struct source_tensor *t = source_tensor_at(s, i);
        p.name = t->name;
        p.n_dims = t->n_dims;
        p.columns = t->ne[0];
        p.dtype = t->dtype;
        c->types[i] = convert_choose(c->params->type, &p);
        p.columns = QUANT_BLOCK_MAX;
        out->n_fallback += convert_choose(c->params->type, &p) != c->types[i];
        c->total +=
            (uint64_t) source_rows(t) * dtype_row_bytes(c->types[i], t->ne[0]);
    }
    return 0;
}

// general.file_type: what most bytes are of.
static uint32_t file_type(const struct convert *c)
{
    static const struct {
        enum dtype dtype;
        uint32_t file_type;
    } list[] = {
        {DTYPE_f32, 0},     {DTYPE_f16, 1},   {DTYPE_q4_0, 2},
        {DTYPE_q4_1, 3},    {DTYPE_q8_0, 7},  {DTYPE_q5_0, 8},
        {DTYPE_q5_1, 9},    {DTYPE_q2_k, 10}, {DTYPE_q3_k, 12},
        {DTYPE_q4_k, 15},   {DTYPE_q5_k, 17}, {DTYPE_q6_k, 18},
        {DTYPE_iq4_nl, 25}, {DTYPE_bf16, 32},
    };
    uint64_t values[DTYPE_COUNT] = {0}, most = 0;
    uint32_t found = 0;

    if (c->params->type == CONVERT_Q4_K)
        return 15;
    for (uint32_t i = 0; i < source_n_tensors(c->source); i++) {
        const struct source_tensor *t = source_tensor_at(c->source, i);
        values[c->types[i]] += (uint64_t) source_rows(t) * (uint64_t) t->ne[0];
    }
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        if (values[list[i].dtype] > most) {
            most = values[list[i].dtype];
            found = list[i].file_type;
        }
    return found;
}

static void add_tensors(struct gguf_writer *w, const struct convert *c)
{
    bool is_quantised = false;

    for (uint32_t i = 0; i < source_n_tensors(c->source); i++) {
        const struct source_tensor *t = source_tensor_at(c->source, i);
        gguf_writer_tensor(w, t->name, c->types[i], t->n_dims, t->ne, NULL);
        is_quantised = is_quantised || dtype_infos[c->types[i]].block > 1;
    }
    gguf_writer_u32(w, "general.file_type", file_type(c));
    if (is_quantised)
        gguf_writer_u32(w, "general.quantization_version", 2);
}

static int convert_source(struct convert_result *out, struct convert *c, int fd,
                          struct gguf_writer *w, struct error *err)
{
    int rc;

    if ((rc = choose_types(c, out, err)) < 0 || (rc = make_room(c, err)) < 0)
        return rc;
    add_tensors(w, c);
    gguf_writer_parts(w, make_piece, c);
    (void) snprintf(out->format, sizeof(out->format), "%s",
                    source_format(c->source));
    out->n_tensors = source_n_tensors(c->source);
    out->n_skipped = source_n_skipped(c->source);
    out->bytes = c->total;
    return gguf_writer_save_fd(w, fd, err);
}

int convert_files(struct convert_result *out, int fd,
                  const struct source_file *files, uint32_t n_files,
                  const struct convert_params *params, struct error *err)
{
    struct convert c = {.params = params};
    struct convert_result result = {0};
    struct gguf_writer *w = NULL;
    struct source *s = NULL;
    int rc = gguf_writer_create(&w);

    if (rc < 0)
        return error_set(err, rc, "not enough memory to write a model");
    rc = source_create(&s, w, files, n_files, params->name, err);
    if (rc < 0)
        goto out;
    c.source = s;
    if ((rc = convert_source(&result, &c, fd, w, err)) == 0)
        *out = result;

out:
    free(c.rows);
    free(c.piece);
    free(c.types);
    source_destroy(s);
    gguf_writer_destroy(w);
    return rc;
}
