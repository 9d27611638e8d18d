// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Recipes of jobs
 *
 * The recipe of the API (a map), its defaults (the policy), and the text that
 * a job keeps and a worker reads ("rank=8 lr=0.003 ..."). Pure.
 */

#include "daemon/policy.h"
#include "ipc/codec.h"
#include "ipc/encoder.h"

enum { TRAIN_RECIPE_BYTES = 6144 };

// `map` may be NULL: all defaults. -EINVAL and a sentence.
int train_recipe_make(char out[TRAIN_RECIPE_BYTES], const msgpack_object *map,
                      const struct policy *p, struct error *err);
// The map of the API, key "recipe".
void train_recipe_encode(struct encoder *e, const char *text);
