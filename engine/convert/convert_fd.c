// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Conversion from descriptors to a descriptor, and a look at the result.
 */

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/mapfile.h"
#include "engine/base/pool.h"
#include "engine/convert/convert.h"
#include "engine/models/model.h"
#include "engine/tokenizer/tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

// Can it be a base model? That it cannot is no failure of the conversion,
// unless the file contradicts itself.
static int check_result(struct convert_result *out, const struct gguf *g,
                        struct error *err)
{
    struct model_config config;
    struct tokenizer *t = NULL;
    struct error why = {0};
    int rc = model_config_read(&config, g, &why);

    if (rc == 0 && (rc = tokenizer_create(&t, g, &why)) == 0)
        tokenizer_destroy(t);
    if (rc == -ENOTSUP) {
        (void) snprintf(out->notice, sizeof(out->notice), "%s", why.text);
        return 0;
    }
    return rc < 0 ? error_set(err, rc, "the result is no model: %s", why.text)
                  : 0;
}

static int read_result(struct convert_result *out, int fd, struct error *err)
{
    struct gguf *g;
    int rc = gguf_load_fd(&g, fd, err);

    if (rc < 0)
        return error_prefix(err, rc, "the result");
    rc = check_result(out, g, err);
    details_read(&out->details, g);
    gguf_destroy(g);
    return rc;
}

static void unmap(struct source_file *files, struct mapfile *maps, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        mapfile_finish(&maps[i]);
    free(files);
    free(maps);
}

static int map_file(struct source_file *out, struct mapfile *map,
                    const struct convert_fd *in, struct error *err)
{
    int rc = mapfile_load_fd(map, in->fd, err);

    if (rc < 0)
        return error_prefix(err, rc, "%.100s", in->name);
    if (map->data)
        (void) madvise((void *) (uintptr_t) map->data, map->bytes,
                       MADV_SEQUENTIAL);
    *out = (struct source_file){in->name, map->data, map->bytes};
    return 0;
}

int convert_fds(struct convert_result *out, int out_fd,
                const struct convert_fd *in, uint32_t n, uint32_t threads,
                const struct convert_params *params, struct error *err)
{
    struct source_file *files = fault_calloc(n + 1, sizeof(*files));
    struct mapfile *maps = fault_calloc(n + 1, sizeof(*maps));
    struct convert_params with_pool = *params;
    struct convert_result result = {0};
    int rc = files && maps ? 0 : -ENOMEM;

    with_pool.pool = NULL;
    if (rc == 0)
        rc = pool_create(&with_pool.pool, threads ? threads : 1);
    if (rc < 0)
        (void) error_set(err, rc, "not enough memory for the model");
    else
        pool_watch(with_pool.pool, params->stop);
    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = map_file(&files[i], &maps[i], &in[i], err);
    if (rc == 0)
        rc = convert_files(&result, out_fd, files, n, &with_pool, err);
    if (rc == 0)
        rc = read_result(&result, out_fd, err);
    pool_destroy(with_pool.pool);
    unmap(files, maps, files && maps ? n : 0);
    if (rc == 0)
        *out = result;
    return rc;
}
