// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Encoder
 *
 * Builds one msgpack object in a growing buffer with a limit. Containers are
 * opened and closed and count their entries themselves. The first failure is
 * kept and everything after it does nothing, so that a caller checks once,
 * with encoder_finish().
 *
 * In a map use the encoder_put_*() functions, which write key and value, or
 * encoder_key() and then one value or container.
 */

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct encoder {
    uint8_t *data;
    size_t bytes;
    // All that follow are private.
    size_t size;
    size_t limit;
    int rc;
    uint32_t depth;
    struct {
        size_t at;      // of the container's header
        uint32_t count; // objects in it, keys included
        bool is_map;
    } open[17];
};

// `limit` bytes at most; 0 = FRAME_BYTES_MAX.
void encoder_init(struct encoder *e, size_t limit);
void encoder_destroy(struct encoder *e);
// Forget the content, keep the memory.
void encoder_reset(struct encoder *e);
// 0 and e->data, e->bytes hold one complete object; else the first failure:
// -E2BIG past the limit, -ENOMEM, -EINVAL for containers left open, an odd
// number of objects in a map, text that is not UTF-8 or a float that is not
// finite.
int encoder_finish(const struct encoder *e);

void encoder_open_map(struct encoder *e);
void encoder_open_array(struct encoder *e);
void encoder_close(struct encoder *e); // the innermost one

void encoder_nil(struct encoder *e);
void encoder_bool(struct encoder *e, bool v);
void encoder_int(struct encoder *e, int64_t v);
void encoder_float(struct encoder *e, double v);
void encoder_str(struct encoder *e, const char *text, size_t bytes);
void encoder_cstr(struct encoder *e, const char *text); // NULL = nil
void encoder_bin(struct encoder *e, const void *data, size_t bytes);
// A copy of a decoded object, whatever it is.
void encoder_object(struct encoder *e, const msgpack_object *o);
// Bytes that are one object already, such as what another encoder holds.
void encoder_raw(struct encoder *e, const void *data, size_t bytes);

void encoder_key(struct encoder *e, const char *key);
void encoder_put_nil(struct encoder *e, const char *key);
void encoder_put_bool(struct encoder *e, const char *key, bool v);
void encoder_put_int(struct encoder *e, const char *key, int64_t v);
void encoder_put_float(struct encoder *e, const char *key, double v);
void encoder_put_str(struct encoder *e, const char *key, const char *text,
                     size_t bytes);
// NULL text: the key is left out.
void encoder_put_cstr(struct encoder *e, const char *key, const char *text);
void encoder_put_bin(struct encoder *e, const char *key, const void *data,
                     size_t bytes);
void encoder_put_object(struct encoder *e, const char *key,
                        const msgpack_object *o);
// The key, then an opened container; end it with encoder_close().
void encoder_put_map(struct encoder *e, const char *key);
void encoder_put_array(struct encoder *e, const char *key);
