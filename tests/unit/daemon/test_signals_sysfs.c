// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <math.h>

#include "daemon/signal_table.h"
#include "daemon/signals_sysfs.h"
#include "fake_root.h"

#define PS "sys/class/power_supply/"

static void a_phone_on_its_charger(void **state)
{
    struct snapshot s;

    put(PS "usb/type", "USB\n");
    put(PS "usb/online", "1\n");
    put(PS "bat/type", "Battery\n");
    put(PS "bat/status", "Charging\n");
    put(PS "bat/capacity", "81\n");
    put(PS "bat/temp", "312\n");
    put(PS "bat/health", "Good\n");
    put(PS "bat/capacity_level", "Normal\n");
    snapshot_init(&s);
    signals_sysfs_read_power(&s, root);
    assert_int_equal(s.has_external_power, TRI_YES);
    assert_true(s.has_battery);
    assert_int_equal(s.battery_state, BATTERY_STATE_CHARGING);
    assert_int_equal(s.battery_health, BATTERY_HEALTH_GOOD);
    assert_true(s.battery_pct == 81);
    assert_true(fabs(s.battery_temp_c - 31.2) < 1e-9);
    assert_int_equal(s.warning, 1);
}

static void unplugged_and_low(void **state)
{
    struct snapshot s;

    put(PS "ac/type", "Mains");
    put(PS "ac/online", "0");
    put(PS "bat/type", "Battery");
    put(PS "bat/status", "Discharging");
    put(PS "bat/capacity", "7");
    put(PS "bat/capacity_level", "Critical");
    snapshot_init(&s);
    signals_sysfs_read_power(&s, root);
    assert_int_equal(s.has_external_power, TRI_NO);
    assert_int_equal(s.battery_state, BATTERY_STATE_DISCHARGING);
    assert_int_equal(s.warning, 4);
}

static void the_battery_of_a_mouse_does_not_count(void **state)
{
    struct snapshot s;

    put(PS "hidpp/type", "Battery");
    put(PS "hidpp/scope", "Device");
    put(PS "hidpp/capacity", "3");
    snapshot_init(&s);
    signals_sysfs_read_power(&s, root);
    assert_false(s.has_battery);
    assert_int_equal(s.has_external_power, TRI_UNKNOWN);
}

static void a_port_that_gives_power_is_no_charger(void **state)
{
    struct snapshot s;

    put(PS "usb/type", "USB");
    put(PS "usb/online", "1");
    put(PS "usb/power_role", "[source] sink");
    put(PS "bat/type", "Battery");
    put(PS "bat/status", "Discharging");
    snapshot_init(&s);
    signals_sysfs_read_power(&s, root);
    assert_int_equal(s.has_external_power, TRI_NO);
}

static void nonsense_is_unknown(void **state)
{
    struct snapshot s;

    put(PS "bat/type", "Battery");
    put(PS "bat/status", "\xff\xfe");
    put(PS "bat/capacity", "9999999999999999999999");
    put(PS "bat/temp", "hot");
    put("proc/pressure/cpu", "some avg60=");
    put("proc/meminfo", "MemTotal: -5 kB\nMemAvailable: x\n");
    snapshot_init(&s);
    signals_sysfs_read_power(&s, root);
    signals_sysfs_read_load(&s, root);
    assert_int_equal(s.battery_state, BATTERY_STATE_UNKNOWN);
    assert_true(isnan(s.battery_pct));
    assert_true(isnan(s.battery_temp_c));
    assert_true(s.memory_total_bytes == -1);
    assert_true(s.memory_available_bytes == -1);
}

static void an_impossible_level_is_that_of_the_fuel_gauge(void **state)
{
    struct snapshot s;

    put(PS "bat/type", "Battery");
    put(PS "bat/capacity", "300");
    snapshot_init(&s);
    signals_sysfs_read_power(&s, root);
    assert_true(isnan(s.battery_pct));
    assert_int_equal(s.source[SIGNAL_battery_pct], SIGNAL_SOURCE_NONE);
    put(PS "bat/energy_now", "12000000");
    put(PS "bat/energy_full", "48000000");
    put(PS "bat/power_now", "7500000");
    signals_sysfs_read_power(&s, root);
    assert_true(fabs(s.battery_pct - 25) < 1e-9);
    assert_true(fabs(s.battery_wh - 12) < 1e-9);
    assert_true(fabs(s.battery_full_wh - 48) < 1e-9);
    assert_true(fabs(s.energy_rate_w - 7.5) < 1e-9);
    assert_int_equal(s.source[SIGNAL_battery_pct], SIGNAL_SOURCE_SYSFS);
    put(PS "bat/energy_now", "-99999999999999999999");
    signals_sysfs_read_power(&s, root);
    assert_true(isnan(s.battery_wh));
    assert_true(isnan(s.battery_pct));
}

static void charge_times_voltage_is_energy(void **state)
{
    struct snapshot s;

    put(PS "bat/type", "Battery");
    put(PS "bat/voltage_now", "4000000");
    put(PS "bat/charge_now", "1000000");
    put(PS "bat/charge_full", "3000000");
    put(PS "bat/current_now", "-500000"); // the sign is the driver's taste
    snapshot_init(&s);
    signals_sysfs_read_power(&s, root);
    assert_true(fabs(s.battery_wh - 4) < 1e-9);
    assert_true(fabs(s.battery_full_wh - 12) < 1e-9);
    assert_true(fabs(s.energy_rate_w - 2) < 1e-9);
}

static void screens_are_off_when_all_of_them_are(void **state)
{
    struct snapshot s;

    snapshot_init(&s);
    signals_sysfs_read_power(&s, root);
    assert_int_equal(s.is_screen_off, TRI_UNKNOWN);
    put("sys/class/drm/card0/dev", "226:0");
    put("sys/class/drm/card0-eDP-1/status", "connected");
    put("sys/class/drm/card0-eDP-1/enabled", "enabled");
    put("sys/class/drm/card0-eDP-1/dpms", "On");
    put("sys/class/drm/card0-HDMI-A-1/status", "disconnected");
    signals_sysfs_read_power(&s, root);
    assert_int_equal(s.is_screen_off, TRI_NO);
    put("sys/class/drm/card0-eDP-1/dpms", "Off");
    signals_sysfs_read_power(&s, root);
    assert_int_equal(s.is_screen_off, TRI_YES);
    put("sys/class/drm/card0-HDMI-A-1/status", "connected");
    put("sys/class/drm/card0-HDMI-A-1/dpms", "On");
    signals_sysfs_read_power(&s, root);
    assert_int_equal(s.is_screen_off, TRI_NO);
}

static void a_dark_backlight_is_a_dark_panel(void **state)
{
    struct snapshot s;

    put("sys/class/drm/card0-DSI-1/status", "connected");
    put("sys/class/drm/card0-DSI-1/dpms", "On");
    put("sys/class/backlight/panel/bl_power", "4");
    snapshot_init(&s);
    signals_sysfs_read_power(&s, root);
    assert_int_equal(s.is_screen_off, TRI_YES);
    put("sys/class/backlight/panel/bl_power", "0");
    put("sys/class/backlight/panel/actual_brightness", "0");
    signals_sysfs_read_power(&s, root);
    assert_int_equal(s.is_screen_off, TRI_YES);
    put("sys/class/backlight/panel/actual_brightness", "80");
    signals_sysfs_read_power(&s, root);
    assert_int_equal(s.is_screen_off, TRI_NO);
}

#define TZ "sys/class/thermal/thermal_zone0/"

static int level_at(const char *milli)
{
    struct snapshot s;

    put(TZ "temp", milli);
    snapshot_init(&s);
    signals_sysfs_read_thermal(&s, root);
    return s.thermal_level;
}

static void thermal_levels_follow_the_trip_points(void **state)
{
    struct snapshot s;

    snapshot_init(&s);
    signals_sysfs_read_thermal(&s, root);
    assert_int_equal(s.thermal_level, -1);
    put(TZ "type", "cpu-thermal");
    put(TZ "trip_point_0_type", "passive");
    put(TZ "trip_point_0_temp", "80000");
    put(TZ "trip_point_1_type", "hot");
    put(TZ "trip_point_1_temp", "95000");
    put(TZ "trip_point_2_type", "critical");
    put(TZ "trip_point_2_temp", "105000");
    assert_int_equal(level_at("45000"), 0);
    assert_int_equal(level_at("70000"), 0);
    assert_int_equal(level_at("71000"), 1);
    assert_int_equal(level_at("80000"), 2);
    assert_int_equal(level_at("95000"), 3);
    assert_int_equal(level_at("106000"), 4);
    assert_int_equal(level_at("-273000"), -1);
    assert_int_equal(level_at("200000"), -1);
    assert_int_equal(level_at("warm"), -1);
}

static void a_skin_zone_and_a_throttled_processor_are_warm(void **state)
{
    struct snapshot s;

    put(TZ "type", "skin-thermal");
    assert_int_equal(level_at("37000"), 0);
    assert_int_equal(level_at("39000"), 1);
    put(TZ "temp", "30000");
    put("sys/class/thermal/cooling_device0/type", "cpufreq-cpu0");
    put("sys/class/thermal/cooling_device0/cur_state", "2");
    snapshot_init(&s);
    signals_sysfs_read_thermal(&s, root);
    assert_int_equal(s.thermal_level, 1);
    assert_string_equal(s.thermal_zone, "cpufreq-cpu0");
    assert_true(s.is_throttled);
    // Beside a warm zone it is not overlooked.
    put(TZ "temp", "39000");
    snapshot_init(&s);
    signals_sysfs_read_thermal(&s, root);
    assert_int_equal(s.thermal_level, 1);
    assert_true(s.is_throttled);
    assert_int_equal(s.thermal_zones, 1);
    assert_true(s.thermal_c == 39);
}

static void reads_pressure_and_memory(void **state)
{
    struct snapshot s;

    put("proc/pressure/memory",
        "some avg10=1.50 avg60=2.00 avg300=0.00 total=5\n"
        "full avg10=0.25 avg60=0.50 avg300=0.00 total=5\n");
    put("proc/pressure/cpu", "some avg10=1.00 avg60=33.25 avg300=0 total=1\n");
    put("proc/meminfo", "MemTotal:       8000000 kB\nMemFree: 1 kB\n"
                        "MemAvailable:   4000000 kB\n");
    snapshot_init(&s);
    signals_sysfs_read_load(&s, root);
    assert_true(s.psi_mem_some == 1.5);
    assert_true(s.psi_mem_full == 0.25);
    assert_true(s.psi_cpu_some == 33.25);
    assert_true(isnan(s.psi_io_some));
    assert_int_equal(s.source[SIGNAL_psi_io], SIGNAL_SOURCE_NONE);
    assert_int_equal(s.source[SIGNAL_psi_cpu], SIGNAL_SOURCE_PROCFS);
    assert_true(s.memory_total_bytes == INT64_C(8000000) << 10);
    assert_true(s.memory_available_bytes == INT64_C(4000000) << 10);
}

static void without_pressure_figures_the_load_has_to_do(void **state)
{
    struct snapshot s;

    put("proc/loadavg", "0.00 0.10 0.10 1/300 999\n");
    snapshot_init(&s);
    signals_sysfs_read_load(&s, root);
    assert_true(s.psi_cpu_some == 0);
    put("proc/loadavg", "1000000 0.10 0.10 1/300 999\n");
    signals_sysfs_read_load(&s, root);
    assert_true(s.psi_cpu_some > 90 && s.psi_cpu_some <= 100);
    // 100 * x / x may be more than 100.
    put("proc/loadavg", "999999999999999999999999999");
    signals_sysfs_read_load(&s, root);
    assert_true(s.psi_cpu_some <= 100);
    put("proc/loadavg", "-3 nan");
    signals_sysfs_read_load(&s, root);
    assert_true(isnan(s.psi_cpu_some));
}

#define T(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_phone_on_its_charger),
        T(unplugged_and_low),
        T(the_battery_of_a_mouse_does_not_count),
        T(a_port_that_gives_power_is_no_charger),
        T(nonsense_is_unknown),
        T(an_impossible_level_is_that_of_the_fuel_gauge),
        T(charge_times_voltage_is_energy),
        T(screens_are_off_when_all_of_them_are),
        T(a_dark_backlight_is_a_dark_panel),
        T(thermal_levels_follow_the_trip_points),
        T(a_skin_zone_and_a_throttled_processor_are_warm),
        T(reads_pressure_and_memory),
        T(without_pressure_figures_the_load_has_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
