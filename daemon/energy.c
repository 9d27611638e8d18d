// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/energy.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sysfs_file.h"

#define POWERCAP "/sys/class/powercap"
#define SUPPLIES "/sys/class/power_supply"

enum {
    PATH_BYTES = 1280,
    WATTS_MAX = 2000, // no machine that trains at night takes more
};

static bool read_text(char *out, size_t size, const char *root, const char *dir,
                      const char *file)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof(path), "%s%s", root, dir);

    return n >= 0 && (size_t) n < sizeof(path) &&
           sysfs_read_text(out, size, path, file);
}

static bool read_count(uint64_t *out, const char *root, const char *dir,
                       const char *file)
{
    char text[32];
    char *end;

    if (!read_text(text, sizeof(text), root, dir, file))
        return false;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || errno || text[0] == '-')
        return false;
    *out = n;
    return true;
}

static bool read_micro(double *out, const char *root, const char *dir,
                       const char *file)
{
    char text[32];
    char *end;

    if (!read_text(text, sizeof(text), root, dir, file))
        return false;
    double v = strtod(text, &end);
    if (end == text || !isfinite(v))
        return false;
    *out = v / 1e6;
    return true;
}

uint64_t energy_counted(uint64_t before, uint64_t after, uint64_t range)
{
    if (after >= before)
        return after - before;
    return range >= before ? range - before + after : 0;
}

// "intel-rapl:0" is a package; "intel-rapl:0:1" is a part of one. A zone psys
// is the whole machine, packages included, and then the only one.
static bool add_zone(struct energy *e, const char *root, const char *name)
{
    char dir[PATH_BYTES];
    char kind[32] = "";
    uint64_t uj;
    uint64_t range = 0;
    const char *colon = strchr(name, ':');

    if (!colon || strchr(colon + 1, ':') || e->count == ENERGY_ZONES_MAX ||
        strlen(name) >= sizeof(e->zones[0].dir))
        return false;
    snprintf(dir, sizeof(dir), "%s/%s", POWERCAP, name);
    if (!read_count(&uj, root, dir, "energy_uj"))
        return false;
    (void) read_count(&range, root, dir, "max_energy_range_uj");
    (void) read_text(kind, sizeof(kind), root, dir, "name");
    bool is_all = strcmp(kind, "psys") == 0;
    if (is_all)
        e->count = 0;
    snprintf(e->zones[e->count].dir, sizeof(e->zones[0].dir), "%.31s", name);
    e->zones[e->count].uj = uj;
    e->zones[e->count++].range_uj = range;
    return is_all;
}

void energy_start(struct energy *e, const char *root, int64_t now_ms)
{
    char path[PATH_BYTES];

    *e = (struct energy){.is_started = true, .at_ms = now_ms, .source = "none"};
    snprintf(path, sizeof(path), "%s%s", root, POWERCAP);
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *n; (n = readdir(d));)
        if (add_zone(e, root, n->d_name))
            break;
    (void) closedir(d);
}

static double take_counters(struct energy *e, const char *root)
{
    double joules = 0;

    for (int i = 0; i < e->count; i++) {
        char dir[PATH_BYTES];
        uint64_t uj;
        snprintf(dir, sizeof(dir), "%s/%s", POWERCAP, e->zones[i].dir);
        if (!read_count(&uj, root, dir, "energy_uj"))
            return NAN;
        joules +=
            (double) energy_counted(e->zones[i].uj, uj, e->zones[i].range_uj) /
            1e6;
        e->zones[i].uj = uj;
    }
    return joules;
}

// Watts of one supply; NAN: it does not say.
static double power_of(const char *root, const char *dir)
{
    double watts;
    double amperes;
    double volts;

    if (read_micro(&watts, root, dir, "power_now"))
        return fabs(watts);
    if (read_micro(&amperes, root, dir, "current_now") &&
        read_micro(&volts, root, dir, "voltage_now"))
        return fabs(amperes * volts);
    return NAN;
}

// What chargers give less what batteries take of it, in watts.
static double read_supplies(const char *root)
{
    char path[PATH_BYTES];
    char text[32];
    double watts = NAN;
    double kept = 0;

    snprintf(path, sizeof(path), "%s%s", root, SUPPLIES);
    DIR *d = opendir(path);
    if (!d)
        return NAN;
    for (struct dirent *n; (n = readdir(d));) {
        uint64_t online = 0;
        char dir[PATH_BYTES];
        if (n->d_name[0] == '.' ||
            snprintf(dir, sizeof(dir), "%s/%s", SUPPLIES, n->d_name) < 0 ||
            !read_text(text, sizeof(text), root, dir, "type"))
            continue;
        double power = power_of(root, dir);
        if (strcmp(text, "Battery") == 0) {
            bool is_charging =
                read_text(text, sizeof(text), root, dir, "status") &&
                strcmp(text, "Charging") == 0;
            // One that charges and does not say how fast hides the rest.
            if (is_charging)
                kept += power;
        } else if (isfinite(power) &&
                   read_count(&online, root, dir, "online") && online > 0) {
            watts = (isnan(watts) ? 0 : watts) + power;
        }
    }
    (void) closedir(d);
    return watts - kept;
}

double energy_take(struct energy *e, const char *root, int64_t now_ms)
{
    const double seconds = (double) (now_ms - e->at_ms) / 1000;
    double joules;

    if (!e->is_started)
        return NAN;
    e->at_ms = now_ms;
    if (e->count > 0) {
        joules = take_counters(e, root);
        e->source = "powercap";
    } else {
        joules = read_supplies(root) * seconds;
        e->source = "charger";
    }
    if (isfinite(joules) && joules >= 0 && joules <= WATTS_MAX * seconds)
        return joules;
    if (isnan(joules))
        e->source = "none";
    return NAN;
}
