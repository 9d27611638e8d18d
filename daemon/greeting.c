// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/greeting.h"

#include <errno.h>
#include <string.h>

#include "daemon/purpose.h"
#include "storage/store_app.h"

/*
 * Invariants
 * 1. What is in a sandbox, or of another user, is never the owner.
 * 2. An app in a sandbox has the sandbox's name, whatever it says.
 * 3. Where consent is asked for, nobody is the owner without saying so.
 */

enum role {
    ROLE_NONE,
    ROLE_OWNER,
    ROLE_APP,
};

static int read_role(enum role *out, const msgpack_object *params,
                     struct error *err)
{
    struct codec_bytes role = codec_str(params, "role");
    struct codec_bytes hint = codec_str(params, "app_hint");

    *out = ROLE_NONE;
    if (role.data && codec_bytes_equal(role, "owner"))
        *out = ROLE_OWNER;
    else if (role.data && codec_bytes_equal(role, "app"))
        *out = ROLE_APP;
    else if (role.data)
        return error_set(err, -EINVAL, "`role` must be owner or app");
    else if (hint.bytes > 0)
        *out = ROLE_APP;
    return 0;
}

// What the service manager calls it counts before what it calls itself, unless
// it says that it is another: a terminal's scope holds many programs.
static int name_app(struct appid *out, const struct peer *peer,
                    struct codec_bytes hint)
{
    if (peer->is_sandboxed) {
        *out = peer->app;
        return 0;
    }
    const char *scope =
        peer->app.kind == APPID_SCOPE ? strchr(peer->app.name, ':') + 1 : NULL;
    if (scope && (hint.bytes == 0 || codec_bytes_equal(hint, scope))) {
        *out = peer->app;
        return 0;
    }
    return hint.bytes > 0 ? appid_set_host(out, hint.data, hint.bytes)
                          : appid_set_host(out, peer->comm, strlen(peer->comm));
}

static int read_app(struct greeting *g, const struct peer *peer,
                    const msgpack_object *params, struct error *err)
{
    int rc = name_app(&g->app, peer, codec_str(params, "app_hint"));

    if (rc < 0)
        return error_set(err, rc,
                         "nothing says which app this is: give `app_hint` "
                         "letters, digits, '.', '_' or '-'");
    g->strength =
        peer->is_sandboxed ? peer->strength : peer_strength_of(g->app.kind);
    g->wants = STORE_PURPOSE_ALL;
    return codec_find(params, "wants")
               ? purpose_read(&g->wants, codec_find(params, "wants"), err)
               : 0;
}

int greeting_read(struct greeting *out, const struct peer *peer, bool may_own,
                  bool asks, const msgpack_object *params, enum rpc_error *code,
                  struct error *err)
{
    struct greeting g = {.is_owner = false};
    enum role role;
    int rc = read_role(&role, params, err);

    *code = RPC_ERROR_BAD_PARAMS;
    if (rc < 0)
        return rc;
    if (peer->is_sandboxed)
        may_own = false;
    if (role == ROLE_OWNER && !may_own) {
        *code = RPC_ERROR_DENIED;
        return error_set(err, -EPERM,
                         "a program in a sandbox, or of another user, cannot "
                         "act as the owner");
    }
    g.is_owner =
        may_own && (role == ROLE_OWNER || (role == ROLE_NONE && !asks));
    g.is_trusted = may_own && !asks;
    if (!g.is_owner && (rc = read_app(&g, peer, params, err)) < 0)
        return rc;
    *out = g;
    return 0;
}
