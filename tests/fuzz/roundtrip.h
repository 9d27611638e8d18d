// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Round trip
 *
 * What encodes must decode to the same bytes where the tokenizer says so, and
 * hold no control token unless asked for; else the process ends.
 */

#include "engine/base/str.h"
#include "engine/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static inline void roundtrip_check(struct tokenizer *t, const char *text,
                                   size_t bytes, unsigned flags)
{
    struct token_list l = {.limit = 1 << 16};
    struct str s = {0};

    if (tokenizer_encode(t, &l, text, bytes, flags) == 0) {
        if (tokenizer_decode(t, &s, l.ids, l.count, true) < 0)
            abort();
        // After other text a blank is none that encoding put there.
        if (!(flags & TOKENIZER_CONTINUES) &&
            tokenizer_is_exact(t, text, bytes) &&
            (s.bytes != bytes ||
             (bytes > 0 && memcmp(s.data, text, bytes) != 0)))
            abort();
        for (size_t i = 0; i < l.count; i++)
            if (!(flags & TOKENIZER_PARSE_CONTROL) &&
                tokenizer_is_control(t, l.ids[i]))
                abort();
    }
    str_free(&s);
    token_list_free(&l);
}
