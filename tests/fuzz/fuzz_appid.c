// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes as a cgroup's text, as a sandbox's, and as what a program says of
 * itself. A name that comes of it is one that the store and the commands take.
 */

#include "engine/base/appid.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int rc, const struct appid *a, enum appid_kind least)
{
    if (rc < 0)
        return;
    if (a->kind == APPID_NONE ? a->name[0] != '\0'
                              : appid_kind_of(a->name) != a->kind)
        abort();
    if (a->kind < least || (a->is_flatpak_scope && a->kind != APPID_SCOPE))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *) data;
    struct appid a;

    check(appid_from_cgroup(&a, text, size), &a, APPID_NONE);
    check(appid_from_flatpak_info(&a, text, size), &a, APPID_FLATPAK);
    check(appid_set_host(&a, text, size), &a, APPID_HOST);
    return 0;
}
