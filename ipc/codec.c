// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/codec.h"

#include "engine/base/fault.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

// A key as it may stand in an error sentence: it comes from outside.
#define KEY_FMT "%.*s"
static int key_width(struct codec_bytes key)
{
    return key.bytes < 64 ? (int) key.bytes : 64;
}

static struct codec_bytes str_of(const msgpack_object *o)
{
    // An empty one need not have a place.
    return (struct codec_bytes){o->via.str.size > 0 ? o->via.str.ptr : "",
                                o->via.str.size};
}

static int check_keys(const msgpack_object_map *m, struct error *err)
{
    if (m->size > CODEC_KEYS_MAX)
        return error_set(err, -EPROTO,
                         "a map has %u keys, but at most %d are allowed",
                         m->size, CODEC_KEYS_MAX);
    for (uint32_t i = 0; i < m->size; i++) {
        if (m->ptr[i].key.type != MSGPACK_OBJECT_STR)
            return error_set(err, -EPROTO, "a map key is not a str");
        struct codec_bytes a = str_of(&m->ptr[i].key);
        for (uint32_t j = 0; j < i; j++) {
            struct codec_bytes b = str_of(&m->ptr[j].key);
            if (a.bytes == b.bytes && memcmp(a.data, b.data, a.bytes) == 0)
                return error_set(err, -EPROTO, "key `" KEY_FMT "` is repeated",
                                 key_width(a), a.data);
        }
    }
    return 0;
}

static int check_scalar(const msgpack_object *o, struct error *err)
{
    if (o->type == MSGPACK_OBJECT_STR &&
        !utf8_is_valid(o->via.str.ptr, o->via.str.size))
        return error_set(err, -EPROTO, "a str is not valid UTF-8");
    if (o->type == MSGPACK_OBJECT_EXT)
        return error_set(err, -EPROTO, "ext types are not allowed");
    if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 > INT64_MAX)
        return error_set(err, -EPROTO, "an int is above 2^63 - 1");
    if ((o->type == MSGPACK_OBJECT_FLOAT32 ||
         o->type == MSGPACK_OBJECT_FLOAT64) &&
        !isfinite(o->via.f64))
        return error_set(err, -EPROTO, "a float is not finite");
    return 0;
}

// Recursion is bounded: the frame check passed, so there are at most
// FRAME_DEPTH_MAX levels.
static int check_tree(const msgpack_object *o, struct error *err)
{
    int rc = check_scalar(o, err);

    if (rc < 0)
        return rc;
    if (o->type == MSGPACK_OBJECT_ARRAY) {
        for (uint32_t i = 0; i < o->via.array.size; i++)
            if ((rc = check_tree(&o->via.array.ptr[i], err)) < 0)
                return rc;
    }
    if (o->type != MSGPACK_OBJECT_MAP)
        return 0;
    if ((rc = check_keys(&o->via.map, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        if ((rc = check_tree(&o->via.map.ptr[i].key, err)) < 0)
            return rc;
        if ((rc = check_tree(&o->via.map.ptr[i].val, err)) < 0)
            return rc;
    }
    return 0;
}

int codec_decode(struct codec_doc *out, const void *frame, size_t bytes,
                 const struct frame_limits *limits, struct error *err)
{
    ptrdiff_t n = frame_check(frame, bytes, limits);

    if (n <= 0)
        return error_set(err, -EPROTO, "%s", frame_status_text(n));
    if ((size_t) n != bytes)
        return error_set(err, -EPROTO,
                         "%zu bytes follow the message, but nothing may",
                         bytes - (size_t) n);

    struct codec_doc doc = {.zone = NULL};
    size_t at = 0;
    if (!fault_hit(FAULT_ALLOC))
        doc.zone = msgpack_zone_new(2048);
    if (!doc.zone)
        return error_set(err, -ENOMEM, "out of memory for a message");
    // After the check the only way to fail is memory.
    int rc = msgpack_unpack(frame, bytes, &at, doc.zone, &doc.root) ==
                     MSGPACK_UNPACK_SUCCESS
                 ? 0
                 : error_set(err, -ENOMEM, "out of memory for a message");
    if (rc == 0)
        rc = check_tree(&doc.root, err);
    if (rc < 0) {
        msgpack_zone_free(doc.zone);
        return rc;
    }
    *out = doc;
    return 0;
}

void codec_finish(struct codec_doc *doc)
{
    if (doc->zone)
        msgpack_zone_free(doc->zone);
    *doc = (struct codec_doc){.zone = NULL};
}

const msgpack_object *codec_find_bytes(const msgpack_object *map,
                                       struct codec_bytes key)
{
    if (!map || map->type != MSGPACK_OBJECT_MAP)
        return NULL;
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        if (kv->key.type != MSGPACK_OBJECT_STR ||
            kv->key.via.str.size != key.bytes ||
            memcmp(kv->key.via.str.ptr, key.data, key.bytes) != 0)
            continue;
        return kv->val.type == MSGPACK_OBJECT_NIL ? NULL : &kv->val;
    }
    return NULL;
}

const msgpack_object *codec_find(const msgpack_object *map, const char *key)
{
    return codec_find_bytes(map, (struct codec_bytes){key, strlen(key)});
}

uint32_t codec_count(const msgpack_object *o)
{
    if (!o)
        return 0;
    if (o->type == MSGPACK_OBJECT_ARRAY)
        return o->via.array.size;
    return o->type == MSGPACK_OBJECT_MAP ? o->via.map.size : 0;
}

const msgpack_object *codec_at(const msgpack_object *array, uint32_t i)
{
    if (!array || array->type != MSGPACK_OBJECT_ARRAY ||
        i >= array->via.array.size)
        return NULL;
    return &array->via.array.ptr[i];
}

bool codec_as_str(const msgpack_object *o, struct codec_bytes *out)
{
    if (!o || o->type != MSGPACK_OBJECT_STR)
        return false;
    *out = str_of(o);
    return true;
}

static bool as_bin(const msgpack_object *o, struct codec_bytes *out)
{
    if (o->type != MSGPACK_OBJECT_BIN)
        return false;
    *out = (struct codec_bytes){o->via.bin.ptr, o->via.bin.size};
    return true;
}

bool codec_as_int(const msgpack_object *o, int64_t *out)
{
    if (!o)
        return false;
    if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        *out = o->via.i64;
        return true;
    }
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > INT64_MAX)
        return false;
    *out = (int64_t) o->via.u64;
    return true;
}

static bool as_float(const msgpack_object *o, double *out)
{
    int64_t i;

    if (o->type == MSGPACK_OBJECT_FLOAT32 ||
        o->type == MSGPACK_OBJECT_FLOAT64) {
        *out = o->via.f64;
        return isfinite(o->via.f64);
    }
    if (!codec_as_int(o, &i))
        return false;
    *out = (double) i;
    return true;
}

static int wrong_type(struct error *err, const char *key, const char *wanted)
{
    return error_set(err, -EINVAL, "`%s` must be %s", key, wanted);
}

int codec_get_bool(const msgpack_object *map, const char *key, bool *out,
                   struct error *err)
{
    const msgpack_object *o = codec_find(map, key);

    if (!o)
        return -ENOENT;
    if (o->type != MSGPACK_OBJECT_BOOLEAN)
        return wrong_type(err, key, "a bool");
    *out = o->via.boolean;
    return 0;
}

int codec_get_int(const msgpack_object *map, const char *key, int64_t min,
                  int64_t max, int64_t *out, struct error *err)
{
    const msgpack_object *o = codec_find(map, key);
    int64_t v;

    if (!o)
        return -ENOENT;
    if (!codec_as_int(o, &v))
        return wrong_type(err, key, "an int");
    if (v < min || v > max)
        return error_set(err, -EINVAL,
                         "`%s` is %" PRId64 ", but must be %" PRId64
                         " to %" PRId64,
                         key, v, min, max);
    *out = v;
    return 0;
}

int codec_get_float(const msgpack_object *map, const char *key, double *out,
                    struct error *err)
{
    const msgpack_object *o = codec_find(map, key);
    double v;

    if (!o)
        return -ENOENT;
    if (!as_float(o, &v))
        return wrong_type(err, key, "a finite float");
    *out = v;
    return 0;
}

int codec_get_str(const msgpack_object *map, const char *key,
                  struct codec_bytes *out, struct error *err)
{
    const msgpack_object *o = codec_find(map, key);

    if (!o)
        return -ENOENT;
    return codec_as_str(o, out) ? 0 : wrong_type(err, key, "a str");
}

int codec_get_bin(const msgpack_object *map, const char *key,
                  struct codec_bytes *out, struct error *err)
{
    const msgpack_object *o = codec_find(map, key);

    if (!o)
        return -ENOENT;
    return as_bin(o, out) ? 0 : wrong_type(err, key, "a bin");
}

int codec_get_cstr(const msgpack_object *map, const char *key, char *out,
                   size_t size, struct error *err)
{
    struct codec_bytes s = {0};
    int rc = codec_get_str(map, key, &s, err);

    if (rc < 0)
        return rc;
    if (s.bytes >= size)
        return error_set(err, -EINVAL,
                         "`%s` has %zu bytes, but may have at most %zu", key,
                         s.bytes, size - 1);
    if (memchr(s.data, '\0', s.bytes))
        return error_set(err, -EINVAL, "`%s` has a NUL byte inside", key);
    memcpy(out, s.data, s.bytes);
    out[s.bytes] = '\0';
    return 0;
}

int codec_get_map(const msgpack_object *map, const char *key,
                  const msgpack_object **out, struct error *err)
{
    const msgpack_object *o = codec_find(map, key);

    if (!o)
        return -ENOENT;
    if (o->type != MSGPACK_OBJECT_MAP)
        return wrong_type(err, key, "a map");
    *out = o;
    return 0;
}

int codec_get_array(const msgpack_object *map, const char *key,
                    const msgpack_object **out, struct error *err)
{
    const msgpack_object *o = codec_find(map, key);

    if (!o)
        return -ENOENT;
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return wrong_type(err, key, "a list");
    *out = o;
    return 0;
}

bool codec_bool(const msgpack_object *map, const char *key, bool fallback)
{
    (void) codec_get_bool(map, key, &fallback, NULL);
    return fallback;
}

int64_t codec_int(const msgpack_object *map, const char *key, int64_t fallback)
{
    (void) codec_get_int(map, key, INT64_MIN, INT64_MAX, &fallback, NULL);
    return fallback;
}

double codec_float(const msgpack_object *map, const char *key, double fallback)
{
    (void) codec_get_float(map, key, &fallback, NULL);
    return fallback;
}

struct codec_bytes codec_str(const msgpack_object *map, const char *key)
{
    struct codec_bytes s = {NULL, 0};

    (void) codec_get_str(map, key, &s, NULL);
    return s;
}

bool codec_bytes_equal(struct codec_bytes a, const char *b)
{
    size_t n = strlen(b);

    return a.bytes == n && (n == 0 || memcmp(a.data, b, n) == 0);
}

int codec_check_critical(const msgpack_object *map, const char *const *known,
                         struct error *err)
{
    if (!map || map->type != MSGPACK_OBJECT_MAP)
        return 0;
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        struct codec_bytes key;
        if (!codec_as_str(&map->via.map.ptr[i].key, &key) || key.bytes == 0 ||
            key.data[0] != '!')
            continue;
        const char *const *k = known;
        while (k && *k && !codec_bytes_equal(key, *k))
            k++;
        if (!k || !*k)
            return error_set(err, -EINVAL,
                             "`" KEY_FMT "` is not known here, but its sender "
                             "says that it must not be ignored",
                             key_width(key), key.data);
    }
    return 0;
}
