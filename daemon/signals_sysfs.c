// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/signals_sysfs.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    ATTR_BYTES = 128,
    PATH_BYTES = 1280,
    DEVICES_MAX = 64, // of one class; more are not looked at
    TRIPS_MAX = 12,
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

// First line of a file, without the line end. False when there is none.
static bool read_text(char *out, size_t size, const char *dir, const char *name)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

    if (n < 0 || (size_t) n >= sizeof(path))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, out, size - 1);
    (void) close(fd);
    if (got <= 0)
        return false;
    out[got] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return out[0] != '\0';
}

static bool read_number(double *out, const char *dir, const char *name)
{
    char text[ATTR_BYTES];
    char *end;

    if (!read_text(text, sizeof(text), dir, name))
        return false;
    double v = strtod(text, &end);
    if (end == text || !isfinite(v))
        return false;
    *out = v;
    return true;
}

static bool is_text(const char *dir, const char *name, const char *want)
{
    char text[ATTR_BYTES];

    return read_text(text, sizeof(text), dir, name) &&
           strcasecmp(text, want) == 0;
}

typedef void (*device_fn)(void *to, const char *dir, const char *name);

// fn for each entry of root/sub whose name begins with `prefix`.
static void each_device(const char *root, const char *sub, const char *prefix,
                        device_fn fn, void *to)
{
    char base[PATH_BYTES / 2];
    char path[PATH_BYTES];
    int count = 0;

    snprintf(base, sizeof(base), "%s/%s", root, sub);
    DIR *d = opendir(base);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d)) && count < DEVICES_MAX;) {
        if (e->d_name[0] == '.' ||
            strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", base, e->d_name);
        fn(to, path, e->d_name);
        count++;
    }
    (void) closedir(d);
}

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

static void read_battery(struct snapshot *s, const char *dir)
{
    char text[ATTR_BYTES];
    double v;

    if (is_text(dir, "present", "0"))
        return;
    // Of two batteries the emptier and the hotter one counts, and one that
    // discharges makes the machine discharge.
    s->has_battery = true;
    if (read_text(text, sizeof(text), dir, "status")) {
        enum battery_state state = parse_state(text);
        if (s->battery_state != BATTERY_STATE_DISCHARGING)
            s->battery_state = state;
    }
    if (read_number(&v, dir, "capacity") && v >= 0 && v <= 100 &&
        !(v > s->battery_pct))
        s->battery_pct = v;
    if (read_number(&v, dir, "temp") && v > -400 && v < 2000 &&
        !(v / 10 < s->battery_temp_c))
        s->battery_temp_c = v / 10;
    if (read_text(text, sizeof(text), dir, "health"))
        s->battery_health = parse_health(text);
    if (read_text(text, sizeof(text), dir, "capacity_level")) {
        int warning = parse_capacity_level(text);
        if (warning > s->warning)
            s->warning = warning;
    }
}

// A USB port is a source only while it is the sink; without a typec class its
// own `online` has to do.
static bool is_usb_source(const char *dir)
{
    char text[ATTR_BYTES];

    if (!read_text(text, sizeof(text), dir, "power_role"))
        return true;
    return strstr(text, "[sink]") != NULL || strcmp(text, "sink") == 0;
}

static void read_supply(void *to, const char *dir, const char *name)
{
    struct snapshot *s = to;
    double online;

    // The battery of a mouse says nothing about the machine.
    if (is_text(dir, "scope", "Device"))
        return;
    if (is_text(dir, "type", "Battery")) {
        read_battery(s, dir);
        return;
    }
    if (!read_number(&online, dir, "online"))
        return;
    if (is_text(dir, "type", "USB") && !is_usb_source(dir))
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
    if (!strchr(name, '-') || !is_text(dir, "status", "connected"))
        return;
    if (is_text(dir, "dpms", "Off") || is_text(dir, "enabled", "disabled"))
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
    bool has_power = read_number(&power, dir, "bl_power");
    bool has_brightness = read_number(&brightness, dir, "actual_brightness");

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
    char text[ATTR_BYTES];
    char dir[PATH_BYTES / 2];

    snprintf(dir, sizeof(dir), "%s/sys/firmware/acpi", root);
    if (read_text(text, sizeof(text), dir, "platform_profile"))
        s->is_power_saver = strcmp(text, "low-power") == 0 ? TRI_YES : TRI_NO;
}

void signals_sysfs_read_power(struct snapshot *s, const char *root)
{
    struct screens screens = {0};

    s->has_battery = false;
    s->battery_state = BATTERY_STATE_UNKNOWN;
    s->battery_health = BATTERY_HEALTH_UNKNOWN;
    s->battery_pct = NAN;
    s->battery_temp_c = NAN;
    s->warning = 0;
    s->has_external_power = TRI_UNKNOWN;
    s->is_power_saver = TRI_UNKNOWN;
    each_device(root, "sys/class/power_supply", "", read_supply, s);
    // A battery that charges, without a charger that says so, is charged by
    // something.
    if (s->has_external_power == TRI_UNKNOWN && s->has_battery)
        s->has_external_power =
            s->battery_state == BATTERY_STATE_DISCHARGING ? TRI_NO : TRI_YES;
    each_device(root, "sys/class/drm", "card", read_connector, &screens);
    each_device(root, "sys/class/backlight", "", read_backlight, &screens);
    s->is_screen_off = screen_off(&screens);
    read_profile(s, root);
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
        char text[ATTR_BYTES];
        double trip;

        snprintf(name, sizeof(name), "trip_point_%d_type", i);
        if (!read_text(text, sizeof(text), dir, name))
            break;
        int at = trip_level(text);
        snprintf(name, sizeof(name), "trip_point_%d_temp", i);
        if (at == LEVEL_COOL || !read_number(&trip, dir, name) || trip <= 0)
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
    char type[ATTR_BYTES] = "";
    double milli;

    if (is_text(dir, "mode", "disabled") || !read_number(&milli, dir, "temp"))
        return;
    double celsius = milli / 1000;
    // Broken sensors say -273 or 200 and more.
    if (celsius <= -40 || celsius >= 200)
        return;
    (void) read_text(type, sizeof(type), dir, "type");
    raise_level(s, zone_level(dir, type, celsius), type[0] ? type : name);
}

// The kernel throttles a processor: warm at once. Whether that lasts is for
// the caller, who sees more than one moment.
static void read_cooling(void *to, const char *dir, const char *name)
{
    struct snapshot *s = to;
    char type[ATTR_BYTES];
    double state;

    if (!read_text(type, sizeof(type), dir, "type") ||
        !read_number(&state, dir, "cur_state") || state <= 0)
        return;
    if (strcasestr(type, "cpufreq") || strcasestr(type, "devfreq") ||
        strcasecmp(type, "Processor") == 0)
        raise_level(s, LEVEL_WARM, type);
}

void signals_sysfs_read_thermal(struct snapshot *s, const char *root)
{
    s->thermal_level = -1;
    s->thermal_zone[0] = '\0';
    each_device(root, "sys/class/thermal", "thermal_zone", read_zone, s);
    if (s->thermal_level >= 0)
        each_device(root, "sys/class/thermal", "cooling_device", read_cooling,
                    s);
}

// "some avg10=0.12 avg60=3.40 ..." of root/proc/pressure/`what`.
static double read_pressure(const char *root, const char *what,
                            const char *kind, const char *span)
{
    char path[PATH_BYTES / 2];
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
    char path[PATH_BYTES / 2];
    char line[128];
    long long kib;

    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "MemTotal: %lld", &kib) == 1 && kib > 0)
            s->memory_total_bytes = (int64_t) kib << 10;
        else if (sscanf(line, "MemAvailable: %lld", &kib) == 1 && kib >= 0)
            s->memory_available_bytes = (int64_t) kib << 10;
    }
    (void) fclose(f);
}

void signals_sysfs_read_load(struct snapshot *s, const char *root)
{
    s->psi_cpu_some = read_pressure(root, "cpu", "some", "avg60=");
    s->psi_io_some = read_pressure(root, "io", "some", "avg10=");
    s->psi_mem_some = read_pressure(root, "memory", "some", "avg10=");
    s->psi_mem_full = read_pressure(root, "memory", "full", "avg10=");
    s->memory_total_bytes = -1;
    s->memory_available_bytes = -1;
    read_meminfo(s, root);
}

void signals_sysfs_read_disk(struct snapshot *s, const char *dir)
{
    struct statvfs v;

    s->disk_free_bytes = -1;
    s->disk_total_bytes = -1;
    if (statvfs(dir, &v) < 0)
        return;
    s->disk_free_bytes = (int64_t) v.f_bavail * (int64_t) v.f_frsize;
    s->disk_total_bytes = (int64_t) v.f_blocks * (int64_t) v.f_frsize;
}
