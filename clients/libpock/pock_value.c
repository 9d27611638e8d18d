// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_value.h"

#include "engine/base/arena.h"
#include "engine/base/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum pock_kind pock_kind(const struct pock_value *v)
{
    return v ? v->kind : POCK_KIND_NIL;
}

static bool is_container(const struct pock_value *v)
{
    return v && (v->kind == POCK_KIND_LIST || v->kind == POCK_KIND_MAP);
}

static bool is_string(const struct pock_value *v)
{
    return v && (v->kind == POCK_KIND_STR || v->kind == POCK_KIND_BYTES);
}

size_t pock_count(const struct pock_value *v)
{
    return is_container(v) || is_string(v) ? v->count : 0;
}

const struct pock_value *pock_at(const struct pock_value *v, size_t i)
{
    return is_container(v) && i < v->count ? &v->first[i] : NULL;
}

const char *pock_key_at(const struct pock_value *v, size_t i)
{
    return v && v->kind == POCK_KIND_MAP && i < v->count ? v->first[i].key
                                                         : NULL;
}

const struct pock_value *pock_get(const struct pock_value *map, const char *key)
{
    if (!map || map->kind != POCK_KIND_MAP)
        return NULL;
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->first[i].key, key) == 0)
            return &map->first[i];
    return NULL;
}

bool pock_as_bool(const struct pock_value *v, bool fallback)
{
    return v && v->kind == POCK_KIND_BOOL ? v->boolean : fallback;
}

int64_t pock_as_int(const struct pock_value *v, int64_t fallback)
{
    return v && v->kind == POCK_KIND_INT ? v->integer : fallback;
}

double pock_as_float(const struct pock_value *v, double fallback)
{
    if (v && v->kind == POCK_KIND_INT)
        return (double) v->integer;
    return v && v->kind == POCK_KIND_FLOAT ? v->number : fallback;
}

const char *pock_as_str(const struct pock_value *v, const char *fallback)
{
    return v && v->kind == POCK_KIND_STR ? v->data : fallback;
}

const void *pock_as_bytes(const struct pock_value *v, size_t *bytes)
{
    *bytes = is_string(v) ? v->count : 0;
    return is_string(v) ? v->data : NULL;
}

bool pock_get_bool(const struct pock_value *map, const char *key, bool fallback)
{
    return pock_as_bool(pock_get(map, key), fallback);
}

int64_t pock_get_int(const struct pock_value *map, const char *key,
                     int64_t fallback)
{
    return pock_as_int(pock_get(map, key), fallback);
}

double pock_get_float(const struct pock_value *map, const char *key,
                      double fallback)
{
    return pock_as_float(pock_get(map, key), fallback);
}

const char *pock_get_str(const struct pock_value *map, const char *key,
                         const char *fallback)
{
    return pock_as_str(pock_get(map, key), fallback);
}

const struct pock_value *pock_result(const struct pock_reply *r)
{
    return r ? r->result : NULL;
}

void pock_reply_destroy(struct pock_reply *r)
{
    if (!r)
        return;
    arena_destroy(r->arena);
    free(r);
}

static const char *copy_bytes(struct arena *a, const void *data, size_t bytes)
{
    char *p = arena_alloc(a, bytes + 1);

    if (p && bytes > 0)
        memcpy(p, data, bytes);
    return p;
}

static int convert(struct pock_value *out, struct arena *a,
                   const msgpack_object *o);

static int convert_list(struct pock_value *out, struct arena *a,
                        const msgpack_object *list, uint32_t count)
{
    struct pock_value *values = arena_calloc(a, count + 1u, sizeof(*values));
    int rc;

    if (!values)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        if ((rc = convert(&values[i], a, &list[i])) < 0)
            return rc;
    *out = (struct pock_value){.kind = POCK_KIND_LIST,
                               .first = values,
                               .count = count};
    return 0;
}

static int convert_map(struct pock_value *out, struct arena *a,
                       const msgpack_object_map *map)
{
    struct pock_value *values =
        arena_calloc(a, map->size + 1u, sizeof(*values));
    int rc;

    if (!values)
        return -ENOMEM;
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object *key = &map->ptr[i].key;
        if ((rc = convert(&values[i], a, &map->ptr[i].val)) < 0)
            return rc;
        // codec_decode() has made sure that every key is a string.
        values[i].key = copy_bytes(a, key->via.str.ptr, key->via.str.size);
        if (!values[i].key)
            return -ENOMEM;
    }
    *out = (struct pock_value){.kind = POCK_KIND_MAP,
                               .first = values,
                               .count = map->size};
    return 0;
}

static int convert_string(struct pock_value *out, struct arena *a,
                          enum pock_kind kind, const char *data, uint32_t bytes)
{
    *out = (struct pock_value){.kind = kind,
                               .data = copy_bytes(a, data, bytes),
                               .count = bytes};
    return out->data ? 0 : -ENOMEM;
}

// As deep as the codec lets a frame be, which is 16 levels.
static int convert(struct pock_value *out, struct arena *a,
                   const msgpack_object *o)
{
    // NOLINTNEXTLINE: ext is refused by codec_decode().
    switch ((int) o->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        *out = (struct pock_value){.kind = POCK_KIND_BOOL,
                                   .boolean = o->via.boolean};
        return 0;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        *out =
            (struct pock_value){.kind = POCK_KIND_INT, .integer = o->via.i64};
        return 0;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        *out =
            (struct pock_value){.kind = POCK_KIND_FLOAT, .number = o->via.f64};
        return 0;
    case MSGPACK_OBJECT_STR:
        return convert_string(out, a, POCK_KIND_STR, o->via.str.ptr,
                              o->via.str.size);
    case MSGPACK_OBJECT_BIN:
        return convert_string(out, a, POCK_KIND_BYTES, o->via.bin.ptr,
                              o->via.bin.size);
    case MSGPACK_OBJECT_ARRAY:
        return convert_list(out, a, o->via.array.ptr, o->via.array.size);
    case MSGPACK_OBJECT_MAP:
        return convert_map(out, a, &o->via.map);
    default:
        *out = (struct pock_value){.kind = POCK_KIND_NIL};
        return 0;
    }
}

int pock_reply_decode(struct pock_reply **out, const void *frame, size_t bytes,
                      struct error *err)
{
    struct pock_reply *r = fault_calloc(1, sizeof(*r));
    struct codec_doc doc = {0};
    struct pock_value *root;
    int rc = -ENOMEM;

    if (!r)
        return -ENOMEM;
    if ((rc = codec_decode(&doc, frame, bytes, &frame_limits_full, err)) < 0)
        goto error;
    // An object takes a value and at most its own alignment; strings are part
    // of the frame.
    size_t limit = (size_t) FRAME_OBJECTS_MAX * (sizeof(*root) + 32) +
                   FRAME_BYTES_MAX + (1 << 16);
    if ((rc = arena_create(&r->arena, limit)) < 0)
        goto error;
    rc = -ENOMEM;
    if (!(root = arena_calloc(r->arena, 1, sizeof(*root))) ||
        (rc = convert(root, r->arena, &doc.root)) < 0)
        goto error;
    r->message = root;
    codec_finish(&doc);
    *out = r;
    return 0;

error:
    codec_finish(&doc);
    pock_reply_destroy(r);
    return rc;
}
