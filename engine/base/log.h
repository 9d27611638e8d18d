// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Log
 *
 * One line a message on standard error, with the journal's priority in front
 * ("<6>") when standard error goes to the journal, and a time otherwise. State
 * changes use one grammar, `event=job_paused job=17 reason=POWER step=412`.
 * Nothing personal is ever logged: ids, counts and reasons, never text.
 *
 * A .c file says `#define LOG_MODULE "scheduler"` before including this.
 */

enum log_level {
    LOG_ERROR = 3, // needs a person
    LOG_WARN = 4,  // degraded, continuing
    LOG_INFO = 6,  // worth a line in a day's log
    LOG_DEBUG = 7,
};

void log_set_level(enum log_level max);
// error, warn, info or debug; -EINVAL otherwise.
int log_level_parse(enum log_level *out, const char *name);
void log_write(enum log_level level, const char *module, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef LOG_MODULE
#define log_error(...) log_write(LOG_ERROR, LOG_MODULE, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, LOG_MODULE, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, LOG_MODULE, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, LOG_MODULE, __VA_ARGS__)
#endif
