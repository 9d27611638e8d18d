// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Base models (database thread)
 *
 * What was registered: where a file lies and what it was when it was read.
 * Exactly one model is the default as soon as there is one.
 */

#include "storage/store.h"

enum { STORE_CHAT_SIZE = 32 };

enum store_model_state {
    STORE_MODEL_READY,
    STORE_MODEL_MISSING, // the file is gone
    STORE_MODEL_CHANGED, // it has another hash
};

struct store_model {
    int64_t id;
    char name[STORE_NAME_SIZE];
    char path[STORE_PATH_SIZE];
    uint8_t sha256[STORE_HASH_BYTES];
    int64_t bytes;
    enum store_model_state state;
    bool is_default;
    int64_t added_ms;
    // As the file says; 0 or "" when it does not.
    char arch[32];
    char quant[32];
    char license[STORE_TEXT_SIZE];
    int64_t params;
    int64_t context;
    int64_t vocab;
    int64_t layers;
    int64_t width;
    char chat[STORE_CHAT_SIZE];     // the format that the file has
    char chat_set[STORE_CHAT_SIZE]; // the owner's word; "": none
};

typedef int (*store_model_fn)(const struct store_model *m, void *user);

const char *store_model_state_name(enum store_model_state state);

// Everything but id is taken from `m`; the first model becomes the default.
// -EEXIST: the name or the hash is taken.
int store_model_add(struct store *s, const struct store_model *m, int64_t *id,
                    struct error *err);
int store_model_get(struct store *s, const char *name, struct store_model *out,
                    struct error *err);
int store_model_get_id(struct store *s, int64_t id, struct store_model *out,
                       struct error *err);
int store_model_get_hash(struct store *s,
                         const uint8_t sha256[STORE_HASH_BYTES],
                         struct store_model *out, struct error *err);
// -ENOENT when there is no model.
int store_model_get_default(struct store *s, struct store_model *out,
                            struct error *err);
// By name; stops when `fn` returns other than 0, and returns that.
int store_model_each(struct store *s, store_model_fn fn, void *user,
                     struct error *err);
int store_model_set_default(struct store *s, const char *name,
                            struct error *err);
// "" goes back to what the file says.
int store_model_set_chat(struct store *s, const char *name, const char *chat,
                         struct error *err);
int store_model_set_state(struct store *s, int64_t id,
                          enum store_model_state state, struct error *err);
// The path under which the same bytes were found again.
int store_model_set_path(struct store *s, int64_t id, const char *path,
                         struct error *err);
// -EBUSY while an adapter or an unfinished job uses it.
int store_model_remove(struct store *s, const char *name, struct error *err);
