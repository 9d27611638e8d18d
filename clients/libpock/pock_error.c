// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_internal.h"
#include "ipc/rpc_error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *pock_version(void)
{
    return POCK_VERSION_TEXT;
}

int pock_error_set(struct pock_error *err, int code, int rc, const char *fmt,
                   ...)
{
    va_list ap;

    if (!err)
        return rc;
    *err = (struct pock_error){.code = code, .is_local = true};
    snprintf(err->name, sizeof(err->name), "%s", rpc_error_name(code));
    va_start(ap, fmt);
    (void) vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return rc;
}

int pock_error_from_rc(struct pock_error *err, int rc, const char *method)
{
    if (rc == -EAGAIN)
        return pock_error_set(err, POCK_ERROR_BUSY, rc,
                              "cannot send %s: too many requests wait for "
                              "their answer: dispatch, then try again",
                              method);
    if (rc == -E2BIG)
        return pock_error_set(err, POCK_ERROR_TOO_LARGE, rc,
                              "cannot send %s: it is larger than the 1 MiB "
                              "that a message may have: send less at once",
                              method);
    if (rc == -EINVAL)
        return pock_error_set(err, POCK_ERROR_BAD_PARAMS, rc,
                              "cannot send %s: a text is not UTF-8, a number "
                              "is not finite, or a list was not closed",
                              method);
    if (rc == -ENOTCONN)
        return pock_error_set(err, POCK_ERROR_NOT_READY, rc,
                              "cannot send %s: the connection has ended: "
                              "connect again",
                              method);
    if (rc == -EDEADLK)
        return pock_error_set(err, POCK_ERROR_INTERNAL, rc,
                              "cannot wait for %s inside of a callback",
                              method);
    return pock_error_set(err, POCK_ERROR_INTERNAL, rc, "cannot send %s: %s",
                          method, strerror(-rc));
}
