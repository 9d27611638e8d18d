// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any contents of the files of /sys and /proc that signals are read from. The
 * input is a list of files: a byte that chooses one below, the text up to the
 * next NUL. Whatever they say, a value is in its range or unknown.
 */

#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/signal_table.h"
#include "daemon/signals_gpu.h"
#include "daemon/signals_sysfs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PS  "sys/class/power_supply/"
#define TZ  "sys/class/thermal/"
#define DRM "sys/class/drm/"

static const char *const files[] = {
    PS "a/type",
    PS "a/online",
    PS "a/power_role",
    PS "a/scope",
    PS "b/type",
    PS "b/present",
    PS "b/status",
    PS "b/health",
    PS "b/capacity",
    PS "b/capacity_level",
    PS "b/temp",
    PS "b/energy_now",
    PS "b/energy_full",
    PS "b/charge_now",
    PS "b/charge_full",
    PS "b/voltage_now",
    PS "b/current_now",
    PS "b/power_now",
    PS "c/type",
    PS "c/capacity",
    TZ "thermal_zone0/type",
    TZ "thermal_zone0/temp",
    TZ "thermal_zone0/mode",
    TZ "thermal_zone0/trip_point_0_type",
    TZ "thermal_zone0/trip_point_0_temp",
    TZ "thermal_zone1/temp",
    TZ "cooling_device0/type",
    TZ "cooling_device0/cur_state",
    DRM "card0-eDP-1/status",
    DRM "card0-eDP-1/dpms",
    DRM "card0/device/gpu_busy_percent",
    "sys/class/backlight/x/bl_power",
    "sys/class/backlight/x/actual_brightness",
    "sys/class/devfreq/gpu/load",
    "sys/class/devfreq/gpu/cur_freq",
    "sys/class/devfreq/gpu/min_freq",
    "sys/class/devfreq/gpu/max_freq",
    "sys/firmware/acpi/platform_profile",
    "proc/pressure/cpu",
    "proc/pressure/io",
    "proc/pressure/memory",
    "proc/meminfo",
    "proc/loadavg",
    "proc/7/comm",
};

enum { FILES = sizeof(files) / sizeof(files[0]) };

static char root[64];

static int remove_one(const char *path, const struct stat *st, int flag,
                      struct FTW *ftw)
{
    return remove(path);
}

static void remove_root(void)
{
    (void) nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void path_of(char full[256], size_t i)
{
    snprintf(full, 256, "%s/%s", root, files[i]);
}

// The directories stay; only files come and go.
static void make_root(void)
{
    char full[256];

    // In memory where that is possible: thousands of files a second.
    (void) snprintf(root, sizeof(root), "%s/pock-fuzz-sysfs-XXXXXX",
                    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(root))
        abort();
    (void) atexit(remove_root);
    for (size_t i = 0; i < FILES; i++) {
        path_of(full, i);
        for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
            *p = '\0';
            (void) mkdir(full, 0700);
            *p = '/';
        }
    }
}

static void put(size_t i, const uint8_t *text, size_t bytes)
{
    char full[256];

    path_of(full, i);
    int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, bytes) != (ssize_t) bytes)
        abort();
    (void) close(fd);
}

static void want(bool is_true)
{
    if (!is_true)
        abort();
}

static void want_within(double v, double least, double most)
{
    want(isnan(v) || (v >= least && v <= most));
}

static void check(const struct snapshot *s)
{
    char text[SIGNAL_TEXT_BYTES];

    want_within(s->battery_pct, 0, 100);
    want_within(s->battery_temp_c, -40, 200);
    want_within(s->battery_wh, 0, 1e5);
    want_within(s->energy_rate_w, 0, 1e7);
    want_within(s->thermal_c, -40, 200);
    want_within(s->psi_cpu_some, 0, 100);
    want_within(s->psi_io_some, 0, 100);
    want_within(s->psi_mem_some, 0, 100);
    want_within(s->psi_mem_full, 0, 100);
    want(s->thermal_level >= -1 && s->thermal_level <= 4);
    want((s->thermal_level < 0) == (s->thermal_zones == 0));
    want(s->memory_total_bytes >= -1 && s->memory_available_bytes >= -1);
    want(isnan(s->battery_wh) == isnan(s->battery_full_wh));
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct signal_value v = signal_get(s, (enum signal) i);
        struct snapshot t = *s;
        want(signal_set(&t, (enum signal) i, &v));
        want(strlen(signal_text(text, s, (enum signal) i, 0)) > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool has_root;
    struct snapshot s;
    char full[256];
    size_t at = 0;

    if (!has_root)
        make_root();
    has_root = true;
    while (at < size) {
        size_t file = data[at++] % FILES;
        size_t bytes = strnlen((const char *) data + at, size - at);
        put(file, data + at, bytes);
        at += bytes + (at + bytes < size);
    }
    snapshot_init(&s);
    signals_sysfs_read_power(&s, root);
    signals_sysfs_read_thermal(&s, root);
    signals_sysfs_read_load(&s, root);
    s.gpu_busy_pct = signals_gpu_read_busy(root);
    want(s.gpu_busy_pct >= -1 && s.gpu_busy_pct <= 100);
    check(&s);
    for (size_t i = 0; i < FILES; i++) {
        path_of(full, i);
        (void) unlink(full);
    }
    return 0;
}
