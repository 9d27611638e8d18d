// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Both directions walk one description of the structs, which is made from
 * worker_proto.def, so that a field cannot be written in one way and read in
 * another.
 */

#include "ipc/worker_proto.h"

#include "engine/base/error.h"
#include "engine/base/utf8.h"
#include "ipc/codec.h"
#include "ipc/encoder.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum field_type {
    TYPE_U32,
    TYPE_U64,
    TYPE_F64,
    TYPE_BOOL,
    TYPE_STR,
    TYPE_TEXT,
    TYPE_HASH,
    TYPE_FD,
    TYPE_LIST,
};

struct field {
    const char *name;
    enum field_type type;
    uint64_t limit;
    size_t offset;
    // LIST
    size_t count_offset;
    const struct field *item;
    uint32_t n_item;
    size_t item_bytes;
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define ITEM(name)       static const struct field fields_##name[] = {
#define MSG(name, w, by) static const struct field fields_##name[] = {
#define FIELD(message, kind, field, max) \
    {.name = #field,                     \
     .type = TYPE_##kind,                \
     .limit = (uint64_t) (max),          \
     .offset = offsetof(struct worker_##message, field)},
#define LIST(message, element, field, max)                         \
    {.name = #field,                                               \
     .type = TYPE_LIST,                                            \
     .limit = (uint64_t) (max),                                    \
     .offset = offsetof(struct worker_##message, field),           \
     .count_offset = offsetof(struct worker_##message, n_##field), \
     .item = fields_##element,                                     \
     .n_item = COUNT(fields_##element),                            \
     .item_bytes = sizeof(struct worker_##element)},
#define END(name) \
    }             \
    ;
#include "ipc/worker_proto.def"
#undef ITEM
#undef MSG
#undef FIELD
#undef LIST
#undef END

static const struct layout {
    const char *name;
    enum worker_side sender;
    const struct field *fields;
    uint32_t n_fields;
} layouts[WORKER_MSG_COUNT] = {
#define ITEM(name)
#define MSG(name, wire, by) \
    [WORKER_MSG_##          \
        name] = {wire, WORKER_SIDE_##by, fields_##name, COUNT(fields_##name)},
#define FIELD(message, kind, field, max)
#define LIST(message, element, field, max)
#define END(name)
#include "ipc/worker_proto.def"
#undef ITEM
#undef MSG
#undef FIELD
#undef LIST
#undef END
};

// All members of the union begin here.
static uint8_t *msg_body(struct worker_msg *m)
{
    return (uint8_t *) m + offsetof(struct worker_msg, hello);
}

void worker_msg_init(struct worker_msg *m, enum worker_msg_type type)
{
    memset(m, 0, sizeof(*m));
    m->type = type;
    const struct layout *l = &layouts[type];
    for (uint32_t i = 0; i < l->n_fields; i++) {
        uint8_t *at = msg_body(m) + l->fields[i].offset;
        if (l->fields[i].type == TYPE_FD)
            *(int *) (void *) at = -1;
        else if (l->fields[i].type == TYPE_F64)
            *(double *) (void *) at = (double) NAN;
    }
}

void worker_msg_finish(struct worker_msg *m)
{
    if (!m)
        return;
    const struct layout *l = &layouts[m->type];
    for (uint32_t i = 0; i < l->n_fields; i++) {
        if (l->fields[i].type != TYPE_FD)
            continue;
        int *fd = (int *) (void *) (msg_body(m) + l->fields[i].offset);
        if (*fd >= 0)
            (void) close(*fd);
        *fd = -1;
    }
}

const char *worker_msg_name(enum worker_msg_type type)
{
    return (unsigned) type < WORKER_MSG_COUNT ? layouts[type].name : "?";
}

enum worker_side worker_msg_sender(enum worker_msg_type type)
{
    return layouts[type].sender;
}

/*
 * Encoding
 */

struct encoding {
    struct encoder enc;
    int *fds;
    uint32_t n_fds;
    const char *message;
};

static int refuse(const struct encoding *e, const struct field *f,
                  const char *why, struct error *err)
{
    return error_set(err, -EINVAL, "%s: %s %s", e->message, f->name, why);
}

static int encode_number(struct encoding *e, const struct field *f, uint64_t v,
                         struct error *err)
{
    if (v > f->limit)
        return refuse(e, f, "is over its limit", err);
    encoder_int(&e->enc, (int64_t) v);
    return 0;
}

static int encode_double(struct encoding *e, const struct field *f, double v,
                         struct error *err)
{
    if (isinf(v))
        return refuse(e, f, "is infinite", err);
    if (isnan(v))
        encoder_nil(&e->enc);
    else
        encoder_float(&e->enc, v);
    return 0;
}

static int encode_str(struct encoding *e, const struct field *f, const char *s,
                      size_t bytes, struct error *err)
{
    if (bytes >= f->limit + (f->type == TYPE_TEXT))
        return refuse(e, f, "is too long", err);
    if (!utf8_is_valid(s, bytes))
        return refuse(e, f, "is not UTF-8", err);
    encoder_str(&e->enc, s, bytes);
    return 0;
}

static int encode_fd(struct encoding *e, const struct field *f, int fd,
                     struct error *err)
{
    if (fd < 0 && f->limit)
        return refuse(e, f, "is missing", err);
    if (fd < 0) {
        encoder_nil(&e->enc);
        return 0;
    }
    if (e->n_fds == WORKER_FDS_MAX)
        return refuse(e, f, "is one descriptor too many", err);
    encoder_int(&e->enc, (int64_t) e->n_fds);
    e->fds[e->n_fds++] = fd;
    return 0;
}

static int encode_field(struct encoding *e, const struct field *f,
                        const uint8_t *at, struct error *err)
{
    const struct worker_text *text = (const void *) at;

    switch (f->type) {
    case TYPE_U32:
        return encode_number(e, f, *(const uint32_t *) (const void *) at, err);
    case TYPE_U64:
        return encode_number(e, f, *(const uint64_t *) (const void *) at, err);
    case TYPE_F64:
        return encode_double(e, f, *(const double *) (const void *) at, err);
    case TYPE_BOOL:
        encoder_bool(&e->enc, *(const bool *) at);
        return 0;
    case TYPE_STR:
        return encode_str(e, f, (const char *) at,
                          strnlen((const char *) at, f->limit), err);
    case TYPE_TEXT:
        return encode_str(e, f, text->data, text->bytes, err);
    case TYPE_HASH:
        encoder_bin(&e->enc, at, WORKER_HASH_BYTES);
        return 0;
    case TYPE_FD:
        return encode_fd(e, f, *(const int *) (const void *) at, err);
    case TYPE_LIST:
        break;
    }
    return refuse(e, f, "is a list in a list", err);
}

static int encode_list(struct encoding *e, const struct field *f,
                       const uint8_t *body, struct error *err)
{
    uint32_t n = *(const uint32_t *) (const void *) (body + f->count_offset);
    const uint8_t *at = body + f->offset;

    if (n > f->limit)
        return refuse(e, f, "has too many items", err);
    encoder_open_array(&e->enc);
    for (uint32_t i = 0; i < n; i++, at += f->item_bytes) {
        encoder_open_map(&e->enc);
        for (uint32_t k = 0; k < f->n_item; k++) {
            encoder_key(&e->enc, f->item[k].name);
            int rc = encode_field(e, &f->item[k], at + f->item[k].offset, err);
            if (rc < 0)
                return rc;
        }
        encoder_close(&e->enc);
    }
    encoder_close(&e->enc);
    return 0;
}

static int encode_body(struct encoding *e, const struct layout *l,
                       const uint8_t *body, struct error *err)
{
    int rc;

    encoder_open_map(&e->enc);
    encoder_put_cstr(&e->enc, "t", l->name);
    for (uint32_t i = 0; i < l->n_fields; i++) {
        const struct field *f = &l->fields[i];
        encoder_key(&e->enc, f->name);
        rc = f->type == TYPE_LIST ? encode_list(e, f, body, err)
                                  : encode_field(e, f, body + f->offset, err);
        if (rc < 0)
            return rc;
    }
    encoder_close(&e->enc);
    if ((rc = encoder_finish(&e->enc)) < 0)
        return error_set(err, rc, "%s cannot be encoded: %s", l->name,
                         strerror(-rc));
    return 0;
}

int worker_msg_encode(uint8_t *buf, size_t size, size_t *bytes,
                      int fds[WORKER_FDS_MAX], uint32_t *n_fds,
                      const struct worker_msg *m, struct error *err)
{
    const struct layout *l = &layouts[m->type];
    struct encoding e = {.fds = fds, .message = l->name};

    encoder_init(&e.enc, WORKER_PACKET_MAX);
    int rc =
        encode_body(&e, l, msg_body((struct worker_msg *) (uintptr_t) m), err);
    if (rc < 0)
        goto out;
    if (e.enc.bytes > size) {
        rc = error_set(err, -EINVAL,
                       "%s has %zu bytes, but there is room for "
                       "%zu",
                       l->name, e.enc.bytes, size);
        goto out;
    }
    memcpy(buf, e.enc.data, e.enc.bytes);
    *bytes = e.enc.bytes;
    *n_fds = e.n_fds;

out:
    encoder_destroy(&e.enc);
    return rc;
}

/*
 * Decoding
 */

struct decoding {
    const struct layout *layout;
    const int *fds;
    uint32_t n_fds;
    uint32_t fds_used; // bits
    bool is_lenient;
    struct error *err;
};

static int bad(const struct decoding *d, const struct field *f, const char *why)
{
    return error_set(d->err, -EPROTO, "%s: %s %s", d->layout->name, f->name,
                     why);
}

static int decode_number(const struct decoding *d, const struct field *f,
                         const msgpack_object *o, uint64_t *v)
{
    int64_t i;

    if (!codec_as_int(o, &i))
        return bad(d, f, "is not an integer");
    if (i < 0 || (uint64_t) i > f->limit)
        return bad(d, f, "is out of range");
    *v = (uint64_t) i;
    return 0;
}

static int decode_double(const struct decoding *d, const struct field *f,
                         const msgpack_object *o, double *v)
{
    int64_t i;

    if (o->type == MSGPACK_OBJECT_NIL)
        *v = (double) NAN;
    else if (o->type == MSGPACK_OBJECT_FLOAT32 ||
             o->type == MSGPACK_OBJECT_FLOAT64)
        *v = o->via.f64;
    else if (codec_as_int(o, &i))
        *v = (double) i;
    else
        return bad(d, f, "is not a number");
    return 0;
}

static int decode_str(const struct decoding *d, const struct field *f,
                      const msgpack_object *o, uint8_t *at)
{
    struct worker_text *text = (void *) at;
    const char *s = o->via.str.ptr;
    size_t n = o->via.str.size;

    if (o->type != MSGPACK_OBJECT_STR)
        return bad(d, f, "is not a string");
    if (n >= f->limit + (f->type == TYPE_TEXT))
        return bad(d, f, "is too long");
    if (f->type == TYPE_TEXT) {
        memcpy(text->data, s, n);
        text->bytes = (uint32_t) n;
        return 0;
    }
    if (memchr(s, 0, n))
        return bad(d, f, "has a NUL");
    memcpy(at, s, n);
    at[n] = 0;
    return 0;
}

static int decode_fd(struct decoding *d, const struct field *f,
                     const msgpack_object *o, int *fd)
{
    int64_t i;

    if (o->type == MSGPACK_OBJECT_NIL)
        return f->limit ? bad(d, f, "is missing") : 0;
    if (!codec_as_int(o, &i))
        return bad(d, f, "is not the number of a descriptor");
    if (i < 0 || i >= (int64_t) d->n_fds)
        return bad(d, f, "names a descriptor that was not passed");
    if (d->fds_used & (1u << i))
        return bad(d, f, "names a descriptor of another field");
    d->fds_used |= 1u << i;
    *fd = d->fds[i];
    return 0;
}

static int decode_field(struct decoding *d, const struct field *f,
                        const msgpack_object *o, uint8_t *at)
{
    uint64_t v = 0;
    int rc;

    switch (f->type) {
    case TYPE_U32:
        if ((rc = decode_number(d, f, o, &v)) == 0)
            *(uint32_t *) (void *) at = (uint32_t) v;
        return rc;
    case TYPE_U64:
        return decode_number(d, f, o, (uint64_t *) (void *) at);
    case TYPE_F64:
        return decode_double(d, f, o, (double *) (void *) at);
    case TYPE_BOOL:
        if (o->type != MSGPACK_OBJECT_BOOLEAN)
            return bad(d, f, "is not true or false");
        *(bool *) at = o->via.boolean;
        return 0;
    case TYPE_STR:
    case TYPE_TEXT:
        return decode_str(d, f, o, at);
    case TYPE_HASH:
        if (o->type != MSGPACK_OBJECT_BIN ||
            o->via.bin.size != WORKER_HASH_BYTES)
            return bad(d, f, "is not a hash of 32 bytes");
        memcpy(at, o->via.bin.ptr, WORKER_HASH_BYTES);
        return 0;
    case TYPE_FD:
        return decode_fd(d, f, o, (int *) (void *) at);
    case TYPE_LIST:
        break;
    }
    return bad(d, f, "is a list in a list");
}

static const struct field *field_find(const struct field *f, uint32_t n,
                                      const msgpack_object *key)
{
    struct codec_bytes k;

    if (!codec_as_str(key, &k))
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        if (codec_bytes_equal(k, f[i].name))
            return &f[i];
    return NULL;
}

static int decode_item(struct decoding *d, const struct field *list,
                       const msgpack_object *o, uint8_t *at)
{
    if (o->type != MSGPACK_OBJECT_MAP || o->via.map.size != list->n_item)
        return bad(d, list, "has an item with too few or too many fields");
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        const struct field *f = field_find(list->item, list->n_item, &kv->key);
        if (!f)
            return bad(d, list, "has an item with an unknown field");
        int rc = decode_field(d, f, &kv->val, at + f->offset);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int decode_list(struct decoding *d, const struct field *f,
                       const msgpack_object *o, uint8_t *body)
{
    uint32_t n = codec_count(o);

    if (o->type != MSGPACK_OBJECT_ARRAY)
        return bad(d, f, "is not a list");
    if (n > f->limit)
        return bad(d, f, "has too many items");
    for (uint32_t i = 0; i < n; i++) {
        int rc = decode_item(d, f, codec_at(o, i),
                             body + f->offset + i * f->item_bytes);
        if (rc < 0)
            return rc;
    }
    *(uint32_t *) (void *) (body + f->count_offset) = n;
    return 0;
}

// Keys differ (the codec saw to it), so that as many known keys as fields
// means that every field is there.
static int decode_body(struct decoding *d, const msgpack_object *root,
                       uint8_t *body)
{
    const struct layout *l = d->layout;
    uint32_t known = 0;

    for (uint32_t i = 0; i < root->via.map.size; i++) {
        const msgpack_object_kv *kv = &root->via.map.ptr[i];
        struct codec_bytes key = {"", 0};
        (void) codec_as_str(&kv->key, &key);
        if (codec_bytes_equal(key, "t"))
            continue;
        const struct field *f = field_find(l->fields, l->n_fields, &kv->key);
        if (!f && d->is_lenient)
            continue;
        if (!f)
            return error_set(d->err, -EPROTO, "%s: unknown field %.*s", l->name,
                             key.bytes > 32 ? 32 : (int) key.bytes, key.data);
        int rc = f->type == TYPE_LIST
                     ? decode_list(d, f, &kv->val, body)
                     : decode_field(d, f, &kv->val, body + f->offset);
        if (rc < 0)
            return rc;
        known++;
    }
    if (known != l->n_fields && !d->is_lenient)
        return error_set(d->err, -EPROTO,
                         "%s: %" PRIu32 " of %" PRIu32 " fields are missing",
                         l->name, l->n_fields - known, l->n_fields);
    if (d->fds_used != (1u << d->n_fds) - 1)
        return error_set(d->err, -EPROTO,
                         "%s: a descriptor was passed that no field names",
                         l->name);
    return 0;
}

static const struct layout *layout_find(const msgpack_object *root)
{
    struct codec_bytes name = codec_str(root, "t");

    if (!name.data)
        return NULL;
    for (int i = 0; i < WORKER_MSG_COUNT; i++)
        if (codec_bytes_equal(name, layouts[i].name))
            return &layouts[i];
    return NULL;
}

static int decode_root(struct worker_msg *m, struct decoding *d,
                       const msgpack_object *root, enum worker_side sender)
{
    if (root->type != MSGPACK_OBJECT_MAP)
        return error_set(d->err, -EPROTO, "the packet is not a map");
    d->layout = layout_find(root);
    if (!d->layout)
        return error_set(d->err, -EPROTO, "the packet has no known name");
    if (!(d->layout->sender & sender))
        return error_set(d->err, -EPROTO, "%s is not for this end to send",
                         d->layout->name);
    worker_msg_init(m, (enum worker_msg_type)(d->layout - layouts));
    d->is_lenient = m->type == WORKER_MSG_hello;
    return decode_body(d, root, msg_body(m));
}

int worker_msg_decode(struct worker_msg *out, const uint8_t *buf, size_t bytes,
                      const int *fds, uint32_t n_fds, enum worker_side sender,
                      struct error *err)
{
    static const struct frame_limits limits = {
        .depth = 4,
        .objects = 1024,
        .bytes = WORKER_PACKET_MAX,
        .string_bytes = 8 << 10,
    };
    struct decoding d = {.fds = fds, .n_fds = n_fds, .err = err};
    struct worker_msg m;
    struct codec_doc doc;

    if (n_fds > WORKER_FDS_MAX)
        return error_set(err, -EPROTO, "%" PRIu32 " descriptors in one packet",
                         n_fds);
    int rc = codec_decode(&doc, buf, bytes, &limits, err);
    if (rc < 0)
        return rc;
    rc = decode_root(&m, &d, &doc.root, sender);
    codec_finish(&doc);
    if (rc == 0)
        *out = m;
    return rc;
}
