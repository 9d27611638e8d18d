// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/encoder.h"

#include "engine/base/fault.h"
#include "engine/base/utf8.h"
#include "ipc/frame.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPEN_MAX = sizeof(((struct encoder *) 0)->open) /
               sizeof(((struct encoder *) 0)->open[0]),
    HEADER_BYTES = 3, // array 16, map 16
    COUNT_MAX = 65535,
};

static void fail(struct encoder *e, int rc)
{
    if (e->rc == 0)
        e->rc = rc;
}

static int append(void *user, const char *data, size_t bytes)
{
    struct encoder *e = user;

    if (e->rc < 0)
        return -1;
    if (bytes > e->limit - e->bytes) {
        fail(e, -E2BIG);
        return -1;
    }
    if (bytes > e->size - e->bytes) {
        size_t size = e->size ? e->size : 256;
        while (size - e->bytes < bytes)
            size *= 2;
        uint8_t *p = fault_realloc(e->data, size);
        if (!p) {
            fail(e, -ENOMEM);
            return -1;
        }
        e->data = p;
        e->size = size;
    }
    if (bytes > 0)
        memcpy(e->data + e->bytes, data, bytes);
    e->bytes += bytes;
    return 0;
}

// Every object passes here before its bytes: counts it in its container.
static bool begin(struct encoder *e, msgpack_packer *pk)
{
    if (e->rc < 0)
        return false;
    if (e->depth == 0 && e->bytes > 0) {
        fail(e, -EINVAL); // a second object
        return false;
    }
    if (e->depth > 0)
        e->open[e->depth - 1].count++;
    msgpack_packer_init(pk, e, append);
    return true;
}

void encoder_init(struct encoder *e, size_t limit)
{
    memset(e, 0, sizeof(*e));
    e->limit = limit ? limit : FRAME_BYTES_MAX;
}

void encoder_destroy(struct encoder *e)
{
    free(e->data);
    encoder_init(e, e->limit);
}

void encoder_reset(struct encoder *e)
{
    e->bytes = 0;
    e->rc = 0;
    e->depth = 0;
}

int encoder_finish(const struct encoder *e)
{
    if (e->rc < 0)
        return e->rc;
    return e->depth > 0 || e->bytes == 0 ? -EINVAL : 0;
}

static void open_container(struct encoder *e, bool is_map)
{
    static const char header[2][HEADER_BYTES] = {"\xdc\0\0", "\xde\0\0"};
    msgpack_packer pk;

    if (e->depth == OPEN_MAX)
        fail(e, -EINVAL);
    if (!begin(e, &pk))
        return;
    size_t at = e->bytes;
    if (append(e, header[is_map], HEADER_BYTES) < 0)
        return;
    e->open[e->depth].at = at;
    e->open[e->depth].count = 0;
    e->open[e->depth].is_map = is_map;
    e->depth++;
}

void encoder_open_map(struct encoder *e)
{
    open_container(e, true);
}

void encoder_open_array(struct encoder *e)
{
    open_container(e, false);
}

void encoder_close(struct encoder *e)
{
    if (e->depth == 0)
        fail(e, -EINVAL);
    if (e->rc < 0)
        return;
    e->depth--;
    uint32_t count = e->open[e->depth].count;
    if (e->open[e->depth].is_map) {
        if (count % 2)
            fail(e, -EINVAL);
        count /= 2;
    }
    if (count > COUNT_MAX)
        fail(e, -E2BIG);
    uint8_t *p = e->data + e->open[e->depth].at;
    p[1] = (uint8_t) (count >> 8);
    p[2] = (uint8_t) count;
}

void encoder_nil(struct encoder *e)
{
    msgpack_packer pk;

    if (begin(e, &pk))
        (void) msgpack_pack_nil(&pk);
}

void encoder_bool(struct encoder *e, bool v)
{
    msgpack_packer pk;

    if (begin(e, &pk))
        (void) (v ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk));
}

void encoder_int(struct encoder *e, int64_t v)
{
    msgpack_packer pk;

    if (begin(e, &pk))
        (void) msgpack_pack_int64(&pk, v);
}

void encoder_float(struct encoder *e, double v)
{
    msgpack_packer pk;

    if (!isfinite(v))
        fail(e, -EINVAL);
    if (begin(e, &pk))
        (void) msgpack_pack_double(&pk, v);
}

void encoder_str(struct encoder *e, const char *text, size_t bytes)
{
    msgpack_packer pk;

    if (bytes > e->limit)
        fail(e, -E2BIG);
    else if (!utf8_is_valid(text, bytes))
        fail(e, -EINVAL);
    if (!begin(e, &pk))
        return;
    (void) msgpack_pack_str(&pk, bytes);
    (void) msgpack_pack_str_body(&pk, text, bytes);
}

void encoder_cstr(struct encoder *e, const char *text)
{
    if (text)
        encoder_str(e, text, strlen(text));
    else
        encoder_nil(e);
}

void encoder_bin(struct encoder *e, const void *data, size_t bytes)
{
    msgpack_packer pk;

    if (bytes > e->limit)
        fail(e, -E2BIG);
    if (!begin(e, &pk))
        return;
    (void) msgpack_pack_bin(&pk, bytes);
    (void) msgpack_pack_bin_body(&pk, data, bytes);
}

void encoder_object(struct encoder *e, const msgpack_object *o)
{
    msgpack_packer pk;

    if (begin(e, &pk))
        (void) msgpack_pack_object(&pk, *o);
}

void encoder_raw(struct encoder *e, const void *data, size_t bytes)
{
    msgpack_packer pk;

    if (begin(e, &pk))
        (void) append(e, data, bytes);
}

void encoder_key(struct encoder *e, const char *key)
{
    encoder_cstr(e, key);
}

void encoder_put_nil(struct encoder *e, const char *key)
{
    encoder_key(e, key);
    encoder_nil(e);
}

void encoder_put_bool(struct encoder *e, const char *key, bool v)
{
    encoder_key(e, key);
    encoder_bool(e, v);
}

void encoder_put_int(struct encoder *e, const char *key, int64_t v)
{
    encoder_key(e, key);
    encoder_int(e, v);
}

void encoder_put_float(struct encoder *e, const char *key, double v)
{
    encoder_key(e, key);
    encoder_float(e, v);
}

void encoder_put_str(struct encoder *e, const char *key, const char *text,
                     size_t bytes)
{
    encoder_key(e, key);
    encoder_str(e, text, bytes);
}

void encoder_put_cstr(struct encoder *e, const char *key, const char *text)
{
    if (!text)
        return;
    encoder_key(e, key);
    encoder_cstr(e, text);
}

void encoder_put_bin(struct encoder *e, const char *key, const void *data,
                     size_t bytes)
{
    encoder_key(e, key);
    encoder_bin(e, data, bytes);
}

void encoder_put_object(struct encoder *e, const char *key,
                        const msgpack_object *o)
{
    encoder_key(e, key);
    encoder_object(e, o);
}

void encoder_put_map(struct encoder *e, const char *key)
{
    encoder_key(e, key);
    encoder_open_map(e);
}

void encoder_put_array(struct encoder *e, const char *key)
{
    encoder_key(e, key);
    encoder_open_array(e);
}
