// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/str.h"

#include "engine/base/fault.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STR_LIMIT_DEFAULT = 16 << 20 };

static int reserve(struct str *s, size_t more)
{
    size_t limit = s->limit ? s->limit : STR_LIMIT_DEFAULT;

    if (s->rc < 0)
        return s->rc;
    if (more > limit - s->bytes)
        return s->rc = -E2BIG;
    if (s->bytes + more + 1 <= s->size)
        return 0;
    size_t size = s->size ? s->size : 64;
    while (size < s->bytes + more + 1)
        size *= 2;
    char *p = fault_realloc(s->data, size);
    if (!p)
        return s->rc = -ENOMEM;
    s->data = p;
    s->size = size;
    return 0;
}

void str_append(struct str *s, const void *data, size_t bytes)
{
    if (reserve(s, bytes) < 0)
        return;
    if (bytes > 0)
        memcpy(s->data + s->bytes, data, bytes);
    s->bytes += bytes;
    s->data[s->bytes] = '\0';
}

void str_puts(struct str *s, const char *text)
{
    str_append(s, text, strlen(text));
}

void str_putc(struct str *s, char c)
{
    str_append(s, &c, 1);
}

void str_printf(struct str *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && reserve(s, (size_t) n) == 0) {
        (void) vsnprintf(s->data + s->bytes, (size_t) n + 1, fmt, again);
        s->bytes += (size_t) n;
    }
    va_end(again);
}

void str_json(struct str *s, const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *) text;

    str_putc(s, '"');
    for (size_t i = 0; i < bytes;) {
        size_t n = utf8_length(p + i, bytes - i);
        if (n == 0) {
            str_puts(s, "\\ufffd");
            i++;
        } else if (p[i] == '"' || p[i] == '\\') {
            str_putc(s, '\\');
            str_append(s, p + i++, 1);
        } else if (p[i] == '\n') {
            str_puts(s, "\\n");
            i++;
        } else if (p[i] < 0x20 || p[i] == 0x7f) {
            str_printf(s, "\\u%04x", p[i++]);
        } else {
            str_append(s, p + i, n);
            i += n;
        }
    }
    str_putc(s, '"');
}

void str_clear(struct str *s)
{
    s->bytes = 0;
    s->rc = 0;
    if (s->data)
        s->data[0] = '\0';
}

int str_finish(const struct str *s)
{
    return s->rc;
}

void str_free(struct str *s)
{
    free(s->data);
    *s = (struct str){.limit = s->limit};
}
