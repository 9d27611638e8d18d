// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "peer.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

void peer_write(struct peer *p, const void *data, size_t bytes)
{
    assert_int_equal(send(p->fd, data, bytes, MSG_NOSIGNAL), bytes);
}

static void flush(struct peer *p, struct encoder *e)
{
    assert_int_equal(message_end(e), 0);
    peer_write(p, e->data, e->bytes);
    encoder_destroy(e);
}

void peer_answer(struct peer *p, uint32_t id, const char *key, int64_t value)
{
    struct encoder e;

    encoder_init(&e, 0);
    message_begin_response(&e, id);
    if (key)
        encoder_put_int(&e, key, value);
    flush(p, &e);
}

void peer_error(struct peer *p, uint32_t id, enum rpc_error code,
                const char *text)
{
    struct encoder e;

    encoder_init(&e, 0);
    message_begin_error(&e, id, code, text, 0);
    encoder_put_int(&e, "index", 7);
    flush(p, &e);
}

void peer_text(struct peer *p, uint32_t id, int64_t seq, const char *text)
{
    struct encoder e;

    encoder_init(&e, 0);
    message_begin_item(&e, id, seq, "text");
    encoder_put_cstr(&e, "text", text);
    flush(p, &e);
}

void peer_start_with(struct peer *p, struct pock **out, int in_flight,
                     const struct pock_options *how)
{
    struct pock_options options = *how;
    struct pock_error err;
    struct encoder e;
    int ends[2];

    *p = (struct peer){.received_fd = -1};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    p->fd = ends[0];
    frame_buffer_init(&p->in, &frame_limits_full);
    encoder_init(&e, 0);
    message_begin_response(&e, 1);
    encoder_put_cstr(&e, "server", "peer/1");
    encoder_put_map(&e, "limits");
    encoder_put_int(&e, "in_flight", in_flight);
    encoder_close(&e);
    flush(p, &e);
    options.use_fd = true;
    options.fd = ends[1];
    assert_int_equal(pock_connect_with(out, &options, &err), 0);
    peer_read(p);
    assert_true(codec_bytes_equal(p->message.method, "hello"));
}

void peer_start(struct peer *p, struct pock **out, int in_flight)
{
    peer_start_with(p, out, in_flight, &(struct pock_options){.path = NULL});
}

void peer_stop(struct peer *p)
{
    codec_finish(&p->doc);
    frame_buffer_finish(&p->in);
    if (p->received_fd >= 0)
        close(p->received_fd);
    if (p->fd >= 0)
        close(p->fd);
}

static void receive(struct peer *p)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part;
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    uint8_t *room;

    assert_int_equal(frame_buffer_space(&p->in, &room, &part.iov_len), 0);
    part.iov_base = room;
    ssize_t n = recvmsg(p->fd, &m, MSG_DONTWAIT);
    assert_true(n > 0);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&p->received_fd, CMSG_DATA(c), sizeof(int));
    frame_buffer_commit(&p->in, (size_t) n);
}

void peer_read(struct peer *p)
{
    const uint8_t *frame;
    size_t bytes;
    int rc;

    codec_finish(&p->doc);
    p->doc = (struct codec_doc){0};
    while ((rc = frame_buffer_next(&p->in, &frame, &bytes)) == 0)
        receive(p);
    assert_int_equal(rc, 1);
    assert_int_equal(codec_decode(&p->doc, frame, bytes, &frame_limits_full,
                                  NULL),
                     0);
    assert_int_equal(message_decode(&p->message, &p->doc, NULL), 0);
}

bool peer_has_more(struct peer *p)
{
    struct pollfd f = {.fd = p->fd, .events = POLLIN};

    return poll(&f, 1, 0) == 1;
}
