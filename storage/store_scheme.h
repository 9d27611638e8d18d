// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Schemes (database thread)
 *
 * What should learn, as JSON under a name. A job does not refer to them: its
 * recipe has the JSON itself, so that a scheme may be changed or removed at any
 * time.
 */

#include "storage/store.h"

enum {
    STORE_SCHEME_BYTES = 6144, // of the JSON, with the NUL
};

struct store_scheme {
    char name[STORE_NAME_SIZE];
    char model[STORE_NAME_SIZE]; // for which it was found
    char json[STORE_SCHEME_BYTES];
    int64_t made_ms;
};

typedef int (*store_scheme_fn)(const struct store_scheme *sc, void *user);

// One of the same name is replaced.
int store_scheme_put(struct store *s, const struct store_scheme *sc,
                     struct error *err);
// -ENOENT with a sentence that names those that there are.
int store_scheme_get(struct store *s, const char *name,
                     struct store_scheme *out, struct error *err);
int store_scheme_remove(struct store *s, const char *name, struct error *err);
// By name; stops when `fn` returns other than 0, and returns that.
int store_scheme_each(struct store *s, store_scheme_fn fn, void *user,
                      struct error *err);
