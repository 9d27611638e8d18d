// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "pressure"

#include "daemon/signals_pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/log.h"

enum { WRITE_BYTES = 256 };

// The kernel tells when a tenth of two seconds was lost. Only multiples of two
// seconds are for everybody.
#define TRIGGER_PATH "/proc/pressure/memory"
#define TRIGGER      "some 200000 2000000"

struct watch {
    struct signals_pressure *owner; // NULL: it is being closed
    uv_poll_t poll;
    int fd;
    bool is_read; // a FIFO or socket, whose bytes mean nothing
};

struct signals_pressure {
    struct signals_pressure_params params;
    struct watch *manager; // by the environment
    struct watch *trigger;
    bool has_no_trigger; // it was tried
};

static void on_watch_closed(uv_handle_t *h)
{
    struct watch *w = h->data;

    (void) close(w->fd);
    free(w);
}

static void drop(struct watch **slot)
{
    if (!*slot)
        return;
    (*slot)->owner = NULL;
    uv_close((uv_handle_t *) &(*slot)->poll, on_watch_closed);
    *slot = NULL;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    struct signals_pressure *p = w->owner;
    char buf[256];
    ssize_t n = 1;

    if (!p)
        return;
    while (status == 0 && w->is_read && (n = read(w->fd, buf, sizeof(buf))) > 0)
        continue;
    // The other end hung up, or the group is gone.
    if (status < 0 || n == 0) {
        log_warn("event=pressure_lost text=nobody tells about memory any more");
        drop(w == p->manager ? &p->manager : &p->trigger);
        return;
    }
    log_info("event=memory_pressure");
    (void) malloc_trim(0);
    p->params.on_low(p->params.user);
}

// Takes `fd`.
static struct watch *watch(struct signals_pressure *p, int fd, bool is_read)
{
    struct watch *w = calloc(1, sizeof(*w));

    if (!w || uv_poll_init(p->params.loop, &w->poll, fd) < 0) {
        free(w);
        (void) close(fd);
        return NULL;
    }
    *w = (struct watch){.owner = p,
                        .poll = w->poll,
                        .fd = fd,
                        .is_read = is_read};
    w->poll.data = w;
    (void) uv_poll_start(&w->poll, is_read ? UV_READABLE : UV_PRIORITIZED,
                         on_poll);
    return w;
}

static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqr"
                                 "stuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int) (at - digits) : -1;
}

int signals_pressure_decode(unsigned char *out, size_t size, const char *text)
{
    size_t bytes = strlen(text);
    size_t n = 0;

    if (bytes % 4 != 0)
        return -EINVAL;
    for (size_t i = 0; i < bytes; i += 4) {
        bool is_last = i + 4 == bytes;
        int pads = !is_last             ? 0
                   : text[i + 3] != '=' ? 0
                   : text[i + 2] == '=' ? 2
                                        : 1;
        unsigned int word = 0;
        for (int k = 0; k < 4; k++) {
            int d = k >= 4 - pads ? 0 : digit(text[i + (size_t) k]);
            if (d < 0)
                return -EINVAL;
            word = word << 6 | (unsigned int) d;
        }
        for (int k = 0; k < 3 - pads; k++) {
            if (n == size)
                return -EINVAL;
            out[n++] = (unsigned char) (word >> (16 - 8 * k));
        }
    }
    return (int) n;
}

static int open_socket(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    strcpy(addr.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *) &addr, sizeof(addr)) < 0) {
        int rc = -errno;
        (void) close(fd);
        return rc;
    }
    return fd;
}

static int open_manager(const char *path, const char *text, bool *is_read)
{
    unsigned char bytes[WRITE_BYTES];
    struct stat st;
    int n = 0;

    if (path[0] != '/')
        return -EINVAL;
    if (text && (n = signals_pressure_decode(bytes, sizeof(bytes), text)) < 0)
        return n;
    if (stat(path, &st) < 0)
        return -errno;
    *is_read = !S_ISREG(st.st_mode);
    // Both ways, so that a FIFO without a writer is not at its end.
    int fd = S_ISSOCK(st.st_mode)
                 ? open_socket(path)
                 : open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd == -1)
        return -errno;
    // In a FIFO we would read it ourselves.
    if (fd >= 0 && n > 0 && !S_ISFIFO(st.st_mode) &&
        write(fd, bytes, (size_t) n) != n) {
        (void) close(fd);
        return -EIO;
    }
    return fd;
}

static void watch_manager(struct signals_pressure *p)
{
    const char *path = getenv("MEMORY_PRESSURE_WATCH");
    bool is_read = false;

    // /dev/null: our manager does not want us to watch.
    if (!path || !*path || strcmp(path, "/dev/null") == 0)
        return;
    int fd = open_manager(path, getenv("MEMORY_PRESSURE_WRITE"), &is_read);
    if (fd >= 0 && (p->manager = watch(p, fd, is_read)))
        return;
    log_warn("event=no_pressure_watch path=%.200s text=%s", path,
             fd < 0 ? strerror(-fd) : "it cannot be watched");
}

void signals_pressure_arm(struct signals_pressure *p, bool is_armed)
{
    if (!is_armed) {
        drop(&p->trigger);
        return;
    }
    if (p->trigger || p->has_no_trigger || !p->params.is_real)
        return;
    int fd = open(TRIGGER_PATH, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    // The NUL belongs to it.
    if (fd >= 0 && write(fd, TRIGGER, sizeof(TRIGGER)) < 0) {
        (void) close(fd);
        fd = -1;
    }
    p->trigger = fd >= 0 ? watch(p, fd, false) : NULL;
    p->has_no_trigger = !p->trigger;
    if (p->has_no_trigger)
        log_info("event=no_pressure_trigger text=memory pressure is read while "
                 "a job runs");
}

bool signals_pressure_is_watched(const struct signals_pressure *p)
{
    return p->manager || p->trigger;
}

int signals_pressure_create(struct signals_pressure **out,
                            const struct signals_pressure_params *params)
{
    struct signals_pressure *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->params = *params;
    watch_manager(p);
    *out = p;
    return 0;
}

void signals_pressure_destroy(struct signals_pressure *p)
{
    if (!p)
        return;
    drop(&p->manager);
    drop(&p->trigger);
    free(p);
}
