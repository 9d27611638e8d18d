// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic(int) max_level = LOG_INFO;

void log_set_level(enum log_level max)
{
    atomic_store(&max_level, (int) max);
}

int log_level_parse(enum log_level *out, const char *name)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {{"error", LOG_ERROR},
                  {"warn", LOG_WARN},
                  {"info", LOG_INFO},
                  {"debug", LOG_DEBUG}};

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (strcmp(name, levels[i].name) == 0) {
            *out = levels[i].level;
            return 0;
        }
    return -EINVAL;
}

static int prefix(char *line, size_t size, enum log_level level)
{
    static const char letters[] = "...EW.ID";

    if (getenv("JOURNAL_STREAM"))
        return snprintf(line, size, "<%d>", (int) level);
    struct timespec t;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    return snprintf(line, size, "%02d:%02d:%02d.%03ld %c ", tm.tm_hour,
                    tm.tm_min, tm.tm_sec, t.tv_nsec / 1000000, letters[level]);
}

void log_write(enum log_level level, const char *module, const char *fmt, ...)
{
    if ((int) level > atomic_load(&max_level))
        return;

    // One write() a line, so that lines of two processes do not mix.
    char line[1024];
    int n = prefix(line, sizeof(line), level);
    n += snprintf(line + n, sizeof(line) - (size_t) n, "%s: ", module);

    va_list ap;
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof(line) - (size_t) n - 1, fmt, ap);
    va_end(ap);
    size_t len = strlen(line);
    if (m < 0 || len == 0)
        return;
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0)
        return; // Nowhere left to say it.
}
