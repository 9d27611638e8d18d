// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Policy (database thread)
 *
 * The settings that the owner changed, as text. What a key means and what it
 * may be, the daemon knows; what is not here has its default.
 */

#include "storage/store.h"

typedef int (*store_policy_fn)(const char *key, const char *value, void *user);

// NULL value: forget the key.
int store_policy_set(struct store *s, const char *key, const char *value,
                     int64_t now_ms, struct error *err);
// -ENOENT; -E2BIG when it does not fit into `size`.
int store_policy_get(struct store *s, const char *key, char *value, size_t size,
                     struct error *err);
int store_policy_each(struct store *s, store_policy_fn fn, void *user,
                      struct error *err);
