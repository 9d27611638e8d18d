// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Purposes
 *
 * What an app may be granted, as bits (enum store_purpose) and as words.
 */

#include "engine/base/error.h"
#include "ipc/codec.h"
#include "ipc/encoder.h"

// The words of the bits, as a list.
void purpose_put(struct encoder *e, const char *key, uint32_t bits);
// A list of such words, or none at all. -EINVAL and a sentence.
int purpose_read(uint32_t *bits, const msgpack_object *list, struct error *err);
// Of one bit.
const char *purpose_word(uint32_t bit);
