// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/error.h"
#include "ipc/encoder.h"
#include "ipc/worker_proto.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * Every message filled from the table: the largest values, full strings.
 */

#define FILL_U32(m, f, max)  (m)->f = (uint32_t) (max);
#define FILL_U64(m, f, max)  (m)->f = (uint64_t) (max);
#define FILL_F64(m, f, max)  (m)->f = -1.25;
#define FILL_BOOL(m, f, max) (m)->f = true;
#define FILL_STR(m, f, max)  memset((m)->f, 'x', (max) -1);
#define FILL_TEXT(m, f, max)       \
    memset((m)->f.data, 0, (max)); \
    (m)->f.bytes = (max);
#define FILL_HASH(m, f, max) memset((m)->f, 0xa5, sizeof((m)->f));
#define FILL_FD(m, f, max)   (m)->f = fd++;

#define ITEM(name)                                          \
    static int fill_##name(struct worker_##name *m, int fd) \
    {
#define MSG(name, w, by)                ITEM(name)
#define FIELD(name, type, field, limit) FILL_##type(m, field, limit)
#define LIST(name, item, field, limit)     \
    m->n_##field = (limit);                \
    for (uint32_t i = 0; i < (limit); i++) \
        fd = fill_##item(&m->field[i], fd);
#define END(name) \
    return fd;    \
    }
#include "ipc/worker_proto.def"
#undef ITEM
#undef MSG
#undef FIELD
#undef LIST
#undef END

// Returns how many descriptors were numbered, from `fd` on.
static int fill(struct worker_msg *m, enum worker_msg_type type, int fd)
{
    worker_msg_init(m, type);
    switch (type) {
#define ITEM(name)
#define MSG(name, w, by)    \
    case WORKER_MSG_##name: \
        return fill_##name(&m->name, fd) - fd;
#define FIELD(name, type, field, limit)
#define LIST(name, item, field, limit)
#define END(name)
#include "ipc/worker_proto.def"
#undef ITEM
#undef MSG
#undef FIELD
#undef LIST
#undef END
    case WORKER_MSG_COUNT:
        break;
    }
    return 0;
}

static void every_message_survives_a_round_trip(void **state)
{
    for (int t = 0; t < WORKER_MSG_COUNT; t++) {
        uint8_t a[WORKER_PACKET_MAX], b[WORKER_PACKET_MAX];
        static struct worker_msg m, back;
        int fds[WORKER_FDS_MAX], fds_again[WORKER_FDS_MAX];
        uint32_t n, n_again;
        size_t bytes, bytes_again;
        struct error err;

        int numbered = fill(&m, (enum worker_msg_type) t, 100);
        assert_int_equal(worker_msg_encode(a, sizeof(a), &bytes, fds, &n, &m,
                                           &err),
                         0);
        assert_int_equal(n, numbered);
        assert_int_equal(worker_msg_decode(&back, a, bytes, fds, n,
                                           worker_msg_sender(m.type), &err),
                         0);
        assert_int_equal(back.type, t);
        assert_int_equal(worker_msg_encode(b, sizeof(b), &bytes_again,
                                           fds_again, &n_again, &back, &err),
                         0);
        assert_int_equal(bytes, bytes_again);
        assert_memory_equal(a, b, bytes);
        assert_int_equal(n, n_again);
        assert_memory_equal(fds, fds_again, n * sizeof(int));
        // A buffer that is too short, and every truncation, are refused.
        assert_int_equal(worker_msg_encode(b, bytes - 1, &bytes_again,
                                           fds_again, &n_again, &m, &err),
                         -EINVAL);
        for (size_t cut = 0; cut < bytes; cut += 1 + bytes / 50)
            assert_true(worker_msg_decode(&back, a, cut, fds, n,
                                          WORKER_SIDE_BOTH, &err) < 0);
    }
}

static void absent_numbers_are_nan(void **state)
{
    uint8_t buf[WORKER_PACKET_MAX];
    struct worker_msg m, back;
    int fds[WORKER_FDS_MAX];
    uint32_t n;
    size_t bytes;

    worker_msg_init(&m, WORKER_MSG_progress);
    m.progress.loss = 2.5;
    assert_int_equal(worker_msg_encode(buf, sizeof(buf), &bytes, fds, &n, &m,
                                       NULL),
                     0);
    assert_int_equal(worker_msg_decode(&back, buf, bytes, fds, n,
                                       WORKER_SIDE_WORKER, NULL),
                     0);
    assert_true(isnan(back.progress.heldout));
    assert_true(back.progress.loss == 2.5);
}

static void refuses_to_encode_what_breaks_a_limit(void **state)
{
    uint8_t buf[WORKER_PACKET_MAX];
    struct worker_msg m;
    int fds[WORKER_FDS_MAX];
    uint32_t n;
    size_t bytes;
    struct error err;

    worker_msg_init(&m, WORKER_MSG_gen);
    assert_int_equal(worker_msg_encode(buf, sizeof(buf), &bytes, fds, &n, &m,
                                       &err),
                     -EINVAL);
    assert_string_equal(err.text, "serve.gen: prompt_fd is missing");
    m.gen.prompt_fd = 3;
    m.gen.n_stops = 9;
    assert_int_equal(worker_msg_encode(buf, sizeof(buf), &bytes, fds, &n, &m,
                                       &err),
                     -EINVAL);
    assert_string_equal(err.text, "serve.gen: stops has too many items");
    m.gen.n_stops = 0;
    m.gen.temperature = (double) INFINITY;
    assert_int_equal(worker_msg_encode(buf, sizeof(buf), &bytes, fds, &n, &m,
                                       &err),
                     -EINVAL);
    m.gen.temperature = 0;
    memset(m.gen.adapter, 'k', sizeof(m.gen.adapter)); // no NUL
    assert_int_equal(worker_msg_encode(buf, sizeof(buf), &bytes, fds, &n, &m,
                                       &err),
                     -EINVAL);
    (void) snprintf(m.gen.adapter, sizeof(m.gen.adapter), "\xff");
    assert_int_equal(worker_msg_encode(buf, sizeof(buf), &bytes, fds, &n, &m,
                                       &err),
                     -EINVAL);
    assert_string_equal(err.text, "serve.gen: adapter is not UTF-8");
}

/*
 * Packets made by hand: `stopped {req, step, latency_us}`.
 */

typedef void (*craft_fn)(struct encoder *e);

static int decode_crafted(craft_fn craft, uint32_t n_fds,
                          enum worker_side sender, struct error *err)
{
    int fds[WORKER_FDS_MAX + 1] = {100, 101, 102, 103, 104, 105, 106, 107, 108};
    struct worker_msg m;
    struct encoder e;

    encoder_init(&e, 0);
    craft(&e);
    assert_int_equal(encoder_finish(&e), 0);
    int rc = worker_msg_decode(&m, e.data, e.bytes, fds, n_fds, sender, err);
    encoder_destroy(&e);
    return rc;
}

static void stopped(struct encoder *e, const char *name, int64_t step,
                    bool with_latency, bool with_extra)
{
    encoder_open_map(e);
    encoder_put_cstr(e, "t", name);
    encoder_put_int(e, "req", 1);
    encoder_put_int(e, "step", step);
    if (with_latency)
        encoder_put_int(e, "latency_us", 7);
    if (with_extra)
        encoder_put_int(e, "more", 7);
    encoder_close(e);
}

static void craft_good(struct encoder *e)
{
    stopped(e, "stopped", 5, true, false);
}
static void craft_missing(struct encoder *e)
{
    stopped(e, "stopped", 5, false, false);
}
static void craft_extra(struct encoder *e)
{
    stopped(e, "stopped", 5, true, true);
}
static void craft_negative(struct encoder *e)
{
    stopped(e, "stopped", -1, true, false);
}
static void craft_over(struct encoder *e)
{
    stopped(e, "stopped", (int64_t) INT32_MAX + 1, true, false);
}
static void craft_unknown(struct encoder *e)
{
    stopped(e, "halted", 5, true, false);
}
static void craft_array(struct encoder *e)
{
    encoder_open_array(e);
    encoder_close(e);
}
static void craft_bad_stop(struct encoder *e)
{
    encoder_open_map(e);
    encoder_put_cstr(e, "t", "stop");
    encoder_put_str(e, "reason", "PO\0WER", 6);
    encoder_close(e);
}
static void craft_long_stop(struct encoder *e)
{
    encoder_open_map(e);
    encoder_put_cstr(e, "t", "stop");
    encoder_put_cstr(e, "reason", "12345678901234567890123456789012");
    encoder_close(e);
}

static void refuses_fields_that_are_not_as_declared(void **state)
{
    static const struct {
        craft_fn craft;
        const char *why;
    } cases[] = {
        {craft_missing, "stopped: 1 of 3 fields are missing"},
        {craft_extra, "stopped: unknown field more"},
        {craft_negative, "stopped: step is out of range"},
        {craft_over, "stopped: step is out of range"},
        {craft_unknown, "the packet has no known name"},
        {craft_array, "the packet is not a map"},
        {craft_bad_stop, "stop: reason has a NUL"},
        {craft_long_stop, "stop: reason is too long"},
    };
    struct error err;

    assert_int_equal(decode_crafted(craft_good, 0, WORKER_SIDE_WORKER, &err),
                     0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(decode_crafted(cases[i].craft, 0, WORKER_SIDE_BOTH,
                                        &err),
                         -EPROTO);
        assert_string_equal(err.text, cases[i].why);
    }
}

static void refuses_messages_of_the_other_side(void **state)
{
    struct error err;

    assert_int_equal(decode_crafted(craft_good, 0, WORKER_SIDE_DAEMON, &err),
                     -EPROTO);
    assert_string_equal(err.text, "stopped is not for this end to send");
}

static int64_t model_index, adapter_index;

static void craft_check(struct encoder *e)
{
    encoder_open_map(e);
    encoder_put_cstr(e, "t", "tool.check_adapter");
    encoder_put_int(e, "req", 1);
    encoder_put_int(e, "model_fd", model_index);
    encoder_put_int(e, "adapter_fd", adapter_index);
    encoder_put_nil(e, "config_fd");
    encoder_close(e);
}

static int decode_check(int64_t model, int64_t adapter, uint32_t n_fds,
                        struct error *err)
{
    model_index = model;
    adapter_index = adapter;
    return decode_crafted(craft_check, n_fds, WORKER_SIDE_DAEMON, err);
}

static void each_descriptor_belongs_to_one_field(void **state)
{
    struct error err;

    assert_int_equal(decode_check(0, 1, 2, &err), 0);
    assert_int_equal(decode_check(1, 0, 2, &err), 0);
    assert_int_equal(decode_check(0, 0, 2, &err), -EPROTO);
    assert_string_equal(err.text, "tool.check_adapter: adapter_fd names a "
                                  "descriptor of another field");
    assert_int_equal(decode_check(0, 2, 2, &err), -EPROTO);
    assert_int_equal(decode_check(0, -1, 2, &err), -EPROTO);
    assert_int_equal(decode_check(0, 1, 3, &err), -EPROTO);
    assert_string_equal(err.text, "tool.check_adapter: a descriptor was passed "
                                  "that no field names");
    assert_int_equal(decode_check(0, 1, WORKER_FDS_MAX + 1, &err), -EPROTO);
}

static void craft_hello_of_the_future(struct encoder *e)
{
    encoder_open_map(e);
    encoder_put_cstr(e, "t", "hello");
    encoder_put_int(e, "proto", 99);
    encoder_put_cstr(e, "version", "9.9.9");
    encoder_put_bool(e, "quantum", true);
    encoder_close(e);
}

static void hello_tolerates_what_it_does_not_know(void **state)
{
    assert_int_equal(decode_crafted(craft_hello_of_the_future, 0,
                                    WORKER_SIDE_DAEMON, NULL),
                     0);
}

static void finish_closes_what_was_not_taken(void **state)
{
    struct worker_msg m;
    int p[2];

    assert_int_equal(pipe(p), 0);
    worker_msg_init(&m, WORKER_MSG_check_adapter);
    m.check_adapter.model_fd = p[0];
    m.check_adapter.adapter_fd = p[1];
    int kept = worker_fd_take(&m.check_adapter.model_fd);
    worker_msg_finish(&m);
    assert_int_equal(fcntl(p[1], F_GETFD), -1);
    assert_true(fcntl(kept, F_GETFD) >= 0);
    (void) close(kept);
    worker_msg_finish(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_survives_a_round_trip),
        cmocka_unit_test(absent_numbers_are_nan),
        cmocka_unit_test(refuses_to_encode_what_breaks_a_limit),
        cmocka_unit_test(refuses_fields_that_are_not_as_declared),
        cmocka_unit_test(refuses_messages_of_the_other_side),
        cmocka_unit_test(each_descriptor_belongs_to_one_field),
        cmocka_unit_test(hello_tolerates_what_it_does_not_know),
        cmocka_unit_test(finish_closes_what_was_not_taken),
    };
    return cmocka_run_group_tests_name("worker/proto", tests, NULL, NULL);
}
