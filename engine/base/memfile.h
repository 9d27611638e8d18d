// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Files in memory
 *
 * Sealed memfds: how two processes that do not trust each other hand over
 * bytes. A sealed file can neither change nor shrink, so that it may be
 * checked once and mapped without fear.
 */

#include <stddef.h>
#include <stdint.h>

struct error;

// An empty one to write to. `name` is seen in /proc only.
int memfile_create(int *out, const char *name);
// No writer can change it from now on; the offset goes back to the start.
int memfile_seal(int fd);
// Created, filled and sealed in one go.
int memfile_from_bytes(int *out, const char *name, const void *data,
                       size_t bytes);

// Is it sealed against every change, and not longer than bytes_max? Sets
// *bytes. The sentence starts with `what`.
int memfile_check(uint64_t *bytes, int fd, uint64_t bytes_max, const char *what,
                  struct error *err);
// memfile_check(), then a read-only map of it (NULL when it is empty).
int memfile_map(const void **out, size_t *bytes, int fd, uint64_t bytes_max,
                const char *what, struct error *err);
void memfile_unmap(const void *data, size_t bytes);
