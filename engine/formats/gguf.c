// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/formats/gguf.h"

#include "engine/base/arena.h"
#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/mapfile.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * What holds once a file is loaded:
 *  1. pairs[] and tensors[] have unique keys and names; by_key and by_name
 *     are sorted by them.
 *  2. The bytes of every value lie inside the mapping, those of strings
 *     inside arrays too.
 *  3. The bytes of every tensor of a known type lie inside the data section
 *     and overlap no other's.
 *
 * Nothing is allocated before the file was seen to be long enough for it.
 */

enum {
    COUNT_MAX = 1 << 16,      // of pairs, and of tensors
    KEY_BYTES_MAX = 1 << 10,  // the longest in use is under 100
    TEXT_BYTES_MAX = 4 << 20, // a chat template has some 10 kB
    ARENA_MAX = 64 << 20,
    PAIR_BYTES_MIN = 8 + 1 + 4 + 1,
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8,
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MIN = 8,
};

struct pair {
    const char *key;
    const char *text; // of a string, NUL-terminated
    uint64_t text_bytes;
    const unsigned char *data;
    uint64_t count; // of an array, else 1
    uint32_t type;
    uint32_t item_type; // of an array
    size_t from, end;   // of key and value, in the file
};

struct gguf {
    struct mapfile map; // of a file; else empty
    const unsigned char *data;
    size_t bytes;
    size_t at; // while loading
    struct arena *arena;
    struct pair *pairs;
    const struct pair **by_key;
    struct gguf_tensor *tensors;
    const struct gguf_tensor **by_name;
    uint64_t *offsets; // of tensors, in the data section
    uint32_t n_pairs, n_tensors;
};

static const struct {
    const char *name;
    uint32_t bytes; // of a scalar
} types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"u8", 1},      [GGUF_I8] = {"i8", 1},
    [GGUF_U16] = {"u16", 2},    [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4},    [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},    [GGUF_BOOL] = {"bool", 1},
    [GGUF_STR] = {"string", 0}, [GGUF_ARRAY] = {"array", 0},
    [GGUF_U64] = {"u64", 8},    [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "not enough memory to read the file");
}

// The next `n` bytes, or NULL when the file ends before.
static const unsigned char *take(struct gguf *g, uint64_t n)
{
    if (n > g->bytes - g->at)
        return NULL;
    const unsigned char *p = g->data + g->at;
    g->at += n;
    return p;
}

static bool take_u32(uint32_t *out, struct gguf *g)
{
    const unsigned char *p = take(g, 4);
    if (p)
        *out = bits_load32(p);
    return p != NULL;
}

static bool take_u64(uint64_t *out, struct gguf *g)
{
    const unsigned char *p = take(g, 8);
    if (p)
        *out = bits_load64(p);
    return p != NULL;
}

static bool is_printable(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < 0x20 || p[i] == 0x7f)
            return false;
    return utf8_is_valid((const char *) p, n);
}

// A key or a name: `what` and `index` say whose. At most `max` bytes.
static int take_name(const char **out, struct gguf *g, uint64_t max,
                     const char *what, uint32_t index, struct error *err)
{
    uint64_t n;

    if (!take_u64(&n, g))
        return error_set(err, -EINVAL, "the file ends before the %s %u", what,
                         index);
    if (n == 0 || n > max)
        return error_set(err, -EINVAL,
                         "the %s %u has %llu bytes, but must have 1 to %llu",
                         what, index, (unsigned long long) n,
                         (unsigned long long) max);
    const unsigned char *p = take(g, n);
    if (!p)
        return error_set(err, -EINVAL, "the file ends inside the %s %u", what,
                         index);
    if (!is_printable(p, n))
        return error_set(err, -EINVAL, "the %s %u is not printable text", what,
                         index);
    char *s = arena_alloc(g->arena, n + 1);
    if (!s)
        return no_memory(err);
    memcpy(s, p, n);
    *out = s;
    return 0;
}

static int ends_inside(const struct pair *p, struct error *err)
{
    return error_set(err, -EINVAL, "the file ends inside the value of %s",
                     p->key);
}

static int take_text(struct gguf *g, struct pair *p, struct error *err)
{
    uint64_t n;

    if (!take_u64(&n, g))
        return ends_inside(p, err);
    if (n > TEXT_BYTES_MAX)
        return error_set(err, -EINVAL,
                         "the string of %s claims %llu bytes, at most %d are "
                         "read",
                         p->key, (unsigned long long) n, TEXT_BYTES_MAX);
    p->data = take(g, n);
    if (!p->data)
        return ends_inside(p, err);
    char *s = arena_alloc(g->arena, n + 1);
    if (!s)
        return no_memory(err);
    memcpy(s, p->data, n);
    p->text = s;
    p->text_bytes = n;
    return 0;
}

static int take_array(struct gguf *g, struct pair *p, struct error *err)
{
    if (!take_u32(&p->item_type, g) || !take_u64(&p->count, g))
        return ends_inside(p, err);
    if (p->item_type >= GGUF_TYPE_COUNT)
        return error_set(err, -EINVAL,
                         "the array %s has items of type %u, "
                         "which does not exist",
                         p->key, p->item_type);
    if (p->item_type == GGUF_ARRAY)
        return error_set(err, -EINVAL,
                         "%s is an array of arrays, which is not supported",
                         p->key);

    uint64_t bytes;
    p->data = g->data + g->at;
    if (p->item_type != GGUF_STR) {
        if (!bits_mul(&bytes, p->count, types[p->item_type].bytes) ||
            !take(g, bytes))
            return error_set(err, -EINVAL,
                             "the array %s claims %llu items, but the file "
                             "ends before",
                             p->key, (unsigned long long) p->count);
        return 0;
    }
    for (uint64_t i = 0; i < p->count; i++)
        if (!take_u64(&bytes, g) || !take(g, bytes))
            return error_set(err, -EINVAL,
                             "the file ends inside string %llu of the array %s",
                             (unsigned long long) i, p->key);
    return 0;
}

static int take_value(struct gguf *g, struct pair *p, struct error *err)
{
    p->count = 1;
    if (p->type >= GGUF_TYPE_COUNT)
        return error_set(err, -EINVAL,
                         "the value of %s is of type %u, which does not exist",
                         p->key, p->type);
    if (p->type == GGUF_STR)
        return take_text(g, p, err);
    if (p->type == GGUF_ARRAY)
        return take_array(g, p, err);
    p->data = take(g, types[p->type].bytes);
    if (!p->data)
        return ends_inside(p, err);
    if (p->type == GGUF_BOOL && *p->data > 1)
        return error_set(err, -EINVAL, "the bool %s is %u, not 0 or 1", p->key,
                         *p->data);
    return 0;
}

static int key_compare(const void *a, const void *b)
{
    return strcmp((*(const struct pair *const *) a)->key,
                  (*(const struct pair *const *) b)->key);
}

static int name_compare(const void *a, const void *b)
{
    return strcmp((*(const struct gguf_tensor *const *) a)->name,
                  (*(const struct gguf_tensor *const *) b)->name);
}

static int read_pairs(struct gguf *g, struct error *err)
{
    g->pairs = arena_calloc(g->arena, g->n_pairs, sizeof(*g->pairs));
    g->by_key = arena_calloc(g->arena, g->n_pairs, sizeof(struct pair *));
    if (!g->pairs || !g->by_key)
        return no_memory(err);

    for (uint32_t i = 0; i < g->n_pairs; i++) {
        struct pair *p = &g->pairs[i];
        p->from = g->at;
        int rc = take_name(&p->key, g, KEY_BYTES_MAX, "key of pair", i, err);
        if (rc < 0)
            return rc;
        if (!take_u32(&p->type, g))
            return ends_inside(p, err);
        if ((rc = take_value(g, p, err)) < 0)
            return rc;
        p->end = g->at;
        g->by_key[i] = p;
    }
    qsort(g->by_key, g->n_pairs, sizeof(struct pair *), key_compare);
    for (uint32_t i = 1; i < g->n_pairs; i++)
        if (strcmp(g->by_key[i - 1]->key, g->by_key[i]->key) == 0)
            return error_set(err, -EINVAL, "the key %s is there twice",
                             g->by_key[i]->key);
    return 0;
}

static int check_split(const struct gguf *g, struct error *err)
{
    uint32_t parts, part = 0;

    if (!gguf_has(g, "split.count"))
        return 0;
    int rc = gguf_get_u32(&parts, g, "split.count", err);
    if (rc < 0)
        return rc;
    if (parts <= 1)
        return 0;
    if (gguf_has(g, "split.no") &&
        (rc = gguf_get_u32(&part, g, "split.no", err)) < 0)
        return rc;
    return error_set(err, -ENOTSUP,
                     "this is part %u of a model split into %u files, which "
                     "must be added together: name the first of them",
                     part + 1, parts);
}

// Dimensions, and for a known type the size in bytes.
static int take_shape(struct gguf *g, struct gguf_tensor *t, struct error *err)
{
    uint64_t values = 1, bytes;

    if (!take_u32(&t->n_dims, g))
        return error_set(err, -EINVAL,
                         "the file ends inside the entry of "
                         "tensor %s",
                         t->name);
    if (t->n_dims < 1 || t->n_dims > GGUF_DIMS_MAX)
        return error_set(err, -EINVAL,
                         "tensor %s has %u dimensions, but must have 1 to %d",
                         t->name, t->n_dims, GGUF_DIMS_MAX);
    for (uint32_t d = 0; d < GGUF_DIMS_MAX; d++) {
        uint64_t ne = 1;
        if (d < t->n_dims && !take_u64(&ne, g))
            return error_set(err, -EINVAL,
                             "the file ends inside the entry of "
                             "tensor %s",
                             t->name);
        if (ne == 0 || !bits_mul(&values, values, ne) || values > INT64_MAX)
            return error_set(err, -EINVAL,
                             "dimension %u of tensor %s is %llu, which is not "
                             "possible",
                             d, t->name, (unsigned long long) ne);
        t->ne[d] = (int64_t) ne;
    }
    if (!take_u32(&t->type_id, g))
        return error_set(err, -EINVAL,
                         "the file ends inside the entry of "
                         "tensor %s",
                         t->name);

    t->is_known = dtype_from_gguf(&t->dtype, t->type_id) == 0;
    if (!t->is_known)
        return 0;
    const struct dtype_info *info = &dtype_infos[t->dtype];
    if (t->ne[0] % info->block != 0)
        return error_set(err, -EINVAL,
                         "tensor %s has rows of %lld values, but type %s needs "
                         "a multiple of %u",
                         t->name, (long long) t->ne[0], info->name,
                         info->block);
    if (!bits_mul(&bytes, values / info->block, info->block_bytes) ||
        bytes > SIZE_MAX)
        return error_set(err, -EINVAL, "tensor %s is too large", t->name);
    t->bytes = bytes;
    return 0;
}

static int read_tensors(struct gguf *g, struct error *err)
{
    g->tensors = arena_calloc(g->arena, g->n_tensors, sizeof(*g->tensors));
    g->by_name =
        arena_calloc(g->arena, g->n_tensors, sizeof(struct gguf_tensor *));
    g->offsets = arena_calloc(g->arena, g->n_tensors, sizeof(*g->offsets));
    if (!g->tensors || !g->by_name || !g->offsets)
        return no_memory(err);

    for (uint32_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        const char *name = NULL;
        int rc =
            take_name(&name, g, GGUF_NAME_BYTES - 1, "name of tensor", i, err);
        if (rc < 0)
            return rc;
        memcpy(t->name, name, strlen(name) + 1);
        if ((rc = take_shape(g, t, err)) < 0)
            return rc;
        if (!take_u64(&g->offsets[i], g))
            return error_set(err, -EINVAL,
                             "the file ends inside the entry of "
                             "tensor %s",
                             t->name);
        g->by_name[i] = t;
    }
    qsort(g->by_name, g->n_tensors, sizeof(struct gguf_tensor *), name_compare);
    for (uint32_t i = 1; i < g->n_tensors; i++)
        if (strcmp(g->by_name[i - 1]->name, g->by_name[i]->name) == 0)
            return error_set(err, -EINVAL, "tensor %s is there twice",
                             g->by_name[i]->name);
    return 0;
}

static int data_compare(const void *a, const void *b)
{
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *) a;
    const struct gguf_tensor *y = *(const struct gguf_tensor *const *) b;
    uintptr_t p = (uintptr_t) x->data, q = (uintptr_t) y->data;
    return p < q ? -1 : p > q;
}

static int check_overlap(const struct gguf *g, struct error *err)
{
    const struct gguf_tensor **order =
        arena_calloc(g->arena, g->n_tensors, sizeof(struct gguf_tensor *));
    uint32_t n = 0;
    if (!order)
        return no_memory(err);

    for (uint32_t i = 0; i < g->n_tensors; i++)
        if (g->tensors[i].is_known)
            order[n++] = &g->tensors[i];
    qsort(order, n, sizeof(struct gguf_tensor *), data_compare);
    for (uint32_t i = 1; i < n; i++) {
        const struct gguf_tensor *a = order[i - 1], *b = order[i];
        if ((uintptr_t) b->data - (uintptr_t) a->data < a->bytes)
            return error_set(err, -EINVAL, "tensors %s and %s overlap", a->name,
                             b->name);
    }
    return 0;
}

// Where the data section begins, and that every tensor lies inside it.
static int place_tensors(struct gguf *g, struct error *err)
{
    uint32_t alignment = ALIGNMENT_DEFAULT;
    uint64_t start;

    if (gguf_has(g, "general.alignment")) {
        int rc = gguf_get_u32(&alignment, g, "general.alignment", err);
        if (rc < 0)
            return rc;
    }
    if (!bits_is_pow2(alignment) || alignment < ALIGNMENT_MIN)
        return error_set(err, -EINVAL,
                         "general.alignment is %u, but must be a power of two "
                         "and at least %d",
                         alignment, ALIGNMENT_MIN);
    if (g->n_tensors == 0)
        return 0;
    if (!bits_align_checked(&start, g->at, alignment) || start > g->bytes)
        return error_set(err, -EINVAL,
                         "the file ends before the data of its tensors");

    uint64_t room = g->bytes - start;
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        uint64_t offset = g->offsets[i];
        if (offset % alignment != 0)
            return error_set(err, -EINVAL,
                             "tensor %s is at offset %llu, which is not a "
                             "multiple of %u",
                             t->name, (unsigned long long) offset, alignment);
        if (offset > room || t->bytes > room - offset)
            return error_set(err, -EINVAL,
                             "tensor %s needs bytes %llu to %llu of the data, "
                             "but the file has only %llu: it is cut short or "
                             "damaged",
                             t->name, (unsigned long long) offset,
                             (unsigned long long) offset +
                                 (unsigned long long) t->bytes,
                             (unsigned long long) room);
        if (t->is_known)
            t->data = g->data + start + offset;
    }
    return check_overlap(g, err);
}

static int read_header(struct gguf *g, struct error *err)
{
    const unsigned char *magic = take(g, 4);
    uint32_t version;
    uint64_t n_tensors, n_pairs;

    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return error_set(err, -EINVAL,
                         "this is not a GGUF file; a model is one, or a "
                         "directory of safetensors with its config.json");
    if (!take_u32(&version, g) || !take_u64(&n_tensors, g) ||
        !take_u64(&n_pairs, g))
        return error_set(err, -EINVAL, "the file ends inside its header");
    if (version != 0 && (version & 0xffff) == 0)
        return error_set(err, -ENOTSUP,
                         "this GGUF file is big-endian, which is not "
                         "supported");
    if (version != 2 && version != 3)
        return error_set(err, -ENOTSUP,
                         "this is GGUF version %u, but 2 and 3 are supported: "
                         "convert the model again",
                         version);
    if (n_pairs > COUNT_MAX || n_pairs > (g->bytes - g->at) / PAIR_BYTES_MIN)
        return error_set(err, -EINVAL,
                         "the header claims %llu metadata pairs, more than "
                         "%s",
                         (unsigned long long) n_pairs,
                         n_pairs > COUNT_MAX ? "are supported"
                                             : "the file can hold");
    if (n_tensors > COUNT_MAX ||
        n_tensors > (g->bytes - g->at) / TENSOR_BYTES_MIN)
        return error_set(err, -EINVAL,
                         "the header claims %llu tensors, more than %s",
                         (unsigned long long) n_tensors,
                         n_tensors > COUNT_MAX ? "are supported"
                                               : "the file can hold");
    g->n_pairs = (uint32_t) n_pairs;
    g->n_tensors = (uint32_t) n_tensors;
    return 0;
}

// Takes `map`, also on failure.
static int load(struct gguf **out, struct mapfile *map, const void *data,
                size_t bytes, bool is_part, struct error *err)
{
    struct gguf *g = fault_calloc(1, sizeof(*g));
    int rc;

    if (!g) {
        mapfile_finish(map);
        return no_memory(err);
    }
    g->map = *map;
    g->data = data;
    g->bytes = bytes;
    if ((rc = arena_create(&g->arena, ARENA_MAX)) < 0) {
        no_memory(err);
        goto error;
    }
    if ((rc = read_header(g, err)) < 0 || (rc = read_pairs(g, err)) < 0 ||
        (!is_part && (rc = check_split(g, err)) < 0) ||
        (rc = read_tensors(g, err)) < 0 || (rc = place_tensors(g, err)) < 0)
        goto error;
    *out = g;
    return 0;

error:
    gguf_destroy(g);
    return rc;
}

int gguf_load(struct gguf **out, const char *path, struct error *err)
{
    struct mapfile map;
    int rc = mapfile_load(&map, path, err);
    if (rc < 0)
        return rc;
    if ((rc = load(out, &map, map.data, map.bytes, false, err)) < 0)
        return error_prefix(err, rc, "cannot read %s", path);
    return 0;
}

int gguf_load_fd(struct gguf **out, int fd, struct error *err)
{
    struct mapfile map;
    int rc = mapfile_load_fd(&map, fd, err);
    if (rc < 0)
        return rc;
    return load(out, &map, map.data, map.bytes, false, err);
}

int gguf_load_memory(struct gguf **out, const void *data, size_t bytes,
                     struct error *err)
{
    if ((uintptr_t) data % ALIGNMENT_MIN != 0)
        return error_set(err, -EINVAL, "the file's bytes are not aligned");
    return load(out, &(struct mapfile){0}, data, bytes, false, err);
}

int gguf_load_part_fd(struct gguf **out, int fd, struct error *err)
{
    struct mapfile map;
    int rc = mapfile_load_fd(&map, fd, err);
    if (rc < 0)
        return rc;
    return load(out, &map, map.data, map.bytes, true, err);
}

int gguf_load_part_memory(struct gguf **out, const void *data, size_t bytes,
                          struct error *err)
{
    if ((uintptr_t) data % ALIGNMENT_MIN != 0)
        return error_set(err, -EINVAL, "the file's bytes are not aligned");
    return load(out, &(struct mapfile){0}, data, bytes, true, err);
}

void gguf_destroy(struct gguf *g)
{
    if (!g)
        return;
    arena_destroy(g->arena);
    mapfile_finish(&g->map);
    free(g);
}

const void *gguf_mapping(const struct gguf *g, size_t *bytes)
{
    *bytes = g->bytes;
    return g->data;
}

static const struct pair *find_pair(const struct gguf *g, const char *key)
{
    uint32_t lo = 0, hi = g->n_pairs;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = strcmp(key, g->by_key[mid]->key);
        if (c == 0)
            return g->by_key[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

// NULL, and a sentence, when it is absent.
static const struct pair *get_pair(const struct gguf *g, const char *key,
                                   struct error *err)
{
    const struct pair *p = find_pair(g, key);
    if (!p)
        error_set(err, -ENOENT, "the file has no %s", key);
    return p;
}

static int wrong_type(const struct pair *p, const char *want, struct error *err)
{
    return error_set(err, -EINVAL, "%s is of type %s, but must be %s", p->key,
                     types[p->type].name, want);
}

bool gguf_has(const struct gguf *g, const char *key)
{
    return find_pair(g, key) != NULL;
}

// Integers of any type that a u32 can hold.
static bool fits_u32(uint32_t *out, const struct pair *p)
{
    uint64_t u = UINT64_MAX;
    switch ((enum gguf_type) p->type) {
    case GGUF_U8:
        u = *p->data;
        break;
    case GGUF_I8:
        u = (uint64_t) (int8_t) *p->data;
        break;
    case GGUF_U16:
        u = bits_load16(p->data);
        break;
    case GGUF_I16:
        u = (uint64_t) (int16_t) bits_load16(p->data);
        break;
    case GGUF_U32:
        u = bits_load32(p->data);
        break;
    case GGUF_I32:
        u = (uint64_t) (int32_t) bits_load32(p->data);
        break;
    case GGUF_U64:
    case GGUF_I64:
        u = bits_load64(p->data);
        break;
    case GGUF_F32:
    case GGUF_BOOL:
    case GGUF_STR:
    case GGUF_ARRAY:
    case GGUF_F64:
    case GGUF_TYPE_COUNT:
        return false;
    }
    if (u > UINT32_MAX)
        return false;
    *out = (uint32_t) u;
    return true;
}

int gguf_get_u32(uint32_t *out, const struct gguf *g, const char *key,
                 struct error *err)
{
    const struct pair *p = get_pair(g, key, err);
    if (!p)
        return -ENOENT;
    if (p->type == GGUF_ARRAY || p->type == GGUF_STR || p->type == GGUF_BOOL ||
        p->type == GGUF_F32 || p->type == GGUF_F64)
        return wrong_type(p, "an integer", err);
    if (!fits_u32(out, p))
        return error_set(err, -EINVAL,
                         "%s is negative or larger than 32 bits hold", key);
    return 0;
}

int gguf_get_f32(float *out, const struct gguf *g, const char *key,
                 struct error *err)
{
    const struct pair *p = get_pair(g, key, err);
    float f;
    if (!p)
        return -ENOENT;
    if (p->type == GGUF_F32) {
        f = bits_to_f32(bits_load32(p->data));
    } else if (p->type == GGUF_F64) {
        uint64_t u = bits_load64(p->data);
        double d;
        memcpy(&d, &u, sizeof(d));
        // Narrowing what float cannot hold would be undefined.
        f = fabs(d) <= 3e38 ? (float) d : (float) INFINITY;
    } else {
        return wrong_type(p, "f32", err);
    }
    if (!isfinite(f))
        return error_set(err, -EINVAL, "%s is not a finite number", key);
    *out = f;
    return 0;
}

int gguf_get_bool(bool *out, const struct gguf *g, const char *key,
                  struct error *err)
{
    const struct pair *p = get_pair(g, key, err);
    if (!p)
        return -ENOENT;
    if (p->type != GGUF_BOOL)
        return wrong_type(p, "bool", err);
    *out = *p->data == 1;
    return 0;
}

int gguf_get_str(const char **out, const struct gguf *g, const char *key,
                 struct error *err)
{
    const struct pair *p = get_pair(g, key, err);
    if (!p)
        return -ENOENT;
    if (p->type != GGUF_STR)
        return wrong_type(p, "a string", err);
    if (memchr(p->text, '\0', p->text_bytes))
        return error_set(err, -EINVAL, "the string of %s holds a NUL byte",
                         key);
    *out = p->text;
    return 0;
}

int gguf_get_array(struct gguf_array *out, const struct gguf *g,
                   const char *key, enum gguf_type type, struct error *err)
{
    const struct pair *p = get_pair(g, key, err);
    if (!p)
        return -ENOENT;
    if (p->type != GGUF_ARRAY)
        return wrong_type(p, "an array", err);
    if (p->item_type != type)
        return error_set(err, -EINVAL,
                         "%s is an array of %s, but must be one of %s", key,
                         types[p->item_type].name, types[type].name);
    *out = (struct gguf_array){type, p->count, p->data};
    return 0;
}

int32_t gguf_array_i32(const struct gguf_array *a, uint64_t i)
{
    return (int32_t) bits_load32(a->data + 4 * i);
}

float gguf_array_f32(const struct gguf_array *a, uint64_t i)
{
    return bits_to_f32(bits_load32(a->data + 4 * i));
}

const char *gguf_array_next(const struct gguf_array *a, size_t *cursor,
                            size_t *bytes)
{
    const unsigned char *p = a->data + *cursor;
    *bytes = (size_t) bits_load64(p);
    *cursor += 8 + *bytes;
    return (const char *) p + 8;
}

uint32_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, uint32_t i)
{
    return &g->tensors[i];
}

const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name)
{
    uint32_t lo = 0, hi = g->n_tensors;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = strcmp(name, g->by_name[mid]->name);
        if (c == 0)
            return g->by_name[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

// Types of weights that files hold and this build cannot read, for a sentence.
static const char *unread_name(uint32_t type_id)
{
    static const struct {
        uint32_t id;
        const char *name;
    } unread[] = {
        {9, "q8_1"},     {15, "q8_k"},  {16, "iq2_xxs"}, {17, "iq2_xs"},
        {18, "iq3_xxs"}, {19, "iq1_s"}, {21, "iq3_s"},   {22, "iq2_s"},
        {23, "iq4_xs"},  {24, "i8"},    {25, "i16"},     {27, "i64"},
        {28, "f64"},     {29, "iq1_m"}, {34, "tq1_0"},   {35, "tq2_0"},
        {39, "mxfp4"},   {40, "nvfp4"}, {41, "q1_0"},    {42, "q2_0"},
    };
    for (size_t i = 0; i < sizeof(unread) / sizeof(unread[0]); i++)
        if (unread[i].id == type_id)
            return unread[i].name;
    return "unknown";
}

int gguf_get_tensor(const struct gguf_tensor **out, const struct gguf *g,
                    const char *name, struct error *err)
{
    const struct gguf_tensor *t = gguf_find(g, name);
    if (!t)
        return error_set(err, -ENOENT, "the file has no tensor %s", name);
    if (!t->is_known)
        return error_set(err, -ENOTSUP,
                         "tensor %s is of type %s (%u), which cannot be read: "
                         "quantise the model to one of %s",
                         name, unread_name(t->type_id), t->type_id,
                         dtype_weight_names);
    *out = t;
    return 0;
}

uint32_t gguf_n_pairs(const struct gguf *g)
{
    return g->n_pairs;
}

const void *gguf_pair_at(const struct gguf *g, uint32_t i, const char **key,
                         size_t *bytes)
{
    const struct pair *p = &g->pairs[i];
    *key = p->key;
    *bytes = p->end - p->from;
    return g->data + p->from;
}
