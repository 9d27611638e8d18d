// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "live.h"

#include "daemon/pockd.h"
#include "engine/base/log.h"
#include "ipc/frame.h"
#include "ipc/message.h"

#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    PATIENCE_MS = 60000, // a machine may be busy
    AGAIN_MS = 200,
    ID_MINE = 0x7e,
    ID_PING = 0x7d,
};

static struct config config;
static uv_thread_t thread;
static char dir[64];

static void check(bool holds, const char *what)
{
    if (!holds) {
        (void) fprintf(stderr, "live: %s\n", what);
        abort();
    }
}

static void run(void *arg)
{
    check(pockd_run(&config) == 0, "pockd failed");
}

static int on_entry(const char *path, const struct stat *st, int type,
                    struct FTW *ftw)
{
    return remove(path);
}

static void stop(void)
{
    (void) kill(getpid(), SIGTERM);
    (void) uv_thread_join(&thread);
    (void) nftw(dir, on_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static int try_connect(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    check(fd >= 0, "no socket");
    (void) snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/pockd.sock", dir);
    if (connect(fd, (struct sockaddr *) &addr, sizeof(addr)) == 0)
        return fd;
    (void) close(fd);
    return -1;
}

static void start(void)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    struct error err;
    int fd = -1;

    (void) snprintf(dir, sizeof(dir), "%s/pockd-live-XXXXXX",
                    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    check(mkdtemp(dir) != NULL, dir);
    check(config_init(&config, &err) == 0, "no configuration");
    (void) snprintf(config.dir, sizeof(config.dir), "%s", dir);
    (void) snprintf(config.worker, sizeof(config.worker), "/bin/false");
    (void) snprintf(config.sysroot, sizeof(config.sysroot), "%s/sysroot", dir);
    config.socket[0] = '\0';
    config.is_user = true;
    config.hello_ms = 20;
    config.frame_ms = 10;
    config.drain_ms = 200;
    log_set_level(LOG_ERROR);
    check(uv_thread_create(&thread, run, NULL) == 0, "no thread");
    for (int i = 0; i < PATIENCE_MS / 2 && fd < 0; i++) {
        fd = try_connect();
        if (fd < 0)
            (void) nanosleep(&pause, NULL);
    }
    check(fd >= 0, "pockd does not listen");
    (void) close(fd);
    (void) atexit(stop);
}

int live_connect(void)
{
    if (!dir[0])
        start();
    const int fd = try_connect();
    check(fd >= 0, "pockd does not listen any more");
    return fd;
}

void live_send(int fd, const void *data, size_t bytes)
{
    const char *at = data;

    while (bytes > 0) {
        const ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        at += n;
        bytes -= (size_t) n;
    }
}

// The encoder's [1, id, error, ...: the answer to a request of ours.
static bool is_answer(const uint8_t *frame, size_t bytes, unsigned char id)
{
    return bytes > 5 && frame[0] == 0xdc && frame[3] == MESSAGE_RESPONSE &&
           frame[4] == id;
}

// PARSE or INVALID_REQUEST to nobody in particular: pockd will hang up.
static bool is_last_word(const uint8_t *frame, size_t bytes)
{
    static const uint8_t code[] = {0xa4, 'c', 'o', 'd', 'e', 0xd1, 0x80};

    return is_answer(frame, bytes, 0) && bytes > 15 &&
           memcmp(frame + 8, code, sizeof(code)) == 0 &&
           (frame[15] == 0x44 || frame[15] == 0xa8);
}

// It does so when we do, or a second later, which is only sometimes looked at.
static bool is_over(const uint8_t *frame, size_t bytes)
{
    static unsigned words;

    return is_last_word(frame, bytes) && ++words % 16 != 0;
}

static void send_ping(int fd)
{
    // [0, ID_PING, "ping", [{}]]
    static const uint8_t ping[] = {0x94, 0,   ID_PING, 0xa4, 'p',
                                   'i',  'n', 'g',     0x91, 0x80};

    live_send(fd, ping, sizeof(ping));
}

// The last ping may have become the end of what was sent before: one more.
static void await_bytes(int fd, bool is_ping)
{
    const int slice = is_ping ? AGAIN_MS : PATIENCE_MS;

    for (int ms = 0; ms < PATIENCE_MS; ms += slice) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, slice) != 0)
            return;
        if (is_ping)
            send_ping(fd);
    }
    check(false, "pockd leaves a client waiting");
}

// 1: answered with nil as error; 0: with an error; -1: it hung up.
static int await(int fd, unsigned char id)
{
    struct frame_buffer in;
    int result = -2;

    frame_buffer_init(&in, &frame_limits_full);
    while (result == -2) {
        uint8_t *room;
        const uint8_t *frame;
        size_t bytes;
        int rc;

        await_bytes(fd, id == ID_PING);
        check(frame_buffer_space(&in, &room, &bytes) == 0, "no memory");
        const ssize_t n = recv(fd, room, bytes, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        frame_buffer_commit(&in, (size_t) n);
        while ((rc = frame_buffer_next(&in, &frame, &bytes)) == 1) {
            if (is_answer(frame, bytes, id))
                result = frame[5] == 0xc0;
            else if (is_over(frame, bytes))
                result = -1;
        }
        check(rc == 0, "pockd sent what is no frame");
    }
    frame_buffer_finish(&in);
    return result == -2 ? -1 : result;
}

void live_wait(int fd, unsigned char id)
{
    (void) await(fd, id);
}

void live_ping(int fd)
{
    send_ping(fd);
    live_wait(fd, ID_PING);
}

static int ask(int fd, const char *method, bool is_hello)
{
    struct encoder e;

    encoder_init(&e, 0);
    message_begin_request(&e, ID_MINE, method);
    if (is_hello) {
        encoder_put_array(&e, "proto");
        encoder_int(&e, 1);
        encoder_int(&e, 0);
        encoder_close(&e);
        encoder_put_cstr(&e, "client", "live/1");
    }
    check(message_end(&e) == 0, "no memory");
    live_send(fd, e.data, e.bytes);
    encoder_destroy(&e);
    return await(fd, ID_MINE);
}

bool live_hello(int fd)
{
    return ask(fd, "hello", true) == 1;
}

void live_check(void)
{
    // On a machine that is busy, hello may come too late.
    for (int i = 0; i < 100; i++) {
        const int fd = live_connect();
        const bool is_good = live_hello(fd) &&
                             ask(fd, "data.count", false) == 1 &&
                             ask(fd, "ping", false) == 1;
        (void) close(fd);
        if (is_good)
            return;
    }
    check(false, "nobody is served any more");
}
