// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/window.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

enum {
    DAYS = 7,
    EVERY_DAY = (1 << DAYS) - 1,
    NAME_BYTES = 3,
};

static const char names[DAYS][NAME_BYTES + 1] = {"sun", "mon", "tue", "wed",
                                                 "thu", "fri", "sat"};

static int parse_day(const char **at)
{
    for (int i = 0; i < DAYS; i++)
        if (strncmp(*at, names[i], NAME_BYTES) == 0) {
            *at += NAME_BYTES;
            return i;
        }
    return -1;
}

// "mon-fri+sun": the days up to the slash, as bits; 0: none are named so.
static unsigned parse_days(const char **at)
{
    unsigned days = 0;

    for (;;) {
        int first = parse_day(at);
        int last = first;
        if (first < 0)
            return 0;
        if (**at == '-') {
            ++*at;
            if ((last = parse_day(at)) < 0)
                return 0;
        }
        for (int d = first;; d = (d + 1) % DAYS) {
            days |= 1u << d;
            if (d == last)
                break;
        }
        if (**at != '+')
            return days;
        ++*at;
    }
}

// "22:00" as minutes, up to 24:00; -1.
static int parse_time(const char **at)
{
    const char *s = *at;

    if (!isdigit((unsigned char) s[0]) || !isdigit((unsigned char) s[1]) ||
        s[2] != ':' || !isdigit((unsigned char) s[3]) ||
        !isdigit((unsigned char) s[4]))
        return -1;
    int hour = (s[0] - '0') * 10 + s[1] - '0';
    int minute = (s[3] - '0') * 10 + s[4] - '0';
    int all = hour * 60 + minute;
    if (minute > 59 || all > WINDOW_DAY_MIN)
        return -1;
    *at += 5;
    return all;
}

static int parse_one(struct window *w, const char **at)
{
    unsigned days = EVERY_DAY;

    if (isalpha((unsigned char) **at)) {
        days = parse_days(at);
        if (days == 0 || **at != '/')
            return -EINVAL;
        ++*at;
    }
    w->days = (uint8_t) days;
    w->start_min = parse_time(at);
    if (w->start_min < 0 || w->start_min == WINDOW_DAY_MIN || **at != '-')
        return -EINVAL;
    ++*at;
    w->end_min = parse_time(at);
    if (w->end_min < 0)
        return -EINVAL;
    if (w->end_min == 0)
        w->end_min = WINDOW_DAY_MIN;
    return w->end_min == w->start_min ? -ERANGE : 0;
}

int windows_parse(struct windows *out, const char *text, struct error *err)
{
    const char *at = text;

    *out = (struct windows){.count = 0};
    for (;;) {
        if (out->count == WINDOW_MAX)
            return error_set(err, -EINVAL, "there are more than %d windows",
                             WINDOW_MAX);
        const char *from = at;
        int rc = parse_one(&out->list[out->count], &at);
        if (rc == -ERANGE)
            return error_set(err, -EINVAL,
                             "the window %.32s is empty: it ends when it "
                             "begins: write 00:00-24:00 for the whole day",
                             from);
        if (rc < 0 || (*at != ',' && *at != '\0'))
            return error_set(err, -EINVAL,
                             "%.32s is no window: write 22:00-06:00, or "
                             "mon-fri/22:00-06:00,sat+sun/10:00-18:00",
                             *from ? from : "\"\"");
        out->count++;
        if (*at == '\0')
            return 0;
        at++;
    }
}

void windows_daily(struct windows *out, int64_t start_min, int64_t end_min)
{
    *out = (struct windows){
        .list[0] = {EVERY_DAY, (int) (start_min % WINDOW_DAY_MIN),
                    end_min == 0 ? WINDOW_DAY_MIN : (int) end_min},
        .count = start_min != end_min,
    };
}

static bool is_open(const struct window *w, int weekday, int minute)
{
    const bool is_today = (w->days & (1u << weekday)) != 0;
    const bool was_yesterday =
        (w->days & (1u << ((weekday + DAYS - 1) % DAYS))) != 0;

    if (w->end_min > w->start_min)
        return is_today && minute >= w->start_min && minute < w->end_min;
    return (is_today && minute >= w->start_min) ||
           (was_yesterday && minute < w->end_min);
}

bool windows_is_open(const struct windows *w, int weekday, int minute)
{
    for (int i = 0; i < w->count; i++)
        if (is_open(&w->list[i], weekday, minute))
            return true;
    return false;
}

int windows_opens_in(const struct windows *w, int weekday, int minute)
{
    int best = -1;

    if (windows_is_open(w, weekday, minute))
        return 0;
    for (int i = 0; i < w->count; i++)
        for (int day = 0; day <= DAYS; day++) {
            int wait = day * WINDOW_DAY_MIN + w->list[i].start_min - minute;
            if ((w->list[i].days & (1u << ((weekday + day) % DAYS))) &&
                wait > 0 && (best < 0 || wait < best))
                best = wait;
        }
    return best;
}
