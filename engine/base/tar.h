// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Tar
 *
 * Headers of POSIX ustar archives, one way only: regular files with short
 * relative names. What other programs write is read as long as it is that;
 * links, devices, directories, long names and names that lead elsewhere are
 * refused.
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TAR_BLOCK = 512,
    TAR_NAME_SIZE = 101, // with the NUL
};

struct tar_entry {
    char name[TAR_NAME_SIZE];
    uint64_t bytes; // of the content, which is padded to whole blocks
    bool is_end;    // a block of zeros: nothing follows
};

// Bytes behind the content up to the next header.
size_t tar_padding(uint64_t bytes);
// -EINVAL: a name or a size that cannot be.
int tar_encode(uint8_t block[TAR_BLOCK], const char *name, uint64_t bytes,
               int64_t time_s);
int tar_decode(struct tar_entry *out, const uint8_t block[TAR_BLOCK],
               struct error *err);
// a/b.c: parts of [A-Za-z0-9._-], none of them empty, "." or "..".
bool tar_name_is_valid(const char *name);
