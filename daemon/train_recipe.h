// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Recipes of jobs
 *
 * The recipe of the API (a map), its defaults (the policy), and the text that
 * a job keeps and a worker reads ("rank=8 lr=0.003 ..."). Pure, but for the
 * names of saved schemes.
 */

#include "daemon/policy.h"
#include "ipc/codec.h"
#include "ipc/encoder.h"

struct store;

enum { TRAIN_RECIPE_BYTES = 6144, TRAIN_DEVICE_BYTES = 64 };

// `map` may be NULL: all defaults. -EINVAL and a sentence. One that says itself
// what learns (scheme, even an empty one, targets or last_blocks) does not get
// the scheme of the policy.
int train_recipe_make(char out[TRAIN_RECIPE_BYTES], const msgpack_object *map,
                      const struct policy *p, struct error *err);
// Database thread: the JSON of a saved scheme in place of its name. -ENOENT and
// a sentence that names those that there are.
int train_recipe_resolve(char text[TRAIN_RECIPE_BYTES], struct store *s,
                         struct error *err);
// Database thread: the same for a scheme alone, which stays as it is.
int train_recipe_check_scheme(const char *scheme, struct store *s,
                              struct error *err);
// The device of the text, which no worker reads there: cut out of it. False: it
// has none, and the policy's counts.
bool train_recipe_take_device(char out[TRAIN_DEVICE_BYTES],
                              char text[TRAIN_RECIPE_BYTES]);
// A number of the text, such as of "memory_mib"; 0 when it is not there.
int64_t train_recipe_int(const char *text, const char *key);
// The map of the API, key "recipe".
void train_recipe_encode(struct encoder *e, const char *text);
