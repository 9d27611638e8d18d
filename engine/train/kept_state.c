// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/kept_state.h"

#include "engine/base/error.h"
#include "engine/exec/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

struct kept_state {
    const struct backend *backend;
    struct kept_direction *directions;
    uint32_t n;
    size_t n_floats;       // without the gaps
    struct buffer *buffer; // NULL: there are none
};

static size_t room(const struct kept_direction *d)
{
    return (d->size * sizeof(float) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

void kept_state_destroy(struct kept_state *s)
{
    if (!s)
        return;
    s->backend->buffer_destroy(s->buffer);
    free(s->directions);
    free(s);
}

int kept_state_create(struct kept_state **out,
                      const struct kept_state_params *params, struct error *err)
{
    struct kept_state *s = calloc(1, sizeof *s);
    size_t bytes = 0;
    int rc = -ENOMEM;

    if (!s)
        goto error;
    s->backend = params->backend;
    s->n =
        kept_directions(NULL, 0, &params->kept, params->scheme, params->config);
    s->directions = calloc(s->n + 1, sizeof *s->directions);
    if (!s->directions)
        goto error;
    (void) kept_directions(s->directions, s->n, &params->kept, params->scheme,
                           params->config);
    for (uint32_t i = 0; i < s->n; i++) {
        s->n_floats += s->directions[i].size;
        bytes += room(&s->directions[i]);
    }
    if (bytes > 0 &&
        (rc = s->backend->buffer_create(&s->buffer, params->dev, bytes)) < 0)
        goto error;
    *out = s;
    return 0;

error:
    kept_state_destroy(s);
    return error_set(err, rc,
                     "training: no %zu bytes for what is kept of inputs",
                     bytes);
}

size_t kept_state_floats(const struct kept_state *s)
{
    return s->n_floats;
}

int kept_state_write(struct kept_state *s, const float *values)
{
    size_t at = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        const struct kept_direction *d = &s->directions[i];
        int rc = s->backend->buffer_write(s->buffer, at, values,
                                          d->size * sizeof *values);
        if (rc < 0)
            return rc;
        values += d->size;
        at += room(d);
    }
    return 0;
}

int kept_state_read(const struct kept_state *s, float *values)
{
    size_t at = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        const struct kept_direction *d = &s->directions[i];
        int rc = s->backend->buffer_read(s->buffer, at, values,
                                         d->size * sizeof *values);
        if (rc < 0)
            return rc;
        values += d->size;
        at += room(d);
    }
    return 0;
}

int kept_state_bind(struct binding *out, const struct kept_state *s,
                    const struct program_slot *slot)
{
    size_t at = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        const struct kept_direction *d = &s->directions[i];
        if (strcmp(d->name, slot->name) == 0 &&
            slot->bytes == d->size * sizeof(float)) {
            *out = (struct binding){.buffer = s->buffer, .offset = at};
            return 0;
        }
        at += room(d);
    }
    return -ENOENT;
}
