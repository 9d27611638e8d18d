// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Descriptors (any thread but the loop's)
 *
 * Reading and writing what clients and workers passed to us: with limits, and
 * with a time limit where the other end may be asleep.
 */

#include "engine/base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A regular file or a pipe that is open for writing. -EINVAL.
int fdio_check_writable(int fd, struct error *err);
// A regular file that is open for reading, of 1 to bytes_max bytes.
int fdio_check_readable(int fd, uint64_t bytes_max, struct error *err);

// All of it. A pipe whose reader does nothing for 2 s is -ETIMEDOUT.
int fdio_write(int fd, const void *data, size_t bytes, struct error *err);
// The same, waiting for the other end no longer than *left_ms, which becomes
// less by it; NULL: as above.
int fdio_write_within(int fd, const void *data, size_t bytes, int64_t *left_ms,
                      struct error *err);
// Copy `from` from its offset 0 to its end; *bytes may be NULL.
int fdio_copy(int to, int from, uint64_t *bytes, struct error *err);
// `bytes` of `from` become those of `to`, an empty file: shared on disk where
// the file system can (*is_clone), else copied by the kernel. *done grows;
// -ECANCELED soon after *stop was raised.
int fdio_clone(int to, int from, uint64_t bytes, atomic_ullong *done,
               const atomic_bool *stop, bool *is_clone, struct error *err);
// The file's bytes on the heap, NUL-terminated.
int fdio_read_all(char **out, size_t *bytes, int fd, size_t bytes_max,
                  struct error *err);

// Bytes in a sealed memfd, or a negative errno.
int fdio_seal(const char *name, const void *data, size_t bytes);
// dir/name by a temporary file: written, fsynced, renamed, directory fsynced.
int fdio_save(const char *dir, const char *name, int from, uint64_t bytes_max,
              struct error *err);
