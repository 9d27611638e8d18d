// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Methods
 *
 * methods.def as data: who may call what, with which parameters. The check of
 * parameters is made here, for all methods, before a handler sees them.
 */

#include "engine/base/error.h"
#include "ipc/codec.h"

#include <stdbool.h>
#include <stdint.h>

enum method {
#define METHOD(sym, ...) METHOD_##sym,
#include "ipc/methods.def"
    METHOD_COUNT
};

enum method_scope {
    METHOD_SCOPE_APP,   // every client, for its own records
    METHOD_SCOPE_OWNER, // the owner of the store, or root
};

enum method_flags {
    METHOD_BEFORE_HELLO = 1 << 0,
    METHOD_STREAM = 1 << 1, // `stream:true` is understood
    METHOD_FD_IN = 1 << 2,  // the request brings a descriptor
    METHOD_FD_OPT = 1 << 3, // it may bring one
    METHOD_WRITES = 1 << 4, // it changes the store
};

enum method_type {
    METHOD_TYPE_BOOL,
    METHOD_TYPE_INT,
    METHOD_TYPE_FLOAT,
    METHOD_TYPE_STR,
    METHOD_TYPE_BIN,
    METHOD_TYPE_LIST,
    METHOD_TYPE_MAP,
    METHOD_TYPE_ANY,
};

struct method_info {
    const char *name; // "data.put"
    enum method_scope scope;
    uint32_t flags;
    uint32_t since;
    const char *doc;
};

// A parameter, a result or a field of a struct.
struct method_field {
    const char *key;
    enum method_type type;
    bool is_required;
    int64_t min; // with max: see methods.def
    int64_t max;
    const char *of; // what is inside, or the unit
    const char *doc;
};

struct method_struct {
    const char *name; // "record"
    const char *doc;
};

extern const struct method_info method_infos[METHOD_COUNT];

// METHOD_COUNT when there is none.
enum method method_from_name(const char *name, size_t bytes);

// The rows that belong to a method or struct; *count of them.
const struct method_field *method_params(enum method m, size_t *count);
const struct method_field *method_results(enum method m, size_t *count);
// `name` as in the `of` column; NULL when it is no struct.
const struct method_field *method_struct_fields(const char *name,
                                                size_t *count);
const char *method_type_name(enum method_type type); // "int", "list", ...

// What every request may carry, taken out of its parameters.
struct method_common {
    bool is_stream;     // `stream:true`
    bool has_fd;        // `fd:true`: the oldest unclaimed descriptor is its own
    int64_t timeout_ms; // 0 = none
};

// Check `params` of a request against the table, and lists of structs inside
// too. -EINVAL and a sentence that names the parameter.
int method_check_params(enum method m, const msgpack_object *params,
                        struct method_common *common, struct error *err);
