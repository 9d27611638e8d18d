// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/method.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { TIMEOUT_MS_MAX = 86400000 };

const struct method_info method_infos[METHOD_COUNT] = {
#define METHOD(sym, name, scope, flags, since, doc) \
    {name, METHOD_SCOPE_##scope, flags, since, doc},
#include "ipc/methods.def"
};

static const char *const type_names[] = {
    [METHOD_TYPE_BOOL] = "bool",   [METHOD_TYPE_INT] = "int",
    [METHOD_TYPE_FLOAT] = "float", [METHOD_TYPE_STR] = "str",
    [METHOD_TYPE_BIN] = "bin",     [METHOD_TYPE_LIST] = "list",
    [METHOD_TYPE_MAP] = "map",     [METHOD_TYPE_ANY] = "any",
};

enum need { NEED_OPT, NEED_REQ };

static const struct method_field params[] = {
#define PARAM(sym, key, type, need, min, max, of, doc) \
    {#key, METHOD_TYPE_##type, NEED_##need, min, max, of, doc},
#include "ipc/methods.def"
};

static const struct method_field results[] = {
#define RESULT(sym, key, type, need, of, doc) \
    {#key, METHOD_TYPE_##type, NEED_##need, 0, 0, of, doc},
#include "ipc/methods.def"
};

static const struct method_field fields[] = {
#define STRUCT(sym, check, doc)
#define FIELD(sym, key, type, need, of, doc) \
    {#key, METHOD_TYPE_##type, NEED_##need, 0, 0, of, doc},
#include "ipc/structs.def"
};

// Where the rows of each method and struct begin. An enum counts the rows;
// the second name of a METHOD takes back the step that the first one made.
enum param_index {
#define METHOD(sym, ...)     PARAM_OF_##sym, PARAM_BACK_##sym = PARAM_OF_##sym - 1,
#define PARAM(sym, key, ...) PARAM_##sym##_##key,
#include "ipc/methods.def"
    PARAM_COUNT
};

enum result_index {
#define METHOD(sym, ...) \
    RESULT_OF_##sym, RESULT_BACK_##sym = RESULT_OF_##sym - 1,
#define RESULT(sym, key, ...) RESULT_##sym##_##key,
#include "ipc/methods.def"
    RESULT_COUNT
};

enum field_index {
#define STRUCT(sym, ...)     FIELD_OF_##sym, FIELD_BACK_##sym = FIELD_OF_##sym - 1,
#define FIELD(sym, key, ...) FIELD_##sym##_##key,
#include "ipc/structs.def"
    FIELD_COUNT
};

static const uint16_t param_first[METHOD_COUNT + 1] = {
#define METHOD(sym, ...) PARAM_OF_##sym,
#include "ipc/methods.def"
    PARAM_COUNT,
};

static const uint16_t result_first[METHOD_COUNT + 1] = {
#define METHOD(sym, ...) RESULT_OF_##sym,
#include "ipc/methods.def"
    RESULT_COUNT,
};

enum check { CHECK_OPEN, CHECK_CLOSED, CHECK_BY_HAND };

static const struct {
    const char *name;
    enum check check;
    uint16_t first;
} structs[] = {
#define STRUCT(sym, check, doc) {#sym, CHECK_##check, FIELD_OF_##sym},
#define FIELD(sym, ...)
#include "ipc/structs.def"
    {NULL, CHECK_OPEN, FIELD_COUNT},
};

enum { STRUCT_COUNT = sizeof(structs) / sizeof(structs[0]) - 1 };

enum method method_from_name(const char *name, size_t bytes)
{
    const struct codec_bytes n = {name, bytes};

    for (int m = 0; m < METHOD_COUNT; m++)
        if (codec_bytes_equal(n, method_infos[m].name))
            return (enum method) m;
    return METHOD_COUNT;
}

const struct method_field *method_params(enum method m, size_t *count)
{
    *count = (size_t) param_first[m + 1] - param_first[m];
    return params + param_first[m];
}

const struct method_field *method_results(enum method m, size_t *count)
{
    *count = (size_t) result_first[m + 1] - result_first[m];
    return results + result_first[m];
}

// STRUCT_COUNT when there is none of that name.
static size_t find_struct(const char *name)
{
    size_t i = 0;

    while (i < STRUCT_COUNT && strcmp(structs[i].name, name) != 0)
        i++;
    return i;
}

const struct method_field *method_struct_fields(const char *name, size_t *count)
{
    size_t i = find_struct(name);

    if (i == STRUCT_COUNT)
        return NULL;
    *count = (size_t) structs[i + 1].first - structs[i].first;
    return fields + structs[i].first;
}

const char *method_type_name(enum method_type type)
{
    return type_names[type];
}

static bool has_type(const msgpack_object *o, enum method_type type)
{
    int64_t i;

    switch (type) {
    case METHOD_TYPE_BOOL:
        return o->type == MSGPACK_OBJECT_BOOLEAN;
    case METHOD_TYPE_INT:
        return codec_as_int(o, &i);
    case METHOD_TYPE_FLOAT:
        return o->type == MSGPACK_OBJECT_FLOAT32 ||
               o->type == MSGPACK_OBJECT_FLOAT64 || codec_as_int(o, &i);
    case METHOD_TYPE_STR:
        return o->type == MSGPACK_OBJECT_STR;
    case METHOD_TYPE_BIN:
        return o->type == MSGPACK_OBJECT_BIN;
    case METHOD_TYPE_LIST:
        return o->type == MSGPACK_OBJECT_ARRAY;
    case METHOD_TYPE_MAP:
        return o->type == MSGPACK_OBJECT_MAP;
    case METHOD_TYPE_ANY:
        return true;
    }
    return false;
}

static int64_t size_of(const msgpack_object *o, enum method_type type)
{
    int64_t v = 0;

    if (type == METHOD_TYPE_INT)
        (void) codec_as_int(o, &v);
    else if (type == METHOD_TYPE_STR)
        v = o->via.str.size;
    else if (type == METHOD_TYPE_BIN)
        v = o->via.bin.size;
    else
        v = codec_count(o);
    return v;
}

static int check_bounds(const struct method_field *f, const msgpack_object *o,
                        struct error *err)
{
    if (f->min == 0 && f->max == 0)
        return 0;
    int64_t v = size_of(o, f->type);
    if (v >= f->min && v <= f->max)
        return 0;
    const char *what =
        f->type == METHOD_TYPE_INT ? "is"
        : f->type == METHOD_TYPE_STR || f->type == METHOD_TYPE_BIN
            ? "has a length in bytes of"
            : "has a number of entries of";
    return error_set(err, -EINVAL,
                     "`%s` %s %" PRId64 ", but must be %" PRId64 " to %" PRId64,
                     f->key, what, v, f->min, f->max);
}

static int check_field(const struct method_field *f, const msgpack_object *map,
                       struct error *err);

// Keys of a CLOSED struct that are not in its table.
static int check_unknown(const struct method_field *f, size_t count,
                         const msgpack_object *map, struct error *err)
{
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        struct codec_bytes key;
        size_t k = 0;
        if (!codec_as_str(&map->via.map.ptr[i].key, &key))
            continue;
        while (k < count && !codec_bytes_equal(key, f[k].key))
            k++;
        if (k == count)
            return error_set(err, -EINVAL, "there is no `%.*s` here",
                             key.bytes < 64 ? (int) key.bytes : 64, key.data);
    }
    return 0;
}

static int check_struct(size_t s, const msgpack_object *o, struct error *err)
{
    const struct method_field *f = fields + structs[s].first;
    size_t count = (size_t) structs[s + 1].first - structs[s].first;
    int rc;

    if (o->type != MSGPACK_OBJECT_MAP)
        return error_set(err, -EINVAL, "must be a map");
    if (structs[s].check == CHECK_BY_HAND)
        return 0;
    if ((rc = codec_check_critical(o, NULL, err)) < 0)
        return rc;
    for (size_t i = 0; i < count; i++)
        if ((rc = check_field(&f[i], o, err)) < 0)
            return rc;
    return structs[s].check == CHECK_CLOSED ? check_unknown(f, count, o, err)
                                            : 0;
}

// An entry of a list, or the map itself: a struct, or a plain type.
static int check_inside(const char *of, const msgpack_object *o,
                        struct error *err)
{
    size_t s = find_struct(of);

    if (s < STRUCT_COUNT)
        return check_struct(s, o, err);
    for (int t = 0; t <= METHOD_TYPE_ANY; t++)
        if (strcmp(of, type_names[t]) == 0 &&
            !has_type(o, (enum method_type) t))
            return error_set(err, -EINVAL, "must be of type %s", of);
    return 0;
}

static int check_field(const struct method_field *f, const msgpack_object *map,
                       struct error *err)
{
    const msgpack_object *o = codec_find(map, f->key);
    int rc;

    if (!o)
        return f->is_required
                   ? error_set(err, -EINVAL, "`%s` is missing", f->key)
                   : 0;
    if (!has_type(o, f->type))
        return error_set(err, -EINVAL, "`%s` must be of type %s", f->key,
                         type_names[f->type]);
    if ((rc = check_bounds(f, o, err)) < 0)
        return rc;
    if (f->type == METHOD_TYPE_MAP && (rc = check_inside(f->of, o, err)) < 0)
        return error_prefix(err, rc, "`%s`", f->key);
    if (f->type != METHOD_TYPE_LIST)
        return 0;
    for (uint32_t i = 0; i < codec_count(o); i++)
        if ((rc = check_inside(f->of, codec_at(o, i), err)) < 0)
            return error_prefix(err, rc, "`%s`[%u]", f->key, i);
    return 0;
}

static int check_common(enum method m, const msgpack_object *map,
                        struct method_common *out, struct error *err)
{
    const uint32_t flags = method_infos[m].flags;
    struct method_common c = {0};
    int rc =
        codec_get_int(map, "timeout_ms", 1, TIMEOUT_MS_MAX, &c.timeout_ms, err);

    if (rc < 0 && rc != -ENOENT)
        return rc;
    // Other methods may have a parameter of that name.
    if (flags & METHOD_STREAM) {
        rc = codec_get_bool(map, "stream", &c.is_stream, err);
        if (rc < 0 && rc != -ENOENT)
            return rc;
    }
    rc = codec_get_bool(map, "fd", &c.has_fd, err);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (c.has_fd && !(flags & (METHOD_FD_IN | METHOD_FD_OPT)))
        return error_set(err, -EINVAL, "%s takes no descriptor",
                         method_infos[m].name);
    if (!c.has_fd && (flags & METHOD_FD_IN))
        return error_set(err, -EINVAL,
                         "%s needs a descriptor: send one with the request "
                         "and `fd` true",
                         method_infos[m].name);
    *out = c;
    return 0;
}

int method_check_params(enum method m, const msgpack_object *map,
                        struct method_common *common, struct error *err)
{
    struct method_common c;
    size_t count;
    const struct method_field *f = method_params(m, &count);
    int rc = check_common(m, map, &c, err);

    if (rc == 0)
        rc = codec_check_critical(map, NULL, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = check_field(&f[i], map, err);
    if (rc == 0)
        *common = c;
    return rc;
}
