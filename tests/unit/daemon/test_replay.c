// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/replay.h"
#include "engine/base/str.h"

struct scene {
    struct policy policy;
    struct replay *r;
    struct str told;
};

static void on_event(const struct replay_event *ev, void *user)
{
    static const char *const kinds[] = {"start", "stop", "blocked"};
    struct scene *sc = user;

    str_printf(&sc->told, "%lld %s %s %s\n", (long long) ev->unix_ms / 1000,
               kinds[ev->kind],
               ev->kind == REPLAY_START ? "-" : stop_reason_name(ev->reason),
               ev->gate);
}

static int setup(void **state)
{
    struct scene *sc = calloc(1, sizeof(*sc));

    *state = sc;
    policy_init(&sc->policy);
    return replay_create(&sc->r, &(struct replay_params){.policy = &sc->policy,
                                                         .on_event = on_event,
                                                         .user = sc});
}

static int teardown(void **state)
{
    struct scene *sc = *state;

    replay_destroy(sc->r);
    str_free(&sc->told);
    free(sc);
    return 0;
}

static int feed(struct scene *sc, int64_t t_s, int minute, const char *signals,
                struct error *err)
{
    char line[1024];

    int n = snprintf(line, sizeof(line),
                     "{\"t\":%lld,\"unix\":%lld,\"minute\":%d,\"signals\":{%s}}"
                     "\n",
                     (long long) t_s * 1000, (long long) (t_s + 1000) * 1000,
                     minute, signals);
    return replay_line(sc->r, line, (size_t) n, err);
}

#define PLUGGED                                          \
    "\"external_power\":true,\"battery\":true,"          \
    "\"battery_state\":\"charging\",\"battery_pct\":80," \
    "\"warning\":\"none\",\"thermal_level\":0"

static void tells_starts_stops_and_what_blocks(void **state)
{
    struct scene *sc = *state;

    assert_int_equal(feed(sc, 0, 60, PLUGGED ",\"in_use\":true", NULL), 0);
    assert_int_equal(feed(sc, 60, 61, "\"in_use\":false,\"unused_since\":60000",
                          NULL),
                     0);
    // 17 minutes after that it starts by itself, between two lines.
    assert_int_equal(feed(sc, 2000, 93, "\"external_power\":false", NULL), 0);
    assert_int_equal(feed(sc, 2100, 95, "\"external_power\":true", NULL), 0);
    assert_int_equal(str_finish(&sc->told), 0);
    assert_string_equal(sc->told.data, "1000 blocked ACTIVE idle\n"
                                       "2080 start - \n"
                                       "3000 stop POWER power\n"
                                       "3100 start - \n");
    struct replay_totals t = replay_totals(sc->r);
    assert_int_equal(t.lines, 4);
    assert_int_equal(t.starts, 2);
    assert_int_equal(t.stops[STOP_REASON_POWER], 1);
    assert_int_equal(t.trained_ms, 920 * 1000);
    assert_true(replay_is_running(sc->r));
}

static void the_budget_ends_at_noon(void **state)
{
    struct scene *sc = *state;

    sc->policy.budget_s = 600;
    sc->policy.respect_idle = false;
    assert_int_equal(feed(sc, 0, 600, PLUGGED, NULL), 0);
    // 10:10 it is used up, at noon there is another.
    assert_int_equal(feed(sc, 7000, 716, "", NULL), 0);
    assert_int_equal(feed(sc, 7500, 725, "", NULL), 0);
    struct replay_totals t = replay_totals(sc->r);
    assert_int_equal(t.stops[STOP_REASON_BUDGET], 1);
    assert_int_equal(t.starts, 2);
    assert_true(replay_is_running(sc->r));
}

static void refuses_what_is_no_recording(void **state)
{
    static const char *const lines[] = {
        "no JSON",
        "[]",
        "{\"t\":1}",
        "{\"t\":-1,\"unix\":1,\"minute\":0,\"signals\":{}}",
        "{\"t\":1,\"unix\":1.5,\"minute\":0,\"signals\":{}}",
        "{\"t\":1,\"unix\":1,\"minute\":1440,\"signals\":{}}",
        "{\"t\":1,\"unix\":1,\"minute\":0,\"signals\":[]}",
        "{\"t\":1,\"unix\":1,\"minute\":0,\"signals\":{\"battery_pct\":true}}",
        "{\"t\":1,\"unix\":1,\"minute\":0,\"signals\":{\"sleep\":{}}}",
        "{\"t\":1,\"unix\":1,\"minute\":0,\"signals\":"
        "{\"inhibitors\":\"a\\u0000b\"}}",
        "{\"t\":1,\"unix\":1,\"minute\":0,\"signals\":{},\"sources\":1}",
        "{\"t\":1,\"unix\":1,\"minute\":0,\"signals\":{},"
        "\"sources\":{\"sleep\":\"rumour\"}}",
    };
    struct scene *sc = *state;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct error err = {0};
        assert_int_equal(replay_line(sc->r, lines[i], strlen(lines[i]), &err) <
                             0,
                         true);
        assert_true(err.text[0] != '\0');
    }
    assert_int_equal(replay_totals(sc->r).lines, 0);
}

static void time_neither_goes_back_nor_leaps(void **state)
{
    struct scene *sc = *state;
    struct error err = {0};

    assert_int_equal(feed(sc, 100, 0, PLUGGED, &err), 0);
    assert_int_equal(feed(sc, 99, 0, "", &err), -EINVAL);
    assert_non_null(strstr(err.text, "goes back"));
    assert_int_equal(feed(sc, 100 + 32 * 86400, 0, "", &err), -EINVAL);
    assert_int_equal(feed(sc, 100, 0, "", &err), 0);
}

static void headings_blank_lines_and_news_are_fine(void **state)
{
    struct scene *sc = *state;

    assert_int_equal(replay_line(sc->r, "\n", 1, NULL), 0);
    assert_int_equal(replay_line(sc->r, "{\"schema\":1}\n", 13, NULL), 0);
    assert_int_equal(feed(sc, 0, 0, "\"smell\":[1,2]", NULL), 0);
    assert_int_equal(feed(sc, 1, 0, "\"battery_pct\":null", NULL), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(tells_starts_stops_and_what_blocks),
        T(the_budget_ends_at_noon),
        T(refuses_what_is_no_recording),
        T(time_neither_goes_back_nor_leaps),
        T(headings_blank_lines_and_news_are_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
