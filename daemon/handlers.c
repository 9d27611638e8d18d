// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/handlers.h"

#include "daemon/pockd.h"

typedef void (*handler_fn)(struct pockd *p, struct request *r);

static const handler_fn handlers[METHOD_COUNT] = {
    [METHOD_hello] = handle_hello,
    [METHOD_ping] = handle_ping,
    [METHOD_server_info] = handle_server_info,
};

void handlers_dispatch(struct request *r, void *user)
{
    handler_fn fn = handlers[request_method(r)];

    if (!fn) {
        request_fail(r, RPC_ERROR_UNSUPPORTED, "not in this build");
        return;
    }
    fn(user, r);
}
