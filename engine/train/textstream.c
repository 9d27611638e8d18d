// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/textstream.h"

#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct textstream {
    const char *const *stops;
    uint32_t n_stops;
    textstream_fn *write;
    void *user;
    unsigned char partial[4]; // of a character that is not complete yet
    size_t partial_bytes;
    struct str text; // characters that were not written yet
    enum textstream_state state;
};

int textstream_create(struct textstream **out, const char *const *stops,
                      uint32_t n_stops, textstream_fn *write, void *user,
                      struct error *err)
{
    if (n_stops > TEXTSTREAM_STOPS_MAX)
        return error_set(err, -EINVAL,
                         "generation: %u stop strings, but %d are the most",
                         n_stops, TEXTSTREAM_STOPS_MAX);
    for (uint32_t i = 0; i < n_stops; i++) {
        const size_t n = strlen(stops[i]);
        if (n == 0 || n > TEXTSTREAM_STOP_BYTES_MAX)
            return error_set(err, -EINVAL,
                             "generation: a stop string has %zu bytes, but "
                             "must have 1 to %d",
                             n, TEXTSTREAM_STOP_BYTES_MAX);
    }
    struct textstream *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, -ENOMEM, "generation: out of memory");
    s->stops = stops;
    s->n_stops = n_stops;
    s->write = write;
    s->user = user;
    *out = s;
    return 0;
}

void textstream_destroy(struct textstream *s)
{
    if (!s)
        return;
    str_free(&s->text);
    free(s);
}

enum textstream_state textstream_state(const struct textstream *s)
{
    return s->state;
}

// Length of the character that this byte begins, or 1.
static size_t wanted(unsigned char c)
{
    if (c >= 0xf0)
        return 4;
    if (c >= 0xe0)
        return 3;
    return c >= 0xc2 ? 2 : 1;
}

// Could these bytes, fewer than wanted, still become a character?
static bool is_prefix(const unsigned char *p, size_t n)
{
    unsigned char whole[4] = {p[0], 0x80, 0x80, 0x80};
    const size_t length = wanted(p[0]);

    if (n >= length)
        return false;
    // Second bytes of 0xe0 and 0xf0 begin higher.
    if (p[0] == 0xe0)
        whole[1] = 0xa0;
    if (p[0] == 0xf0)
        whole[1] = 0x90;
    memcpy(whole, p, n);
    return utf8_length(whole, length) == length;
}

static void take_byte(struct textstream *s, unsigned char c)
{
    s->partial[s->partial_bytes++] = c;
    while (s->partial_bytes > 0) {
        const size_t n = utf8_length(s->partial, s->partial_bytes);
        size_t taken = n;
        if (n > 0) {
            str_append(&s->text, s->partial, n);
        } else if (is_prefix(s->partial, s->partial_bytes)) {
            return;
        } else {
            str_puts(&s->text, "\xef\xbf\xbd");
            taken = 1;
        }
        s->partial_bytes -= taken;
        memmove(s->partial, s->partial + taken, s->partial_bytes);
    }
}

// Write the first `bytes` of the text and forget them.
static void flush(struct textstream *s, size_t bytes)
{
    if (bytes == 0)
        return;
    if (s->write && s->write(s->user, s->text.data, bytes) != 0)
        s->state = TEXTSTREAM_CANCELLED;
    memmove(s->text.data, s->text.data + bytes, s->text.bytes - bytes + 1);
    s->text.bytes -= bytes;
}

// Where the first stop string begins, or the text's end.
static size_t find_stop(const struct textstream *s)
{
    size_t first = s->text.bytes;

    for (uint32_t i = 0; i < s->n_stops; i++) {
        const char *hit = memmem(s->text.data, s->text.bytes, s->stops[i],
                                 strlen(s->stops[i]));
        if (hit && (size_t) (hit - s->text.data) < first)
            first = (size_t) (hit - s->text.data);
    }
    return first;
}

// Bytes at the text's end that a stop string could begin with.
static size_t held_back(const struct textstream *s)
{
    size_t most = 0;

    for (uint32_t i = 0; i < s->n_stops; i++) {
        size_t n = strlen(s->stops[i]) - 1;
        if (n > s->text.bytes)
            n = s->text.bytes;
        while (n > most &&
               memcmp(s->text.data + s->text.bytes - n, s->stops[i], n) != 0)
            n--;
        if (n > most)
            most = n;
    }
    return most;
}

int textstream_push(struct textstream *s, const char *piece, size_t bytes)
{
    int rc;

    if (s->state != TEXTSTREAM_OPEN)
        return 0;
    for (size_t i = 0; i < bytes; i++)
        take_byte(s, (unsigned char) piece[i]);
    if ((rc = str_finish(&s->text)) < 0 || s->text.bytes == 0)
        return rc;
    const size_t stop = find_stop(s);
    if (stop < s->text.bytes) {
        flush(s, stop);
        if (s->state == TEXTSTREAM_OPEN)
            s->state = TEXTSTREAM_STOPPED;
        return 0;
    }
    flush(s, s->text.bytes - held_back(s));
    return 0;
}

int textstream_end(struct textstream *s)
{
    int rc;

    if (s->state != TEXTSTREAM_OPEN)
        return 0;
    if (s->partial_bytes > 0)
        str_puts(&s->text, "\xef\xbf\xbd");
    s->partial_bytes = 0;
    if ((rc = str_finish(&s->text)) < 0)
        return rc;
    flush(s, s->text.bytes);
    return 0;
}
