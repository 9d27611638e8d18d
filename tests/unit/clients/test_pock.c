// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/fault.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct seen {
    int replies;
    int items;
    struct pock_error err; // of the last reply; name "" without one
    int64_t number;        // "n" of the last result
    int64_t index;         // "index" of the last error's data
    char text[64];         // of all items
};

static void on_reply(void *user, const struct pock_value *result,
                     const struct pock_error *err)
{
    struct seen *s = user;

    s->replies++;
    s->err = err ? *err : (struct pock_error){0};
    s->number = pock_get_int(result, "n", -1);
    s->index = pock_get_int(result, "index", -1);
}

static void on_item(void *user, const struct pock_value *item)
{
    struct seen *s = user;

    s->items++;
    strncat(s->text, pock_get_str(item, "text", ""),
            sizeof(s->text) - strlen(s->text) - 1);
}

static uint32_t ask(struct pock *p, struct seen *s, bool stream, int timeout_ms)
{
    struct pock_send_options how = {.on_item = stream ? on_item : NULL,
                                    .on_reply = on_reply,
                                    .user = s,
                                    .timeout_ms = timeout_ms};
    struct pock_request *r;
    uint32_t id;

    assert_int_equal(pock_request_create(&r, p, "ping"), 0);
    assert_int_equal(pock_send(r, &how, &id), 0);
    return id;
}

static void says_what_the_daemon_greeted_with(void **state)
{
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 64);
    assert_string_equal(pock_get_str(pock_hello(p), "server", ""), "peer/1");
    assert_int_equal(pock_get_int(pock_get(pock_hello(p), "limits"),
                                  "in_flight", 0),
                     64);
    assert_int_equal(pock_events(p), POLLIN);
    assert_int_equal(pock_timeout(p), -1);
    pock_destroy(p);
    peer_stop(&peer);
}

static bool says(const struct peer *peer, const char *key, const char *text)
{
    struct codec_bytes b = codec_str(peer->message.params, key);

    return b.data && codec_bytes_equal(b, text);
}

static void greets_as_what_it_was_told(void **state)
{
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 64);
    assert_true(says(&peer, "client", "libpock"));
    assert_null(codec_find(peer.message.params, "role"));
    assert_null(codec_find(peer.message.params, "app_hint"));
    assert_null(codec_find(peer.message.params, "wants"));
    pock_destroy(p);
    peer_stop(&peer);
    peer_start_with(&peer, &p, 64,
                    &(struct pock_options){.client = "editor/2",
                                           .app = "org.example.Editor",
                                           .wants = " train  score"});
    const msgpack_object *wants = codec_find(peer.message.params, "wants");
    struct codec_bytes word = {"", 0};
    assert_true(says(&peer, "client", "editor/2"));
    assert_true(says(&peer, "app_hint", "org.example.Editor"));
    assert_int_equal(codec_count(wants), 2);
    assert_true(codec_as_str(codec_at(wants, 1), &word) &&
                codec_bytes_equal(word, "score"));
    assert_null(codec_find(peer.message.params, "role"));
    pock_destroy(p);
    peer_stop(&peer);
    peer_start_with(&peer, &p, 64, &(struct pock_options){.as_owner = true});
    assert_true(says(&peer, "role", "owner"));
    pock_destroy(p);
    peer_stop(&peer);
}

static void matches_answers_to_requests_in_any_order(void **state)
{
    struct seen a = {0};
    struct seen b = {0};
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 64);
    uint32_t first = ask(p, &a, false, 0);
    uint32_t second = ask(p, &b, false, 0);
    assert_int_equal(pock_open_requests(p), 2);
    peer_answer(&peer, second, "n", 22);
    peer_answer(&peer, first, "n", 11);
    peer_answer(&peer, 999, "n", 33); // nobody asked for it
    assert_int_equal(pock_dispatch(p, 1000), 3);
    assert_int_equal(a.number, 11);
    assert_int_equal(b.number, 22);
    assert_int_equal(pock_open_requests(p), 0);
    pock_destroy(p);
    assert_int_equal(a.replies + b.replies, 2);
    peer_stop(&peer);
}

static void takes_an_answer_byte_by_byte(void **state)
{
    struct seen s = {0};
    struct encoder e;
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 64);
    encoder_init(&e, 0);
    message_begin_response(&e, ask(p, &s, false, 0));
    encoder_put_int(&e, "n", 5);
    encoder_put_cstr(&e, "text", "a longer text than fits into a header");
    assert_int_equal(message_end(&e), 0);
    for (size_t i = 0; i < e.bytes; i++) {
        assert_int_equal(s.replies, 0);
        peer_write(&peer, e.data + i, 1);
        assert_true(pock_dispatch(p, 1000) >= 0);
    }
    assert_int_equal(s.replies, 1);
    assert_int_equal(s.number, 5);
    encoder_destroy(&e);
    pock_destroy(p);
    peer_stop(&peer);
}

static void streams_items_before_the_answer(void **state)
{
    struct seen s = {0};
    struct peer peer;
    struct pock *p;
    bool stream = false;

    peer_start(&peer, &p, 64);
    uint32_t id = ask(p, &s, true, 0);
    assert_int_equal(pock_dispatch(p, 0), 0);
    peer_read(&peer);
    assert_int_equal(codec_get_bool(peer.message.params, "stream", &stream,
                                    NULL),
                     0);
    assert_true(stream);
    peer_text(&peer, id, 0, "bees ");
    peer_text(&peer, id, 1, "are back");
    peer_text(&peer, 77, 0, "for another");
    peer_answer(&peer, id, "n", 2);
    peer_text(&peer, id, 2, "after the end");
    while (pock_dispatch(p, 0) > 0)
        ;
    assert_string_equal(s.text, "bees are back");
    assert_int_equal(s.items, 2);
    assert_int_equal(s.replies, 1);
    pock_destroy(p);
    peer_stop(&peer);
}

static void gives_errors_with_name_sentence_and_data(void **state)
{
    struct seen s = {0};
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 64);
    peer_error(&peer, ask(p, &s, false, 0), RPC_ERROR_NOT_FOUND,
               "there is no record 7");
    assert_int_equal(pock_dispatch(p, 1000), 1);
    assert_int_equal(s.err.code, POCK_ERROR_NOT_FOUND);
    assert_string_equal(s.err.name, "NOT_FOUND");
    assert_string_equal(s.err.text, "there is no record 7");
    assert_false(s.err.is_local);
    assert_int_equal(s.index, 7);
    pock_destroy(p);
    peer_stop(&peer);
}

static void cancels_and_still_gets_the_answer(void **state)
{
    struct seen s = {0};
    struct peer peer;
    struct pock *p;
    uint32_t cancelled = 0;

    peer_start(&peer, &p, 64);
    uint32_t id = ask(p, &s, false, 0);
    assert_int_equal(pock_cancel(p, id), 0);
    assert_int_equal(pock_dispatch(p, 0), 0);
    peer_read(&peer);
    peer_read(&peer);
    assert_true(codec_bytes_equal(peer.message.method, MESSAGE_CANCEL));
    assert_int_equal(message_cancel_decode(&cancelled, &peer.message, NULL), 0);
    assert_int_equal(cancelled, id);
    assert_int_equal(s.replies, 0);
    peer_error(&peer, id, RPC_ERROR_CANCELLED, "cancelled");
    assert_int_equal(pock_dispatch(p, 1000), 1);
    assert_int_equal(s.err.code, POCK_ERROR_CANCELLED);
    pock_destroy(p);
    peer_stop(&peer);
}

static void fails_every_request_when_the_daemon_hangs_up(void **state)
{
    static const uint8_t half[] = {0x94, 0x01, 0x02};
    struct seen a = {0};
    struct seen b = {0};
    struct pock_request *r;
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 64);
    ask(p, &a, false, 0);
    ask(p, &b, true, 0);
    peer_write(&peer, half, sizeof(half)); // in the middle of a frame
    close(peer.fd);
    peer.fd = -1;
    assert_int_equal(pock_dispatch(p, 1000), -ENOTCONN);
    assert_int_equal(a.replies, 1);
    assert_int_equal(b.replies, 1);
    assert_int_equal(a.err.code, POCK_ERROR_NOT_READY);
    assert_true(a.err.is_local);
    assert_int_equal(pock_dispatch(p, 0), -ENOTCONN);
    assert_int_equal(pock_request_create(&r, p, "ping"), -ENOTCONN);
    assert_int_equal(pock_cancel(p, 1), -ENOTCONN);
    pock_destroy(p);
    assert_int_equal(a.replies, 1);
    peer_stop(&peer);
}

static void ends_a_connection_that_talks_nonsense(void **state)
{
    static const struct {
        uint8_t data[8];
        size_t bytes;
    } bad[] = {
        {{0xc1}, 1},                         // no msgpack at all
        {{0xdd, 0x10, 0, 0, 0}, 5},          // 268 million objects promised
        {{0xdb, 0x7f, 0xff, 0xff, 0xff}, 5}, // a string of 2 GiB
        {{0x93, 0x01, 0x02, 0xc0}, 4},       // a response of three parts
        {{0x94, 0x01, 0xa1, 'x', 0xc0, 0x80}, 6}, // whose id is a string
        {{0x2a}, 1},                              // a number
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct seen s = {0};
        struct peer peer;
        struct pock *p;
        peer_start(&peer, &p, 64);
        ask(p, &s, false, 0);
        peer_write(&peer, bad[i].data, bad[i].bytes);
        assert_int_equal(pock_dispatch(p, 1000), -EPROTO);
        assert_int_equal(s.replies, 1);
        assert_int_equal(s.err.code, POCK_ERROR_PARSE);
        pock_destroy(p);
        peer_stop(&peer);
    }
}

static void gives_up_on_an_answer_that_is_late(void **state)
{
    struct seen s = {0};
    int64_t timeout = 0;
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 64);
    uint32_t id = ask(p, &s, false, 1);
    assert_in_range(pock_timeout(p), 1, 301);
    assert_int_equal(pock_dispatch(p, 0), 0);
    peer_read(&peer);
    assert_int_equal(codec_get_int(peer.message.params, "timeout_ms", 1, 1,
                                   &timeout, NULL),
                     0);
    // A moment of grace is the daemon's to say so itself.
    while (s.replies == 0)
        assert_true(pock_dispatch(p, -1) >= 0);
    assert_int_equal(s.err.code, POCK_ERROR_TIMEOUT);
    peer_answer(&peer, id, "n", 1); // falls on the floor
    assert_int_equal(pock_dispatch(p, 1000), 1);
    assert_int_equal(s.replies, 1);
    pock_destroy(p);
    peer_stop(&peer);
}

static void keeps_to_the_requests_that_the_daemon_takes(void **state)
{
    struct pock_send_options how = {0};
    struct pock_request *r;
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pock_request_create(&r, p, "ping"), 0);
        assert_int_equal(pock_send(r, &how, NULL), i < 2 ? 0 : -EAGAIN);
    }
    peer_answer(&peer, 2, NULL, 0);
    assert_int_equal(pock_dispatch(p, 1000), 1);
    assert_int_equal(pock_request_create(&r, p, "ping"), 0);
    assert_int_equal(pock_send(r, &how, NULL), 0);
    pock_destroy(p);
    peer_stop(&peer);
}

static void refuses_what_cannot_be_sent(void **state)
{
    struct pock_send_options how = {0};
    struct pock_request *r;
    struct peer peer;
    struct pock *p;
    char *large = calloc(1, 300000);

    peer_start(&peer, &p, 64);
    assert_int_equal(pock_request_create(&r, p, "ping"), 0);
    pock_set_text(r, "t", "\xff\xfe", 2);
    assert_int_equal(pock_send(r, &how, NULL), -EINVAL);
    assert_int_equal(pock_request_create(&r, p, "ping"), 0);
    pock_open_list(r, "open");
    assert_int_equal(pock_send(r, &how, NULL), -EINVAL);
    assert_int_equal(pock_request_create(&r, p, "ping"), 0);
    memset(large, 'x', 299999);
    pock_open_list(r, "t");
    for (int i = 0; i < 4; i++)
        pock_set_str(r, NULL, large);
    pock_close(r);
    assert_int_equal(pock_send(r, &how, NULL), -E2BIG);
    assert_int_equal(pock_open_requests(p), 0);
    assert_false(peer_has_more(&peer));
    free(large);
    pock_destroy(p);
    peer_stop(&peer);
}

static void sends_a_descriptor_with_its_request(void **state)
{
    struct seen s = {0};
    struct pock_send_options how = {.on_reply = on_reply,
                                    .user = &s,
                                    .has_fd = true};
    struct pock_request *r;
    struct stat sent;
    struct stat came;
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 64);
    how.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(fstat(how.fd, &sent), 0);
    assert_int_equal(pock_request_create(&r, p, "data.export"), 0);
    assert_int_equal(pock_send(r, &how, NULL), 0);
    close(how.fd); // the library has its own
    assert_int_equal(pock_dispatch(p, 0), 0);
    peer_read(&peer);
    assert_true(peer.received_fd >= 0);
    assert_int_equal(fstat(peer.received_fd, &came), 0);
    assert_int_equal(came.st_rdev, sent.st_rdev);
    assert_non_null(codec_find(peer.message.params, "fd"));
    pock_destroy(p);
    assert_string_equal(s.err.name, "CANCELLED");
    peer_stop(&peer);
}

static void takes_descriptors_from_the_daemon(void **state)
{
    struct peer peer;
    struct pock *p;
    struct seen s = {0};
    int ends[2];
    uint8_t byte = 0x94; // the first of a message, whose rest never comes
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    peer_start(&peer, &p, 64);
    ask(p, &s, false, 0);
    assert_int_equal(pipe(ends), 0);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &ends[0], sizeof(int));
    assert_int_equal(sendmsg(peer.fd, &m, 0), 1);
    assert_int_equal(pock_dispatch(p, 1000), 0);
    int fd = pock_take_fd(p);
    assert_true(fd >= 0);
    assert_int_equal(pock_take_fd(p), -1);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    close(ends[0]);
    close(ends[1]);
    pock_destroy(p);
    peer_stop(&peer);
}

static void waits_for_room_to_write(void **state)
{
    struct seen s = {0};
    struct peer peer;
    struct pock *p;
    char *text = malloc(200001);

    peer_start(&peer, &p, 64);
    memset(text, 'x', 200000);
    text[200000] = '\0';
    for (int i = 0; i < 8; i++) {
        struct pock_send_options how = {.on_reply = on_reply, .user = &s};
        struct pock_request *r;
        assert_int_equal(pock_request_create(&r, p, "data.put"), 0);
        pock_set_str(r, "text", text);
        assert_int_equal(pock_send(r, &how, NULL), 0);
    }
    // More than a socket holds: the rest waits for POLLOUT.
    assert_int_equal(pock_dispatch(p, 0), 0);
    assert_int_equal(pock_events(p), POLLIN | POLLOUT);
    for (uint32_t i = 0; i < 8; i++) {
        struct pollfd f = {.fd = peer.fd, .events = POLLIN};
        const uint8_t *frame;
        size_t bytes;
        while (frame_buffer_next(&peer.in, &frame, &bytes) == 0) {
            assert_int_equal(poll(&f, 1, 1000), 1);
            uint8_t *room;
            assert_int_equal(frame_buffer_space(&peer.in, &room, &bytes), 0);
            ssize_t n = recv(peer.fd, room, bytes, 0);
            assert_true(n > 0);
            frame_buffer_commit(&peer.in, (size_t) n);
            assert_true(pock_dispatch(p, 0) >= 0);
        }
        peer_answer(&peer, i + 2, "n", i);
    }
    assert_int_equal(pock_events(p), POLLIN);
    while (s.replies < 8)
        assert_true(pock_dispatch(p, 1000) >= 0);
    free(text);
    pock_destroy(p);
    peer_stop(&peer);
}

static void blocks_until_the_answer_is_there(void **state)
{
    struct pock_record record = {.stream = "notes", .text = "Bees are back."};
    struct pock_put_result put;
    struct pock_error err;
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 64);
    peer_answer(&peer, 2, "new", 1);
    assert_int_equal(pock_put(p, &record, POCK_PUT_CREATE_STREAM, &put, &err),
                     0);
    assert_int_equal(put.added, 1);
    peer_read(&peer);
    const msgpack_object *r =
        codec_at(codec_find(peer.message.params, "records"), 0);
    struct codec_bytes uid = {0};
    assert_int_equal(codec_get_bin(r, "uid", &uid, NULL), 0);
    assert_int_equal(uid.bytes, POCK_UID_BYTES);
    assert_true(codec_bytes_equal(codec_str(r, "kind"), "text"));
    assert_true(codec_int(r, "time", 0) > INT64_C(1700000000000));
    peer_error(&peer, 3, RPC_ERROR_NOT_FOUND, "no");
    assert_int_equal(pock_ping(p, &err), -EREMOTEIO);
    assert_int_equal(err.code, POCK_ERROR_NOT_FOUND);
    close(peer.fd);
    peer.fd = -1;
    assert_int_equal(pock_ping(p, &err), -ENOTCONN);
    assert_string_equal(err.name, "NOT_READY");
    pock_destroy(p);
    peer_stop(&peer);
}

static void collect(void *user, const char *text, size_t bytes)
{
    struct seen *s = user;

    strncat(s->text, text, bytes);
}

static void generates_piece_by_piece(void **state)
{
    struct pock_gen_params g = {.prompt = "Bees", .has_seed = true, .seed = 3};
    struct pock_reply *reply;
    struct seen s = {0};
    struct pock_error err;
    struct peer peer;
    struct pock *p;

    peer_start(&peer, &p, 64);
    peer_text(&peer, 2, 0, " are");
    peer_text(&peer, 2, 1, " back");
    peer_answer(&peer, 2, "tokens", 2);
    assert_int_equal(pock_generate(p, &g, collect, &s, &reply, &err), 0);
    assert_string_equal(s.text, " are back");
    assert_int_equal(pock_get_int(pock_result(reply), "tokens", 0), 2);
    pock_reply_destroy(reply);
    peer_read(&peer);
    assert_int_equal(codec_int(peer.message.params, "seed", 0), 3);
    assert_null(codec_find(peer.message.params, "temperature"));
    pock_destroy(p);
    peer_stop(&peer);
}

struct nested {
    struct pock *pock;
    struct seen inner;
    int rc;
};

static void on_reply_ask_again(void *user, const struct pock_value *result,
                               const struct pock_error *err)
{
    struct nested *n = user;

    n->rc = pock_ping(n->pock, NULL);
    ask(n->pock, &n->inner, false, 0);
}

static void callbacks_may_send_but_not_wait(void **state)
{
    struct nested n = {0};
    struct pock_send_options how = {.on_reply = on_reply_ask_again, .user = &n};
    struct pock_request *r;
    struct peer peer;

    peer_start(&peer, &n.pock, 64);
    assert_int_equal(pock_request_create(&r, n.pock, "ping"), 0);
    assert_int_equal(pock_send(r, &how, NULL), 0);
    peer_answer(&peer, 2, NULL, 0);
    assert_int_equal(pock_dispatch(n.pock, 1000), 1);
    assert_int_equal(n.rc, -EDEADLK);
    assert_int_equal(pock_open_requests(n.pock), 1);
    pock_destroy(n.pock);
    assert_int_equal(n.inner.replies, 1);
    peer_stop(&peer);
}

static void says_which_socket_nobody_listens_on(void **state)
{
    struct pock_error err;
    struct pock *p = NULL;

    assert_int_equal(pock_connect(&p, "/nonexistent/pockd.sock", &err),
                     -ENOENT);
    assert_null(p);
    assert_int_equal(err.code, POCK_ERROR_NOT_READY);
    assert_non_null(strstr(err.text, "/nonexistent/pockd.sock"));
    char path[300];
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(pock_connect(&p, path, &err), -ENAMETOOLONG);
}

// Every allocation of a whole conversation fails in turn.
static void survives_any_failing_allocation(void **state)
{
    unsigned long n = 1;

    for (;; n++) {
        struct seen s = {0};
        struct pock_request *r = NULL;
        struct pock_send_options how = {.on_reply = on_reply, .user = &s};
        struct peer peer;
        struct pock *p;
        peer_start(&peer, &p, 64);
        peer_answer(&peer, 2, "n", 4);
        fault_arm(FAULT_ALLOC, n);
        int rc = pock_request_create(&r, p, "ping");
        if (rc == 0) {
            pock_set_str(r, "text", "some text");
            rc = pock_send(r, &how, NULL);
        }
        if (rc == 0)
            rc = pock_dispatch(p, 1000);
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_true(rc >= 0 || rc == -ENOMEM);
        pock_destroy(p);
        peer_stop(&peer);
        if (!fired)
            break;
    }
    assert_true(n > 5);
}

static void survives_any_failing_allocation_while_connecting(void **state)
{
    unsigned long n = 1;
    int rc = -ENOMEM;

    for (; rc < 0; n++) {
        struct pock_options options = {.use_fd = true};
        struct pock_error err = {0};
        struct pock *p = NULL;
        struct encoder e;
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        options.fd = ends[1];
        encoder_init(&e, 0);
        message_begin_response(&e, 1);
        encoder_put_cstr(&e, "server", "peer/1");
        assert_int_equal(message_end(&e), 0);
        assert_int_equal(send(ends[0], e.data, e.bytes, 0), e.bytes);
        encoder_destroy(&e);
        fault_arm(FAULT_ALLOC, n);
        rc = pock_connect_with(&p, &options, &err);
        fault_arm(FAULT_ALLOC, 0);
        if (rc < 0) {
            assert_null(p);
            assert_string_equal(err.name, "INTERNAL");
        }
        pock_destroy(p);
        // The descriptor was taken over, whatever came of it.
        assert_int_equal(fcntl(ends[1], F_GETFD), -1);
        close(ends[0]);
    }
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_the_daemon_greeted_with),
        cmocka_unit_test(greets_as_what_it_was_told),
        cmocka_unit_test(matches_answers_to_requests_in_any_order),
        cmocka_unit_test(takes_an_answer_byte_by_byte),
        cmocka_unit_test(streams_items_before_the_answer),
        cmocka_unit_test(gives_errors_with_name_sentence_and_data),
        cmocka_unit_test(cancels_and_still_gets_the_answer),
        cmocka_unit_test(fails_every_request_when_the_daemon_hangs_up),
        cmocka_unit_test(ends_a_connection_that_talks_nonsense),
        cmocka_unit_test(gives_up_on_an_answer_that_is_late),
        cmocka_unit_test(keeps_to_the_requests_that_the_daemon_takes),
        cmocka_unit_test(refuses_what_cannot_be_sent),
        cmocka_unit_test(sends_a_descriptor_with_its_request),
        cmocka_unit_test(takes_descriptors_from_the_daemon),
        cmocka_unit_test(waits_for_room_to_write),
        cmocka_unit_test(blocks_until_the_answer_is_there),
        cmocka_unit_test(generates_piece_by_piece),
        cmocka_unit_test(callbacks_may_send_but_not_wait),
        cmocka_unit_test(says_which_socket_nobody_listens_on),
        cmocka_unit_test(survives_any_failing_allocation),
        cmocka_unit_test(survives_any_failing_allocation_while_connecting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
