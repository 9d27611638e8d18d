// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any lines as those of an archive that is whole: the first byte says of which
 * kind. They go into a store that has a model and an adapter, in a transaction
 * that is rolled back; the store stays sound.
 */

#include "daemon/archive_import.h"
#include "storage/store.h"
#include "storage/store_adapter.h"
#include "storage/store_model.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];
static struct store *store;

static int on_entry(const char *path, const struct stat *st, int type,
                    struct FTW *ftw)
{
    return remove(path);
}

static void clean_up(void)
{
    store_close(store);
    (void) nftw(dir, on_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static struct store *open_store(void)
{
    struct store_model m = {.name = "m", .path = "/m", .bytes = 1};
    struct store_report report;
    struct store *s = NULL;
    int64_t model, adapter;

    memset(m.sha256, 0x11, sizeof(m.sha256));
    (void) snprintf(dir, sizeof(dir), "%s/pockd-fuzz-XXXXXX",
                    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir) ||
        store_open(&s, &(struct store_params){.dir = dir}, &report, NULL) < 0 ||
        store_model_add(s, &m, &model, NULL) < 0 ||
        store_adapter_add(s, "default", model, 1, &adapter, NULL) < 0 ||
        atexit(clean_up) != 0)
        abort();
    return s;
}

// An adapter first, so that what belongs to one finds it.
static const char first[] =
    "{\"pockd\":\"adapters\",\"adapter\":\"default\",\"created\":1,\"active\":1"
    ",\"base\":\"11111111111111111111111111111111111111111111111111111111111111"
    "11\"}\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct archive_import *x = NULL;
    struct error err = {0};

    if (size < 1)
        return 0;
    if (!store)
        store = open_store();
    if (archive_import_create(&x, NULL, &err) < 0 ||
        store_begin(store, &err) < 0 ||
        archive_import_lines(x, store, ARCHIVE_ADAPTERS, first,
                             sizeof(first) - 1, &err) < 0)
        abort();
    const int rc =
        archive_import_lines(x, store,
                             (enum archive_kind)(data[0] % ARCHIVE_KIND_COUNT),
                             (const char *) data + 1, size - 1, &err);
    const struct archive_result *r = archive_import_result(x);
    if ((rc < 0 && err.text[0] == '\0') || r->n_remarks > ARCHIVE_REMARKS_MAX)
        abort();
    if (store_check(store, true, &err) < 0)
        abort();
    store_rollback(store);
    archive_import_destroy(x);
    return 0;
}
