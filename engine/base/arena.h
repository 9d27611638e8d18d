// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Arena
 *
 * Bump allocator for objects that live and die together, such as everything
 * that one compile makes. Memory is zeroed and aligned to 16 bytes. Nothing is
 * freed alone.
 */

#include <stddef.h>

struct arena;

// `limit` bounds what may ever be allocated from it, in bytes.
int arena_create(struct arena **out, size_t limit);
void arena_destroy(struct arena *a);

// NULL when the limit or the system's memory is exhausted, or when
// count * size overflows.
void *arena_alloc(struct arena *a, size_t bytes);
void *arena_calloc(struct arena *a, size_t count, size_t size);
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

size_t arena_bytes(const struct arena *a);
