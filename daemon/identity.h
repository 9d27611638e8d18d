// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Identity (loop thread at the start; then read by both)
 *
 * An Ed25519 key of this pockd, made at its first start and kept in the state
 * directory (identity.key: 32 bytes, 0600). It signs manifests of versions and
 * archives, so that their owner knows them again; nobody else knows it.
 */

#include "engine/base/error.h"
#include "engine/base/sign.h"

// Reads the key, or makes one. -EUCLEAN: the file is no key.
int identity_load(struct sign_key *out, const char *state_dir,
                  struct error *err);
