// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Durable records a second: batches as data.put_many sends them, each one
 * transaction with a sync. Beside it stands what the disk's syncs alone would
 * allow. usage: bench_store [DIR [SECONDS]]
 */

#include "engine/base/clock.h"
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
    if (rc < 0)
        (void) fprintf(stderr, "bench_store: %s\n", err.text);
    (void) snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command) != 0 || rc < 0;
}
