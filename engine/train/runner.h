// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Runner
 *
 * A base model with an adapter, or without, ready to evaluate and to generate:
 * the adapter's values and key-value caches on the device, and the programs
 * that are bound to them. One adapter at a time; changing to another of the
 * same shape costs a copy.
 */

#include "engine/models/model.h"

#include <stdint.h>

struct adapter;
struct base_model;
struct error;
struct program_cache;
struct runner;

int runner_create(struct runner **out, struct base_model *base);
void runner_destroy(struct runner *r);

// NULL: the base model alone. The adapter is copied.
int runner_use_adapter(struct runner *r, const struct adapter *a,
                       struct error *err);
// Room for so many tokens, or for the context if that is shorter; *length is
// what programs have to say.
int runner_use_caches(uint32_t *length, struct runner *r, uint32_t n_tokens,
                      struct error *err);

// NULL: the base model alone.
const struct scheme *runner_scheme(const struct runner *r);
struct base_model *runner_base(const struct runner *r);
// Borrowed until the next runner_use_*().
struct program_cache *runner_programs(const struct runner *r);
