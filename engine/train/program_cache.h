// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Program cache
 *
 * Programs of one model by kind and shape, compiled when first asked for, all
 * bound to the same states and sharing one arena of the largest size.
 */

#include "engine/exec/program.h"

struct base_model;
struct error;
struct program_cache;

// As executor_params.bind_state.
typedef int program_cache_bind_fn(struct binding *out,
                                  const struct program_slot *slot, void *user,
                                  struct error *err);

// Borrows `base`, and what `bind` gives, until program_cache_destroy().
int program_cache_create(struct program_cache **out, struct base_model *base,
                         program_cache_bind_fn *bind, void *user);
void program_cache_destroy(struct program_cache *c);

// Borrowed until the next call. Padding of `params` must be zero. The executor
// stands at its start.
int program_cache_get(struct executor **out, struct program_cache *c,
                      const struct program_params *params, struct error *err);
size_t program_cache_arena_bytes(const struct program_cache *c);
