// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The real training worker on a tiny model: results, stops, deaths, and
 * what it says about damaged files.
 */

#include "engine/base/clock.h"
#include "engine/base/memfile.h"
#include "tests/integration/worker_fixture.h"
#include "tests/support/shapefile.h"

#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

// Small and quick, but with all parts of a run: 48 records, some held out.
#define RECIPE                                                         \
    "rank=4 epochs=2 batch=4 length=96 eval_every=3 lr=0.01 warmup=2 " \
    "patience=100"
// As long as it is not stopped.
#define ENDLESS "rank=4 epochs=1000 batch=8 eval_every=100000 patience=1000"

struct job {
    const char *recipe;
    uint32_t checkpoint_ms;
    int checkpoint_fd; // borrowed; -1: none
    int parent_fd;
    int model_fd; // borrowed; -1: the fixture's
};

static const struct job job_default = {RECIPE, 0, -1, -1, -1};

static void start_job(struct worker_fixture *f, struct job job)
{
    struct worker_msg m;

    fixture_start(f, WORKER_KIND_TRAIN);
    worker_msg_init(&m, WORKER_MSG_train_start);
    m.train_start.req = 1;
    (void) snprintf(m.train_start.recipe, sizeof(m.train_start.recipe), "%s",
                    job.recipe);
    m.train_start.progress_ms = 1;
    m.train_start.checkpoint_ms = job.checkpoint_ms;
    m.train_start.model_fd =
        job.model_fd < 0 ? fixture_open_model() : dup(job.model_fd);
    m.train_start.records_fd = fixture_records(1, 48);
    m.train_start.probe_fd = fixture_records(1000, 4);
    m.train_start.parent_fd = job.parent_fd < 0 ? -1 : dup(job.parent_fd);
    m.train_start.checkpoint_fd =
        job.checkpoint_fd < 0 ? -1 : dup(job.checkpoint_fd);
    fixture_send(f, &m);
    worker_msg_finish(&m);
}

// Wait for the result and return the adapter's bytes.
static void *take_adapter(struct worker_fixture *f, size_t *bytes)
{
    struct worker_msg m;

    fixture_wait(f, &m, WORKER_MSG_result);
    void *data = fixture_read(m.result.file_fd, bytes);
    worker_msg_finish(&m);
    return data;
}

static void *train_at_once(size_t *bytes)
{
    struct worker_fixture f;

    start_job(&f, job_default);
    void *data = take_adapter(&f, bytes);
    fixture_wait_exit(&f);
    fixture_finish(&f);
    return data;
}

static void *reference; // the adapter of an undisturbed run
static size_t reference_bytes;

static void expect_reference(const void *data, size_t bytes)
{
    if (!reference)
        reference = train_at_once(&reference_bytes);
    assert_int_equal(bytes, reference_bytes);
    assert_memory_equal(data, reference, bytes);
}

static const struct worker_metric *metric(const struct worker_result *r,
                                          const char *kind)
{
    for (uint32_t i = 0; i < r->n_metrics; i++)
        if (strcmp(r->metrics[i].kind, kind) == 0)
            return &r->metrics[i];
    fail_msg("no metric %s", kind);
    return NULL;
}

static void gives_back_an_adapter_and_what_it_is_worth(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    char magic[4];
    size_t bytes;

    start_job(&f, job_default);
    fixture_wait(&f, &m, WORKER_MSG_result);
    const struct worker_result *r = &m.result;
    assert_true(r->steps > 0 && r->step_best <= r->steps && r->tokens > 0);
    assert_int_equal(pread(r->file_fd, magic, 4, 0), 4);
    assert_memory_equal(magic, "GGUF", 4);

    const struct worker_metric *total = metric(r, "total");
    assert_int_equal(total->records,
                     metric(r, "text")->records + metric(r, "pair")->records);
    assert_true(total->base > 0 && total->active == total->base);
    assert_true(total->candidate < total->base);
    assert_int_equal(metric(r, "probe")->records, 4);
    assert_true(isfinite(metric(r, "probe")->candidate));

    // Every record was either trained on or held out, and some are each.
    assert_int_equal(r->used_records, 48);
    uint8_t *used = fixture_read(r->used_fd, &bytes);
    uint32_t held_out = 0;
    for (size_t i = 0; i < bytes; i++) {
        assert_true(used[i] == 1 || used[i] == 2);
        held_out += used[i] == 2;
    }
    assert_int_equal(held_out, total->records);
    assert_in_range(held_out, 1, 20);
    free(used);
    worker_msg_finish(&m);
    fixture_wait_exit(&f);
    assert_true(f.exit.is_clean);
    fixture_finish(&f);
}

// Q4_K, with Q6_K for embedding and head and some linears, and Q5_0 and Q8_0
// where rows are no whole blocks of them; LoRA, and whole weights.
static void learns_on_a_model_of_mixed_types(void **state)
{
    static const char *const recipes[] = {
        RECIPE,
        "scheme=full epochs=1 batch=4 length=96 eval_every=3 lr=0.001 warmup=2",
    };
    const int model = shapefile_create(shapefile_find("mixed"), "q4_k_m", 1);
    struct job job = job_default;

    job.model_fd = model;
    for (int i = 0; i < 2; i++) {
        struct worker_fixture f;
        struct worker_msg m;
        job.recipe = recipes[i];
        start_job(&f, job);
        fixture_wait(&f, &m, WORKER_MSG_result);
        const struct worker_metric *total = metric(&m.result, "total");
        assert_true(m.result.steps > 5);
        assert_true(isfinite(total->base) && total->base > 0);
        assert_true(total->candidate < 0.9 * total->base);
        worker_msg_finish(&m);
        fixture_wait_exit(&f);
        assert_true(f.exit.is_clean);
        fixture_finish(&f);
    }
    (void) close(model);
}

static void goes_on_from_the_active_adapter(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    struct job job = job_default;

    start_job(&f, job_default);
    fixture_wait(&f, &m, WORKER_MSG_result);
    job.parent_fd = worker_fd_take(&m.result.file_fd);
    double first = metric(&m.result, "total")->candidate;
    worker_msg_finish(&m);
    fixture_finish(&f);

    start_job(&f, job);
    fixture_wait(&f, &m, WORKER_MSG_result);
    const struct worker_metric *total = metric(&m.result, "total");
    assert_true(fabs(total->active - first) < 1e-6);
    assert_true(total->base > total->active);
    worker_msg_finish(&m);
    fixture_finish(&f);
    (void) close(job.parent_fd);
}

static void stops_and_leaves_a_checkpoint(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    struct job job = job_default;

    job.recipe = ENDLESS;
    start_job(&f, job);
    do {
        fixture_wait(&f, &m, WORKER_MSG_progress);
    } while (m.progress.step < 3);
    uint64_t stop_ns = clock_monotonic_ns();
    worker_link_stop(f.link, "POWER");
    fixture_wait(&f, &m, WORKER_MSG_checkpoint);
    uint32_t step = m.checkpoint.step;
    assert_true(step >= 3);
    worker_msg_finish(&m);
    fixture_wait(&f, &m, WORKER_MSG_stopped);
    uint64_t all_us = (clock_monotonic_ns() - stop_ns) / 1000;
    assert_int_equal(m.stopped.step, step);
    (void) fprintf(stderr,
                   "# stop: computing ended after %.1f ms, all received after "
                   "%.1f ms\n",
                   m.stopped.latency_us / 1e3, (double) all_us / 1e3);
    // The promise is 250 ms; this bound allows for a crowded test machine and
    // sanitizers.
    assert_true(m.stopped.latency_us < 3000000);
    fixture_wait_exit(&f);
    assert_true(f.exit.is_clean);
    fixture_finish(&f);
}

static void sigterm_is_a_stop_too(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    struct job job = job_default;

    job.recipe = ENDLESS;
    start_job(&f, job);
    do {
        fixture_wait(&f, &m, WORKER_MSG_progress);
    } while (m.progress.step < 1);
    assert_int_equal(kill(worker_link_pid(f.link), SIGTERM), 0);
    fixture_wait(&f, &m, WORKER_MSG_checkpoint);
    worker_msg_finish(&m);
    fixture_wait(&f, &m, WORKER_MSG_stopped);
    fixture_wait_exit(&f);
    assert_true(f.exit.is_clean);
    fixture_finish(&f);
}

static void ack(struct worker_fixture *f, uint32_t step)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_checkpoint_ack);
    m.checkpoint_ack.req = 1;
    m.checkpoint_ack.step = step;
    m.checkpoint_ack.is_saved = true;
    fixture_send(f, &m);
}

// Run from *checkpoint_fd until `n` more checkpoints came, keep the last one,
// and kill the worker; `pause_us` later, so that it dies inside a step.
static void run_and_kill(int *checkpoint_fd, int n, unsigned pause_us)
{
    struct worker_fixture f;
    struct worker_msg m;
    struct job job = job_default;

    job.checkpoint_ms = 1;
    job.checkpoint_fd = *checkpoint_fd;
    start_job(&f, job);
    for (int i = 0; i < n; i++) {
        fixture_wait(&f, &m, WORKER_MSG_checkpoint);
        if (*checkpoint_fd >= 0)
            (void) close(*checkpoint_fd);
        *checkpoint_fd = worker_fd_take(&m.checkpoint.file_fd);
        ack(&f, m.checkpoint.step);
        worker_msg_finish(&m);
    }
    (void) usleep(pause_us);
    assert_int_equal(kill(worker_link_pid(f.link), SIGKILL), 0);
    fixture_wait_exit(&f);
    assert_int_equal(f.exit.signal, SIGKILL);
    fixture_finish(&f);
}

static void killed_at_random_steps_the_result_is_the_same(void **state)
{
    struct worker_fixture f;
    struct job job = job_default;
    int checkpoint_fd = -1;
    size_t bytes;

    srand((unsigned) getpid());
    for (int round = 0; round < 3; round++) {
        int n = 1 + rand() % 4;
        unsigned pause_us = (unsigned) rand() % 30000;
        (void) fprintf(stderr, "# killed %u us after checkpoint %d\n", pause_us,
                       n);
        run_and_kill(&checkpoint_fd, n, pause_us);
    }
    job.checkpoint_fd = checkpoint_fd;
    start_job(&f, job);
    void *data = take_adapter(&f, &bytes);
    fixture_finish(&f);
    expect_reference(data, bytes);
    free(data);
    (void) close(checkpoint_fd);
}

static void a_damaged_checkpoint_is_named_and_training_starts_over(void **state)
{
    int good_fd = -1, bad_fd;
    struct worker_fixture f;
    struct worker_msg m;
    struct job job = job_default;
    size_t bytes;

    run_and_kill(&good_fd, 1, 0);
    char *data = fixture_read(good_fd, &bytes);
    data[bytes / 2] ^= 0x10;
    assert_int_equal(memfile_from_bytes(&bad_fd, "bad", data, bytes), 0);
    free(data);
    job.checkpoint_fd = bad_fd;
    start_job(&f, job);
    fixture_wait(&f, &m, WORKER_MSG_restarted);
    assert_non_null(strstr(m.restarted.msg, "training starts over: "));
    (void) fprintf(stderr, "# %s\n", m.restarted.msg);
    data = take_adapter(&f, &bytes);
    expect_reference(data, bytes);
    free(data);
    fixture_finish(&f);
    (void) close(good_fd);
    (void) close(bad_fd);
}

static void expect_error(struct worker_fixture *f, const char *name,
                         enum worker_severity severity)
{
    struct worker_msg m;

    fixture_wait(f, &m, WORKER_MSG_error);
    (void) fprintf(stderr, "# %s\n", m.error.msg);
    assert_string_equal(m.error.name, name);
    assert_int_equal(m.error.severity, severity);
    fixture_wait_exit(f);
    assert_int_equal(f->exit.signal, 0);
    fixture_finish(f);
}

static int copy_of_the_model(char path[static 64])
{
    struct stat st;
    off_t at = 0;

    int from = fixture_open_model();
    (void) strcpy(path, "/tmp/pock-test-model-XXXXXX");
    int to = mkstemp(path);
    assert_true(to >= 0);
    assert_int_equal(fstat(from, &st), 0);
    while (at < st.st_size)
        assert_true(sendfile(to, from, &at, (size_t) (st.st_size - at)) > 0);
    (void) close(from);
    return to;
}

static void a_model_truncated_under_it_is_an_error_not_a_crash(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    struct job job = job_default;
    char path[64];

    job.recipe = ENDLESS;
    job.model_fd = copy_of_the_model(path);
    start_job(&f, job);
    do {
        fixture_wait(&f, &m, WORKER_MSG_progress);
    } while (m.progress.step < 1);
    assert_int_equal(ftruncate(job.model_fd, 4096), 0);
    expect_error(&f, "BAD_MODEL", WORKER_SEVERITY_PERMANENT);
    (void) close(job.model_fd);
    (void) unlink(path);
}

static void names_what_is_wrong_with_its_input(void **state)
{
    struct worker_fixture f;
    struct job job = job_default;
    char path[64];

    job.recipe = "rank=8 lr=banana";
    start_job(&f, job);
    expect_error(&f, "BAD_RECIPE", WORKER_SEVERITY_PERMANENT);

    job = job_default;
    job.model_fd = copy_of_the_model(path);
    assert_int_equal(ftruncate(job.model_fd, 50000), 0);
    start_job(&f, job);
    expect_error(&f, "BAD_MODEL", WORKER_SEVERITY_PERMANENT);
    job.parent_fd = job.model_fd;
    job.model_fd = -1;
    start_job(&f, job);
    expect_error(&f, "BAD_ADAPTER", WORKER_SEVERITY_PERMANENT);
    (void) close(job.parent_fd);
    (void) unlink(path);
}

// What the kernel says of a process: its scheduling policy, and whether it may
// be dumped (its /proc then belongs to root).
static void a_training_worker_is_in_the_background(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    struct job job = job_default;
    char path[64], score[16] = "";

    job.recipe = ENDLESS;
    fixture_is_background = true;
    start_job(&f, job);
    fixture_is_background = false;
    fixture_wait(&f, &m, WORKER_MSG_progress);
    int pid = worker_link_pid(f.link);
    assert_int_equal(sched_getscheduler(pid), SCHED_IDLE);
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t) pid), 19);
    (void) snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(score, sizeof(score), file));
    assert_string_equal(score, "900\n");
    (void) fclose(file);
    fixture_finish(&f);
}

static void a_closed_socket_ends_it(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    struct job job = job_default;

    job.recipe = ENDLESS;
    start_job(&f, job);
    fixture_wait(&f, &m, WORKER_MSG_progress);
    int pid = worker_link_pid(f.link);
    fixture_finish(&f); // closes the link and waits for the child
    assert_int_equal(kill(pid, 0), -1);
}

static void without_memory_it_says_so(void **state)
{
    // A spread of allocations over the whole run; a failed one must end in an
    // error message or, where it does not matter, in a result.
    static const char *const when[] = {"alloc:1",   "alloc:5",   "alloc:20",
                                       "alloc:60",  "alloc:150", "alloc:400",
                                       "alloc:900", "alloc:2000"};
    int n_errors = 0;

    for (size_t i = 0; i < sizeof(when) / sizeof(when[0]); i++) {
        struct worker_fixture f;
        struct worker_msg m;
        assert_int_equal(setenv("POCK_FAULT", when[i], 1), 0);
        start_job(&f, job_default);
        assert_int_equal(unsetenv("POCK_FAULT"), 0);
        do {
            fixture_wait_any(&f, &m);
            worker_msg_finish(&m);
        } while (m.type != WORKER_MSG_error && m.type != WORKER_MSG_result);
        if (m.type == WORKER_MSG_error) {
            (void) fprintf(stderr, "# %s: %s\n", when[i], m.error.msg);
            assert_string_equal(m.error.name, "NO_MEMORY");
            assert_int_equal(m.error.severity, WORKER_SEVERITY_TRANSIENT);
            n_errors++;
        }
        fixture_wait_exit(&f);
        assert_int_equal(f.exit.signal, 0);
        fixture_finish(&f);
    }
    assert_true(n_errors >= 4);
}

int main(int argc, char **argv)
{
    fixture_args(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_an_adapter_and_what_it_is_worth),
        cmocka_unit_test(learns_on_a_model_of_mixed_types),
        cmocka_unit_test(goes_on_from_the_active_adapter),
        cmocka_unit_test(stops_and_leaves_a_checkpoint),
        cmocka_unit_test(sigterm_is_a_stop_too),
        cmocka_unit_test(killed_at_random_steps_the_result_is_the_same),
        cmocka_unit_test(
            a_damaged_checkpoint_is_named_and_training_starts_over),
        cmocka_unit_test(a_model_truncated_under_it_is_an_error_not_a_crash),
        cmocka_unit_test(names_what_is_wrong_with_its_input),
        cmocka_unit_test(a_training_worker_is_in_the_background),
        cmocka_unit_test(a_closed_socket_ends_it),
        cmocka_unit_test(without_memory_it_says_so),
    };
    int failed = cmocka_run_group_tests_name("worker/train", tests, NULL, NULL);
    free(reference);
    return failed;
}
