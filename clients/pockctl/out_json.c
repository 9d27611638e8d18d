// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/out_json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void put_hex(struct str *s, const unsigned char *p, size_t bytes)
{
    str_putc(s, '"');
    for (size_t i = 0; i < bytes; i++)
        str_printf(s, "%02x", p[i]);
    str_putc(s, '"');
}

void out_json_float(struct str *s, double v)
{
    char text[40];

    if (!isfinite(v)) {
        str_puts(s, "null");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        (void) snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    str_puts(s, text);
}

static void put_entries(struct str *s, const struct pock_value *map)
{
    for (size_t i = 0; i < pock_count(map); i++) {
        const char *key = pock_key_at(map, i);
        if (i > 0)
            str_putc(s, ',');
        str_json(s, key, strlen(key));
        str_putc(s, ':');
        out_json_value(s, pock_at(map, i));
    }
}

static void put_list(struct str *s, const struct pock_value *list)
{
    str_putc(s, '[');
    for (size_t i = 0; i < pock_count(list); i++) {
        if (i > 0)
            str_putc(s, ',');
        out_json_value(s, pock_at(list, i));
    }
    str_putc(s, ']');
}

void out_json_value(struct str *s, const struct pock_value *v)
{
    size_t bytes;
    const void *data = pock_as_bytes(v, &bytes);

    switch (pock_kind(v)) {
    case POCK_KIND_NIL:
        str_puts(s, "null");
        break;
    case POCK_KIND_BOOL:
        str_puts(s, pock_as_bool(v, false) ? "true" : "false");
        break;
    case POCK_KIND_INT:
        str_printf(s, "%" PRId64, pock_as_int(v, 0));
        break;
    case POCK_KIND_FLOAT:
        out_json_float(s, pock_as_float(v, 0));
        break;
    case POCK_KIND_STR:
        str_json(s, data, bytes);
        break;
    case POCK_KIND_BYTES:
        put_hex(s, data, bytes);
        break;
    case POCK_KIND_LIST:
        put_list(s, v);
        break;
    case POCK_KIND_MAP:
        str_putc(s, '{');
        put_entries(s, v);
        str_putc(s, '}');
        break;
    }
}

int out_json_print(FILE *f, const struct pock_value *map)
{
    struct str s = {0};

    str_printf(&s, "{\"schema\":%d", OUT_JSON_SCHEMA);
    if (pock_count(map) > 0)
        str_putc(&s, ',');
    put_entries(&s, map);
    str_puts(&s, "}\n");
    int rc = str_finish(&s);
    if (rc == 0)
        (void) fwrite(s.data, 1, s.bytes, f);
    str_free(&s);
    return rc;
}
