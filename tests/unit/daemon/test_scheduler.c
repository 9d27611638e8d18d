// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/scheduler.h"

enum {
    HOUR_MS = 3600 * 1000,
};

// A phone on its charger at night, unused for an hour, and one job.
struct night {
    struct snapshot snapshot;
    struct policy policy;
    struct scheduler_job job;
    struct scheduler_input in;
    struct gate gates[CONDITION_COUNT];
    struct decision decision;
};

static void night_init(struct night *n)
{
    memset(n, 0, sizeof(*n));
    snapshot_init(&n->snapshot);
    n->snapshot.has_external_power = TRI_YES;
    n->snapshot.has_battery = true;
    n->snapshot.battery_state = BATTERY_STATE_CHARGING;
    n->snapshot.battery_health = BATTERY_HEALTH_GOOD;
    n->snapshot.battery_pct = 80;
    n->snapshot.battery_temp_c = 30;
    n->snapshot.warning = 1;
    n->snapshot.thermal_level = 0;
    n->snapshot.is_use_known = true;
    n->snapshot.unused_since_ms = 0;
    n->snapshot.memory_available_bytes = INT64_C(4) << 30;
    n->snapshot.memory_total_bytes = INT64_C(8) << 30;
    n->snapshot.disk_free_bytes = INT64_C(20) << 30;
    n->snapshot.disk_total_bytes = INT64_C(100) << 30;
    policy_init(&n->policy);
    n->job = (struct scheduler_job){.id = 7, .created_ms = 1};
    n->in = (struct scheduler_input){
        .snapshot = &n->snapshot,
        .policy = &n->policy,
        .jobs = &n->job,
        .job_count = 1,
        .has_model = true,
        .now_ms = HOUR_MS,
        .budget_used_wh = NAN,
        .unix_ms = 1000,
        .minute_of_day = 120,
    };
}

static enum scheduler_action decide(struct night *n)
{
    scheduler_decide(&n->decision, n->gates, &n->in);
    return n->decision.action;
}

static void a_shutdown_is_told_from_sleep(void **state)
{
    struct night n;

    night_init(&n);
    n.snapshot.is_shutting_down = true;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.reason, STOP_REASON_SHUTDOWN);
    n.snapshot.is_shutting_down = false;
    n.snapshot.is_going_to_sleep = true;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.reason, STOP_REASON_SLEEP);
}

static void gates_name_who_said_it(void **state)
{
    struct night n;

    night_init(&n);
    n.snapshot.source[SIGNAL_external_power] = SIGNAL_SOURCE_DBUS;
    n.snapshot.source[SIGNAL_battery_pct] = SIGNAL_SOURCE_SYSFS;
    (void) decide(&n);
    assert_string_equal(n.gates[CONDITION_power].source, "dbus");
    assert_string_equal(n.gates[CONDITION_level].source, "sysfs");
    assert_string_equal(n.gates[CONDITION_saver].source, "none");
    n.snapshot.power_flaps = 5;
    n.snapshot.has_external_power = TRI_NO;
    (void) decide(&n);
    assert_non_null(strstr(n.gates[CONDITION_power].value, "5 times"));
}

static void starts_when_every_gate_is_open(void **state)
{
    struct night n;

    night_init(&n);
    assert_int_equal(decide(&n), SCHEDULER_START);
    assert_int_equal(n.decision.job, 7);
    for (int i = 0; i < CONDITION_COUNT; i++)
        assert_true(n.gates[i].is_ok);
}

// One row closes one gate: what changes, which gate, and what happens to a job
// that runs already.
struct closing {
    const char *name;
    void (*change)(struct night *n);
    enum condition gate;
    bool stops;         // a running job too
    bool holds_for_now; // blocks `train now` as well
};

static void on_battery(struct night *n)
{
    n->snapshot.has_external_power = TRI_NO;
    n->snapshot.battery_state = BATTERY_STATE_DISCHARGING;
}

static void weak_charger(struct night *n)
{
    n->snapshot.battery_state = BATTERY_STATE_DISCHARGING;
}

static void slow_drain(struct night *n)
{
    n->snapshot.drain_pct = 1.5;
}

static void level_35(struct night *n)
{
    n->snapshot.battery_pct = 35;
}

static void level_29(struct night *n)
{
    n->snapshot.battery_pct = 29;
}

static void warned(struct night *n)
{
    n->snapshot.warning = 3;
}

static void battery_40(struct night *n)
{
    n->snapshot.battery_temp_c = 40;
}

static void battery_43(struct night *n)
{
    n->snapshot.battery_temp_c = 43;
}

static void battery_overheats(struct night *n)
{
    n->snapshot.battery_health = BATTERY_HEALTH_HOT;
}

static void warm(struct night *n)
{
    n->snapshot.thermal_level = 1;
}

static void throttling(struct night *n)
{
    n->snapshot.thermal_level = 2;
}

static void in_use(struct night *n)
{
    n->snapshot.is_in_use = true;
}

static void just_unused(struct night *n)
{
    n->snapshot.unused_since_ms = n->in.now_ms - 5000;
}

static void video_plays(struct night *n)
{
    strcpy(n->snapshot.inhibitors, "a video");
}

static void saver(struct night *n)
{
    n->snapshot.is_power_saver = TRI_YES;
}

static void busy_processor(struct night *n)
{
    n->snapshot.psi_cpu_some = 50;
}

static void starved(struct night *n)
{
    n->snapshot.psi_mem_full = 6;
}

static void little_memory(struct night *n)
{
    n->snapshot.memory_available_bytes = INT64_C(1) << 30;
}

static void little_disk(struct night *n)
{
    n->snapshot.disk_free_bytes = 100 << 20;
}

static void budget_used(struct night *n)
{
    n->in.budget_used_s = 7200;
}

static void outside_window(struct night *n)
{
    n->policy.window_start_min = 22 * 60;
    n->policy.window_end_min = 60;
}

static void paused(struct night *n)
{
    n->in.is_paused = true;
}

static void switched_off(struct night *n)
{
    n->policy.enabled = false;
}

static void no_model(struct night *n)
{
    n->in.has_model = false;
}

static void sleepy(struct night *n)
{
    n->snapshot.is_going_to_sleep = true;
}

static void short_of_memory(struct night *n)
{
    n->snapshot.is_memory_low = true;
}

static void others_turn(struct night *n)
{
    n->in.turn = TURN_TAKEN;
}

static const struct closing closings[] = {
    {"on battery", on_battery, CONDITION_power, true, true},
    {"weak charger", weak_charger, CONDITION_power, true, true},
    {"slow drain", slow_drain, CONDITION_drain, true, true},
    {"level 35", level_35, CONDITION_level, false, true},
    {"level 29", level_29, CONDITION_level, true, true},
    {"warning", warned, CONDITION_warning, true, true},
    {"battery 40 C", battery_40, CONDITION_battery_temp, false, true},
    {"battery 43 C", battery_43, CONDITION_battery_temp, true, true},
    {"overheat", battery_overheats, CONDITION_battery_temp, true, true},
    {"warm", warm, CONDITION_thermal, false, true},
    {"throttling", throttling, CONDITION_thermal, true, true},
    {"in use", in_use, CONDITION_idle, true, false},
    {"just unused", just_unused, CONDITION_idle, false, false},
    {"inhibitor", video_plays, CONDITION_inhibitors, true, true},
    {"saver", saver, CONDITION_saver, true, false},
    {"cpu pressure", busy_processor, CONDITION_pressure, false, false},
    {"memory pressure", starved, CONDITION_pressure, true, false},
    {"memory", little_memory, CONDITION_memory, false, true},
    {"disk", little_disk, CONDITION_disk, true, true},
    {"budget", budget_used, CONDITION_budget, true, false},
    {"window", outside_window, CONDITION_window, true, false},
    {"paused", paused, CONDITION_owner, true, true},
    {"off", switched_off, CONDITION_owner, true, true},
    {"no model", no_model, CONDITION_model, true, true},
    {"sleep", sleepy, CONDITION_sleep, true, true},
    {"memory is low", short_of_memory, CONDITION_pressure, true, false},
    {"turn", others_turn, CONDITION_turn, true, true},
};

static void each_closed_gate_blocks_and_stops_as_the_table_says(void **state)
{
    for (size_t i = 0; i < sizeof(closings) / sizeof(closings[0]); i++) {
        const struct closing *c = &closings[i];
        struct night n;

        night_init(&n);
        c->change(&n);
        print_message("# %s\n", c->name);
        assert_int_equal(decide(&n), SCHEDULER_NONE);
        assert_int_equal(condition_blocking(n.gates), c->gate);
        assert_int_equal(n.decision.reason, condition_reason(c->gate));

        night_init(&n);
        c->change(&n);
        n.job.is_running = true;
        assert_int_equal(decide(&n),
                         c->stops ? SCHEDULER_STOP : SCHEDULER_NONE);
        if (c->stops)
            assert_int_equal(n.decision.reason, condition_reason(c->gate));

        night_init(&n);
        c->change(&n);
        n.job.is_manual = true;
        assert_int_equal(decide(&n),
                         c->holds_for_now ? SCHEDULER_NONE : SCHEDULER_START);
    }
}

static void every_condition_has_a_row(void **state)
{
    for (int i = 0; i < CONDITION_COUNT; i++) {
        size_t found = 0;
        for (size_t k = 0; k < sizeof(closings) / sizeof(closings[0]); k++)
            found += closings[k].gate == (enum condition) i;
        // data is closed by an empty queue, tested below.
        assert_true(found > 0 || i == CONDITION_data);
    }
}

static void makes_room_for_another_owner_after_a_slice(void **state)
{
    struct night n;

    night_init(&n);
    n.job.is_running = true;
    n.in.turn = TURN_WANTED;
    n.in.slice_started_ms = n.in.now_ms - n.policy.slice_s * 1000 + 1;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.recheck_ms, 1);
    n.in.now_ms++;
    assert_int_equal(decide(&n), SCHEDULER_STOP);
    assert_int_equal(n.decision.reason, STOP_REASON_TURN);
    // What waits for a turn looks again by itself, and only then.
    night_init(&n);
    n.in.turn = TURN_TAKEN;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_in_range(n.decision.recheck_ms, 1000, 60000);
    on_battery(&n);
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.recheck_ms, -1);
}

static void a_trembling_level_does_not_flap(void **state)
{
    struct night n;
    int changes = 0;

    night_init(&n);
    for (int i = 0; i < 100; i++) {
        n.snapshot.battery_pct = i % 2 ? 38 : 41;
        enum scheduler_action a = decide(&n);
        if (a == SCHEDULER_START || a == SCHEDULER_STOP) {
            n.job.is_running = a == SCHEDULER_START;
            changes++;
        }
    }
    assert_int_equal(changes, 1);
}

static void since_changes_only_with_ok(void **state)
{
    struct night n;

    night_init(&n);
    n.in.unix_ms = 1000;
    decide(&n);
    n.in.unix_ms = 2000;
    decide(&n);
    assert_int_equal(n.gates[CONDITION_power].since_ms, 1000);
    on_battery(&n);
    n.in.unix_ms = 3000;
    decide(&n);
    n.in.unix_ms = 4000;
    decide(&n);
    assert_int_equal(n.gates[CONDITION_power].since_ms, 3000);
    assert_int_equal(n.gates[CONDITION_level].since_ms, 1000);
}

static void waits_exactly_until_idle_is_long_enough(void **state)
{
    struct night n;

    night_init(&n);
    n.snapshot.unused_since_ms = n.in.now_ms;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.recheck_ms, n.policy.idle_stable_s * 1000);
    n.in.now_ms += n.decision.recheck_ms;
    assert_int_equal(decide(&n), SCHEDULER_START);

    n.snapshot.is_screen_off = TRI_YES;
    n.snapshot.unused_since_ms = n.in.now_ms;
    decide(&n);
    assert_int_equal(n.decision.recheck_ms, n.policy.idle_screen_off_s * 1000);
}

static void no_time_is_named_while_another_gate_is_closed(void **state)
{
    struct night n;

    night_init(&n);
    just_unused(&n);
    on_battery(&n);
    decide(&n);
    assert_int_equal(n.decision.recheck_ms, -1);
    assert_false(n.decision.wants_polling);
}

static void manual_jobs_go_first_then_the_oldest(void **state)
{
    struct scheduler_job jobs[] = {
        {.id = 1, .created_ms = 10},
        {.id = 2, .created_ms = 5},
        {.id = 3, .created_ms = 30, .is_manual = true},
        {.id = 4, .created_ms = 1, .is_user_paused = true},
    };
    struct night n;

    night_init(&n);
    n.in.jobs = jobs;
    n.in.job_count = 4;
    assert_int_equal(decide(&n), SCHEDULER_START);
    assert_int_equal(n.decision.job, 3);
    n.in.job_count = 2;
    decide(&n);
    assert_int_equal(n.decision.job, 2);
    jobs[1].not_before_ms = n.in.now_ms + 50;
    decide(&n);
    assert_int_equal(n.decision.job, 1);
    jobs[0].not_before_ms = n.in.now_ms + 90;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.recheck_ms, 50);
}

static void a_job_that_backs_off_says_why(void **state)
{
    struct night n;

    night_init(&n);
    n.job.not_before_ms = n.in.now_ms + 5000;
    n.job.message = "the disk is full";
    n.in.new_records = 1000000;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.recheck_ms, 5000);
    assert_int_equal(condition_blocking(n.gates), CONDITION_data);
    assert_non_null(
        strstr(n.gates[CONDITION_data].value, "5 s: the disk is full"));
}

static void makes_a_job_of_enough_new_records(void **state)
{
    struct night n;

    night_init(&n);
    n.in.job_count = 0;
    n.in.new_records = n.policy.min_records - 1;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(condition_blocking(n.gates), CONDITION_data);
    n.in.new_records++;
    assert_int_equal(decide(&n), SCHEDULER_CREATE);
    on_battery(&n);
    assert_int_equal(decide(&n), SCHEDULER_NONE);
}

static void a_failed_job_is_not_followed_by_another_at_once(void **state)
{
    struct night n;

    night_init(&n);
    n.in.job_count = 0;
    n.in.new_records = 1000;
    n.in.create_after_ms = n.in.now_ms + 7000;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.recheck_ms, 7000);
    n.in.now_ms += 7000;
    assert_int_equal(decide(&n), SCHEDULER_CREATE);
    // What the owner asks for himself goes first.
    n.in.now_ms -= 7000;
    n.in.job_count = 1;
    assert_int_equal(decide(&n), SCHEDULER_START);
}

static void answers_come_first(void **state)
{
    struct night n;

    night_init(&n);
    n.in.is_preempted = true;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.reason, STOP_REASON_PREEMPT);
    n.job.is_running = true;
    assert_int_equal(decide(&n), SCHEDULER_STOP);
    assert_int_equal(n.decision.reason, STOP_REASON_PREEMPT);
}

static void a_machine_without_battery_passes_its_gates(void **state)
{
    struct night n;

    night_init(&n);
    n.snapshot.has_battery = false;
    n.snapshot.battery_pct = NAN;
    n.snapshot.battery_temp_c = NAN;
    n.snapshot.has_external_power = TRI_UNKNOWN;
    assert_int_equal(decide(&n), SCHEDULER_START);
    assert_string_equal(n.gates[CONDITION_level].source, "none");
}

static void a_window_may_pass_midnight(void **state)
{
    struct night n;

    night_init(&n);
    n.policy.window_start_min = 22 * 60;
    n.policy.window_end_min = 6 * 60;
    n.in.minute_of_day = 23 * 60;
    assert_int_equal(decide(&n), SCHEDULER_START);
    n.in.minute_of_day = 5 * 60;
    assert_int_equal(decide(&n), SCHEDULER_START);
    n.in.minute_of_day = 21 * 60;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.recheck_ms, HOUR_MS);
}

static void windows_of_the_week_take_the_place_of_the_daily_one(void **state)
{
    struct night n;

    night_init(&n);
    strcpy(n.policy.windows, "fri/22:00-06:00");
    n.policy.window_start_min = 100;
    n.policy.window_end_min = 101;
    n.in.weekday = 6;
    n.in.minute_of_day = 5 * 60;
    assert_int_equal(decide(&n), SCHEDULER_START);
    n.in.minute_of_day = 6 * 60;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.reason, STOP_REASON_WINDOW);
    assert_string_equal(n.gates[CONDITION_window].threshold, "fri/22:00-06:00");
    assert_int_equal(n.decision.recheck_ms, (6 * 24 + 16) * HOUR_MS);
}

static void energy_is_a_budget_where_it_is_reported(void **state)
{
    struct night n;

    night_init(&n);
    n.in.budget_used_wh = 19.9;
    assert_int_equal(decide(&n), SCHEDULER_START);
    assert_non_null(strstr(n.gates[CONDITION_budget].value, "19.90 Wh"));
    n.in.budget_used_wh = 20;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.reason, STOP_REASON_BUDGET);
    n.job.is_running = true;
    assert_int_equal(decide(&n), SCHEDULER_STOP);
    n.in.budget_used_wh = NAN;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_non_null(
        strstr(n.gates[CONDITION_budget].value, "nothing here reports energy"));
}

static void what_cannot_be_is_said(void **state)
{
    static const double absurd[] = {300, -1, -273, 1e9, INFINITY};
    struct night n;

    for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
        night_init(&n);
        n.snapshot.battery_pct = absurd[i];
        assert_int_equal(decide(&n), SCHEDULER_NONE);
        assert_int_equal(n.decision.reason, STOP_REASON_LEVEL);
        assert_non_null(
            strstr(n.gates[CONDITION_level].value, "which cannot be"));
    }
    // Nothing is known of a temperature that cannot be: that does not block.
    night_init(&n);
    n.snapshot.battery_temp_c = -273;
    assert_int_equal(decide(&n), SCHEDULER_START);
    assert_non_null(
        strstr(n.gates[CONDITION_battery_temp].value, "-273 C, which cannot"));
    n.snapshot.drain_pct = 1000;
    assert_int_equal(decide(&n), SCHEDULER_START);
    assert_non_null(strstr(n.gates[CONDITION_drain].value, "not counted"));
}

static void a_machine_of_unknown_warmth_trains_half_of_the_time(void **state)
{
    struct night n;

    night_init(&n);
    n.snapshot.thermal_level = -1;
    assert_int_equal(decide(&n), SCHEDULER_START);
    assert_string_equal(n.gates[CONDITION_thermal].value,
                        "no readable zone: trains 50 % of the time");
    assert_string_equal(n.gates[CONDITION_thermal].source, "none");
    n.snapshot.thermal_level = 1;
    n.job.is_running = true;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_non_null(
        strstr(n.gates[CONDITION_thermal].value, "trains 50 % of the time"));
}

// OnBattery toggles each second.
static void a_loose_contact_is_not_trusted_for_a_while(void **state)
{
    struct night n;
    int starts = 0;

    night_init(&n);
    for (int i = 0; i < 60; i++) {
        n.snapshot.has_external_power = i % 2 ? TRI_YES : TRI_NO;
        n.in.now_ms += 1000;
        starts += decide(&n) == SCHEDULER_START;
    }
    assert_int_equal(starts, 3);
    assert_int_equal(n.decision.reason, STOP_REASON_POWER);
    assert_non_null(strstr(n.gates[CONDITION_power].value, "came and went"));
    assert_int_equal(n.decision.recheck_ms, 60 * 1000);
    n.in.now_ms += 60 * 1000;
    assert_int_equal(decide(&n), SCHEDULER_START);
    // A job that runs is stopped by the first of them all the same.
    n.job.is_running = true;
    n.snapshot.has_external_power = TRI_NO;
    assert_int_equal(decide(&n), SCHEDULER_STOP);
}

static void ten_calm_minutes_bring_trust_back(void **state)
{
    struct night n;

    night_init(&n);
    for (int i = 0; i < 20; i++) {
        n.snapshot.has_external_power = i % 2 ? TRI_YES : TRI_NO;
        n.in.now_ms += 1000;
        (void) decide(&n);
    }
    n.in.now_ms += 11 * 60 * 1000;
    assert_int_equal(decide(&n), SCHEDULER_START);
    n.snapshot.has_external_power = TRI_NO;
    n.in.now_ms += 1000;
    (void) decide(&n);
    n.snapshot.has_external_power = TRI_YES;
    n.in.now_ms += 1000;
    assert_int_equal(decide(&n), SCHEDULER_START);
}

static void on_battery_no_time_is_named(void **state)
{
    struct night n;

    night_init(&n);
    on_battery(&n);
    n.job.not_before_ms = n.in.now_ms + 1000;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(n.decision.recheck_ms, -1);
    assert_int_equal(scheduler_pace(&n.decision, n.gates, false),
                     SCHEDULER_PACE_EVENTS);
    n.job.not_before_ms = 0;
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_int_equal(scheduler_pace(&n.decision, n.gates, false),
                     SCHEDULER_PACE_SLOW);
}

static void a_start_says_when_to_look_again(void **state)
{
    struct night n;

    night_init(&n);
    n.in.budget_used_s = 7190;
    assert_int_equal(decide(&n), SCHEDULER_START);
    assert_int_equal(n.decision.recheck_ms, 11 * 1000);
}

static void what_is_given_up_is_not_begun_again(void **state)
{
    struct night n;

    night_init(&n);
    n.in.job_count = 0;
    n.in.new_records = 100;
    assert_int_equal(decide(&n), SCHEDULER_CREATE);
    n.in.quarantine = "the model is not the file that was added";
    assert_int_equal(decide(&n), SCHEDULER_NONE);
    assert_non_null(strstr(n.gates[CONDITION_data].value,
                           "given up: the model is not the file"));
    assert_int_equal(n.decision.recheck_ms, -1);
    // What the owner asks for is tried.
    n.in.job_count = 1;
    assert_int_equal(decide(&n), SCHEDULER_START);
}

static void a_note_about_the_job_is_in_its_gate(void **state)
{
    struct night n;

    night_init(&n);
    n.in.note = "1 record is left out that ends the worker: 17";
    assert_int_equal(decide(&n), SCHEDULER_START);
    assert_string_equal(n.gates[CONDITION_data].value,
                        "a job, 1 record is left out that ends the worker: 17");
}

// They are in the store, in the protocol and in the journal of every version.
static void stop_reasons_keep_their_names(void **state)
{
    static const char *const names[] = {
        "NONE",    "USER",   "POWER",     "DRAIN",  "LEVEL",    "BATTERY_TEMP",
        "THERMAL", "ACTIVE", "INHIBITED", "SAVER",  "PRESSURE", "MEMORY",
        "DISK",    "SLEEP",  "SHUTDOWN",  "BUDGET", "WINDOW",   "PREEMPT",
        "UPDATE",  "ERROR",  "WATCHDOG",
    };
    const int count = sizeof(names) / sizeof(names[0]);

    for (int i = 0; i < count; i++) {
        int at = 0;
        while (at < STOP_REASON_COUNT &&
               strcmp(stop_reason_name((enum stop_reason) at), names[i]) != 0)
            at++;
        assert_true(at < STOP_REASON_COUNT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shutdown_is_told_from_sleep),
        cmocka_unit_test(gates_name_who_said_it),
        cmocka_unit_test(starts_when_every_gate_is_open),
        cmocka_unit_test(each_closed_gate_blocks_and_stops_as_the_table_says),
        cmocka_unit_test(every_condition_has_a_row),
        cmocka_unit_test(makes_room_for_another_owner_after_a_slice),
        cmocka_unit_test(a_trembling_level_does_not_flap),
        cmocka_unit_test(since_changes_only_with_ok),
        cmocka_unit_test(waits_exactly_until_idle_is_long_enough),
        cmocka_unit_test(no_time_is_named_while_another_gate_is_closed),
        cmocka_unit_test(manual_jobs_go_first_then_the_oldest),
        cmocka_unit_test(a_job_that_backs_off_says_why),
        cmocka_unit_test(makes_a_job_of_enough_new_records),
        cmocka_unit_test(a_failed_job_is_not_followed_by_another_at_once),
        cmocka_unit_test(answers_come_first),
        cmocka_unit_test(a_machine_without_battery_passes_its_gates),
        cmocka_unit_test(a_window_may_pass_midnight),
        cmocka_unit_test(windows_of_the_week_take_the_place_of_the_daily_one),
        cmocka_unit_test(energy_is_a_budget_where_it_is_reported),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(a_machine_of_unknown_warmth_trains_half_of_the_time),
        cmocka_unit_test(a_loose_contact_is_not_trusted_for_a_while),
        cmocka_unit_test(ten_calm_minutes_bring_trust_back),
        cmocka_unit_test(on_battery_no_time_is_named),
        cmocka_unit_test(a_start_says_when_to_look_again),
        cmocka_unit_test(what_is_given_up_is_not_begun_again),
        cmocka_unit_test(a_note_about_the_job_is_in_its_gate),
        cmocka_unit_test(stop_reasons_keep_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
