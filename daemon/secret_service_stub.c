// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/secret_service.h"

#include <errno.h>

static int refuse(struct error *err)
{
    return error_set(err, -EOPNOTSUPP,
                     "this pockd was built without sd-bus (libsystemd or "
                     "elogind), which asks it");
}

static int load(void *user, const struct keykeeper_item *item,
                uint8_t key[SEAL_KEY_BYTES], struct error *err)
{
    return refuse(err);
}

static int save(void *user, const struct keykeeper_item *item,
                const uint8_t key[SEAL_KEY_BYTES], struct error *err)
{
    return refuse(err);
}

static int drop(void *user, const struct keykeeper_item *item,
                struct error *err)
{
    return refuse(err);
}

void secret_service_init(struct secret_service *s, int64_t wait_ms)
{
    *s = (struct secret_service){
        .keeper = {.user = s, .load = load, .save = save, .remove = drop},
        .wait_ms = wait_ms,
    };
}
