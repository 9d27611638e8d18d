// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What well-behaved clients feel while others misbehave: many connections that
 * ask now and then, and beside them bombs, slow readers, half frames, floods.
 * Latency is told from the sending of a request to its answer, without those
 * in whose time pockd or this program waited for a core ("starved"); memory
 * and descriptors of the daemon as the most of the first and of the second
 * half.
 * The daemon must allow that many connections, and its store is written to:
 * give it one of its own (tests/bench/load.py).
 *
 * usage: bench_load SOCKET PID [--clients N] [--hostile N] [--rate N]
 *                   [--seconds N] [--pings] [--json]
 */

#include "engine/base/clock.h"
#include "ipc/encoder.h"
#include "ipc/frame.h"
#include "ipc/message.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    CLIENTS_MAX = 1000,
    BUCKETS = 200000, // of 1 us
    TICK_NS = 1000000,
    SAMPLE_NS = 250000000,
    AGAIN_NS = 20000000, // before a hostile one comes back
    STARVED_NS = 500000,
    THREADS_MAX = 16,
    CHUNK = 64 << 10,
};

enum hostile_kind {
    BOMB,        // promises four billion objects
    NEVER_READS, // asks for long answers
    HALF_FRAME,  // and waits
    FLOOD,       // of pings, as fast as it can
    COMES_GOES,
    DRIBBLES, // a frame, byte by byte
    HUGE_FRAME,
    WRITES, // the same records again and again
    GARBAGE,
    WATCHES, // all the streams it may have, and reads none
    HOSTILE_KINDS
};

struct client {
    int fd;
    bool is_good;
    bool has_hello; // answered
    bool is_waiting;
    enum hostile_kind kind;
    uint64_t due_ns;
    uint64_t sent_ns;
    uint64_t waited_ns; // for cores, until then
    uint64_t period_ns;
    size_t at; // of what is being sent
    unsigned turn;
    struct frame_buffer in;
};

struct frame {
    uint8_t *data;
    size_t bytes;
};

static struct {
    const char *socket;
    int pid;
    int clients, hostile, rate, seconds;
    bool is_pings, is_json;
} opt = {.clients = 180, .hostile = 20, .rate = 1000, .seconds = 10};

static struct client clients[CLIENTS_MAX];
static struct frame hello, ping, count, put, writes, flood, watch, policies;
static uint32_t buckets[BUCKETS];
static uint64_t answers, refused, starved, worst_us, attacks;
static int waits[THREADS_MAX]; // schedstat of the daemon's threads, and ours
static int n_waits;
static int epfd;

static void die(const char *what)
{
    (void) fprintf(stderr, "bench_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/*
 * What is sent
 */

static struct encoder *begin(const char *method)
{
    static struct encoder e;

    encoder_init(&e, 0);
    message_begin_request(&e, 1, method);
    return &e;
}

static struct frame end(struct encoder *e)
{
    if (message_end(e) < 0)
        die("encoding");
    return (struct frame){e->data, e->bytes};
}

static void put_record(struct encoder *e, uint32_t number)
{
    uint8_t uid[16] = {0};

    memcpy(uid, &number, sizeof(number));
    encoder_open_map(e);
    encoder_put_bin(e, "uid", uid, sizeof(uid));
    encoder_put_cstr(e, "kind", "text");
    encoder_put_cstr(e, "stream", "load");
    encoder_put_int(e, "time", 1700000000000);
    encoder_put_cstr(e, "text", "The lodger bubbled like a drain.");
    encoder_close(e);
}

static struct frame repeat(struct frame f, size_t bytes)
{
    struct frame out = {malloc(bytes + f.bytes), 0};

    if (!out.data)
        die("memory");
    for (; out.bytes < bytes; out.bytes += f.bytes)
        memcpy(out.data + out.bytes, f.data, f.bytes);
    return out;
}

static void make_frames(void)
{
    struct encoder *e = begin("hello");

    encoder_put_array(e, "proto");
    encoder_int(e, 1);
    encoder_int(e, 0);
    encoder_close(e);
    encoder_put_cstr(e, "client", "load/1");
    hello = end(e);
    ping = end(begin("ping"));
    count = end(begin("data.count"));
    policies = end(begin("policy.get"));
    e = begin("data.put");
    encoder_put_bool(e, "create_stream", true);
    encoder_key(e, "record");
    put_record(e, 0);
    put = end(e);
    e = begin("data.put_many");
    encoder_put_bool(e, "create_stream", true);
    encoder_put_array(e, "records");
    for (uint32_t i = 0; i < 64; i++)
        put_record(e, 0x80000000u + i);
    encoder_close(e);
    writes = end(e);
    e = begin("events.watch");
    encoder_put_bool(e, "stream", true);
    watch = end(e);
    flood = repeat(ping, CHUNK);
}

/*
 * Connections
 */

static bool open_client(struct client *c)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket");
    (void) snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", opt.socket);
    // EAGAIN: more wait to be accepted than may.
    if (connect(c->fd, (struct sockaddr *) &addr, sizeof(addr)) < 0) {
        (void) close(c->fd);
        c->fd = -1;
        return false;
    }
    c->has_hello = c->is_waiting = false;
    c->at = 0;
    frame_buffer_init(&c->in, &frame_limits_full);
    if (c->is_good && epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        die("epoll_ctl");
    return true;
}

static void close_client(struct client *c, uint64_t now)
{
    if (c->fd >= 0) {
        (void) close(c->fd);
        frame_buffer_finish(&c->in);
    }
    c->fd = -1;
    c->due_ns = now + AGAIN_NS;
}

// False: the other end hung up.
static bool send_some(struct client *c, const void *data, size_t bytes,
                      size_t *sent)
{
    const ssize_t n = send(c->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

    *sent = n > 0 ? (size_t) n : 0;
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static bool drain(struct client *c)
{
    static uint8_t buf[CHUNK];
    ssize_t n;

    while ((n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
        continue;
    return n < 0 && errno == EAGAIN;
}

/*
 * The good ones: one request under way, the next when its time has come
 */

// How long all of them have waited for a core so far.
static uint64_t waited(void)
{
    unsigned long long ran, delay;
    uint64_t sum = 0;
    char text[96];

    for (int i = 0; i < n_waits; i++) {
        const ssize_t n = pread(waits[i], text, sizeof(text) - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        if (sscanf(text, "%llu %llu", &ran, &delay) == 2)
            sum += delay;
    }
    return sum;
}

static void note(const struct client *c)
{
    const uint64_t us = (clock_monotonic_ns() - c->sent_ns) / 1000;

    answers++;
    if (waited() - c->waited_ns > STARVED_NS) {
        starved++;
        return;
    }
    worst_us = us > worst_us ? us : worst_us;
    buckets[us < BUCKETS ? us : BUCKETS - 1]++;
}

static void ask(struct client *c, uint64_t now)
{
    static uint32_t number = 1;
    struct frame f = ping;
    size_t sent;

    c->turn++;
    if (!opt.is_pings && c->turn % 10 == 0)
        f = count;
    if (!opt.is_pings && c->turn % 10 == 5) {
        uint8_t *uid = memmem(put.data, put.bytes, "uid", 3);
        // Behind the key: the head of bin 8, which is two bytes.
        memcpy(uid + 5, &number, sizeof(number));
        number++;
        f = put;
    }
    if (!c->has_hello)
        f = hello;
    c->is_waiting = true;
    c->waited_ns = waited();
    c->sent_ns = clock_monotonic_ns();
    if (!send_some(c, f.data, f.bytes, &sent) || sent < f.bytes)
        die("a good client was cut off");
    c->due_ns = now + c->period_ns;
}

static void hear(struct client *c, uint64_t now)
{
    const uint8_t *frame;
    uint8_t *room;
    size_t bytes;

    if (frame_buffer_space(&c->in, &room, &bytes) < 0)
        die("memory");
    const ssize_t n = recv(c->fd, room, bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("a good client was hung up on");
    frame_buffer_commit(&c->in, (size_t) n);
    while (frame_buffer_next(&c->in, &frame, &bytes) == 1) {
        if (c->has_hello)
            note(c);
        // [1, id, error: nil, unless it was refused
        refused += bytes > 5 && frame[5] != 0xc0;
        c->has_hello = true;
        c->is_waiting = false;
    }
}

/*
 * The others
 */

static bool say_hello(struct client *c)
{
    size_t sent;

    if (!c->has_hello && c->kind != BOMB && c->kind != COMES_GOES)
        (void) send_some(c, hello.data, hello.bytes, &sent);
    c->has_hello = true;
    return true;
}

static bool pour(struct client *c, const struct frame *f, int times)
{
    size_t sent;

    for (int i = 0; i < times; i++) {
        if (!send_some(c, f->data + c->at, f->bytes - c->at, &sent))
            return false;
        if (sent == 0)
            return true;
        c->at = (c->at + sent) % f->bytes;
    }
    return true;
}

static bool attack(struct client *c, uint64_t now)
{
    static const uint8_t bomb[] = {0xdd, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t huge[] = {0x94, 0, 1, 0xdb, 0, 0xa0, 0, 0};
    static uint8_t noise[256];
    size_t sent;

    switch (c->kind) {
    case BOMB:
        return send_some(c, bomb, sizeof(bomb), &sent) && drain(c);
    case NEVER_READS:
        return pour(c, &policies, 100);
    case HALF_FRAME:
        if (c->at == 0 && drain(c))
            return send_some(c, ping.data, ping.bytes - 1, &c->at);
        return drain(c);
    case FLOOD:
        return pour(c, &flood, 4) && drain(c);
    case COMES_GOES:
        return false;
    case DRIBBLES:
        c->at = c->at % ping.bytes;
        return send_some(c, ping.data + c->at++, 1, &sent) && drain(c);
    case HUGE_FRAME:
        return send_some(c, huge, sizeof(huge), &sent) && pour(c, &flood, 16) &&
               drain(c);
    case WRITES:
        return pour(c, &writes, 8) && drain(c);
    case GARBAGE:
        for (size_t i = 0; i < sizeof(noise); i++)
            noise[i] = (uint8_t) (now * 31 + i * 17 + c->turn++);
        return send_some(c, noise, sizeof(noise), &sent) && drain(c);
    case WATCHES:
        return c->turn++ < 8 ? pour(c, &watch, 1) : true;
    case HOSTILE_KINDS:
        break;
    }
    return false;
}

static void misbehave(struct client *c, uint64_t now)
{
    if (c->fd < 0 && (now < c->due_ns || !open_client(c)))
        return;
    (void) say_hello(c);
    attacks++;
    if (!attack(c, now)) {
        c->turn = 0;
        close_client(c, now);
    }
}

/*
 * The daemon, from outside
 */

static long rss_kib(void)
{
    char path[64], line[128];
    long kib = -1;

    (void) snprintf(path, sizeof(path), "/proc/%d/status", opt.pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (f)
        (void) fclose(f);
    return kib;
}

static long descriptors(void)
{
    char path[64];
    long n = -3; // ., .. and the one that reads

    (void) snprintf(path, sizeof(path), "/proc/%d/fd", opt.pid);
    DIR *d = opendir(path);
    if (!d)
        return -1;
    while (readdir(d))
        n++;
    (void) closedir(d);
    return n + 1;
}

struct half {
    long rss_kib, fds;
};

static void sample(struct half *h)
{
    const long rss = rss_kib(), fds = descriptors();

    h->rss_kib = rss > h->rss_kib ? rss : h->rss_kib;
    h->fds = fds > h->fds ? fds : h->fds;
}

static double percentile(double part)
{
    uint64_t sum = 0;
    const uint64_t want = (uint64_t) ((double) (answers - starved) * part);

    for (size_t i = 0; i < BUCKETS; i++)
        if ((sum += buckets[i]) > want)
            return (double) i;
    return (double) worst_us;
}

static void serve_good(uint64_t now)
{
    for (int i = 0; i < opt.clients; i++) {
        struct client *c = &clients[i];
        if (c->fd < 0 && !open_client(c))
            continue;
        if (!c->is_waiting && now >= c->due_ns)
            ask(c, now);
    }
}

// Until the next one has something to do.
static long pause_ns(uint64_t now)
{
    uint64_t next = now + TICK_NS;

    for (int i = 0; i < opt.clients; i++)
        if (!clients[i].is_waiting && clients[i].due_ns < next)
            next = clients[i].due_ns;
    return next > now ? (long) (next - now) : 0;
}

static void run(struct half halves[2])
{
    const uint64_t start = clock_monotonic_ns();
    const uint64_t length = (uint64_t) opt.seconds * 1000000000;
    uint64_t now = start, ticked = 0, sampled = start;
    struct epoll_event events[64];

    while (now - start < length) {
        serve_good(now);
        if (now - ticked >= TICK_NS) {
            for (int i = 0; i < opt.hostile; i++)
                misbehave(&clients[opt.clients + i], now);
            ticked = now;
        }
        // Until all have come and grown, nothing is compared.
        if (now - sampled >= SAMPLE_NS) {
            const uint64_t at = now - start;
            if (at > length / 5)
                sample(&halves[at > length * 3 / 5]);
            sampled = now;
        }
        const struct timespec pause = {.tv_nsec = pause_ns(now)};
        const int n = epoll_pwait2(epfd, events, 64, &pause, NULL);
        now = clock_monotonic_ns();
        for (int i = 0; i < n; i++)
            hear(events[i].data.ptr, now);
    }
}

static void open_waits(void)
{
    char path[320];

    (void) snprintf(path, sizeof(path), "/proc/%d/task", opt.pid);
    DIR *d = opendir(path);
    for (struct dirent *e;
         d && (e = readdir(d)) && n_waits < THREADS_MAX - 1;) {
        (void) snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat",
                        opt.pid, e->d_name);
        const int fd =
            e->d_name[0] == '.' ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            waits[n_waits++] = fd;
    }
    if (d)
        (void) closedir(d);
    const int fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        waits[n_waits++] = fd;
}

static bool parse(int argc, char **argv)
{
    static const struct {
        const char *name;
        int *at;
    } numbers[] = {{"--clients", &opt.clients},
                   {"--hostile", &opt.hostile},
                   {"--rate", &opt.rate},
                   {"--seconds", &opt.seconds}};

    if (argc < 3)
        return false;
    opt.socket = argv[1];
    opt.pid = (int) strtol(argv[2], NULL, 10);
    for (int i = 3; i < argc; i++) {
        bool is_known =
            strcmp(argv[i], "--pings") == 0 || strcmp(argv[i], "--json") == 0;
        opt.is_pings |= strcmp(argv[i], "--pings") == 0;
        opt.is_json |= strcmp(argv[i], "--json") == 0;
        for (size_t k = 0; k < 4 && !is_known; k++)
            if (strcmp(argv[i], numbers[k].name) == 0 && i + 1 < argc) {
                *numbers[k].at = (int) strtol(argv[++i], NULL, 10);
                is_known = true;
            }
        if (!is_known)
            return false;
    }
    return opt.clients > 0 && opt.hostile >= 0 && opt.rate > 0 &&
           opt.seconds > 0 && opt.clients + opt.hostile <= CLIENTS_MAX;
}

int main(int argc, char **argv)
{
    struct half halves[2] = {{0}};

    if (!parse(argc, argv)) {
        (void) fprintf(stderr,
                       "usage: bench_load SOCKET PID [--clients N] [--hostile "
                       "N] [--rate N] [--seconds N] [--pings] [--json]\n");
        return 2;
    }
    open_waits();
    epfd = epoll_create1(EPOLL_CLOEXEC);
    make_frames();
    const uint64_t now = clock_monotonic_ns();
    const uint64_t period =
        1000000000u * (uint64_t) opt.clients / (uint64_t) opt.rate;
    for (int i = 0; i < opt.clients + opt.hostile; i++)
        clients[i] = (struct client){
            .fd = -1,
            .is_good = i < opt.clients,
            .kind = (enum hostile_kind)((i - opt.clients) % HOSTILE_KINDS),
            .period_ns = period,
            .due_ns = now + period * (uint64_t) i / (uint64_t) opt.clients,
        };
    run(halves);
    (void) printf(
        opt.is_json
            ? "{\"bench\":\"load\",\"clients\":%d,\"hostile\":%d,\"seconds\":%d,"
              "\"answers\":%llu,\"starved\":%llu,\"refused\":%llu,\"attacks\":%llu,"
              "\"p50_us\":%.0f,\"p90_us\":%.0f,\"p99_us\":%.0f,\"max_us\":%llu,"
              "\"rss_first_kib\":%ld,\"rss_second_kib\":%ld,"
              "\"fds_first\":%ld,\"fds_second\":%ld}\n"
            : "%d clients beside %d hostile ones, %d s: %llu answers (%llu starved, %llu "
              "refused; %llu attacks), p50 %.0f us, p90 %.0f us, p99 %.0f us, worst %llu "
              "us; resident %ld, then %ld KiB; descriptors %ld, then %ld\n",
        opt.clients, opt.hostile, opt.seconds, (unsigned long long) answers,
        (unsigned long long) starved, (unsigned long long) refused,
        (unsigned long long) attacks, percentile(0.5), percentile(0.9),
        percentile(0.99), (unsigned long long) worst_us, halves[0].rss_kib,
        halves[1].rss_kib, halves[0].fds, halves[1].fds);
    return answers > 0 ? 0 : 1;
}
