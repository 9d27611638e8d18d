// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Sealed files (inside storage/)
 *
 * What a file of the store looks like. Little-endian:
 *
 *   header  magic "pockseal", u32 version 1, u32 bytes of a piece, u64 bytes of
 *           what is sealed, 16 random bytes, 24 zero bytes
 *   pieces  each sealed, then its tag (16): at least one, all of the size that
 *           the header says but for the last
 *
 * Every piece is bound to the header, to the file's name and to its number, so
 * that none can be moved, dropped or taken from another file.
 */

#include "engine/base/error.h"
#include "engine/base/seal.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SEALED_HEADER_BYTES = 64,
    SEALED_PIECE_BYTES = 64 << 10,
    SEALED_NAME_SIZE = 128,
};

// Bytes of the file that holds so many.
uint64_t sealed_file_bytes(uint64_t bytes);
// Does this file begin like one?
bool sealed_file_is(int fd);

// All of `from`, from its start, into the empty file `to`. -E2BIG.
int sealed_file_write(int to, int from, uint64_t bytes_max,
                      const uint8_t key[SEAL_KEY_BYTES], const char *name,
                      struct error *err);
// A memfd that nobody can change, with what was sealed. -EUCLEAN, -E2BIG.
int sealed_file_read(int from, uint64_t bytes_max,
                     const uint8_t key[SEAL_KEY_BYTES], const char *name,
                     struct error *err);
