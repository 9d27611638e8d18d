// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_times.h"

#include "engine/base/error.h"
#include "engine/base/memfile.h"
#include "engine/engine.h"
#include "ipc/worker_proto.h"

#include <errno.h>
#include <stdio.h>

bool worker_times_use(char why[WORKER_TIMES_TEXT], struct engine_model *m,
                      int fd)
{
    const void *map = NULL;
    size_t bytes = 0;
    struct error err;

    why[0] = '\0';
    if (fd < 0)
        return false;
    int rc = memfile_map(&map, &bytes, fd, WORKER_FILE_BYTES_MAX,
                         "the table of kernel times", &err);
    if (rc == 0)
        rc = engine_times_use(m, map, bytes, &err);
    memfile_unmap(map, bytes);
    if (rc < 0)
        (void) snprintf(why, WORKER_TIMES_TEXT, "%.511s", err.text);
    return rc < 0 && rc != -ENODATA && rc != -ENOMEM;
}
