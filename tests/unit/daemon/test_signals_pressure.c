// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/signals_pressure.h"
#include "fake_root.h"

static int calls;

static void on_low(void *user)
{
    calls++;
}

static struct signals_pressure *start(uv_loop_t *loop, bool is_real)
{
    struct signals_pressure *p = NULL;

    calls = 0;
    assert_int_equal(uv_loop_init(loop), 0);
    assert_int_equal(signals_pressure_create(
                         &p,
                         &(struct signals_pressure_params){.loop = loop,
                                                           .is_real = is_real,
                                                           .on_low = on_low}),
                     0);
    return p;
}

static void end(struct signals_pressure *p, uv_loop_t *loop)
{
    signals_pressure_destroy(p);
    while (uv_run(loop, UV_RUN_DEFAULT) != 0)
        continue;
    assert_int_equal(uv_loop_close(loop), 0);
    unsetenv("MEMORY_PRESSURE_WATCH");
    unsetenv("MEMORY_PRESSURE_WRITE");
}

static void set_path(char path[256], const char *name)
{
    snprintf(path, 256, "%s/%s", root, name);
    setenv("MEMORY_PRESSURE_WATCH", path, 1);
}

static void a_fifo_tells_as_often_as_it_is_written(void **state)
{
    char path[256];
    uv_loop_t loop;

    set_path(path, "fifo");
    // What is to be written would only come back.
    setenv("MEMORY_PRESSURE_WRITE", "c29tZSAyMDAwMDAgMjAwMDAwMAA=", 1);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct signals_pressure *p = start(&loop, false);
    assert_true(signals_pressure_is_watched(p));
    (void) uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(calls, 0);
    for (int i = 1; i <= 2; i++) {
        // The writer hangs up each time, which ends nothing.
        int fd = open(path, O_WRONLY | O_NONBLOCK);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "x", 1), 1);
        (void) close(fd);
        while (calls < i)
            (void) uv_run(&loop, UV_RUN_ONCE);
    }
    (void) uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(calls, 2);
    end(p, &loop);
}

static void a_socket_is_told_what_to_watch_for(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char path[256];
    char got[8];
    uv_loop_t loop;

    set_path(path, "sock");
    setenv("MEMORY_PRESSURE_WRITE", "aGVsbG8=", 1);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%.100s", path);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s, (struct sockaddr *) &addr, sizeof(addr)), 0);
    assert_int_equal(listen(s, 1), 0);
    struct signals_pressure *p = start(&loop, false);
    assert_true(signals_pressure_is_watched(p));
    int c = accept(s, NULL, NULL);
    assert_int_equal(read(c, got, sizeof(got)), 5);
    assert_memory_equal(got, "hello", 5);
    assert_int_equal(write(c, "x", 1), 1);
    while (calls < 1)
        (void) uv_run(&loop, UV_RUN_ONCE);
    // Who hangs up tells nothing any more, and is not asked for ever.
    (void) close(c);
    while (signals_pressure_is_watched(p))
        (void) uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(calls, 1);
    (void) close(s);
    end(p, &loop);
}

static void nothing_to_watch_is_no_failure(void **state)
{
    static const char *const paths[] = {"", "/dev/null", "relative",
                                        "/no/such/file"};
    char path[256];
    uv_loop_t loop;

    for (int i = 0; i < 4; i++) {
        setenv("MEMORY_PRESSURE_WATCH", paths[i], 1);
        struct signals_pressure *p = start(&loop, false);
        assert_false(signals_pressure_is_watched(p));
        signals_pressure_arm(p, true); // A stand-in has no trigger.
        assert_false(signals_pressure_is_watched(p));
        end(p, &loop);
    }
    // A file that cannot be polled, and words that are no base64.
    put("plain", "x");
    for (int i = 0; i < 2; i++) {
        set_path(path, "plain");
        if (i)
            setenv("MEMORY_PRESSURE_WRITE", "!", 1);
        struct signals_pressure *p = start(&loop, false);
        assert_false(signals_pressure_is_watched(p));
        end(p, &loop);
    }
}

// Where the kernel lets us or not: arming and disarming is harmless.
static void the_kernels_trigger_is_tried(void **state)
{
    uv_loop_t loop;
    struct signals_pressure *p = start(&loop, true);

    signals_pressure_arm(p, true);
    print_message("# the kernel's trigger: %s\n",
                  signals_pressure_is_watched(p) ? "set" : "refused");
    (void) uv_run(&loop, UV_RUN_NOWAIT);
    signals_pressure_arm(p, false);
    assert_false(signals_pressure_is_watched(p));
    end(p, &loop);
}

static void decodes_base64(void **state)
{
    unsigned char out[8];

    assert_int_equal(signals_pressure_decode(out, 8, ""), 0);
    assert_int_equal(signals_pressure_decode(out, 8, "YQ=="), 1);
    assert_int_equal(signals_pressure_decode(out, 8, "YWI="), 2);
    assert_int_equal(signals_pressure_decode(out, 8, "YWJj"), 3);
    assert_memory_equal(out, "abc", 3);
    assert_int_equal(signals_pressure_decode(out, 8, "YWJjYWJjYWI="), 8);
    assert_true(signals_pressure_decode(out, 8, "YWJjYWJjYWJj") < 0);
    assert_true(signals_pressure_decode(out, 8, "YQ=") < 0);
    assert_true(signals_pressure_decode(out, 8, "YQ==YWJj") < 0);
    assert_true(signals_pressure_decode(out, 8, "Y===") < 0);
    assert_true(signals_pressure_decode(out, 8, "YW J") < 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_fifo_tells_as_often_as_it_is_written),
        T(a_socket_is_told_what_to_watch_for),
        T(nothing_to_watch_is_no_failure),
        T(the_kernels_trigger_is_tried),
        cmocka_unit_test(decodes_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
