// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/out_time.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

// 2025-03-01T10:00:00Z, in a zone an hour ahead of UTC.
#define NOW INT64_C(1740823200000)

static int64_t parse(const char *text, bool at_end)
{
    struct error err;
    int64_t ms = -1;

    if (out_time_parse(&ms, text, NOW, at_end, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return ms;
}

static void reads_dates_as_midnight_utc(void **state)
{
    assert_int_equal(parse("2025-03-01", false), INT64_C(1740787200000));
    assert_int_equal(parse("2025-03-01", true), INT64_C(1740873599999));
    assert_int_equal(parse("1970-01-01", false), 0);
    assert_int_equal(parse("2024-02-29", false), INT64_C(1709164800000));
}

static void reads_times_with_and_without_a_zone(void **state)
{
    assert_int_equal(parse("2025-03-01T10:00:00Z", false), NOW);
    assert_int_equal(parse("2025-03-01T11:00:00+01:00", false), NOW);
    assert_int_equal(parse("2025-03-01t04:30-0530", false), NOW);
    assert_int_equal(parse("2025-03-01 11:00", false), NOW);
    assert_int_equal(parse("2025-03-01T10:00:00.25Z", false), NOW + 250);
    assert_int_equal(parse("@1740823200", false), NOW);
}

static void reads_ages_and_names_of_days(void **state)
{
    assert_int_equal(parse("90s", false), NOW - 90000);
    assert_int_equal(parse("15min", false), NOW - 900000);
    assert_int_equal(parse("12h", false), NOW - 12 * 3600000);
    assert_int_equal(parse("7d", false), NOW - 7 * INT64_C(86400000));
    assert_int_equal(parse("today", false), INT64_C(1740787200000));
    assert_int_equal(parse("yesterday", true), INT64_C(1740787199999));
}

static void refuses_what_is_no_time(void **state)
{
    static const char *const bad[] = {
        "",
        "soon",
        "2025-02-29",
        "2025-13-01",
        "2025-03-32",
        "2025-3-1",
        "2025-03-01T25:00",
        "2025-03-01T10:00X",
        "5 apples",
        "99999999999999999999d",
        "@",
        "2025-03-01T10:00+1",
        "0000-01-01",
        "2025-03-01T",
        "2025-03-01T10:00:00.Z",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err;
        int64_t ms = 7;
        if (out_time_parse(&ms, bad[i], NOW, false, &err) != -EINVAL)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(ms, 7);
    }
}

static void writes_dates_local_times_and_utc(void **state)
{
    char out[OUT_TIME_BYTES];

    out_time_format(out, INT64_C(1740787200000), false);
    assert_string_equal(out, "2025-03-01");
    out_time_format(out, NOW, false);
    assert_string_equal(out, "2025-03-01 11:00:00");
    out_time_format(out, NOW, true);
    assert_string_equal(out, "2025-03-01 10:00:00Z");
    out_time_format(out, -1, true);
    assert_string_equal(out, "-");
    out_time_format(out, INT64_MAX, true);
    assert_true(strlen(out) < OUT_TIME_BYTES);
}

static void writes_durations_and_sizes(void **state)
{
    static const struct {
        int64_t value;
        const char *duration;
        const char *bytes;
    } rows[] = {
        {0, "0 ms", "0 B"},
        {850, "850 ms", "850 B"},
        {12000, "12 s", "11.7 KiB"},
        {200000, "3 min 20 s", "195.3 KiB"},
        {1800000, "30 min", "1.7 MiB"},
        {7500000, "2 h 5 min", "7.2 MiB"},
        {INT64_C(400000000), "4 d", "381.5 MiB"},
        {-1000, "-", "-1000 B"},
    };
    char out[OUT_TIME_BYTES];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        out_duration_format(out, rows[i].value);
        assert_string_equal(out, rows[i].duration);
        out_bytes_format(out, rows[i].value);
        assert_string_equal(out, rows[i].bytes);
    }
}

static void reads_durations_and_sizes(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } durations[] = {{"90s", 90000},
                     {"20m", 1200000},
                     {"20min", 1200000},
                     {"12h", 43200000},
                     {"1.5d", 129600000}},
      sizes[] = {{"1000000", 1000000},  {"300M", 300 << 20},
                 {"300mib", 300 << 20}, {"1.5G", INT64_C(1536) << 20},
                 {"64K", 65536},        {"7B", 7}};
    static const char *const bad[] = {"",     "m",    "-3m",   "3 m", "3x",
                                      "1e3s", "0x9s", "1..5h", "nan"};
    struct error err;
    int64_t v;

    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        assert_int_equal(out_duration_parse(&v, "--time", durations[i].text,
                                            &err),
                         0);
        assert_int_equal(v, durations[i].ms);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(out_bytes_parse(&v, "--memory", sizes[i].text, &err),
                         0);
        assert_int_equal(v, sizes[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(out_duration_parse(&v, "--time", bad[i], &err),
                         -EINVAL);
        assert_non_null(strstr(err.text, "--time: "));
        assert_int_equal(out_bytes_parse(&v, "--memory", bad[i], &err),
                         -EINVAL);
    }
    assert_int_equal(out_duration_parse(&v, "--time", "20", &err), -EINVAL);
    assert_int_equal(out_bytes_parse(&v, "--memory", "99999999999G", &err),
                     -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_dates_as_midnight_utc),
        cmocka_unit_test(reads_times_with_and_without_a_zone),
        cmocka_unit_test(reads_ages_and_names_of_days),
        cmocka_unit_test(refuses_what_is_no_time),
        cmocka_unit_test(writes_dates_local_times_and_utc),
        cmocka_unit_test(writes_durations_and_sizes),
        cmocka_unit_test(reads_durations_and_sizes),
    };

    setenv("TZ", "TST-1", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
