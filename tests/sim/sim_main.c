// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * sim: nights of simulated devices.
 *
 *   sim [--nights N] [--seed S]   stories of four nights each, seeds S, S + 1
 * .. sim --trace SEED [--mask M]   one story, told sim --shrink SEED the fewest
 * processes that still fail
 *
 * Before any of them the seeds of seeds.def are replayed: each broke a promise
 * once.
 */

#include "tests/sim/sim.h"

#include "engine/base/clock.h"
#include "ipc/rpc_error.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    NIGHTS = 4, // of a story
    NIGHTS_DEFAULT = 2000,
    ALL = (1 << PROCESS_COUNT) - 1,
    FAILURES_SHOWN = 10,
};

static const struct {
    uint64_t seed;
    unsigned mask;
    const char *found;
} seeds[] = {
#define SEED(seed, mask, found) {seed, mask, found},
#include "tests/sim/seeds.def"
#undef SEED
};

static bool tell(uint64_t seed, unsigned mask, FILE *trace,
                 struct sim_totals *totals)
{
    const struct sim_params p = {.seed = seed,
                                 .nights = NIGHTS,
                                 .mask = mask,
                                 .trace = trace};
    char why[256] = "";
    bool is_kept = sim_run(&p, totals, why);

    if (!is_kept)
        printf("# seed %" PRIu64 " mask 0x%x: %s\n", seed, mask, why);
    return is_kept;
}

static bool replay(void)
{
    struct sim_totals totals = {0};
    bool is_kept = true;

    for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
        if (!tell(seeds[i].seed, seeds[i].mask ? seeds[i].mask : ALL, NULL,
                  &totals)) {
            printf("# which once found: %s\n", seeds[i].found);
            is_kept = false;
        }
    return is_kept;
}

static int shrink(uint64_t seed)
{
    struct sim_totals totals = {0};
    unsigned mask = ALL;

    if (tell(seed, mask, NULL, &totals)) {
        printf("seed %" PRIu64 " keeps every promise\n", seed);
        return 0;
    }
    for (int i = 0; i < PROCESS_COUNT; i++)
        if (i != PROCESS_TICK && !tell(seed, mask & ~(1u << i), NULL, &totals))
            mask &= ~(1u << i);
    printf("sim --trace %" PRIu64 " --mask 0x%x   needs", seed, mask);
    for (int i = 0; i < PROCESS_COUNT; i++)
        if (mask & (1u << i))
            printf(" %s", device_process_name((enum device_process) i));
    printf("\n");
    return 1;
}

static void print_totals(const struct sim_totals *t, double seconds)
{
    printf("# %" PRIu64 " nights in %.1f s, %.0f a second; %" PRIu64
           " decisions, %.2f us each with the story around them\n",
           t->nights, seconds, (double) t->nights / seconds, t->decisions,
           seconds * 1e6 / (double) t->decisions);
    printf("# runs %" PRIu64 ", resumed %" PRIu64 ", done %" PRIu64
           ", failed %" PRIu64 ", cancelled %" PRIu64 ", quarantined %" PRIu64
           "\n",
           t->runs, t->resumed, t->done, t->failed, t->cancelled,
           t->quarantined);
    printf("# deaths %" PRIu64 ", transient %" PRIu64 ", permanent %" PRIu64
           ", disk full %" PRIu64 ", trials %" PRIu64
           ", guilty records %" PRIu64 ", flaps held %" PRIu64
           ", moves at half duty %" PRIu64 "\n",
           t->deaths, t->transient, t->permanent, t->no_space, t->trials,
           t->convicted, t->flap_holds, t->half_duty);
    printf("# stopped by");
    for (int i = 0; i < STOP_REASON_COUNT; i++)
        if (t->stops[i])
            printf(" %s %" PRIu64, stop_reason_name((enum stop_reason) i),
                   t->stops[i]);
    printf("\n");
}

// A night in which nothing can go wrong proves nothing.
static bool is_rich(const struct sim_totals *t)
{
    static const enum stop_reason wanted[] = {
        STOP_REASON_USER,      STOP_REASON_POWER,   STOP_REASON_DRAIN,
        STOP_REASON_LEVEL,     STOP_REASON_THERMAL, STOP_REASON_ACTIVE,
        STOP_REASON_INHIBITED, STOP_REASON_SAVER,   STOP_REASON_PRESSURE,
        STOP_REASON_DISK,      STOP_REASON_SLEEP,   STOP_REASON_BUDGET,
        STOP_REASON_WINDOW,    STOP_REASON_PREEMPT, STOP_REASON_ERROR,
        STOP_REASON_WATCHDOG,  STOP_REASON_MEMORY,
    };
    bool is_all = t->done && t->failed && t->cancelled && t->quarantined &&
                  t->convicted && t->no_space && t->resumed && t->half_duty &&
                  t->flap_holds;

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        if (t->stops[wanted[i]] == 0) {
            printf("# nothing was stopped by %s\n",
                   stop_reason_name(wanted[i]));
            is_all = false;
        }
    return is_all;
}

static int run(uint64_t seed, uint64_t nights)
{
    struct sim_totals totals = {0};
    uint64_t failures = 0;
    const uint64_t begin = clock_monotonic_ns();

    printf("1..3\n");
    printf("%s 1 - seeds that once broke a promise keep it\n",
           replay() ? "ok" : "not ok");
    for (uint64_t i = 0; i < (nights + NIGHTS - 1) / NIGHTS; i++) {
        failures += !tell(seed + i, ALL, NULL, &totals);
        if (failures == FAILURES_SHOWN)
            break;
    }
    print_totals(&totals, (double) (clock_monotonic_ns() - begin) / 1e9);
    printf("%s 2 - every promise is kept in every night\n",
           failures ? "not ok" : "ok");
    bool is_short = nights < NIGHTS_DEFAULT;
    printf("%s 3 - everything happened that may happen%s\n",
           is_short || is_rich(&totals) ? "ok" : "not ok",
           is_short ? " # SKIP too few nights" : "");
    return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
    uint64_t nights = NIGHTS_DEFAULT;
    uint64_t seed = 1;
    unsigned mask = ALL;
    enum { RUN, TRACE, SHRINK } what = RUN;

    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t n = strtoull(argv[i + 1], NULL, 0);
        if (strcmp(argv[i], "--nights") == 0)
            nights = n;
        else if (strcmp(argv[i], "--mask") == 0)
            mask = (unsigned) n;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = n;
        else if (strcmp(argv[i], "--trace") == 0)
            seed = n, what = TRACE;
        else if (strcmp(argv[i], "--shrink") == 0)
            seed = n, what = SHRINK;
        else
            argc = 0;
    }
    if (argc % 2 == 0) {
        fprintf(stderr, "usage: sim [--nights N] [--seed S] | --trace SEED "
                        "[--mask M] | --shrink SEED\n");
        return 2;
    }
    if (what == SHRINK)
        return shrink(seed);
    if (what == TRACE)
        return tell(seed, mask, stdout, &(struct sim_totals){0}) ? 0 : 1;
    return run(seed, nights);
}
