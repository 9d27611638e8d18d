// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Text stream
 *
 * Pieces of tokens in, whole UTF-8 characters out, until a stop string comes
 * up. A token may end within a character, and a stop string may be spread over
 * many tokens, so what could still become one is held back. Bytes that are not
 * UTF-8 become U+FFFD.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct textstream;

enum {
    TEXTSTREAM_STOPS_MAX = 16,
    TEXTSTREAM_STOP_BYTES_MAX = 256,
};

// Other than 0 cancels.
typedef int textstream_fn(void *user, const char *text, size_t bytes);

// Borrows `stops` until destroy. `write` may be NULL.
int textstream_create(struct textstream **out, const char *const *stops,
                      uint32_t n_stops, textstream_fn *write, void *user,
                      struct error *err);
void textstream_destroy(struct textstream *s);

enum textstream_state {
    TEXTSTREAM_OPEN,
    TEXTSTREAM_STOPPED,   // before a stop string
    TEXTSTREAM_CANCELLED, // by `write`
};

// What comes after a state other than OPEN is ignored. -ENOMEM is possible.
int textstream_push(struct textstream *s, const char *piece, size_t bytes);
// No more pieces: what was held back is written.
int textstream_end(struct textstream *s);
enum textstream_state textstream_state(const struct textstream *s);
