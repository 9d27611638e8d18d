// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/signals_gpu.h"
#include "fake_root.h"

static void the_busiest_card_counts(void **state)
{
    assert_int_equal(signals_gpu_read_busy(root), -1);
    put("sys/class/drm/card0/device/gpu_busy_percent", "12\n");
    put("sys/class/drm/card1/device/gpu_busy_percent", "80\n");
    put("sys/class/drm/card1-eDP-1/device/gpu_busy_percent", "99\n");
    assert_int_equal(signals_gpu_read_busy(root), 80);
    put("sys/class/drm/card1/device/gpu_busy_percent", "4000\n");
    assert_int_equal(signals_gpu_read_busy(root), 12);
}

static void a_phone_tells_by_its_clock(void **state)
{
    put("sys/class/devfreq/1000000.ddr/load", "77@1Hz\n");
    put("sys/class/devfreq/ffe40000.gpu/cur_freq", "300\n");
    put("sys/class/devfreq/ffe40000.gpu/min_freq", "200\n");
    put("sys/class/devfreq/ffe40000.gpu/max_freq", "600\n");
    assert_int_equal(signals_gpu_read_busy(root), 25);
    put("sys/class/devfreq/ffe40000.gpu/load", "31@300Hz\n");
    assert_int_equal(signals_gpu_read_busy(root), 31);
    put("sys/class/devfreq/ffe40000.gpu/load", "often");
    put("sys/class/devfreq/ffe40000.gpu/max_freq", "200\n");
    assert_int_equal(signals_gpu_read_busy(root), -1);
}

static void parses_clients(void **state)
{
    uint64_t a;
    uint64_t b;
    uint64_t ns;

    assert_int_equal(gpu_users_parse(&a, &ns, ""), -1);
    assert_int_equal(gpu_users_parse(&a, &ns, "pos:\t0\nflags:\t02\n"), -1);
    assert_int_equal(gpu_users_parse(&a, &ns,
                                     "drm-driver:\tamdgpu\n"
                                     "drm-client-id:\t7\n"
                                     "drm-pdev:\t0000:03:00.0\n"
                                     "drm-engine-gfx:\t500 ns\n"
                                     "drm-engine-capacity-gfx:\t9000\n"
                                     "drm-engine-dec:\t900 ns\n"),
                     0);
    assert_true(ns == 900);
    assert_int_equal(gpu_users_parse(&b, &ns,
                                     "drm-client-id:\t8\n"
                                     "drm-pdev:\t0000:03:00.0\n"
                                     "drm-engine-gfx:\t-1 ns\n"),
                     0);
    assert_true(ns == 0);
    assert_true(a != b);
}

static void put_client(const char *path, int id, long ns)
{
    char text[200];

    snprintf(text, sizeof(text),
             "drm-pdev: 0\ndrm-client-id: %d\ndrm-engine-gfx: %ld ns\n", id,
             ns);
    put(path, text);
}

static void others_use_counts_once_and_without_our_worker(void **state)
{
    struct gpu_users *g = gpu_users_create();
    const int64_t all = INT64_C(60) * 1000 * 1000;

    assert_non_null(g);
    put("proc/42/comm", "game\n");
    put_link("proc/42/fd/3", "/dev/dri/renderD128");
    put_link("proc/42/fd/4", "/dev/dri/renderD128");
    put_link("proc/42/fd/5", "/dev/null");
    put_client("proc/42/fdinfo/3", 1, 1000000);
    put_client("proc/42/fdinfo/4", 1, 1000000);
    put_client("proc/42/fdinfo/5", 9, 1000000);
    put("proc/43/comm", "pock-worker\n");
    put_link("proc/43/fd/3", "/dev/dri/renderD128");
    put_client("proc/43/fdinfo/3", 2, 1000000);
    put("proc/meminfo", "");
    gpu_users_scan(g, root, 4000, all);
    assert_int_equal(gpu_users_pct(g), -1);
    put("sys/class/drm/card0/dev", "226:0");
    gpu_users_scan(g, root, 5000, all);
    assert_int_equal(gpu_users_pct(g), -1); // one round says nothing
    put_client("proc/42/fdinfo/3", 1, 2001000000);
    put_client("proc/42/fdinfo/4", 1, 2001000000);
    put_client("proc/42/fdinfo/5", 9, 901000000);
    put_client("proc/43/fdinfo/3", 2, 901000000);
    gpu_users_scan(g, root, 9999, all); // too soon
    assert_int_equal(gpu_users_pct(g), -1);
    gpu_users_scan(g, root, 10000, all);
    assert_int_equal(gpu_users_pct(g), 40);
    // A counter that goes back is a new client's.
    put_client("proc/42/fdinfo/3", 1, 5);
    put_client("proc/42/fdinfo/4", 1, 5);
    gpu_users_scan(g, root, 15000, all);
    assert_int_equal(gpu_users_pct(g), 0);
    gpu_users_destroy(g);
}

static void a_round_goes_on_where_it_was_ended(void **state)
{
    struct gpu_users *g = gpu_users_create();
    char path[64];

    assert_non_null(g);
    put("sys/class/drm/card0/dev", "226:0");
    for (int i = 0; i < 20; i++) {
        snprintf(path, sizeof(path), "proc/%d/comm", 100 + i);
        put(path, "x");
        snprintf(path, sizeof(path), "proc/%d/fd/0", 100 + i);
        put_link(path, "/dev/dri/card0");
        snprintf(path, sizeof(path), "proc/%d/fdinfo/0", 100 + i);
        put_client(path, i, 0);
    }
    // No budget at all: a process at each look.
    for (int i = 0; i < 21; i++)
        gpu_users_scan(g, root, 1000, 0);
    for (int i = 0; i < 20; i++) {
        snprintf(path, sizeof(path), "proc/%d/fdinfo/0", 100 + i);
        put_client(path, i, 50000000);
    }
    for (int i = 0; i < 21; i++)
        gpu_users_scan(g, root, 6000, 0);
    assert_int_equal(gpu_users_pct(g), 20);
    gpu_users_destroy(g);
}

#define T(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_busiest_card_counts),
        T(a_phone_tells_by_its_clock),
        T(parses_clients),
        T(others_use_counts_once_and_without_our_worker),
        T(a_round_goes_on_where_it_was_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
