// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/formats/safetensors.h"

#include "engine/base/arena.h"
#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/half.h"
#include "engine/base/json.h"
#include "engine/base/mapfile.h"
#include "engine/base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * What holds once a file is loaded:
 *  1. by_name is sorted; names are unique and printable as C strings.
 *  2. The tensors' bytes cover the data section, without gap or overlap.
 *  3. The bytes of a tensor whose type has a known width are as many as its
 *     shape says.
 */

enum {
    HEADER_MAX = 100 << 20,
    ARENA_MAX = 256 << 20,
};

struct safetensors {
    struct mapfile map; // of a file; else empty
    struct arena *arena;
    const struct json *metadata; // NULL when there is none
    struct safetensors_tensor *tensors;
    const struct safetensors_tensor **by_name;
    uint32_t n_tensors;
};

// Names of types. `dtype` is where the engine can read them.
static const struct {
    const char *name;
    uint32_t bytes;
    int dtype; // enum dtype, or -1
} types[] = {
    {"F32", 4, DTYPE_f32}, {"F16", 2, DTYPE_f16}, {"BF16", 2, DTYPE_bf16},
    {"I32", 4, DTYPE_i32}, {"F64", 8, -1},        {"I64", 8, -1},
    {"U64", 8, -1},        {"U32", 4, -1},        {"I16", 2, -1},
    {"U16", 2, -1},        {"I8", 1, -1},         {"U8", 1, -1},
    {"BOOL", 1, -1},       {"F8_E4M3", 1, -1},    {"F8_E5M2", 1, -1},
};

enum { N_TYPES = sizeof(types) / sizeof(types[0]) };

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "not enough memory to read the file");
}

static bool is_name(const struct json *v)
{
    if (v->key_bytes == 0 || strlen(v->key) != v->key_bytes)
        return false;
    for (const char *p = v->key; *p; p++)
        if ((unsigned char) *p < 0x20 || *p == 0x7f)
            return false;
    return true;
}

static int bad(const struct safetensors_tensor *t, const char *what,
               struct error *err)
{
    return error_set(err, -EINVAL, "tensor %.200s: %s", t->name, what);
}

static int read_type(struct safetensors_tensor *t, uint32_t *width,
                     const struct json *v, struct error *err)
{
    t->type = json_get_text(v, "dtype");
    if (!t->type)
        return bad(t, "it has no dtype", err);
    *width = 0;
    for (int i = 0; i < N_TYPES; i++) {
        if (strcmp(types[i].name, t->type) != 0)
            continue;
        *width = types[i].bytes;
        t->is_known = types[i].dtype >= 0;
        if (t->is_known)
            t->dtype = (enum dtype) types[i].dtype;
    }
    return 0;
}

static int read_shape(struct safetensors_tensor *t, uint64_t *values,
                      const struct json *v, struct error *err)
{
    const struct json *shape = json_get(v, "shape");
    if (!shape || shape->type != JSON_ARRAY)
        return bad(t, "it has no shape", err);
    if (shape->count > SAFETENSORS_DIMS_MAX)
        return bad(t, "it has too many dimensions", err);
    *values = 1;
    for (const struct json *d = shape->first; d; d = d->next) {
        if (!d->is_integer || d->integer < 0 ||
            !bits_mul(values, *values, (uint64_t) d->integer))
            return bad(t, "its shape is not possible", err);
        t->ne[t->n_dims++] = d->integer;
    }
    return 0;
}

static int read_offsets(uint64_t *begin, uint64_t *end,
                        const struct safetensors_tensor *t,
                        const struct json *v, uint64_t room, struct error *err)
{
    const struct json *o = json_get(v, "data_offsets");
    if (!o || o->type != JSON_ARRAY || o->count != 2 || !o->first->is_integer ||
        !o->first->next->is_integer || o->first->integer < 0)
        return bad(t, "it has no data_offsets of two numbers", err);
    if (o->first->integer > o->first->next->integer)
        return bad(t, "its data end before they begin", err);
    *begin = (uint64_t) o->first->integer;
    *end = (uint64_t) o->first->next->integer;
    if (*end > room)
        return error_set(err, -EINVAL,
                         "tensor %.200s ends at byte %llu of the data, but the "
                         "file has only %llu: it is cut short or damaged",
                         t->name, (unsigned long long) *end,
                         (unsigned long long) room);
    return 0;
}

static int read_tensor(struct safetensors_tensor *t, const struct json *v,
                       const unsigned char *data, uint64_t room,
                       struct error *err)
{
    uint64_t values = 0, begin = 0, end = 0, want;
    uint32_t width = 0;
    int rc;

    if (!is_name(v))
        return error_set(err, -EINVAL, "a tensor's name is not printable text");
    t->name = v->key;
    if (v->type != JSON_OBJECT)
        return bad(t, "its entry is not an object", err);
    if ((rc = read_type(t, &width, v, err)) < 0 ||
        (rc = read_shape(t, &values, v, err)) < 0 ||
        (rc = read_offsets(&begin, &end, t, v, room, err)) < 0)
        return rc;
    if (width > 0 && (!bits_mul(&want, values, width) || want != end - begin))
        return bad(t, "its shape and type do not agree with its data_offsets",
                   err);
    t->data = data + begin;
    t->bytes = end - begin;
    return 0;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp((*(const struct safetensors_tensor *const *) a)->name,
                  (*(const struct safetensors_tensor *const *) b)->name);
}

// Empty tensors stand before the one that begins where they do.
static int place_compare(const void *a, const void *b)
{
    const struct safetensors_tensor *x =
        *(const struct safetensors_tensor *const *) a;
    const struct safetensors_tensor *y =
        *(const struct safetensors_tensor *const *) b;
    uintptr_t p = (uintptr_t) x->data, q = (uintptr_t) y->data;
    if (p != q)
        return p < q ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int check_cover(struct safetensors *s, const unsigned char *data,
                       uint64_t room, struct error *err)
{
    const unsigned char *at = data;

    qsort(s->by_name, s->n_tensors, sizeof(*s->by_name), place_compare);
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        const struct safetensors_tensor *t = s->by_name[i];
        if ((const unsigned char *) t->data < at)
            return bad(t, "its data overlap those of another tensor", err);
        if ((const unsigned char *) t->data > at)
            return bad(t, "there is a gap before its data", err);
        at += t->bytes;
    }
    if ((uint64_t) (at - data) != room)
        return error_set(err, -EINVAL,
                         "the file has %llu bytes that belong to no tensor",
                         (unsigned long long) (room - (uint64_t) (at - data)));
    qsort(s->by_name, s->n_tensors, sizeof(*s->by_name), name_compare);
    return 0;
}

static int read_metadata(struct safetensors *s, const struct json *v,
                         struct error *err)
{
    if (v->type != JSON_OBJECT)
        return error_set(err, -EINVAL, "__metadata__ is not an object");
    for (const struct json *m = v->first; m; m = m->next)
        if (m->type != JSON_STRING)
            return error_set(err, -EINVAL,
                             "__metadata__ holds a value that is not a string");
    s->metadata = v;
    return 0;
}

static int read_all(struct safetensors *s, const unsigned char *file,
                    size_t bytes, struct error *err)
{
    const struct json *root;
    uint64_t n;

    if (bytes < 8)
        return error_set(err, -EINVAL, "this is not a safetensors file");
    n = bits_load64(file);
    if (n > HEADER_MAX || n > bytes - 8)
        return error_set(err, -EINVAL,
                         "the header claims %llu bytes, but %s: this is not a "
                         "safetensors file, or it is damaged",
                         (unsigned long long) n,
                         n > HEADER_MAX ? "at most 100 MiB are read"
                                        : "the file is shorter");
    if (n == 0 || file[8] != '{')
        return error_set(err, -EINVAL, "this is not a safetensors file");
    int rc = json_parse(&root, s->arena, (const char *) file + 8, n, err);
    if (rc < 0)
        return error_prefix(err, rc, "the header");

    const unsigned char *data = file + 8 + n;
    uint64_t room = bytes - 8 - n;
    s->tensors = arena_calloc(s->arena, root->count, sizeof(*s->tensors));
    s->by_name = arena_calloc(s->arena, root->count,
                              sizeof(struct safetensors_tensor *));
    if (!s->tensors || !s->by_name)
        return no_memory(err);
    for (const struct json *v = root->first; v; v = v->next) {
        if (strcmp(v->key, "__metadata__") == 0) {
            rc = read_metadata(s, v, err);
        } else {
            struct safetensors_tensor *t = &s->tensors[s->n_tensors];
            s->by_name[s->n_tensors++] = t;
            rc = read_tensor(t, v, data, room, err);
        }
        if (rc < 0)
            return rc;
    }
    return check_cover(s, data, room, err);
}

// Takes `map`, also on failure.
static int load(struct safetensors **out, struct mapfile *map, const void *data,
                size_t bytes, struct error *err)
{
    struct safetensors *s = fault_calloc(1, sizeof(*s));
    int rc;

    if (!s) {
        mapfile_finish(map);
        return no_memory(err);
    }
    s->map = *map;
    if ((rc = arena_create(&s->arena, ARENA_MAX)) < 0) {
        no_memory(err);
        goto error;
    }
    if ((rc = read_all(s, data, bytes, err)) < 0)
        goto error;
    *out = s;
    return 0;

error:
    safetensors_destroy(s);
    return rc;
}

int safetensors_load(struct safetensors **out, const char *path,
                     struct error *err)
{
    struct mapfile map;
    int rc = mapfile_load(&map, path, err);
    if (rc < 0)
        return rc;
    if ((rc = load(out, &map, map.data, map.bytes, err)) < 0)
        return error_prefix(err, rc, "cannot read %s", path);
    return 0;
}

int safetensors_load_fd(struct safetensors **out, int fd, struct error *err)
{
    struct mapfile map;
    int rc = mapfile_load_fd(&map, fd, err);
    if (rc < 0)
        return rc;
    return load(out, &map, map.data, map.bytes, err);
}

int safetensors_load_memory(struct safetensors **out, const void *data,
                            size_t bytes, struct error *err)
{
    return load(out, &(struct mapfile){0}, data, bytes, err);
}

void safetensors_destroy(struct safetensors *s)
{
    if (!s)
        return;
    arena_destroy(s->arena);
    mapfile_finish(&s->map);
    free(s);
}

const char *safetensors_metadata(const struct safetensors *s, const char *key)
{
    return json_get_text(s->metadata, key);
}

uint32_t safetensors_n_tensors(const struct safetensors *s)
{
    return s->n_tensors;
}

const struct safetensors_tensor *safetensors_tensor_at(
    const struct safetensors *s, uint32_t i)
{
    return &s->tensors[i];
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *s,
                                                  const char *name)
{
    uint32_t lo = 0, hi = s->n_tensors;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = strcmp(name, s->by_name[mid]->name);
        if (c == 0)
            return s->by_name[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

int safetensors_read_f32(float *out, const struct safetensors_tensor *t,
                         struct error *err)
{
    const unsigned char *p = t->data;

    if (t->is_known && t->dtype == DTYPE_f32) {
        for (size_t i = 0; i < t->bytes / 4; i++)
            out[i] = bits_to_f32(bits_load32(p + 4 * i));
    } else if (t->is_known && t->dtype == DTYPE_f16) {
        for (size_t i = 0; i < t->bytes / 2; i++)
            out[i] = half_to_f32(bits_load16(p + 2 * i));
    } else if (t->is_known && t->dtype == DTYPE_bf16) {
        for (size_t i = 0; i < t->bytes / 2; i++)
            out[i] = bf16_to_f32(bits_load16(p + 2 * i));
    } else {
        return error_set(err, -ENOTSUP,
                         "tensor %.200s is of type %.20s, but must be F32, "
                         "F16 or BF16",
                         t->name, t->type);
    }
    return 0;
}

static const char *type_name(enum dtype type)
{
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].dtype == (int) type)
            return types[i].name;
    return NULL;
}

static size_t tensor_bytes(const struct safetensors_tensor *t)
{
    size_t n = dtype_infos[t->dtype].block_bytes;
    for (uint32_t d = 0; d < t->n_dims; d++)
        n *= (size_t) t->ne[d];
    return n;
}

static void put_metadata(struct str *s, const char *const *metadata)
{
    str_puts(s, "\"__metadata__\":{");
    for (int i = 0; metadata[i]; i += 2) {
        str_puts(s, i ? "," : "");
        str_json(s, metadata[i], strlen(metadata[i]));
        str_putc(s, ':');
        str_json(s, metadata[i + 1], strlen(metadata[i + 1]));
    }
    str_putc(s, '}');
}

static void put_entry(struct str *s, const struct safetensors_tensor *t,
                      size_t offset)
{
    str_json(s, t->name, strlen(t->name));
    str_printf(s, ":{\"dtype\":\"%s\",\"shape\":[", type_name(t->dtype));
    for (uint32_t d = 0; d < t->n_dims; d++)
        str_printf(s, d ? ",%lld" : "%lld", (long long) t->ne[d]);
    str_printf(s, "],\"data_offsets\":[%zu,%zu]}", offset,
               offset + tensor_bytes(t));
}

int safetensors_save_fd(int fd, const struct safetensors_tensor *tensors,
                        uint32_t count, const char *const *metadata,
                        struct error *err)
{
    struct str s = {.limit = HEADER_MAX};
    unsigned char length[8];
    size_t offset = 0;
    int rc;

    str_putc(&s, '{');
    if (metadata)
        put_metadata(&s, metadata);
    for (uint32_t i = 0; i < count; i++) {
        if (!type_name(tensors[i].dtype)) {
            rc = error_set(err, -ENOTSUP,
                           "tensor %.200s: %s is not a type of safetensors",
                           tensors[i].name, dtype_infos[tensors[i].dtype].name);
            goto out;
        }
        str_puts(&s, i || metadata ? "," : "");
        put_entry(&s, &tensors[i], offset);
        offset += tensor_bytes(&tensors[i]);
    }
    str_putc(&s, '}');
    while (str_finish(&s) == 0 && s.bytes % 8 != 0)
        str_putc(&s, ' ');
    bits_store64(length, s.bytes);
    if ((rc = str_finish(&s)) == 0 &&
        (rc = file_write_all(fd, length, sizeof(length))) == 0)
        rc = file_write_all(fd, s.data, s.bytes);
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = file_write_all(fd, tensors[i].data, tensor_bytes(&tensors[i]));
    if (rc < 0)
        error_set(err, rc, "cannot write safetensors: %s", strerror(-rc));

out:
    str_free(&s);
    return rc;
}
