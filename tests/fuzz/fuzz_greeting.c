// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any map as the parameters of hello, from programs of every kind. Whatever it
 * says: what is in a sandbox, or of another user, does not become the owner,
 * and a sandbox keeps its name. The first byte says who greets.
 */

#include "daemon/greeting.h"
#include "ipc/method.h"
#include "storage/store_app.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct peer peer_of(unsigned bits)
{
    struct peer p = {.strength = PEER_STRENGTH_UID};

    if (bits & 1) {
        p.app = (struct appid){APPID_FLATPAK, "flatpak:a.b", false};
        p.strength = PEER_STRENGTH_SANDBOXED;
        p.is_sandboxed = true;
    } else if (bits & 2) {
        p.app = (struct appid){APPID_SCOPE, "scope:a.b", (bits & 4) != 0};
        p.strength = PEER_STRENGTH_SCOPE;
        p.is_sandboxed = p.app.is_flatpak_scope;
    }
    if (bits & 8)
        memcpy(p.comm, "a program", 10);
    return p;
}

static void greet(unsigned bits, const msgpack_object *params)
{
    struct peer p = peer_of(bits);
    bool may_own = (bits & 16) != 0;
    struct greeting g;
    enum rpc_error code = RPC_ERROR_NONE;
    struct error err = {0};

    if (greeting_read(&g, &p, may_own, (bits & 32) != 0, params, &code, &err) <
        0) {
        check(err.text[0] != '\0' && code != RPC_ERROR_NONE);
        return;
    }
    check(!g.is_owner || (may_own && !p.is_sandboxed));
    if (g.is_owner)
        return;
    check(appid_kind_of(g.app.name) == g.app.kind);
    check(!p.is_sandboxed || strcmp(g.app.name, p.app.name) == 0);
    check(!g.is_trusted || (may_own && !p.is_sandboxed));
    check(g.strength <= p.strength && (g.wants & ~STORE_PURPOSE_ALL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct codec_doc doc;
    struct method_common common;
    struct error err;

    if (size < 1 ||
        codec_decode(&doc, data + 1, size - 1, &frame_limits_hello, &err) < 0)
        return 0;
    if (doc.root.type == MSGPACK_OBJECT_MAP &&
        method_check_params(METHOD_hello, &doc.root, &common, &err) == 0)
        greet(data[0], &doc.root);
    codec_finish(&doc);
    return 0;
}
