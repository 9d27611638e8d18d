// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The real training worker on a GPU that fails: whatever happens to it, the job
 * ends with an adapter, and a sentence says what happened. Needs a CPU that
 * plays a GPU (lavapipe).
 */

#include "engine/base/error.h"
#include "engine/device.h"
#include "tests/integration/worker_fixture.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RECIPE \
    "rank=2 epochs=1 batch=16 length=32 eval_every=100 lr=0.01 warmup=1"

struct run {
    char notices[4096];
    void *adapter;
    size_t bytes;
    uint32_t steps;
};

static void send_job(struct worker_fixture *f)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_train_start);
    m.train_start.req = 1;
    (void) snprintf(m.train_start.recipe, sizeof(m.train_start.recipe), "%s",
                    RECIPE);
    m.train_start.progress_ms = 1;
    m.train_start.checkpoint_ms = 1;
    m.train_start.model_fd = fixture_open_model();
    m.train_start.records_fd = fixture_records(1, 48);
    fixture_send(f, &m);
    worker_msg_finish(&m);
}

static void acknowledge(struct worker_fixture *f, uint32_t step)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_checkpoint_ack);
    m.checkpoint_ack.req = 1;
    m.checkpoint_ack.step = step;
    m.checkpoint_ack.is_saved = true;
    // It may have ended by now.
    (void) worker_link_send(f->link, &m, NULL);
}

// To the end; what the worker tells on the way is gathered.
static void take(struct run *r, struct worker_fixture *f)
{
    struct worker_msg m;

    for (;;) {
        fixture_wait_any(f, &m);
        if (m.type == WORKER_MSG_error)
            fail_msg("%s: %s", m.error.name, m.error.msg);
        if (m.type == WORKER_MSG_restarted)
            fail_msg("%s", m.restarted.msg);
        if (m.type == WORKER_MSG_notice) {
            const size_t at = strlen(r->notices);
            (void) snprintf(r->notices + at, sizeof(r->notices) - at, "%s\n",
                            m.notice.msg);
        }
        if (m.type == WORKER_MSG_checkpoint)
            acknowledge(f, m.checkpoint.step);
        if (m.type == WORKER_MSG_result)
            break;
        worker_msg_finish(&m);
    }
    r->adapter = fixture_read(m.result.file_fd, &r->bytes);
    r->steps = m.result.steps;
    worker_msg_finish(&m);
}

static struct run run_job(const char *device, const char *fault)
{
    struct worker_fixture f;
    struct run r = {0};

    if (fault)
        (void) setenv("POCK_FAULT", fault, 1);
    fixture_device = device;
    fixture_start(&f, WORKER_KIND_TRAIN);
    (void) unsetenv("POCK_FAULT");
    send_job(&f);
    take(&r, &f);
    fixture_wait_exit(&f);
    assert_true(f.exit.is_clean);
    fixture_finish(&f);
    return r;
}

static void expect_told(const struct run *r, const char *what)
{
    if (!strstr(r->notices, what))
        fail_msg("\"%s\" is not in: %s", what, r->notices);
}

static void expect_same(const struct run *r, const struct run *as)
{
    assert_int_equal(r->steps, as->steps);
    assert_int_equal(r->bytes, as->bytes);
    assert_memory_equal(r->adapter, as->adapter, r->bytes);
}

// What undisturbed runs make, once.
static const struct run *gpu(void)
{
    static struct run r;

    if (!r.adapter)
        r = run_job("vulkan:cpu", NULL);
    return &r;
}

static const struct run *cpu(void)
{
    static struct run r;

    if (!r.adapter)
        r = run_job("cpu", NULL);
    return &r;
}

static void a_gpu_trains(void **state)
{
    expect_told(gpu(), "on vulkan");
    assert_int_equal(gpu()->steps, cpu()->steps);
    assert_string_equal(cpu()->notices, "");
}

static void one_that_is_lost_comes_back_with_the_same_bytes(void **state)
{
    struct run r = run_job("vulkan:cpu", "device:120");

    expect_told(&r, "was lost during");
    expect_told(&r, "opened again, with shorter slices");
    expect_same(&r, gpu());
    free(r.adapter);
}

static void after_three_losses_the_cpu_goes_on(void **state)
{
    struct run r = run_job("vulkan:cpu", "device:60:3");

    expect_told(&r, "1st time");
    expect_told(&r, "2nd time");
    expect_told(&r, "3rd time: the CPU goes on");
    assert_int_equal(r.steps, gpu()->steps);
    free(r.adapter);
}

// Whatever is wrong with it before it starts: the CPU does all of it.
static void what_cannot_be_used_is_refused(void **state)
{
    static const struct {
        const char *fault, *told;
    } cases[] = {
        {"result:1", "computes wrongly and is not used"},
        {"driver:1", "cannot be used: it lacks"},
        {"read:1", "libvulkan.so.1 is not installed"},
        {"device:1", "failed in its self-test"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run r = run_job("vulkan:cpu", cases[i].fault);
        expect_told(&r, cases[i].told);
        expect_told(&r, "the CPU takes its place");
        expect_same(&r, cpu());
        free(r.adapter);
    }
}

static void its_memory_may_run_out(void **state)
{
    bool was_late = false;

    // At whatever it is for: opening, weights, the program, its arena.
    for (int n = 4; n <= 44 && !was_late; n += 10) {
        char fault[32];
        (void) snprintf(fault, sizeof(fault), "memory:%d", n);
        struct run r = run_job("vulkan:cpu", fault);
        was_late = strstr(r.notices, "memory") == NULL;
        assert_int_equal(r.steps, cpu()->steps);
        if (!was_late)
            expect_told(&r, "the CPU");
        free(r.adapter);
    }
}

static void a_name_that_is_none_is_told(void **state)
{
    struct run r = run_job("vulkan:no such card", NULL);

    expect_told(&r, "no Vulkan device is called");
    expect_same(&r, cpu());
    free(r.adapter);
}

static void damaged_shaders_are_compiled_anew(void **state)
{
    char path[] = "/tmp/pockd-shaders-XXXXXX";
    int fd = mkstemp(path);
    static const char junk[] = "neither a hash nor what a driver compiled, "
                               "but longer than both of them would have to be";

    assert_true(fd >= 0);
    assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
    fixture_cache_path = path;
    struct run first = run_job("vulkan:cpu", NULL);
    struct run second = run_job("vulkan:cpu", NULL);
    fixture_cache_path = NULL;
    expect_told(&first, "are damaged: they are compiled anew");
    assert_null(strstr(second.notices, "anew"));
    expect_same(&first, gpu());
    expect_same(&second, gpu());
    free(first.adapter);
    free(second.adapter);
    (void) close(fd);
    (void) unlink(path);
}

// Who uses the machine changes how the work is cut, and nothing else.
static void manners_do_not_change_the_bytes(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    struct run r = {0};

    fixture_device = "vulkan:cpu";
    fixture_start(&f, WORKER_KIND_TRAIN);
    worker_msg_init(&m, WORKER_MSG_manners);
    m.manners.state = 1;
    fixture_send(&f, &m);
    send_job(&f);
    m.manners.state = 0;
    fixture_send(&f, &m);
    take(&r, &f);
    fixture_wait_exit(&f);
    fixture_finish(&f);
    expect_same(&r, gpu());
    free(r.adapter);
}

// Nats of a few records, by a serving worker.
static double score(const char *device, const char *fault)
{
    struct worker_fixture f;
    struct worker_msg m;

    if (fault)
        (void) setenv("POCK_FAULT", fault, 1);
    fixture_device = device;
    fixture_start(&f, WORKER_KIND_SERVE);
    (void) unsetenv("POCK_FAULT");
    worker_msg_init(&m, WORKER_MSG_load);
    m.load.req = 1;
    m.load.model_fd = fixture_open_model();
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    worker_msg_init(&m, WORKER_MSG_score);
    m.score.req = 2;
    m.score.records_fd = fixture_records(1, 8);
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    fixture_wait(&f, &m, WORKER_MSG_score_done);
    const double nats = m.score_done.nll;
    worker_msg_finish(&m);
    fixture_finish(&f);
    return nats;
}

static void a_question_is_answered_on_what_is_left(void **state)
{
    const double want = score("cpu", NULL);
    const double got = score("vulkan:cpu", NULL);

    assert_true(want > 0);
    assert_true(fabs(got - want) < 1e-2 * want);
    // The same device once more, and then the CPU.
    assert_true(score("vulkan:cpu", "device:25") == got);
    assert_true(score("vulkan:cpu", "device:25:9") == want);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gpu_trains),
        cmocka_unit_test(one_that_is_lost_comes_back_with_the_same_bytes),
        cmocka_unit_test(after_three_losses_the_cpu_goes_on),
        cmocka_unit_test(what_cannot_be_used_is_refused),
        cmocka_unit_test(its_memory_may_run_out),
        cmocka_unit_test(a_name_that_is_none_is_told),
        cmocka_unit_test(damaged_shaders_are_compiled_anew),
        cmocka_unit_test(manners_do_not_change_the_bytes),
        cmocka_unit_test(a_question_is_answered_on_what_is_left),
    };
    const struct device_params params = {.threads = 1};
    struct device_opened d;
    struct error err = {0};

    fixture_args(argc, argv);
    if (device_open(&d, "vulkan:cpu", &params, &err) < 0) {
        (void) printf("1..0 # SKIP %s\n", err.text);
        return 0;
    }
    device_close(&d);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
