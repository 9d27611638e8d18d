// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/signals_sysfs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/signal_table.h"
#include "daemon/sysfs_file.h"

enum {
    TRIPS_MAX = 12,
    // More than any machine that we would train on has.
    WH_MAX = 10000,
    VOLTS_MAX = 1000,
    AMPS_MAX = 1000,
    WATTS_MAX = 10000,
};

// Which trip points count as what.
enum {
    LEVEL_COOL,
    LEVEL_WARM,
    LEVEL_THROTTLING,
    LEVEL_HOT,
    LEVEL_CRITICAL,
};

static const double WARM_BELOW_TRIP_C = 10;
static const double WARM_WITHOUT_TRIP_C = 60;
static const double SKIN_WARM_C = 38;

static enum battery_state parse_state(const char *text)
{
    static const struct {
        const char *name;
        enum battery_state state;
    } names[] = {{"Charging", BATTERY_STATE_CHARGING},
                 {"Discharging", BATTERY_STATE_DISCHARGING},
                 {"Full", BATTERY_STATE_FULL},
                 {"Not charging", BATTERY_STATE_NOT_CHARGING}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcasecmp(text, names[i].name) == 0)
            return names[i].state;
    return BATTERY_STATE_UNKNOWN;
}

static enum battery_health parse_health(const char *text)
{
    if (strcasecmp(text, "Good") == 0)
        return BATTERY_HEALTH_GOOD;
    if (strcasecmp(text, "Unknown") == 0)
        return BATTERY_HEALTH_UNKNOWN;
    if (strcasecmp(text, "Cold") == 0 || strcasecmp(text, "Cool") == 0)
        return BATTERY_HEALTH_COLD;
    if (strcasecmp(text, "Hot") == 0 || strcasecmp(text, "Overheat") == 0 ||
        strcasecmp(text, "Warm") == 0)
        return BATTERY_HEALTH_HOT;
    return BATTERY_HEALTH_BAD;
}

// UPower's scale, from the kernel's.
static int parse_capacity_level(const char *text)
{
    if (strcasecmp(text, "Critical") == 0)
        return 4;
    if (strcasecmp(text, "Low") == 0)
        return 3;
    return 1;
}

// Micro-units, as the kernel has them, within what can be.
static bool read_micro(double *out, const char *dir, const char *name,
                       double most)
{
    double v;

    if (!sysfs_read_number(&v, dir, name))
        return false;
    v = fabs(v) / 1e6;
    if (v > most)
        return false;
    *out = v;
    return true;
}

static void add_known(double *sum, double v)
{
    *sum = isnan(*sum) ? v : *sum + v;
}

// Fuel gauges count energy or charge; the voltage makes one of the other.
static void read_energy(struct snapshot *s, const char *dir, double *pct)
{
    double volts = NAN;
    double now;
    double full;
    double rate;

    (void) read_micro(&volts, dir, "voltage_now", VOLTS_MAX);
    bool has_energy = read_micro(&now, dir, "energy_now", WH_MAX) &&
                      read_micro(&full, dir, "energy_full", WH_MAX);
    if (!has_energy && !isnan(volts) &&
        read_micro(&now, dir, "charge_now", WH_MAX) &&
        read_micro(&full, dir, "charge_full", WH_MAX)) {
        now *= volts;
        full *= volts;
        has_energy = true;
    }
    if (has_energy && full > 0 && now <= 1.1 * full) {
        add_known(&s->battery_wh, now);
        add_known(&s->battery_full_wh, full);
        *pct = fmin(100, 100 * now / full);
    }
    if (read_micro(&rate, dir, "power_now", WATTS_MAX))
        add_known(&s->energy_rate_w, rate);
    else if (!isnan(volts) && read_micro(&rate, dir, "current_now", AMPS_MAX))
        add_known(&s->energy_rate_w, rate * volts);
}

static void read_battery(struct snapshot *s, const char *dir)
{
    char text[SYSFS_TEXT_BYTES];
    double pct = NAN;
    double v;

    if (sysfs_is_text(dir, "present", "0"))
        return;
    // Of two batteries the emptier and the hotter one counts, and one that
    // discharges makes the machine discharge.
    s->has_battery = true;
    if (sysfs_read_text(text, sizeof(text), dir, "status")) {
        enum battery_state state = parse_state(text);
        if (s->battery_state != BATTERY_STATE_DISCHARGING)
            s->battery_state = state;
    }
    read_energy(s, dir, &pct);
    // What the kernel calls the capacity counts, unless it cannot be.
    if (sysfs_read_number(&v, dir, "capacity") && v >= 0 && v <= 100)
        pct = v;
    if (!isnan(pct) && !(pct > s->battery_pct))
        s->battery_pct = pct;
    if (sysfs_read_number(&v, dir, "temp") && v > -400 && v < 2000 &&
        !(v / 10 < s->battery_temp_c))
        s->battery_temp_c = v / 10;
    if (sysfs_read_text(text, sizeof(text), dir, "health"))
        s->battery_health = parse_health(text);
    if (sysfs_read_text(text, sizeof(text), dir, "capacity_level")) {
        int warning = parse_capacity_level(text);
        if (warning > s->warning)
            s->warning = warning;
    }
}

// A USB port is a source only while it is the sink; without a typec class its
// own `online` has to do.
static bool is_usb_source(const char *dir)
{
    char text[SYSFS_TEXT_BYTES];

    if (!sysfs_read_text(text, sizeof(text), dir, "power_role"))
        return true;
    return strstr(text, "[sink]") != NULL || strcmp(text, "sink") == 0;
}

static void read_supply(void *to, const char *dir, const char *name)
{
    struct snapshot *s = to;
    double online;

    // The battery of a mouse says nothing about the machine.
    if (sysfs_is_text(dir, "scope", "Device"))
        return;
    if (sysfs_is_text(dir, "type", "Battery")) {
        read_battery(s, dir);
        return;
    }
    if (!sysfs_read_number(&online, dir, "online"))
        return;
    if (sysfs_is_text(dir, "type", "USB") && !is_usb_source(dir))
        return;
    if (online > 0)
        s->has_external_power = TRI_YES;
    else if (s->has_external_power == TRI_UNKNOWN)
        s->has_external_power = TRI_NO;
}

struct screens {
    int external_on;
    int internal_on;
    int off;
    int lights_on;
    int lights_off;
};

static void read_connector(void *to, const char *dir, const char *name)
{
    struct screens *n = to;

    // card0-eDP-1 is a connector, card0 is not.
    if (!strchr(name, '-') || !sysfs_is_text(dir, "status", "connected"))
        return;
    if (sysfs_is_text(dir, "dpms", "Off") ||
        sysfs_is_text(dir, "enabled", "disabled"))
        n->off++;
    else if (strstr(name, "-eDP-") || strstr(name, "-LVDS-") ||
             strstr(name, "-DSI-"))
        n->internal_on++;
    else
        n->external_on++;
}

static void read_backlight(void *to, const char *dir, const char *name)
{
    struct screens *n = to;
    double power = 0;
    double brightness = 1;
    bool has_power = sysfs_read_number(&power, dir, "bl_power");
    bool has_brightness =
        sysfs_read_number(&brightness, dir, "actual_brightness");

    if (!has_power && !has_brightness)
        return;
    if (power != 0 || brightness <= 0) // bl_power: 0 is on, 4 is off
        n->lights_off++;
    else
        n->lights_on++;
}

// A built-in panel whose backlight is dark is off, whatever its connector
// says; phones often have the one without the other.
static enum tri screen_off(const struct screens *n)
{
    bool has_lights = n->lights_on + n->lights_off > 0;

    if (n->external_on > 0 || n->lights_on > 0)
        return TRI_NO;
    if (n->internal_on > 0)
        return has_lights ? TRI_YES : TRI_NO;
    return n->off > 0 || has_lights ? TRI_YES : TRI_UNKNOWN;
}

static void read_profile(struct snapshot *s, const char *root)
{
    char text[SYSFS_TEXT_BYTES];
    char dir[SYSFS_PATH_BYTES / 2];

    snprintf(dir, sizeof(dir), "%s/sys/firmware/acpi", root);
    if (sysfs_read_text(text, sizeof(text), dir, "platform_profile"))
        s->is_power_saver = strcmp(text, "low-power") == 0 ? TRI_YES : TRI_NO;
}

static void mark(struct snapshot *s, int first, int last,
                 enum signal_source source)
{
    for (int i = first; i <= last; i++)
        signal_mark(s, (enum signal) i, source);
}

void signals_sysfs_read_power(struct snapshot *s, const char *root)
{
    struct screens screens = {0};

    s->has_battery = false;
    s->battery_state = BATTERY_STATE_UNKNOWN;
    s->battery_health = BATTERY_HEALTH_UNKNOWN;
    s->battery_pct = NAN;
    s->battery_temp_c = NAN;
    s->battery_wh = NAN;
    s->battery_full_wh = NAN;
    s->energy_rate_w = NAN;
    s->warning = 0;
    s->has_external_power = TRI_UNKNOWN;
    s->is_power_saver = TRI_UNKNOWN;
    sysfs_each(root, "sys/class/power_supply", "", read_supply, s);
    // A battery that charges, without a charger that says so, is charged by
    // something.
    if (s->has_external_power == TRI_UNKNOWN && s->has_battery)
        s->has_external_power =
            s->battery_state == BATTERY_STATE_DISCHARGING ? TRI_NO : TRI_YES;
    sysfs_each(root, "sys/class/drm", "card", read_connector, &screens);
    sysfs_each(root, "sys/class/backlight", "", read_backlight, &screens);
    s->is_screen_off = screen_off(&screens);
    read_profile(s, root);
    mark(s, SIGNAL_external_power, SIGNAL_warning, SIGNAL_SOURCE_SYSFS);
    mark(s, SIGNAL_screen_off, SIGNAL_screen_off, SIGNAL_SOURCE_SYSFS);
    mark(s, SIGNAL_power_saver, SIGNAL_power_saver, SIGNAL_SOURCE_SYSFS);
}

static void raise_level(struct snapshot *s, int level, const char *zone)
{
    if (level <= s->thermal_level)
        return;
    s->thermal_level = level;
    snprintf(s->thermal_zone, sizeof(s->thermal_zone), "%.31s",
             level > LEVEL_COOL ? zone : "");
}

static int trip_level(const char *type)
{
    if (strcmp(type, "passive") == 0)
        return LEVEL_THROTTLING;
    if (strcmp(type, "hot") == 0)
        return LEVEL_HOT;
    if (strcmp(type, "critical") == 0)
        return LEVEL_CRITICAL;
    return LEVEL_COOL;
}

static int zone_level(const char *dir, const char *type, double celsius)
{
    int level = LEVEL_COOL;
    bool has_passive = false;

    for (int i = 0; i < TRIPS_MAX; i++) {
        char name[64];
        char text[SYSFS_TEXT_BYTES];
        double trip;

        snprintf(name, sizeof(name), "trip_point_%d_type", i);
        if (!sysfs_read_text(text, sizeof(text), dir, name))
            break;
        int at = trip_level(text);
        snprintf(name, sizeof(name), "trip_point_%d_temp", i);
        if (at == LEVEL_COOL || !sysfs_read_number(&trip, dir, name) ||
            trip <= 0)
            continue;
        if (celsius >= trip / 1000 && at > level)
            level = at;
        if (at != LEVEL_THROTTLING)
            continue;
        has_passive = true;
        if (level == LEVEL_COOL && celsius > trip / 1000 - WARM_BELOW_TRIP_C)
            level = LEVEL_WARM;
    }
    bool is_skin = strstr(type, "skin") || strstr(type, "battery");
    if (level == LEVEL_COOL &&
        ((is_skin && celsius > SKIN_WARM_C) ||
         (!has_passive && celsius >= WARM_WITHOUT_TRIP_C)))
        level = LEVEL_WARM;
    return level;
}

static void read_zone(void *to, const char *dir, const char *name)
{
    struct snapshot *s = to;
    char type[SYSFS_TEXT_BYTES] = "";
    double milli;

    if (sysfs_is_text(dir, "mode", "disabled") ||
        !sysfs_read_number(&milli, dir, "temp"))
        return;
    double celsius = milli / 1000;
    // Broken sensors say -273 or 200 and more.
    if (celsius <= -40 || celsius >= 200)
        return;
    s->thermal_zones++;
    if (!(celsius <= s->thermal_c))
        s->thermal_c = celsius;
    (void) sysfs_read_text(type, sizeof(type), dir, "type");
    raise_level(s, zone_level(dir, type, celsius), type[0] ? type : name);
}

// The kernel throttles a processor: warm at once. Whether that lasts is for
// the caller, who sees more than one moment.
static void read_cooling(void *to, const char *dir, const char *name)
{
    struct snapshot *s = to;
    char type[SYSFS_TEXT_BYTES];
    double state;

    if (!sysfs_read_text(type, sizeof(type), dir, "type") ||
        !sysfs_read_number(&state, dir, "cur_state") || state <= 0)
        return;
    if (strcasestr(type, "cpufreq") || strcasestr(type, "devfreq") ||
        strcasecmp(type, "Processor") == 0) {
        s->is_throttled = true;
        raise_level(s, LEVEL_WARM, type);
    }
}

void signals_sysfs_read_thermal(struct snapshot *s, const char *root)
{
    s->thermal_level = -1;
    s->thermal_zone[0] = '\0';
    s->thermal_c = NAN;
    s->thermal_zones = 0;
    s->is_throttled = false;
    sysfs_each(root, "sys/class/thermal", "thermal_zone", read_zone, s);
    if (s->thermal_level >= 0)
        sysfs_each(root, "sys/class/thermal", "cooling_device", read_cooling,
                   s);
    mark(s, SIGNAL_thermal_level, SIGNAL_throttled, SIGNAL_SOURCE_SYSFS);
}

// "some avg10=0.12 avg60=3.40 ..." of root/proc/pressure/`what`.
static double read_pressure(const char *root, const char *what,
                            const char *kind, const char *span)
{
    char path[SYSFS_PATH_BYTES / 2];
    char text[512];

    snprintf(path, sizeof(path), "%s/proc/pressure/%s", root, what);
    FILE *f = fopen(path, "re");
    if (!f)
        return NAN;
    double v = NAN;
    while (isnan(v) && fgets(text, sizeof(text), f)) {
        if (strncmp(text, kind, strlen(kind)) != 0)
            continue;
        const char *at = strstr(text, span);
        if (at)
            v = strtod(at + strlen(span), NULL);
    }
    (void) fclose(f);
    return v >= 0 && v <= 100 ? v : NAN;
}

static void read_meminfo(struct snapshot *s, const char *root)
{
    char path[SYSFS_PATH_BYTES / 2];
    char line[128];
    const long long most = INT64_MAX >> 10;
    long long kib;

    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "MemTotal: %lld", &kib) == 1 && kib > 0 && kib <= most)
            s->memory_total_bytes = (int64_t) kib << 10;
        else if (sscanf(line, "MemAvailable: %lld", &kib) == 1 && kib >= 0 &&
                 kib <= most)
            s->memory_available_bytes = (int64_t) kib << 10;
    }
    (void) fclose(f);
}

// A kernel without pressure figures still counts what is ready to run: the part
// of it that finds no processor.
static double read_overload(const char *root)
{
    char dir[SYSFS_PATH_BYTES / 2];
    double cores = (double) sysconf(_SC_NPROCESSORS_ONLN);
    double load;

    snprintf(dir, sizeof(dir), "%s/proc", root);
    if (!sysfs_read_number(&load, dir, "loadavg") || load < 0 || cores < 1)
        return NAN;
    return load > cores ? 100 * (1 - cores / load) : 0;
}

void signals_sysfs_read_load(struct snapshot *s, const char *root)
{
    s->psi_cpu_some = read_pressure(root, "cpu", "some", "avg60=");
    if (isnan(s->psi_cpu_some))
        s->psi_cpu_some = read_overload(root);
    s->psi_io_some = read_pressure(root, "io", "some", "avg10=");
    s->psi_mem_some = read_pressure(root, "memory", "some", "avg10=");
    s->psi_mem_full = read_pressure(root, "memory", "full", "avg10=");
    s->memory_total_bytes = -1;
    s->memory_available_bytes = -1;
    read_meminfo(s, root);
    mark(s, SIGNAL_psi_cpu, SIGNAL_psi_memory_full, SIGNAL_SOURCE_PROCFS);
    mark(s, SIGNAL_memory_available, SIGNAL_memory_total, SIGNAL_SOURCE_PROCFS);
}

void signals_sysfs_read_disk(struct snapshot *s, const char *dir)
{
    struct statvfs v;

    s->disk_free_bytes = -1;
    s->disk_total_bytes = -1;
    if (statvfs(dir, &v) == 0) {
        s->disk_free_bytes = (int64_t) v.f_bavail * (int64_t) v.f_frsize;
        s->disk_total_bytes = (int64_t) v.f_blocks * (int64_t) v.f_frsize;
    }
    mark(s, SIGNAL_disk_free, SIGNAL_disk_total, SIGNAL_SOURCE_STORE);
}
