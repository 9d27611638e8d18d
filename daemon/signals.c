// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "signals"

#include "daemon/signals.h"

#include <dirent.h>
#include <errno.h>
#include <linux/netlink.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/signal_table.h"
#include "daemon/signals_bus.h"
#include "daemon/signals_gpu.h"
#include "daemon/signals_pressure.h"
#include "daemon/signals_sysfs.h"
#include "daemon/steady.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"

enum {
    WATCH_DEPTH = 5,
    DRAIN_SAMPLES = 16,
    DRAIN_STEP_MS = 60 * 1000,
    DRAIN_SPAN_MS = 10 * 60 * 1000,
    THROTTLE_HOLD_MS = 30 * 1000,
    MEMORY_LOW_MS = 30 * 1000,
    ASK_RUNNING_MS = 5 * 1000, // what no session announces
    ASK_MS = 15 * 1000,
    GPU_BUDGET_US = 1000, // of the loop, at a look
    SETTLE_MS = 10,
    ROOT_BYTES = 512,
    PATH_BYTES = 1280,
};

static const uint64_t pace_ms[] = {
    [SIGNALS_PACE_EVENTS] = 0,
    [SIGNALS_PACE_SLOW] = 15 * 60 * 1000,
    [SIGNALS_PACE_WAITING] = 30 * 1000,
    [SIGNALS_PACE_RUNNING] = 1000,
};

// What may change below a fake root.
static const char *const watched[] = {
    "sys/class/power_supply", "sys/class/drm",     "sys/class/backlight",
    "sys/class/thermal",      "sys/firmware/acpi", "proc/pressure",
};

struct signals {
    struct signals_params params;
    char root[ROOT_BYTES];
    struct snapshot snapshot;
    struct snapshot last; // to see what changed
    struct signals_bus *bus;
    struct signals_pressure *pressure;
    struct gpu_users *gpu;
    struct steady steady;
    uv_timer_t timer;
    uv_timer_t again;  // something ends by time alone
    uv_timer_t settle; // after changes of a fake root, which come in pieces
    uv_poll_t poll;
    int watch_fd; // inotify or uevents; -1: none
    bool is_inotify;
    int handles;
    enum signals_pace pace;
    bool was_in_use;
    int64_t unused_since_ms;
    int64_t throttled_since_ms; // 0: not throttled
    int64_t memory_low_ms;      // 0: never
    int64_t asked_ms;
    struct {
        int64_t at_ms;
        double pct;
    } drain[DRAIN_SAMPLES];
    int drain_count;
    bool is_drain_of_wh;
};

static int64_t clock_now_ms(void *user)
{
    return (int64_t) (clock_monotonic_ns() / 1000000);
}

static int64_t clock_since_1970_ms(void *user)
{
    return clock_unix_ms();
}

static int64_t now_ms(const struct signals *s)
{
    return s->params.now_ms(s->params.user);
}

// The level, as fine as it is known: a gauge's percents are whole.
static double fine_pct(const struct snapshot *n)
{
    return n->battery_full_wh > 0 ? 100 * n->battery_wh / n->battery_full_wh
                                  : n->battery_pct;
}

// How much the battery lost in the last ten minutes on the charger.
static void update_drain(struct signals *s, int64_t now)
{
    struct snapshot *n = &s->snapshot;
    double pct = fine_pct(n);

    n->drain_pct = NAN;
    // Percents and energy are not compared with each other.
    if (s->is_drain_of_wh != (n->battery_full_wh > 0))
        s->drain_count = 0;
    s->is_drain_of_wh = n->battery_full_wh > 0;
    if (n->has_external_power != TRI_YES || isnan(pct)) {
        s->drain_count = 0;
        return;
    }
    int last = s->drain_count - 1;
    if (last < 0 || now - s->drain[last].at_ms >= DRAIN_STEP_MS) {
        if (s->drain_count == DRAIN_SAMPLES) {
            memmove(s->drain, s->drain + 1,
                    (DRAIN_SAMPLES - 1) * sizeof(s->drain[0]));
            s->drain_count--;
        }
        s->drain[s->drain_count].at_ms = now;
        s->drain[s->drain_count++].pct = pct;
    }
    // The newest sample that is old enough.
    for (int i = s->drain_count - 1; i >= 0; i--) {
        int64_t age = now - s->drain[i].at_ms;
        if (age < DRAIN_SPAN_MS)
            continue;
        n->drain_pct =
            (s->drain[i].pct - pct) * (double) DRAIN_SPAN_MS / (double) age;
        break;
    }
    signal_mark(n, SIGNAL_drain, n->source[SIGNAL_battery_pct]);
}

// Power that comes and goes is no power.
static void update_steadiness(struct signals *s, int64_t now)
{
    struct snapshot *n = &s->snapshot;
    bool is_good = n->has_external_power == TRI_YES &&
                   n->battery_state != BATTERY_STATE_DISCHARGING;

    n->power_flaps = 0;
    if (n->has_external_power == TRI_UNKNOWN)
        return;
    if (steady_update(&s->steady, is_good, now)) {
        n->power_flaps = s->steady.flaps;
        n->has_external_power = TRI_NO;
    }
    n->source[SIGNAL_power_flaps] = n->source[SIGNAL_external_power];
}

// What the bus knows goes over what the files say.
static void read_bus(struct signals *s, int64_t *idle_since_ms)
{
    struct snapshot *n = &s->snapshot;

    n->is_session_idle = TRI_UNKNOWN;
    n->session_count = -1;
    n->session_idle_count = -1;
    n->inhibitors[0] = '\0';
    n->is_going_to_sleep = false;
    n->is_shutting_down = false;
    for (int i = SIGNAL_sessions; i <= SIGNAL_session_idle; i++)
        n->source[i] = SIGNAL_SOURCE_NONE;
    for (int i = SIGNAL_sleep; i <= SIGNAL_shutdown; i++)
        n->source[i] = SIGNAL_SOURCE_NONE;
    n->source[SIGNAL_inhibitors] = SIGNAL_SOURCE_NONE;
    if (s->bus)
        signals_bus_read(s->bus, n, idle_since_ms);
}

// Idle or locked sessions, or dark screens: either says that nobody is there.
static void update_use(struct signals *s, int64_t now, int64_t idle_since_ms)
{
    struct snapshot *n = &s->snapshot;

    signal_judge_use(n);
    if (s->was_in_use && !n->is_in_use)
        s->unused_since_ms = now;
    if (n->is_session_idle == TRI_YES && idle_since_ms > 0 &&
        idle_since_ms < s->unused_since_ms)
        s->unused_since_ms = idle_since_ms;
    s->was_in_use = n->is_in_use;
    n->unused_since_ms = s->unused_since_ms;
    signal_mark(n, SIGNAL_unused_since, n->source[SIGNAL_in_use]);
}

// A processor that is throttled for half a minute is throttled for good.
static void update_throttling(struct signals *s, int64_t now)
{
    struct snapshot *n = &s->snapshot;

    if (!n->is_throttled) {
        s->throttled_since_ms = 0;
        return;
    }
    if (s->throttled_since_ms == 0)
        s->throttled_since_ms = now;
    if (n->thermal_level == 1 &&
        now - s->throttled_since_ms >= THROTTLE_HOLD_MS)
        n->thermal_level = 2;
}

static void update_pressure(struct signals *s, int64_t now)
{
    struct snapshot *n = &s->snapshot;
    bool is_watched = s->pressure && signals_pressure_is_watched(s->pressure);

    n->is_memory_low =
        s->memory_low_ms > 0 && now - s->memory_low_ms < MEMORY_LOW_MS;
    n->source[SIGNAL_memory_low] = is_watched || n->is_memory_low
                                       ? SIGNAL_SOURCE_PROCFS
                                       : SIGNAL_SOURCE_NONE;
}

static bool is_polling(const struct signals *s)
{
    return s->pace == SIGNALS_PACE_WAITING || s->pace == SIGNALS_PACE_RUNNING;
}

// Others' files are many: looked into only when a job runs or could soon.
static void update_gpu(struct signals *s, int64_t now)
{
    struct snapshot *n = &s->snapshot;

    n->gpu_busy_pct = signals_gpu_read_busy(s->root);
    signal_mark(n, SIGNAL_gpu_busy, SIGNAL_SOURCE_SYSFS);
    if (is_polling(s) && s->gpu)
        gpu_users_scan(s->gpu, s->root, now, GPU_BUDGET_US);
    n->gpu_others_pct = is_polling(s) && s->gpu ? gpu_users_pct(s->gpu) : -1;
    signal_mark(n, SIGNAL_gpu_others, SIGNAL_SOURCE_PROCFS);
}

static void update_since(struct signals *s)
{
    struct snapshot *n = &s->snapshot;
    int64_t unix_ms = s->params.unix_ms(s->params.user);

    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (n->since_ms[i] == 0 ||
            !signal_is_same(n, &s->last, (enum signal) i))
            n->since_ms[i] = unix_ms;
    s->last = *n;
}

void signals_refresh(struct signals *s)
{
    int64_t now = now_ms(s);
    int64_t idle_since_ms = 0;
    int64_t rest_ms = s->pace == SIGNALS_PACE_RUNNING ? ASK_RUNNING_MS : ASK_MS;

    if (s->bus && now - s->asked_ms >= rest_ms) {
        s->asked_ms = now;
        signals_bus_poll(s->bus);
    }
    signals_sysfs_read_power(&s->snapshot, s->root);
    signals_sysfs_read_thermal(&s->snapshot, s->root);
    signals_sysfs_read_load(&s->snapshot, s->root);
    signals_sysfs_read_disk(&s->snapshot, s->params.state_dir);
    read_bus(s, &idle_since_ms);
    update_drain(s, now);
    update_steadiness(s, now);
    update_use(s, now, idle_since_ms);
    update_throttling(s, now);
    update_pressure(s, now);
    update_gpu(s, now);
    update_since(s);
}

static void on_again(uv_timer_t *t);

// In how many milliseconds power may be believed again, or memory is not short
// any more: with work to do, nobody else would look again for long. -1: nothing
// ends.
static int64_t again_ms(const struct signals *s)
{
    int64_t now = now_ms(s);
    int64_t steady_ms = s->steady.last ? steady_due_ms(&s->steady, now) : -1;
    int64_t low_ms =
        s->snapshot.is_memory_low ? s->memory_low_ms + MEMORY_LOW_MS - now : -1;

    if (s->pace == SIGNALS_PACE_EVENTS)
        return -1;
    if (steady_ms < 0 || low_ms < 0)
        return steady_ms < 0 ? low_ms : steady_ms;
    return steady_ms < low_ms ? steady_ms : low_ms;
}

static void arm_again(struct signals *s)
{
    int64_t due_ms = again_ms(s);

    if (due_ms < 0)
        (void) uv_timer_stop(&s->again);
    else
        (void) uv_timer_start(&s->again, on_again,
                              (uint64_t) due_ms + SETTLE_MS, 0);
}

static void refresh_and_tell(struct signals *s)
{
    signals_refresh(s);
    s->params.on_change(s->params.user);
    arm_again(s);
}

static void on_again(uv_timer_t *t)
{
    refresh_and_tell(t->data);
}

static void on_timer(uv_timer_t *t)
{
    refresh_and_tell(t->data);
}

static void on_bus(void *user)
{
    refresh_and_tell(user);
}

static void on_memory_low(void *user)
{
    struct signals *s = user;

    s->memory_low_ms = now_ms(s);
    refresh_and_tell(s);
}

static void watch_tree(struct signals *s, const char *path, int depth)
{
    const uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM |
                          IN_CREATE | IN_DELETE | IN_ONLYDIR;
    char sub[PATH_BYTES];

    if (inotify_add_watch(s->watch_fd, path, mask) < 0 || depth == 0)
        return;
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' || e->d_type == DT_REG)
            continue;
        int n = snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
        if (n > 0 && (size_t) n < sizeof(sub))
            watch_tree(s, sub, depth - 1);
    }
    (void) closedir(d);
}

// Adding a watch again is harmless, so a change of the tree just adds all.
static void watch_root(struct signals *s)
{
    char path[PATH_BYTES];

    (void) inotify_add_watch(s->watch_fd, s->root, IN_CREATE | IN_ONLYDIR);
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
        // Parents too, for what is not there yet.
        snprintf(path, sizeof(path), "%s/%s", s->root, watched[i]);
        for (char *p = path + strlen(s->root) + 1; (p = strchr(p, '/')); p++) {
            *p = '\0';
            (void) inotify_add_watch(s->watch_fd, path,
                                     IN_CREATE | IN_CLOSE_WRITE | IN_ONLYDIR);
            *p = '/';
        }
        watch_tree(s, path, WATCH_DEPTH);
    }
}

static void read_inotify(struct signals *s)
{
    _Alignas(struct inotify_event) char buf[8192];
    bool is_new_dir = false;
    ssize_t n;

    while ((n = read(s->watch_fd, buf, sizeof(buf))) > 0)
        for (char *p = buf; p < buf + n;) {
            const struct inotify_event *e = (const struct inotify_event *) p;
            is_new_dir |= (e->mask & IN_ISDIR) != 0;
            p += sizeof(*e) + e->len;
        }
    if (is_new_dir)
        watch_root(s);
}

// "change@/devices/...\0ACTION=change\0SUBSYSTEM=power_supply\0..."
static bool is_wanted_uevent(const char *msg, size_t bytes)
{
    static const char *const subsystems[] = {"SUBSYSTEM=power_supply",
                                             "SUBSYSTEM=drm",
                                             "SUBSYSTEM=backlight",
                                             "SUBSYSTEM=thermal"};

    for (size_t at = 0; at < bytes; at += strnlen(msg + at, bytes - at) + 1)
        for (size_t i = 0; i < sizeof(subsystems) / sizeof(subsystems[0]); i++)
            if (strncmp(msg + at, subsystems[i], bytes - at) == 0)
                return true;
    return false;
}

static bool read_uevents(struct signals *s)
{
    char buf[8192];
    bool is_wanted = false;
    struct sockaddr_nl from;
    socklen_t len = sizeof(from);
    ssize_t n;

    while ((n = recvfrom(s->watch_fd, buf, sizeof(buf) - 1, MSG_DONTWAIT,
                         (struct sockaddr *) &from, &len)) > 0) {
        buf[n] = '\0';
        // Only the kernel may tell us.
        if (from.nl_pid == 0)
            is_wanted |= is_wanted_uevent(buf, (size_t) n);
        len = sizeof(from);
    }
    return is_wanted;
}

static void on_watch(uv_poll_t *poll, int status, int events)
{
    struct signals *s = poll->data;

    // Somebody writes files one after another, and empties each of them first.
    if (s->is_inotify) {
        read_inotify(s);
        (void) uv_timer_start(&s->settle, on_timer, SETTLE_MS, 0);
    } else if (read_uevents(s)) {
        refresh_and_tell(s);
    }
}

static int open_uevents(void)
{
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    NETLINK_KOBJECT_UEVENT);

    if (fd >= 0 && bind(fd, (struct sockaddr *) &addr, sizeof(addr)) < 0) {
        (void) close(fd);
        return -1;
    }
    return fd;
}

static void start_watch(struct signals *s)
{
    s->is_inotify = s->root[0] != '\0';
    s->watch_fd = s->is_inotify ? inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
                                : open_uevents();
    if (s->watch_fd < 0 ||
        uv_poll_init(s->params.loop, &s->poll, s->watch_fd) < 0) {
        if (s->watch_fd >= 0)
            (void) close(s->watch_fd);
        s->watch_fd = -1;
        log_warn("event=no_announcements text=power changes are only seen by "
                 "polling");
        return;
    }
    s->poll.data = s;
    s->handles++;
    if (s->is_inotify)
        watch_root(s);
    (void) uv_poll_start(&s->poll, UV_READABLE, on_watch);
}

// What is missing among these leaves its signals unknown, and nothing fails.
static void start_others(struct signals *s)
{
    struct signals_pressure_params pressure = {
        .loop = s->params.loop,
        .is_real = s->root[0] == '\0',
        .on_low = on_memory_low,
        .user = s,
    };
    int rc = s->params.use_bus
                 ? signals_bus_create(&s->bus, s->params.loop, on_bus, s)
                 : 0;

    if (rc < 0)
        log_info("event=no_bus error=%s", strerror(-rc));
    (void) signals_pressure_create(&s->pressure, &pressure);
    s->gpu = gpu_users_create();
    s->asked_ms = now_ms(s);
}

int signals_create(struct signals **out, const struct signals_params *params,
                   struct error *err)
{
    struct signals *s = calloc(1, sizeof(*s));

    if (!s || strlen(params->root) >= sizeof(s->root)) {
        free(s);
        return error_set(err, -ENOMEM, "cannot watch the machine");
    }
    s->params = *params;
    if (!params->now_ms)
        s->params.now_ms = clock_now_ms;
    if (!params->unix_ms)
        s->params.unix_ms = clock_since_1970_ms;
    strcpy(s->root, params->root);
    s->watch_fd = -1;
    snapshot_init(&s->snapshot);
    (void) uv_timer_init(params->loop, &s->timer);
    (void) uv_timer_init(params->loop, &s->settle);
    (void) uv_timer_init(params->loop, &s->again);
    s->timer.data = s->settle.data = s->again.data = s;
    s->handles = 3;
    start_watch(s);
    start_others(s);
    s->was_in_use = true;
    signals_refresh(s);
    *out = s;
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    struct signals *s = h->data;

    if (--s->handles > 0)
        return;
    if (s->watch_fd >= 0)
        (void) close(s->watch_fd);
    free(s);
}

void signals_destroy(struct signals *s)
{
    if (!s)
        return;
    signals_bus_destroy(s->bus);
    signals_pressure_destroy(s->pressure);
    gpu_users_destroy(s->gpu);
    if (s->watch_fd >= 0)
        uv_close((uv_handle_t *) &s->poll, on_closed);
    uv_close((uv_handle_t *) &s->timer, on_closed);
    uv_close((uv_handle_t *) &s->settle, on_closed);
    uv_close((uv_handle_t *) &s->again, on_closed);
}

const struct snapshot *signals_snapshot(const struct signals *s)
{
    return &s->snapshot;
}

void signals_set_pace(struct signals *s, enum signals_pace pace)
{
    if (pace == s->pace)
        return;
    s->pace = pace;
    if (s->pressure)
        signals_pressure_arm(s->pressure, pace == SIGNALS_PACE_RUNNING);
    arm_again(s);
    if (pace_ms[pace] == 0)
        (void) uv_timer_stop(&s->timer);
    else
        (void) uv_timer_start(&s->timer, on_timer, pace_ms[pace],
                              pace_ms[pace]);
}

void signals_hold_awake(struct signals *s, bool is_held)
{
    if (s->bus)
        signals_bus_hold_awake(s->bus, is_held);
}

void signals_release_sleep(struct signals *s)
{
    if (s->bus)
        signals_bus_release_sleep(s->bus);
}
