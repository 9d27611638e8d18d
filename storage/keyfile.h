// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The master key (of storage/, and of who keeps keys for it)
 *
 * Where it comes from: CREDENTIALS/pockd.key, which systemd hands over
 * (LoadCredential=), else a file of pockd's own, 0400, made at the first start.
 * Either holds 32 bytes, or 64 hexadecimal digits and perhaps a newline. Or it
 * is kept by somebody else (keykeeper.h), whom store_master.c asks.
 *
 * While a key is being changed there are two: FILE.new beside FILE, or
 * pockd.key.old beside the credential. Which one is in force is decided by the
 * store, which keeps its key's name (keyfile_name()).
 */

#include "engine/base/error.h"
#include "engine/base/seal.h"

#include <stdbool.h>
#include <stdint.h>

enum keyfile_source {
    KEYFILE_NONE, // there is none yet
    KEYFILE_CREDENTIAL,
    KEYFILE_FILE,
    KEYFILE_KEPT, // by a keeper; never of keyfile_load()
};

enum { KEYFILE_NAME_SIZE = 33, KEYFILE_TEXT_SIZE = 2 * SEAL_KEY_BYTES + 1 };

// In memory of seal_alloc().
struct keyfile {
    enum keyfile_source source;
    bool has_other; // FILE.new, or the old credential
    uint8_t key[SEAL_KEY_BYTES];
    uint8_t other[SEAL_KEY_BYTES];
};

struct keyfile_places {
    const char *credentials; // a directory, or NULL
    const char *file;
};

// -EINVAL with a sentence.
int keyfile_parse(uint8_t out[SEAL_KEY_BYTES], const void *data, size_t bytes,
                  struct error *err);
// 64 digits and a NUL.
void keyfile_format(char out[KEYFILE_TEXT_SIZE],
                    const uint8_t key[SEAL_KEY_BYTES]);
// Whatever is there; source NONE is no failure. A file that cannot be read, or
// is no key, is one.
int keyfile_load(struct keyfile *out, const struct keyfile_places *p,
                 struct error *err);
// A new key in a new file; -EEXIST.
int keyfile_make(struct keyfile *out, const struct keyfile_places *p,
                 struct error *err);

// Changing a key of our own: write FILE.new; then, when the store has taken
// it, put it in FILE's place. Dropping is for one that the store never took.
int keyfile_write_new(const uint8_t key[SEAL_KEY_BYTES],
                      const struct keyfile_places *p, struct error *err);
int keyfile_take_new(const struct keyfile_places *p, struct error *err);
int keyfile_drop_new(const struct keyfile_places *p, struct error *err);
// FILE itself, which is not in force any more.
int keyfile_drop(const struct keyfile_places *p, struct error *err);

// 32 digits that tell keys apart and say nothing about them.
void keyfile_name(char out[KEYFILE_NAME_SIZE],
                  const uint8_t key[SEAL_KEY_BYTES]);
