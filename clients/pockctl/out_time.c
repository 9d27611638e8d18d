// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/out_time.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define DAY_MS INT64_C(86400000)

struct scan {
    const char *p;
    const char *end;
};

// Exactly `digits` digits, or false.
static bool scan_number(struct scan *s, int digits, int *out)
{
    int v = 0;

    for (int i = 0; i < digits; i++, s->p++) {
        if (s->p >= s->end || *s->p < '0' || *s->p > '9')
            return false;
        v = v * 10 + (*s->p - '0');
    }
    *out = v;
    return true;
}

static bool scan_char(struct scan *s, const char *any)
{
    if (s->p >= s->end || !*s->p || !strchr(any, *s->p))
        return false;
    s->p++;
    return true;
}

static bool scan_date(struct scan *s, struct tm *tm)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year;
    int month;
    int day;

    if (!scan_number(s, 4, &year) || !scan_char(s, "-") ||
        !scan_number(s, 2, &month) || !scan_char(s, "-") ||
        !scan_number(s, 2, &day))
        return false;
    if (month < 1 || month > 12 || year < 1)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day < 1 || day > days[month - 1] + (month == 2 && leap))
        return false;
    *tm = (struct tm){.tm_year = year - 1900,
                      .tm_mon = month - 1,
                      .tm_mday = day};
    return true;
}

static bool scan_clock(struct scan *s, struct tm *tm, int *ms)
{
    if (!scan_number(s, 2, &tm->tm_hour) || !scan_char(s, ":") ||
        !scan_number(s, 2, &tm->tm_min) || tm->tm_hour > 23 || tm->tm_min > 59)
        return false;
    if (scan_char(s, ":") &&
        (!scan_number(s, 2, &tm->tm_sec) || tm->tm_sec > 60))
        return false;
    if (scan_char(s, ".,")) {
        int scale = 100;
        if (s->p >= s->end || !isdigit((unsigned char) *s->p))
            return false;
        for (; s->p < s->end && isdigit((unsigned char) *s->p); s->p++) {
            *ms += (*s->p - '0') * scale;
            scale /= 10;
        }
    }
    return true;
}

static bool scan_zone(struct scan *s, struct tm *tm, int64_t *seconds)
{
    int hours;
    int minutes = 0;

    if (s->p == s->end) {
        tm->tm_isdst = -1;
        *seconds = mktime(tm);
        return true;
    }
    *seconds = timegm(tm);
    if (scan_char(s, "Zz"))
        return true;
    bool west = *s->p == '-';
    if (!scan_char(s, "+-") || !scan_number(s, 2, &hours))
        return false;
    (void) scan_char(s, ":");
    if (s->p < s->end && !scan_number(s, 2, &minutes))
        return false;
    if (hours > 23 || minutes > 59)
        return false;
    *seconds += (west ? 1 : -1) * (hours * 3600 + minutes * 60);
    return true;
}

int out_time_parse_iso(int64_t *out_ms, const char *text, size_t bytes,
                       bool at_end)
{
    struct scan s = {.p = text, .end = text + bytes};
    struct tm tm;
    int64_t seconds;
    int ms = 0;

    if (!scan_date(&s, &tm))
        return -EINVAL;
    if (s.p == s.end) {
        *out_ms = (int64_t) timegm(&tm) * 1000 + (at_end ? DAY_MS - 1 : 0);
        return 0;
    }
    if (!scan_char(&s, "Tt ") || !scan_clock(&s, &tm, &ms) ||
        !scan_zone(&s, &tm, &seconds) || s.p != s.end)
        return -EINVAL;
    *out_ms = seconds * 1000 + ms;
    return 0;
}

static int64_t unit_ms(const char *unit)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {
        {"s", 1000},   {"min", 60000},    {"h", 3600000},
        {"d", DAY_MS}, {"w", 7 * DAY_MS},
    };

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(unit, units[i].name) == 0)
            return units[i].ms;
    return 0;
}

static bool parse_age(int64_t *out_ms, const char *text, int64_t now_ms)
{
    char *end;

    if (!isdigit((unsigned char) *text))
        return false;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    int64_t unit = unit_ms(end);
    if (errno || unit == 0 || n > now_ms / unit)
        return false;
    *out_ms = now_ms - n * unit;
    return true;
}

int out_time_parse(int64_t *out_ms, const char *text, int64_t now_ms,
                   bool at_end, struct error *err)
{
    int64_t today = now_ms - now_ms % DAY_MS;
    int64_t rest = at_end ? DAY_MS - 1 : 0;
    char *end;

    if (out_time_parse_iso(out_ms, text, strlen(text), at_end) == 0 ||
        parse_age(out_ms, text, now_ms))
        return 0;
    if (strcmp(text, "today") == 0) {
        *out_ms = today + rest;
        return 0;
    }
    if (strcmp(text, "yesterday") == 0) {
        *out_ms = today - DAY_MS + rest;
        return 0;
    }
    if (*text == '@' && isdigit((unsigned char) text[1])) {
        errno = 0;
        long long v = strtoll(text + 1, &end, 10);
        if (!errno && !*end && v < INT64_MAX / 1000) {
            *out_ms = v * 1000;
            return 0;
        }
    }
    return error_set(err, -EINVAL,
                     "\"%s\" is no time: give 2025-12-31, "
                     "2025-12-31T18:00, or an age such as 12h or 7d",
                     text);
}

void out_time_format(char out[OUT_TIME_BYTES], int64_t ms, bool utc)
{
    time_t t = (time_t) (ms / 1000);
    struct tm tm;

    if (ms < 0 ||
        !(utc || ms % DAY_MS == 0 ? gmtime_r(&t, &tm) : localtime_r(&t, &tm))) {
        snprintf(out, OUT_TIME_BYTES, "-");
        return;
    }
    // A year past 9999 needs more room than this is meant to show.
    size_t n = 0;
    if (ms % DAY_MS == 0)
        n = strftime(out, OUT_TIME_BYTES, "%Y-%m-%d", &tm);
    else if (utc)
        n = strftime(out, OUT_TIME_BYTES, "%Y-%m-%d %H:%M:%SZ", &tm);
    else
        n = strftime(out, OUT_TIME_BYTES, "%Y-%m-%d %H:%M:%S", &tm);
    if (n == 0)
        snprintf(out, OUT_TIME_BYTES, "-");
}

void out_duration_format(char out[OUT_TIME_BYTES], int64_t ms)
{
    int64_t s = ms / 1000;

    if (ms < 0)
        snprintf(out, OUT_TIME_BYTES, "-");
    else if (ms < 1000)
        snprintf(out, OUT_TIME_BYTES, "%" PRId64 " ms", ms);
    else if (s < 60)
        snprintf(out, OUT_TIME_BYTES, "%" PRId64 " s", s);
    else if (s < 600)
        snprintf(out, OUT_TIME_BYTES, "%" PRId64 " min %" PRId64 " s", s / 60,
                 s % 60);
    else if (s < 3600)
        snprintf(out, OUT_TIME_BYTES, "%" PRId64 " min", s / 60);
    else if (s < 2 * 86400)
        snprintf(out, OUT_TIME_BYTES, "%" PRId64 " h %" PRId64 " min", s / 3600,
                 s / 60 % 60);
    else
        snprintf(out, OUT_TIME_BYTES, "%" PRId64 " d", s / 86400);
}

void out_bytes_format(char out[OUT_TIME_BYTES], int64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double v = (double) bytes / 1024;
    size_t u = 0;

    if (bytes < 1024) {
        snprintf(out, OUT_TIME_BYTES, "%" PRId64 " B", bytes);
        return;
    }
    while (v >= 1024 && u + 1 < sizeof(units) / sizeof(units[0])) {
        v /= 1024;
        u++;
    }
    snprintf(out, OUT_TIME_BYTES, "%.1f %s", v, units[u]);
}

// A decimal number, then a unit of the table: the product, at most 2^53.
struct unit {
    const char *name;
    double factor;
};

static int parse_quantity(int64_t *out, const char *text,
                          const struct unit *units, size_t n_units)
{
    char *end;

    if (!isdigit((unsigned char) *text) || strspn(text, "0123456789.") == 0)
        return -EINVAL;
    const double number = strtod(text, &end);
    // Neither exponents nor hexadecimal digits.
    if ((size_t) (end - text) != strspn(text, "0123456789."))
        return -EINVAL;
    for (size_t i = 0; i < n_units; i++) {
        const double value = number * units[i].factor;
        if (strcasecmp(end, units[i].name) != 0)
            continue;
        if (!(value <= 9007199254740992.0))
            return -EINVAL;
        *out = (int64_t) value;
        return 0;
    }
    return -EINVAL;
}

int out_duration_parse(int64_t *out_ms, const char *what, const char *text,
                       struct error *err)
{
    static const struct unit units[] = {
        {"s", 1000},    {"m", 60000},           {"min", 60000},
        {"h", 3600000}, {"d", (double) DAY_MS},
    };

    if (parse_quantity(out_ms, text, units, sizeof(units) / sizeof(units[0])) ==
        0)
        return 0;
    return error_set(err, -EINVAL,
                     "%s: \"%.64s\" is no duration: write 90s, 20m, 12h or 1d",
                     what, text);
}

int out_bytes_parse(int64_t *out, const char *what, const char *text,
                    struct error *err)
{
    static const struct unit units[] = {
        {"", 1},           {"B", 1},
        {"K", 1024},       {"KiB", 1024},
        {"M", 1048576},    {"MiB", 1048576},
        {"G", 1073741824}, {"GiB", 1073741824},
    };

    if (parse_quantity(out, text, units, sizeof(units) / sizeof(units[0])) == 0)
        return 0;
    return error_set(err, -EINVAL,
                     "%s: \"%.64s\" is no size: write 300M or 1.5G", what,
                     text);
}
