// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "main"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "daemon/pockd.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"

enum { EXIT_USAGE = 2 };

static int load(struct config *c, int argc, char **argv, struct error *err)
{
    const char *const *args = (const char *const *) argv;
    char file[PATHS_BYTES];
    int rc;

    // The command line says which file is the usual one.
    if ((rc = config_init(c, err)) < 0 ||
        (rc = config_parse_argv(c, argc, args, err)) < 0 || c->wants_help ||
        c->wants_version || (rc = paths_config_file(file, c, err)) < 0)
        return rc;
    enum log_level level;
    if ((rc = config_load(c, argc, args, file, err)) < 0)
        return rc;
    if (log_level_parse(&level, c->log_level) < 0)
        return error_set(err, -22,
                         "log_level is %.32s, but must be error, "
                         "warn, info or debug",
                         c->log_level);
    log_set_level(level);
    return 0;
}

int main(int argc, char **argv)
{
    struct config config;
    struct error err = {0};

    // Other people's words: no core dumps, no files that others can read, and
    // no other program of the owner's looks into this one.
    (void) prctl(PR_SET_DUMPABLE, 0);
    (void) setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    (void) umask(077);
    // A pipe of a client, whose reader may be gone, or where the log goes.
    (void) signal(SIGPIPE, SIG_IGN);
    fault_arm_from_env();
    if (load(&config, argc, argv, &err) < 0) {
        (void) fprintf(stderr, "pockd: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (config.wants_help) {
        config_print_help();
        return 0;
    }
    if (config.wants_version) {
        printf("pockd %s\n", POCK_VERSION);
        return 0;
    }
    return pockd_run(&config);
}
