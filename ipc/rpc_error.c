// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/rpc_error.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    const char *doc;
    int code;
    int exit;
} errors[] = {
#define ERROR(name, code, exit, doc) {#name, doc, code, exit},
#include "ipc/errors.def"
};

enum { ERROR_COUNT = sizeof(errors) / sizeof(errors[0]) };

static const struct {
    const char *name;
    const char *doc;
} reasons[STOP_REASON_COUNT] = {
#define STOP_REASON(name, doc) {#name, doc},
#include "ipc/stop_reasons.def"
};

// The row of a code; that of INTERNAL for a code that has none.
static size_t row(int code)
{
    size_t internal = 0;

    for (size_t i = 0; i < ERROR_COUNT; i++) {
        if (errors[i].code == code)
            return i;
        if (errors[i].code == RPC_ERROR_INTERNAL)
            internal = i;
    }
    return internal;
}

const char *rpc_error_name(int code)
{
    return errors[row(code)].name;
}

const char *rpc_error_doc(int code)
{
    return errors[row(code)].doc;
}

int rpc_error_exit(int code)
{
    return errors[row(code)].exit;
}

enum rpc_error rpc_error_from_name(const char *name)
{
    for (size_t i = 0; i < ERROR_COUNT; i++)
        if (strcmp(errors[i].name, name) == 0)
            return (enum rpc_error) errors[i].code;
    return RPC_ERROR_NONE;
}

enum rpc_error rpc_error_from_errno(int rc)
{
    switch (-rc) {
    case 0:
        return RPC_ERROR_NONE;
    case EINVAL:
    case EILSEQ:
        return RPC_ERROR_BAD_PARAMS;
    case ENOENT:
        return RPC_ERROR_NOT_FOUND;
    case EEXIST:
        return RPC_ERROR_EXISTS;
    case ENOTUNIQ:
        return RPC_ERROR_CONFLICT;
    case EPERM:
    case EACCES:
        return RPC_ERROR_DENIED;
    case E2BIG:
    case EMSGSIZE:
    case EFBIG:
        return RPC_ERROR_TOO_LARGE;
    case EDQUOT:
        return RPC_ERROR_QUOTA;
    case EBUSY:
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
        return RPC_ERROR_BUSY;
    case ENOKEY: // Its key was shredded.
        return RPC_ERROR_ERASED;
    case ENOSPC:
        return RPC_ERROR_DISK_FULL;
    case EIO:
    case EROFS:
    case EUCLEAN:
        return RPC_ERROR_DB;
    case EPROTO:
        return RPC_ERROR_INVALID_REQUEST;
    case EPROTONOSUPPORT:
        return RPC_ERROR_VERSION;
    case ENODEV:
    case EPIPE:
    case ECONNRESET:
        return RPC_ERROR_DEVICE;
    case ETIMEDOUT:
        return RPC_ERROR_TIMEOUT;
    case ECANCELED:
        return RPC_ERROR_CANCELLED;
    case ESHUTDOWN:
        return RPC_ERROR_SHUTTING_DOWN;
    case ENOTSUP:
    case ENOSYS:
        return RPC_ERROR_UNSUPPORTED;
    default:
        return RPC_ERROR_INTERNAL;
    }
}

const char *stop_reason_name(enum stop_reason reason)
{
    return (unsigned) reason < STOP_REASON_COUNT ? reasons[reason].name
                                                 : "ERROR";
}

const char *stop_reason_doc(enum stop_reason reason)
{
    return (unsigned) reason < STOP_REASON_COUNT ? reasons[reason].doc : "";
}

int stop_reason_from_name(enum stop_reason *out, const char *name)
{
    for (size_t i = 0; i < STOP_REASON_COUNT; i++) {
        if (strcmp(reasons[i].name, name) == 0) {
            *out = (enum stop_reason) i;
            return 0;
        }
    }
    return -EINVAL;
}
