// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/model_pick.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/dbcall.h"

int model_open(const struct store_model *m, struct error *err)
{
    const int fd = open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    return fd < 0 ? error_set(err, -errno, "cannot open the model %s at %.300s",
                              m->name, m->path)
                  : fd;
}

int model_pick(char name[STORE_NAME_SIZE], int *fd, struct store *s,
               struct dbcall *c, struct error *err)
{
    struct store_model m;
    int rc = name[0] ? store_model_get(s, name, &m, err)
                     : store_model_get_default(s, &m, err);

    if (rc == -ENOENT && !name[0]) {
        c->code = RPC_ERROR_NO_MODEL;
        return error_set(err, rc,
                         "there is no base model: add one with `pockctl "
                         "model add FILE`");
    }
    if (rc < 0)
        return error_set(err, rc, "there is no model %s", name);
    memcpy(name, m.name, sizeof(m.name));
    *fd = model_open(&m, err);
    return *fd < 0 ? *fd : 0;
}
