// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Durable records a second: batches as data.put_many sends them, each one
 * transaction with a sync. Beside it stands what the disk's syncs alone would
 * allow, and what sealing takes of it. Then, with 100,000 records: opening,
 * reading all of them, and erasing 10,000 with the versions that learned from
 * them.
 * usage: bench_store [DIR [SECONDS]]
 */

#include "engine/base/clock.h"
#include "storage/blob.h"
#include "storage/keytree.h"
#include "storage/store_adapter.h"
#include "storage/store_lineage.h"
#include "storage/store_model.h"
#include "storage/store_record.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 64, TEXT_BYTES = 350 };

static char text[TEXT_BYTES];

static int put_batch(struct store *s, int64_t stream, uint64_t *number,
                     struct error *err)
{
    int rc = store_begin(s, err);

    for (int i = 0; rc == 0 && i < BATCH; i++) {
        struct store_record r = {
            .stream_id = stream,
            .kind = 1,
            .time_ms = (int64_t) *number,
            .bytes = TEXT_BYTES,
            .body = text,
            .body_bytes = TEXT_BYTES,
        };
        int64_t id;
        bool is_new;
        // Uids are random: so is the place of each in the index.
        uint64_t mixed = *number * UINT64_C(0x9e3779b97f4a7c15);
        memcpy(r.uid, &mixed, 8);
        memcpy(r.uid + 8, number, 8);
        rc = store_record_put(s, &r, &id, &is_new, err);
        (*number)++;
    }
    if (rc == 0)
        return store_commit(s, err);
    store_rollback(s);
    return rc;
}

// Appends of 32 KiB, each synced: what a batch costs at least.
static double syncs_per_second(const char *dir)
{
    char path[320];
    static char block[32 << 10];
    uint64_t start = clock_monotonic_ns(), n = 0;

    (void) snprintf(path, sizeof(path), "%s/sync", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return 0;
    while (clock_monotonic_ns() - start < 1000000000u && n < 20000) {
        if (pwrite(fd, block, sizeof(block), (off_t) (n % 64) * 32768) < 0 ||
            fdatasync(fd) < 0)
            break;
        n++;
    }
    double seconds = (double) (clock_monotonic_ns() - start) * 1e-9;
    close(fd);
    (void) unlink(path);
    return (double) n / seconds;
}

static int measure(const char *dir, double seconds_max, struct error *err)
{
    struct store *s = NULL;
    struct store_report report;
    int64_t stream;
    uint64_t number = 0;
    int rc = store_open(&s, &(struct store_params){.dir = dir}, &report, err);

    if (rc == 0)
        rc = store_stream_make(s, STORE_APP_HOST, "bench", 0, &stream, err);
    uint64_t start = clock_monotonic_ns();
    double seconds = 0;
    while (rc == 0 && seconds < seconds_max) {
        rc = put_batch(s, stream, &number, err);
        seconds = (double) (clock_monotonic_ns() - start) * 1e-9;
    }
    store_close(s);
    if (rc < 0)
        return rc;
    double syncs = syncs_per_second(dir);
    printf("durable records/s %.0f (batches of %d, %" PRIu64
           " records); syncs of 32 KiB/s %.0f\n",
           (double) number / seconds, BATCH, number, syncs);
    return 0;
}

static double ms_since(uint64_t start)
{
    return (double) (clock_monotonic_ns() - start) * 1e-6;
}

// What the store does for a record beside storing it.
static void measure_sealing(void)
{
    enum { N = 60000 };
    static uint8_t out[TEXT_BYTES + SEAL_EXTRA_BYTES];
    uint8_t key[SEAL_KEY_BYTES], nonce[SEAL_NONCE_BYTES], ad[72] = {0};
    struct seal_series series;

    if (seal_init() < 0)
        return;
    struct keytree *t = keytree_new();
    if (!t)
        return;
    seal_series_init(&series);
    const uint64_t start = clock_monotonic_ns();
    for (uint32_t i = 0; i < N; i++) {
        (void) keytree_key(key, t, i);
        seal_nonce_next(nonce, &series);
        seal_close(out, key, nonce, ad, sizeof(ad), text, TEXT_BYTES);
    }
    printf("sealing a record of %d bytes %.0f ns\n", TEXT_BYTES,
           ms_since(start) * 1e6 / N);
    keytree_free(t);
}

enum { STORED = 100000, ERASED = 10000, VERSIONS = 3, ADAPTER_BYTES = 4 << 20 };

static int fill(struct store *s, struct error *err)
{
    uint64_t number = 0;
    int64_t stream;
    int rc = store_stream_make(s, STORE_APP_HOST, "bench", 0, &stream, err);

    while (rc == 0 && number < STORED)
        rc = put_batch(s, stream, &number, err);
    return rc;
}

static int add_versions(struct store *s, const char *dir, struct error *err)
{
    struct store_model m = {.name = "m", .path = "/m", .bytes = 1};
    static int64_t ids[ERASED];
    char path[400];
    int64_t adapter = 0;
    size_t lost;
    int rc = store_model_add(s, &m, &m.id, err);

    if (rc == 0)
        rc = store_adapter_add(s, "mine", m.id, 0, &adapter, err);
    for (int i = 0; i < ERASED; i++)
        ids[i] = 1 + i * (STORED / ERASED);
    (void) snprintf(path, sizeof(path), "%s/candidate", dir);
    for (uint32_t n = 1; rc == 0 && n <= VERSIONS; n++) {
        struct store_version v;
        uint64_t bytes = 0;
        store_version_init(&v);
        const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, ADAPTER_BYTES + (off_t) n) < 0)
            return -1;
        rc = store_blob_put_fd(s, fd, UINT64_MAX, v.sha256, &bytes, err);
        close(fd);
        v.adapter_id = adapter;
        v.parent = n - 1;
        v.bytes = (int64_t) bytes;
        v.gate = STORE_GATE_PASSED;
        if (rc == 0)
            rc = store_version_add(s, &v, &n, err);
        if (rc == 0)
            rc = store_lineage_add(s, adapter, n, ids, ERASED, &lost, err);
        if (rc == 0)
            rc = store_adapter_activate(s, adapter, n, false, 0, err);
    }
    (void) unlink(path);
    return rc;
}

static int count_record(const struct store_record *r, void *user)
{
    int64_t *seen = user;

    seen[0]++;
    seen[1] = r->id;
    return 0;
}

// As an export reads, so many at a time.
static int measure_pages(struct store *s, struct error *err)
{
    enum { PAGE = 4096 };
    int64_t seen[2] = {0}, before = -1;
    const uint64_t start = clock_monotonic_ns();
    int rc = 0;

    while (rc == 0 && seen[0] != before) {
        before = seen[0];
        rc = store_record_each(s, NULL, seen[1], PAGE, true, count_record, seen,
                               err);
    }
    printf("reading %" PRId64 " records, %d a page %.0f ms\n", seen[0], PAGE,
           ms_since(start));
    return rc;
}

// Every tenth: no two of them share a page, or a node of the keys.
static int measure_erase(const char *dir, struct error *err)
{
    struct store_erased e = {0};
    struct store_report report;
    struct store *s = NULL;
    const struct store_params p = {.dir = dir, .now_ms = 1};
    int rc = store_open(&s, &p, &report, err);

    if (rc == 0 && (rc = fill(s, err)) == 0)
        rc = add_versions(s, dir, err);
    store_close(s);
    s = NULL;
    uint64_t start = clock_monotonic_ns();
    if (rc == 0)
        rc = store_open(&s, &p, &report, err);
    printf("opening %d records %.1f ms\n", STORED, ms_since(start));
    if (rc == 0)
        rc = measure_pages(s, err);
    double total = 0;
    for (int part = 0; rc == 0 && part < ERASED / 1000; part++) {
        static int64_t ids[1000];
        for (int i = 0; i < 1000; i++)
            ids[i] = 1 + (part * 1000 + i) * (STORED / ERASED);
        struct store_filter f = {.ids = ids, .n_ids = 1000};
        start = clock_monotonic_ns();
        rc = store_record_erase(s, &f, false, 1, &e, NULL, NULL, err);
        total += ms_since(start);
    }
    printf(
        "erasing %d scattered records and %d versions, 1000 a call %.0f ms\n",
        ERASED, VERSIONS, total);
    struct store_filter f = {.has_before = true, .before_ms = 22222};
    start = clock_monotonic_ns();
    if (rc == 0)
        rc = store_record_erase(s, &f, false, 1, &e, NULL, NULL, err);
    printf("erasing the %" PRId64 " oldest of the rest at once %.0f ms\n",
           e.records, ms_since(start));
    store_close(s);
    return rc;
}

int main(int argc, char **argv)
{
    char dir[300], command[400];
    struct error err;

    memset(text, 'x', sizeof(text));
    (void) snprintf(dir, sizeof(dir), "%s/bench-store-XXXXXX",
                    argc > 1 ? argv[1] : "/var/tmp");
    if (!mkdtemp(dir)) {
        perror(dir);
        return 1;
    }
    int rc = measure(dir, argc > 2 ? strtod(argv[2], NULL) : 5, &err);
    measure_sealing();
    if (rc == 0) {
        char second[310];
        (void) snprintf(second, sizeof(second), "%s/second", dir);
        rc = measure_erase(second, &err);
    }
    if (rc < 0)
        (void) fprintf(stderr, "bench_store: %s\n", err.text);
    (void) snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command) != 0 || rc < 0;
}
