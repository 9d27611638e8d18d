// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Apps and grants (database thread)
 *
 * Who asked to use pockd, and what the owner granted. The owner's own records
 * (STORE_APP_HOST) need no row.
 */

#include "storage/store.h"

enum store_purpose {
    STORE_PURPOSE_TRAIN = 1,
    STORE_PURPOSE_GENERATE = 2,
    STORE_PURPOSE_SCORE = 4,
    STORE_PURPOSE_ALL = 7,
};

enum store_app_state {
    STORE_APP_PENDING,
    STORE_APP_GRANTED,
    STORE_APP_REVOKED,
};

struct store_app {
    char name[STORE_NAME_SIZE];
    uint32_t strength; // 1 uid, 2 scope, 3 sandboxed
    enum store_app_state state;
    uint32_t purposes; // granted
    uint32_t wanted;   // asked for
    uint32_t kinds;    // bit 0: texts, 1: pairs, 2: chats, 3: feedback; 0: all
    char streams[STORE_TEXT_SIZE]; // names with a blank between; "": all
    int64_t retention_days;        // 0: no limit
    int64_t expires_ms;            // 0: never
    char client[STORE_NAME_SIZE];  // what it called itself
    int64_t first_ms;
    int64_t changed_ms;
};

// What lies in the store under an app's name.
struct store_app_use {
    char name[STORE_NAME_SIZE];
    int64_t records;
    int64_t bytes;
    int64_t last_ms; // the newest was added then
};

typedef int (*store_app_fn)(const struct store_app *a, void *user);
typedef int (*store_app_use_fn)(const struct store_app_use *u, void *user);

// Adds it, or replaces the row of that name.
int store_app_put(struct store *s, const struct store_app *a,
                  struct error *err);
// Adds it, or what it asks for to the row that is there: what the owner said of
// it meanwhile stays.
int store_app_meet(struct store *s, const struct store_app *a,
                   struct error *err);
// Its time was up: a revocation, unless it was granted anew meanwhile.
int store_app_end(struct store *s, const char *name, int64_t expires_ms,
                  int64_t now_ms, struct error *err);
// -ENOENT.
int store_app_get(struct store *s, const char *name, struct store_app *out,
                  struct error *err);
// By name; stops when `fn` returns other than 0, and returns that.
int store_app_each(struct store *s, store_app_fn fn, void *user,
                   struct error *err);
// For each app that has records, by name; also for STORE_APP_HOST.
int store_app_use_each(struct store *s, store_app_use_fn fn, void *user,
                       struct error *err);
