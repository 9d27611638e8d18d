// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Decoder
 *
 * From the bytes of a frame to a tree of msgpack objects that can be trusted:
 * inside the limits, no ext, every str valid UTF-8, every float finite, every
 * int inside int64, map keys are str and differ, no map over CODEC_KEYS_MAX
 * keys. So a getter has only the type and the range left to check.
 *
 * Strings point into the frame's bytes: these must outlive the codec_doc.
 */

#include "engine/base/error.h"
#include "ipc/frame.h"

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CODEC_KEYS_MAX = 256 };

// Bytes inside a frame; not NUL-terminated.
struct codec_bytes {
    const char *data;
    size_t bytes;
};

struct codec_doc {
    msgpack_object root;
    msgpack_zone *zone; // private
};

// -EPROTO when the bytes are not exactly one good object, -ENOMEM.
int codec_decode(struct codec_doc *out, const void *frame, size_t bytes,
                 const struct frame_limits *limits, struct error *err);
void codec_finish(struct codec_doc *doc);

// Strict getters. `map` is any object: one that is no map has no keys.
// 0: there, *out is set. -ENOENT: absent or nil, *out untouched, err untouched.
// -EINVAL: another type or outside the range; err names the key.
int codec_get_bool(const msgpack_object *map, const char *key, bool *out,
                   struct error *err);
int codec_get_int(const msgpack_object *map, const char *key, int64_t min,
                  int64_t max, int64_t *out, struct error *err);
// Takes an int too.
int codec_get_float(const msgpack_object *map, const char *key, double *out,
                    struct error *err);
int codec_get_str(const msgpack_object *map, const char *key,
                  struct codec_bytes *out, struct error *err);
int codec_get_bin(const msgpack_object *map, const char *key,
                  struct codec_bytes *out, struct error *err);
// Copied and terminated; a NUL inside or more than size - 1 bytes: -EINVAL.
int codec_get_cstr(const msgpack_object *map, const char *key, char *out,
                   size_t size, struct error *err);
int codec_get_map(const msgpack_object *map, const char *key,
                  const msgpack_object **out, struct error *err);
int codec_get_array(const msgpack_object *map, const char *key,
                    const msgpack_object **out, struct error *err);

// For handlers, after method_check_params(): the value, or `fallback` when it
// is absent or of another type.
bool codec_bool(const msgpack_object *map, const char *key, bool fallback);
int64_t codec_int(const msgpack_object *map, const char *key, int64_t fallback);
double codec_float(const msgpack_object *map, const char *key, double fallback);
// {NULL, 0} when absent.
struct codec_bytes codec_str(const msgpack_object *map, const char *key);

// The object behind a key; NULL when absent or nil.
const msgpack_object *codec_find(const msgpack_object *map, const char *key);
// The same as codec_find() for a key that is not terminated.
const msgpack_object *codec_find_bytes(const msgpack_object *map,
                                       struct codec_bytes key);

// Entries of an array or map; 0 for anything else and for NULL.
uint32_t codec_count(const msgpack_object *o);
// The i-th entry of an array; NULL past its end.
const msgpack_object *codec_at(const msgpack_object *array, uint32_t i);

// The str or bin itself, the int itself; false for another type.
bool codec_as_str(const msgpack_object *o, struct codec_bytes *out);
bool codec_as_int(const msgpack_object *o, int64_t *out);

bool codec_bytes_equal(struct codec_bytes a, const char *b);

// Refuse keys that begin with "!" and are not in the NULL-ended list: the
// sender says that they must not be ignored.
int codec_check_critical(const msgpack_object *map, const char *const *known,
                         struct error *err);
