// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any text, with modes of its first bytes. What comes out is UTF-8 when the
 * text was, is not longer than it may be, and stays as it is when it is
 * redacted again; finds are in order and do not cut characters.
 */

#include "engine/base/utf8.h"
#include "ipc/redact.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct walk {
    const char *text;
    size_t bytes, at;
    bool is_utf8;
};

static bool is_inside(const struct walk *w, size_t i)
{
    return i < w->bytes && ((unsigned char) w->text[i] & 0xc0) == 0x80;
}

static int on_find(void *user, enum redact_class c, size_t begin, size_t end)
{
    struct walk *w = user;

    if (c >= REDACT_CLASSES || begin < w->at || end <= begin ||
        end > w->bytes ||
        (w->is_utf8 && (is_inside(w, begin) || is_inside(w, end))))
        abort();
    w->at = end;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redact r;
    struct redact_counts counts = {0}, again = {0};
    struct str out = {.limit = 0}, twice = {.limit = 0};

    redact_init(&r, REDACT_MASK);
    if (size < 2)
        return 0;
    // The first byte: which of the classes has which other mode.
    r.modes[data[0] % REDACT_CLASSES] = data[0] / 16 % REDACT_MODES;
    if (data[1] & 1)
        redact_init(&r, REDACT_SHAPE);
    data += 2;
    size -= 2;
    const char *text = (const char *) data;
    struct walk w = {text, size, 0, utf8_is_valid(text, size)};
    if (redact_find(&r, text, size, on_find, &w) < 0)
        abort();
    const int rc = redact_text(&r, &out, &counts, text, size);
    if (rc == 0 && out.bytes > 0)
        abort();
    if (rc == 1) {
        if (out.bytes > size * REDACT_GROWTH + 64 ||
            (w.is_utf8 && !utf8_is_valid(out.data, out.bytes)) ||
            redact_text(&r, &twice, &again, out.data, out.bytes) != 0)
            abort();
    } else if (rc < 0 && rc != -ECANCELED) {
        abort();
    }
    str_free(&out);
    str_free(&twice);
    return 0;
}
