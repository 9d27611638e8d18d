// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Errors of the protocol
 *
 * One row of errors.def each: stable names and codes, and pockctl's exit
 * codes.
 */

enum rpc_error {
    RPC_ERROR_NONE = 0,
#define ERROR(name, code, exit, doc) RPC_ERROR_##name = (code),
#include "ipc/errors.def"
};

// "NOT_FOUND"; "INTERNAL" for a code that is not in the table.
const char *rpc_error_name(int code);
const char *rpc_error_doc(int code);
// What pockctl exits with.
int rpc_error_exit(int code);
// RPC_ERROR_NONE for an unknown name.
enum rpc_error rpc_error_from_name(const char *name);
// For a negative errno that a callee returned: -ENOENT is NOT_FOUND, -ENOSPC
// DISK_FULL, -E2BIG TOO_LARGE, ...; what says nothing to a client is INTERNAL.
enum rpc_error rpc_error_from_errno(int rc);

// Stop reasons: see stop_reasons.def.
enum stop_reason {
#define STOP_REASON(name, doc) STOP_REASON_##name,
#include "ipc/stop_reasons.def"
    STOP_REASON_COUNT
};

const char *stop_reason_name(enum stop_reason reason);
const char *stop_reason_doc(enum stop_reason reason);
// -EINVAL for an unknown name.
int stop_reason_from_name(enum stop_reason *out, const char *name);
