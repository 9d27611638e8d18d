// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Proofs
 *
 * What `pockctl adapter prove` wrote, read and checked without a daemon: the
 * manifest's signature, and that the path leads from the key to the manifest's
 * root. ARCHIVE.md says what the file holds.
 */

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/base/sign.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROOF_BYTES_MAX = 256 << 10 };

struct proof {
    bool is_learned; // what it proves
    bool is_text;    // of a text, else of a whole record
    uint8_t key[HASH_BYTES];
    uint8_t signer[SIGN_KEY_BYTES];
    char adapter[72];
    int64_t version;
    int64_t created_ms;
    int64_t records; // that the version learned
    char sha256[HASH_HEX];
};

// 0: all that it says is so. -EINVAL: it is no proof. -EBADMSG: it proves
// nothing, and the sentence says why.
int proof_check(struct proof *out, const char *text, size_t bytes,
                struct error *err);
