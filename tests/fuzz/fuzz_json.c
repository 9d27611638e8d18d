// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes: they parse or are refused with a sentence. What parsed can be
 * walked to its end.
 */

#include "engine/base/arena.h"
#include "engine/base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const struct json *v)
{
    size_t n = 1, children = 0;

    if (v->type == JSON_STRING && v->text[v->bytes] != '\0')
        abort();
    for (const struct json *c = v->first; c; c = c->next) {
        if (v->type == JSON_OBJECT && c->key[c->key_bytes] != '\0')
            abort();
        children++;
        n += walk(c);
    }
    if (children != v->count)
        abort();
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a;
    const struct json *v;
    struct error err = {0};

    if (arena_create(&a, 4 << 20) < 0)
        return 0;
    if (json_parse(&v, a, (const char *) data, size, &err) == 0)
        (void) walk(v);
    else if (err.text[0] == '\0')
        abort();
    arena_destroy(a);
    return 0;
}
