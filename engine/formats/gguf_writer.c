// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/formats/gguf.h"

#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/mapfile.h"
#include "engine/base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    VERSION = 3,
    ALIGNMENT = 32,
    WRITER_TENSORS_MAX = 1 << 16,
    WRITER_PAIRS_LIMIT = 64 << 20, // bytes
};

struct gguf_writer {
    struct str pairs; // encoded
    uint64_t n_pairs;
    struct str infos; // encoded
    struct gguf_tensor *tensors;
    uint32_t n_tensors, tensors_size;
    uint64_t data_bytes;
    int rc; // the first failure
    gguf_writer_source_fn *source;
    gguf_writer_part_fn *part;
    void *user;
};

int gguf_writer_create(struct gguf_writer **out)
{
    struct gguf_writer *w = fault_calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->pairs.limit = WRITER_PAIRS_LIMIT;
    w->infos.limit = WRITER_PAIRS_LIMIT;
    *out = w;
    return 0;
}

void gguf_writer_destroy(struct gguf_writer *w)
{
    if (!w)
        return;
    str_free(&w->pairs);
    str_free(&w->infos);
    free(w->tensors);
    free(w);
}

static void put_u32(struct str *s, uint32_t x)
{
    unsigned char b[4];
    bits_store32(b, x);
    str_append(s, b, sizeof(b));
}

static void put_u64(struct str *s, uint64_t x)
{
    unsigned char b[8];
    bits_store64(b, x);
    str_append(s, b, sizeof(b));
}

static void put_text(struct str *s, const char *text)
{
    size_t n = strlen(text);
    put_u64(s, n);
    str_append(s, text, n);
}

static void put_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
    put_text(&w->pairs, key);
    put_u32(&w->pairs, type);
    w->n_pairs++;
}

void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
    put_key(w, key, GGUF_U32);
    put_u32(&w->pairs, value);
}

void gguf_writer_f32(struct gguf_writer *w, const char *key, float value)
{
    put_key(w, key, GGUF_F32);
    put_u32(&w->pairs, bits_of_f32(value));
}

void gguf_writer_bool(struct gguf_writer *w, const char *key, bool value)
{
    put_key(w, key, GGUF_BOOL);
    str_putc(&w->pairs, value ? 1 : 0);
}

void gguf_writer_str(struct gguf_writer *w, const char *key, const char *text)
{
    put_key(w, key, GGUF_STR);
    put_text(&w->pairs, text);
}

void gguf_writer_strs(struct gguf_writer *w, const char *key,
                      const char *const *texts, uint32_t count)
{
    put_key(w, key, GGUF_ARRAY);
    put_u32(&w->pairs, GGUF_STR);
    put_u64(&w->pairs, count);
    for (uint32_t i = 0; i < count; i++)
        put_text(&w->pairs, texts[i]);
}

void gguf_writer_i32s(struct gguf_writer *w, const char *key,
                      const int32_t *values, uint32_t count)
{
    put_key(w, key, GGUF_ARRAY);
    put_u32(&w->pairs, GGUF_I32);
    put_u64(&w->pairs, count);
    for (uint32_t i = 0; i < count; i++)
        put_u32(&w->pairs, (uint32_t) values[i]);
}

void gguf_writer_f32s(struct gguf_writer *w, const char *key,
                      const float *values, uint32_t count)
{
    put_key(w, key, GGUF_ARRAY);
    put_u32(&w->pairs, GGUF_F32);
    put_u64(&w->pairs, count);
    for (uint32_t i = 0; i < count; i++)
        put_u32(&w->pairs, bits_of_f32(values[i]));
}

void gguf_writer_pair(struct gguf_writer *w, const void *pair, size_t bytes)
{
    str_append(&w->pairs, pair, bytes);
    w->n_pairs++;
}

void gguf_writer_source(struct gguf_writer *w, gguf_writer_source_fn *source,
                        void *user)
{
    w->source = source;
    w->user = user;
}

void gguf_writer_parts(struct gguf_writer *w, gguf_writer_part_fn *part,
                       void *user)
{
    w->part = part;
    w->user = user;
}

static void latch(struct gguf_writer *w, int rc)
{
    if (w->rc == 0)
        w->rc = rc;
}

static bool reserve_tensor(struct gguf_writer *w)
{
    if (w->n_tensors < w->tensors_size)
        return true;
    uint32_t size = w->tensors_size ? w->tensors_size * 2 : 16;
    if (size > WRITER_TENSORS_MAX)
        return false;
    void *p = fault_realloc(w->tensors, size * sizeof(*w->tensors));
    if (!p)
        return false;
    w->tensors = p;
    w->tensors_size = size;
    return true;
}

void gguf_writer_tensor(struct gguf_writer *w, const char *name,
                        enum dtype type, uint32_t n_dims, const int64_t *ne,
                        const void *data)
{
    size_t n = strlen(name);
    int64_t rows = 1;

    if (n == 0 || n >= GGUF_NAME_BYTES || n_dims < 1 ||
        n_dims > GGUF_DIMS_MAX || ne[0] % dtype_infos[type].block != 0) {
        latch(w, -EINVAL);
        return;
    }
    for (uint32_t i = 0; i < w->n_tensors; i++)
        if (strcmp(w->tensors[i].name, name) == 0)
            latch(w, -EINVAL);
    if (!reserve_tensor(w)) {
        latch(w, -ENOMEM);
        return;
    }
    for (uint32_t d = 1; d < n_dims; d++)
        rows *= ne[d];

    struct gguf_tensor *t = &w->tensors[w->n_tensors++];
    *t = (struct gguf_tensor){.dtype = type, .data = data};
    memcpy(t->name, name, n + 1);
    t->bytes = (size_t) rows * dtype_row_bytes(type, ne[0]);
    put_text(&w->infos, name);
    put_u32(&w->infos, n_dims);
    for (uint32_t d = 0; d < n_dims; d++)
        put_u64(&w->infos, (uint64_t) ne[d]);
    put_u32(&w->infos, dtype_infos[type].gguf_type);
    put_u64(&w->infos, w->data_bytes);
    w->data_bytes = bits_align(w->data_bytes + t->bytes, ALIGNMENT);
}

static int write_padding(int fd, uint64_t bytes)
{
    static const char zeros[ALIGNMENT];
    return file_write_all(fd, zeros, bits_align(bytes, ALIGNMENT) - bytes);
}

static int write_parts(struct gguf_writer *w, int fd, uint32_t i,
                       struct error *err)
{
    const struct gguf_tensor *t = &w->tensors[i];
    const void *data;
    size_t bytes;
    int rc;

    for (uint64_t at = 0; at < t->bytes; at += bytes) {
        bytes = 0;
        if ((rc = w->part(&data, &bytes, w->user, i, at, err)) < 0)
            return rc;
        if (bytes == 0 || bytes > t->bytes - at)
            return error_set(err, -EINVAL, "tensor %s: a piece of %zu bytes",
                             t->name, bytes);
        if ((rc = file_write_all(fd, data, bytes)) < 0)
            return rc;
    }
    return 0;
}

static int write_tensor(struct gguf_writer *w, int fd, uint32_t i,
                        struct error *err)
{
    const struct gguf_tensor *t = &w->tensors[i];
    const void *data = t->data;
    int rc;

    if (!data && w->part)
        return write_parts(w, fd, i, err);
    if (!data && w->source &&
        (rc = w->source(&data, w->user, t->name, err)) < 0)
        return rc;
    return file_write_all(fd, data, t->bytes);
}

static int write_all(struct gguf_writer *w, int fd, struct error *err)
{
    struct str head = {0};
    int rc;

    str_append(&head, "GGUF", 4);
    put_u32(&head, VERSION);
    put_u64(&head, w->n_tensors);
    put_u64(&head, w->n_pairs);
    if ((rc = str_finish(&head)) < 0 || (rc = str_finish(&w->pairs)) < 0 ||
        (rc = str_finish(&w->infos)) < 0 ||
        (rc = file_write_all(fd, head.data, head.bytes)) < 0 ||
        (rc = file_write_all(fd, w->pairs.data, w->pairs.bytes)) < 0 ||
        (rc = file_write_all(fd, w->infos.data, w->infos.bytes)) < 0 ||
        (rc = write_padding(fd, head.bytes + w->pairs.bytes + w->infos.bytes)) <
            0)
        goto out;
    for (uint32_t i = 0; i < w->n_tensors; i++)
        if ((rc = write_tensor(w, fd, i, err)) < 0 ||
            (rc = write_padding(fd, w->tensors[i].bytes)) < 0)
            goto out;

out:
    str_free(&head);
    return rc;
}

int gguf_writer_save_fd(struct gguf_writer *w, int fd, struct error *err)
{
    if (w->rc < 0)
        return error_set(err, w->rc, "cannot write GGUF: %s",
                         w->rc == -ENOMEM ? strerror(ENOMEM)
                                          : "a tensor's name or shape is not "
                                            "possible in this format");
    struct error why = {0};
    int rc = write_all(w, fd, &why);
    if (rc < 0)
        return error_set(err, rc, "cannot write GGUF: %s",
                         why.text[0] ? why.text : strerror(-rc));
    return 0;
}

uint64_t gguf_writer_data_bytes(const struct gguf_writer *w)
{
    return w->data_bytes;
}

int gguf_writer_save(struct gguf_writer *w, int dirfd, const char *name,
                     struct error *err)
{
    struct file_draft d;
    int rc = file_draft_init(&d, dirfd, name);
    if (rc < 0)
        return error_set(err, rc, "cannot create %s: %s", name, strerror(-rc));
    if ((rc = gguf_writer_save_fd(w, d.fd, err)) < 0) {
        file_draft_abort(&d);
        return error_prefix(err, rc, "%s", name);
    }
    if ((rc = file_draft_commit(&d)) < 0)
        return error_set(err, rc, "cannot write %s: %s", name, strerror(-rc));
    return 0;
}
