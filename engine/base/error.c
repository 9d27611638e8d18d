// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;

    va_list ap;
    va_start(ap, fmt);
    (void) vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    err->code = code;
    return code;
}

int error_prefix(struct error *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;

    char tail[sizeof(err->text)];
    memcpy(tail, err->text, sizeof(tail));

    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t) n < sizeof(err->text))
        (void) snprintf(err->text + n, sizeof(err->text) - (size_t) n, ": %s",
                        tail);
    err->code = code;
    return code;
}
