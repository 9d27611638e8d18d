// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The link against a peer that this program plays itself, packet by packet:
 * the good, the lying and the hanging worker. Started with --fd=3 this program
 * is a worker that does nothing at all.
 */

#include "daemon/worker_link.h"
#include "engine/base/error.h"
#include "engine/base/fdpass.h"
#include "engine/base/hash.h"
#include "engine/base/memfile.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    uv_loop_t loop;
    struct worker_link *link;
    int peer; // the worker's end
    int n_ready, n_messages, n_exits;
    struct worker_msg last; // descriptors taken
    struct worker_exit exit;
    bool destroys; // in on_message
};

static void on_ready(struct worker_link *w, const struct worker_hello *hello,
                     void *user)
{
    struct fixture *f = user;

    f->n_ready++;
}

static void on_message(struct worker_link *w, struct worker_msg *m, void *user)
{
    struct fixture *f = user;

    f->n_messages++;
    worker_msg_finish(&f->last);
    f->last = *m;
    if (m->type == WORKER_MSG_checkpoint)
        m->checkpoint.file_fd = -1;
    if (f->destroys) {
        worker_link_destroy(w);
        f->link = NULL;
    }
}

static void on_exit_told(struct worker_link *w, const struct worker_exit *exit,
                         void *user)
{
    struct fixture *f = user;

    f->n_exits++;
    f->exit = *exit;
    worker_link_destroy(w);
    f->link = NULL;
}

static const struct worker_link_callbacks callbacks = {on_ready, on_message,
                                                       on_exit_told};

static int count_fds(void)
{
    int n = 0;

    for (int i = 0; i < 256; i++)
        n += fcntl(i, F_GETFD) >= 0;
    return n;
}

static void start(struct fixture *f, struct worker_link_params params)
{
    int s[2];

    memset(f, 0, sizeof(*f));
    worker_msg_init(&f->last, WORKER_MSG_stop);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    params.loop = &f->loop;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s),
                     0);
    f->peer = s[1];
    assert_int_equal(worker_link_adopt(&f->link, s[0], &params, &callbacks, f,
                                       NULL),
                     0);
}

static void finish(struct fixture *f)
{
    worker_link_destroy(f->link);
    (void) uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    worker_msg_finish(&f->last);
    if (f->peer >= 0)
        (void) close(f->peer);
}

// Run until `*count` is `goal`; the test's own timeout is the limit.
static void run_until(struct fixture *f, const int *count, int goal)
{
    while (*count < goal)
        assert_int_not_equal(uv_run(&f->loop, UV_RUN_ONCE) + *count, 0);
}

/*
 * The worker's side
 */

static void peer_send(struct fixture *f, const struct worker_msg *m)
{
    uint8_t buf[WORKER_PACKET_MAX];
    int fds[WORKER_FDS_MAX];
    uint32_t n;
    size_t bytes;

    assert_int_equal(worker_msg_encode(buf, sizeof(buf), &bytes, fds, &n, m,
                                       NULL),
                     0);
    assert_int_equal(fdpass_send(f->peer, buf, bytes, fds, n), 0);
}

// False when the link has closed.
static bool peer_receive(struct fixture *f, struct worker_msg *m)
{
    uint8_t buf[WORKER_PACKET_MAX];
    int fds[WORKER_FDS_MAX];
    uint32_t n = 0;
    size_t bytes = 0;

    assert_int_equal(fdpass_recv(f->peer, buf, sizeof(buf), &bytes, fds,
                                 WORKER_FDS_MAX, &n),
                     0);
    if (bytes == 0)
        return false;
    assert_int_equal(worker_msg_decode(m, buf, bytes, fds, n,
                                       WORKER_SIDE_DAEMON, NULL),
                     0);
    return true;
}

static void peer_hello(struct fixture *f, uint32_t proto)
{
    struct worker_msg m;

    assert_true(peer_receive(f, &m));
    assert_int_equal(m.type, WORKER_MSG_hello);
    assert_int_equal(m.hello.proto, WORKER_PROTO);
    worker_msg_init(&m, WORKER_MSG_hello);
    m.hello.proto = proto;
    m.hello.pid = 4711;
    (void) snprintf(m.hello.version, sizeof(m.hello.version), "0.0.9");
    peer_send(f, &m);
}

static void started_with_hello(struct fixture *f,
                               struct worker_link_params params)
{
    start(f, params);
    peer_hello(f, WORKER_PROTO);
    run_until(f, &f->n_ready, 1);
}

static int train_start(struct fixture *f, struct error *err)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_train_start);
    m.train_start.req = 1;
    m.train_start.model_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    m.train_start.records_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int rc = worker_link_send(f->link, &m, err);
    worker_msg_finish(&m);
    return rc;
}

static void checkpoint_init(struct worker_msg *m, const char *text)
{
    worker_msg_init(m, WORKER_MSG_checkpoint);
    m->checkpoint.req = 1;
    m->checkpoint.step = 12;
    m->checkpoint.bytes = strlen(text);
    hash_bytes(m->checkpoint.sha256, text, strlen(text));
    assert_int_equal(memfile_from_bytes(&m->checkpoint.file_fd, "test", text,
                                        strlen(text)),
                     0);
}

/*
 * Tests
 */

static void greets_and_passes_messages(void **state)
{
    int before = count_fds();
    struct fixture f;
    struct worker_msg m;
    char text[8] = "";

    started_with_hello(&f, (struct worker_link_params){0});
    assert_true(worker_link_is_ready(f.link));
    assert_int_equal(worker_link_pid(f.link), 4711);
    assert_int_equal(train_start(&f, NULL), 0);
    assert_true(peer_receive(&f, &m));
    assert_int_equal(m.type, WORKER_MSG_train_start);
    assert_true(m.train_start.model_fd >= 0);
    assert_int_equal(m.train_start.probe_fd, -1);
    worker_msg_finish(&m);

    // A checked file arrives with its descriptor, and in order.
    checkpoint_init(&m, "state");
    peer_send(&f, &m);
    worker_msg_finish(&m);
    worker_msg_init(&m, WORKER_MSG_stopped);
    m.stopped.req = 1;
    peer_send(&f, &m);
    run_until(&f, &f.n_messages, 1);
    assert_int_equal(f.last.type, WORKER_MSG_checkpoint);
    assert_int_equal(pread(f.last.checkpoint.file_fd, text, 8, 0), 5);
    assert_string_equal(text, "state");
    run_until(&f, &f.n_messages, 2);
    assert_int_equal(f.last.type, WORKER_MSG_stopped);

    (void) close(f.peer);
    f.peer = -1;
    run_until(&f, &f.n_exits, 1);
    assert_true(f.exit.is_clean);
    finish(&f);
    assert_int_equal(count_fds(), before);
}

static void expect_protocol_exit(struct fixture *f, const char *why)
{
    run_until(f, &f->n_exits, 1);
    assert_false(f->exit.is_clean);
    assert_true(f->exit.is_protocol);
    if (!strstr(f->exit.text, why))
        fail_msg("\"%s\" does not say \"%s\"", f->exit.text, why);
    assert_int_equal(f->n_messages, 0);
    finish(f);
}

static void refuses_a_file_that_is_not_as_said(void **state)
{
    static const char *const why[] = {"hash", "bytes, but the worker said",
                                      "not sealed"};
    int before = count_fds();

    for (int i = 0; i < 3; i++) {
        struct fixture f;
        struct worker_msg m;
        started_with_hello(&f, (struct worker_link_params){0});
        assert_int_equal(train_start(&f, NULL), 0);
        checkpoint_init(&m, "state");
        if (i == 0)
            m.checkpoint.sha256[0] ^= 1;
        if (i == 1)
            m.checkpoint.bytes++;
        if (i == 2) {
            (void) close(m.checkpoint.file_fd);
            assert_int_equal(memfile_create(&m.checkpoint.file_fd, "t"), 0);
        }
        peer_send(&f, &m);
        worker_msg_finish(&m);
        expect_protocol_exit(&f, why[i]);
    }
    assert_int_equal(count_fds(), before);
}

static void refuses_answers_that_nothing_asked_for(void **state)
{
    struct fixture f;
    struct worker_msg m;

    started_with_hello(&f, (struct worker_link_params){0});
    worker_msg_init(&m, WORKER_MSG_done);
    m.done.req = 9;
    peer_send(&f, &m);
    expect_protocol_exit(&f, "for request 9, which is not open");

    started_with_hello(&f, (struct worker_link_params){0});
    assert_int_equal(train_start(&f, NULL), 0);
    worker_msg_init(&m, WORKER_MSG_gen_item);
    m.gen_item.req = 1;
    peer_send(&f, &m);
    expect_protocol_exit(&f, "answered train.start with gen.item");
}

static void refuses_bytes_that_are_no_message(void **state)
{
    static const uint8_t bomb[] = {0xdd, 0x10, 0, 0, 0};
    struct fixture f;

    started_with_hello(&f, (struct worker_link_params){0});
    assert_int_equal(fdpass_send(f.peer, bomb, sizeof(bomb), NULL, 0), 0);
    expect_protocol_exit(&f, "broke the protocol");
}

static void refuses_a_worker_that_does_not_greet(void **state)
{
    struct fixture f;
    struct worker_msg m;

    start(&f, (struct worker_link_params){0});
    worker_msg_init(&m, WORKER_MSG_stopped);
    peer_send(&f, &m);
    expect_protocol_exit(&f, "before it said hello");

    start(&f, (struct worker_link_params){.hello_ms = 20});
    expect_protocol_exit(&f, "did not say hello in time");
}

static void names_both_versions_when_they_differ(void **state)
{
    struct fixture f;

    start(&f, (struct worker_link_params){0});
    peer_hello(&f, WORKER_PROTO + 1);
    run_until(&f, &f.n_exits, 1);
    assert_false(f.exit.is_clean);
    assert_non_null(strstr(f.exit.text, "0.0.9"));
    assert_non_null(strstr(f.exit.text, POCK_VERSION));
    assert_int_equal(f.n_ready, 0);
    finish(&f);
}

static void a_worker_that_does_not_stop_is_cut_off(void **state)
{
    struct fixture f;
    struct worker_msg m;

    started_with_hello(&f, (struct worker_link_params){.close_ms = 20,
                                                       .kill_ms = 40});
    worker_link_stop(f.link, "POWER");
    worker_link_stop(f.link, "USER"); // no second one
    assert_true(worker_link_is_stopping(f.link));
    assert_true(peer_receive(&f, &m));
    assert_int_equal(m.type, WORKER_MSG_stop);
    assert_string_equal(m.stop.reason, "POWER");
    run_until(&f, &f.n_exits, 1);
    assert_false(peer_receive(&f, &m));
    assert_false(f.exit.is_clean);
    assert_string_equal(f.exit.text,
                        "the train worker did not stop within 20 ms");
    finish(&f);
}

static void sending_is_bounded(void **state)
{
    int before = count_fds();
    struct fixture f;
    struct error err;
    int rc = 0, sent = 0;

    started_with_hello(&f, (struct worker_link_params){0});
    // The peer does not read: first the socket fills, then the queue.
    struct worker_msg m;
    worker_msg_init(&m, WORKER_MSG_cancel);
    while (sent < 100000 && (rc = worker_link_send(f.link, &m, &err)) == 0)
        sent++;
    assert_int_equal(rc, -EAGAIN);
    assert_non_null(strstr(err.text, "64 messages wait"));
    // All of them arrive when it reads again.
    while (sent > 0) {
        assert_true(peer_receive(&f, &m));
        sent--;
        (void) uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    finish(&f);
    assert_int_equal(count_fds(), before);
}

static void requests_are_counted(void **state)
{
    struct fixture f;
    struct error err;

    started_with_hello(&f, (struct worker_link_params){0});
    assert_int_equal(train_start(&f, &err), 0);
    assert_int_equal(train_start(&f, &err), -EEXIST);
    finish(&f);
}

static void may_be_destroyed_in_a_callback(void **state)
{
    struct fixture f;
    struct worker_msg m;

    started_with_hello(&f, (struct worker_link_params){0});
    f.destroys = true;
    assert_int_equal(train_start(&f, NULL), 0);
    checkpoint_init(&m, "state");
    peer_send(&f, &m);
    worker_msg_finish(&m);
    run_until(&f, &f.n_messages, 1);
    finish(&f);
    assert_int_equal(f.n_exits, 0);
}

/*
 * Children
 */

static void start_child(struct fixture *f, const char *program,
                        struct worker_link_params params)
{
    memset(f, 0, sizeof(*f));
    f->peer = -1;
    worker_msg_init(&f->last, WORKER_MSG_stop);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    params.loop = &f->loop;
    params.program = program;
    assert_int_equal(worker_link_create(&f->link, &params, &callbacks, f, NULL),
                     0);
}

static void a_child_that_hangs_is_killed(void **state)
{
    int before = count_fds();
    struct fixture f;

    start_child(&f, "/proc/self/exe",
                (struct worker_link_params){.close_ms = 20, .kill_ms = 40});
    assert_true(worker_link_pid(f.link) > 0);
    worker_link_stop(f.link, "POWER");
    run_until(&f, &f.n_exits, 1);
    assert_int_equal(f.exit.signal, SIGKILL);
    assert_non_null(strstr(f.exit.text, "did not stop within 20 ms"));
    finish(&f);
    assert_int_equal(count_fds(), before);
}

static void tells_how_a_child_died(void **state)
{
    struct fixture f;

    start_child(&f, "/proc/self/exe", (struct worker_link_params){0});
    assert_int_equal(kill(worker_link_pid(f.link), SIGKILL), 0);
    run_until(&f, &f.n_exits, 1);
    assert_int_equal(f.exit.signal, SIGKILL);
    assert_non_null(strstr(f.exit.text, "perhaps because memory ran out"));
    assert_false(f.exit.is_clean);
    finish(&f);

    start_child(&f, "/bin/false", (struct worker_link_params){0});
    run_until(&f, &f.n_exits, 1);
    assert_int_equal(f.exit.status, 1);
    assert_string_equal(f.exit.text, "the train worker failed (exit status 1)");
    finish(&f);
}

static void says_which_program_is_missing(void **state)
{
    int before = count_fds();
    struct worker_link *w = NULL;
    struct error err;
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    struct worker_link_params params = {.loop = &loop,
                                        .program = "/nowhere/pock-worker"};
    assert_int_equal(worker_link_create(&w, &params, &callbacks, NULL, &err),
                     -ENOENT);
    assert_non_null(strstr(err.text, "/nowhere/pock-worker"));
    params.program = NULL;
    params.socket_path = "/nowhere/worker.sock";
    assert_int_equal(worker_link_create(&w, &params, &callbacks, NULL, &err),
                     -ENOENT);
    assert_non_null(strstr(err.text, "/nowhere/worker.sock"));
    assert_null(w);
    (void) uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(count_fds(), before);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--fd=3") == 0)
        for (;;)
            (void) pause();

    // libuv opens a pipe for signals once and keeps it: not a leak.
    uv_loop_t loop;
    (void) uv_loop_init(&loop);
    (void) uv_loop_close(&loop);

    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greets_and_passes_messages),
        cmocka_unit_test(refuses_a_file_that_is_not_as_said),
        cmocka_unit_test(refuses_answers_that_nothing_asked_for),
        cmocka_unit_test(refuses_bytes_that_are_no_message),
        cmocka_unit_test(refuses_a_worker_that_does_not_greet),
        cmocka_unit_test(names_both_versions_when_they_differ),
        cmocka_unit_test(a_worker_that_does_not_stop_is_cut_off),
        cmocka_unit_test(sending_is_bounded),
        cmocka_unit_test(requests_are_counted),
        cmocka_unit_test(may_be_destroyed_in_a_callback),
        cmocka_unit_test(a_child_that_hangs_is_killed),
        cmocka_unit_test(tells_how_a_child_died),
        cmocka_unit_test(says_which_program_is_missing),
    };
    return cmocka_run_group_tests_name("worker/link", tests, NULL, NULL);
}
