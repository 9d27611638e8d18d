// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What the socket costs: round trips of ping, and durable records taken in
 * batches of 64, eight batches under way. Speaks to a daemon that runs already,
 * and leaves its records there: give it one of its own (tests/bench/run.sh).
 *
 * usage: bench_ipc SOCKET [--json]
 */

#include "engine/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pock/pock.h>

enum {
    PINGS = 20000,
    BATCH = 64,
    BATCHES = 2000,
    UNDER_WAY = 8,
};

struct bench {
    struct pock *pock;
    uint64_t ping_ns[PINGS];
    double records_per_s;
    int done;
    int failed;
};

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *) a;
    const uint64_t y = *(const uint64_t *) b;
    return x < y ? -1 : x > y;
}

static int bench_ping(struct bench *b, struct pock_error *err)
{
    for (int i = 0; i < PINGS; i++) {
        const uint64_t begin = clock_monotonic_ns();
        int rc = pock_ping(b->pock, err);
        if (rc < 0)
            return rc;
        b->ping_ns[i] = clock_monotonic_ns() - begin;
    }
    qsort(b->ping_ns, PINGS, sizeof(b->ping_ns[0]), compare);
    return 0;
}

static void on_put(void *user, const struct pock_value *result,
                   const struct pock_error *err)
{
    struct bench *b = user;

    b->done++;
    if (err && b->failed++ == 0)
        (void) fprintf(stderr, "bench_ipc: %s\n", err->text);
}

static int put_batch(struct bench *b, int batch)
{
    static char texts[BATCH][128];
    struct pock_record records[BATCH] = {{0}};
    const struct pock_send_options options = {.on_reply = on_put, .user = b};
    struct pock_request *r;
    int rc;

    for (int i = 0; i < BATCH; i++) {
        (void) snprintf(texts[i], sizeof(texts[i]),
                        "Batch %d, record %d: the lodger bubbled like a drain, "
                        "and nobody came.",
                        batch, i);
        records[i].stream = "bench";
        records[i].time_ms = 1;
        records[i].text = texts[i];
        if ((rc = pock_uid_make(records[i].uid)) < 0)
            return rc;
    }
    rc = pock_put_request(&r, b->pock, records, BATCH, POCK_PUT_CREATE_STREAM);
    return rc < 0 ? rc : pock_send(r, &options, NULL);
}

static int bench_put(struct bench *b)
{
    const uint64_t begin = clock_monotonic_ns();
    int rc;

    for (int sent = 0; b->done < BATCHES;) {
        while (sent < BATCHES && sent - b->done < UNDER_WAY)
            if ((rc = put_batch(b, sent++)) < 0)
                return rc;
        if ((rc = pock_dispatch(b->pock, 10000)) < 0)
            return rc;
    }
    b->records_per_s = (double) BATCHES * BATCH /
                       ((double) (clock_monotonic_ns() - begin) * 1e-9);
    return b->failed > 0 ? -1 : 0;
}

static double microseconds(const struct bench *b, int percent)
{
    return (double) b->ping_ns[(size_t) PINGS * (size_t) percent / 100] * 1e-3;
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct pock_error err = {0};
    const bool is_json = argc > 2 && strcmp(argv[2], "--json") == 0;

    if (argc < 2) {
        (void) fprintf(stderr, "usage: bench_ipc SOCKET [--json]\n");
        return 2;
    }
    if (pock_connect(&b.pock, argv[1], &err) < 0 || bench_ping(&b, &err) < 0 ||
        bench_put(&b) < 0) {
        (void) fprintf(stderr, "bench_ipc: failed: %s\n", err.text);
        pock_destroy(b.pock);
        return 1;
    }
    (void) printf(is_json ? "{\"bench\":\"ipc\",\"ping_p50_us\":%.1f,"
                            "\"ping_p99_us\":%.1f,"
                            "\"put_many_records_per_s\":%.0f}\n"
                          : "ping p50 %.1f us, p99 %.1f us; data.put_many "
                            "%.0f durable records/s\n",
                  microseconds(&b, 50), microseconds(&b, 99), b.records_per_s);
    pock_destroy(b.pock);
    return 0;
}
