// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A trainer that is killed without warning, again and again. A child trains
 * and writes its checkpoint to a file after every step, as a worker would; the
 * parent sends SIGKILL at random times and starts another child, which goes on
 * from the file. The adapter that comes out must have the same bytes as the
 * one of a run that nobody disturbed.
 */

#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/engine.h"
#include "engine/train/adapter.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_RECORDS = 30, KILLS_MIN = 5 };

struct job {
    char dir[64];
    char checkpoint[96], fresh[96];
    struct engine_train *train;
    char texts[N_RECORDS][64];
    struct record records[N_RECORDS];
};

static void need(bool is_good, const char *what)
{
    if (!is_good) {
        (void) fprintf(stderr, "child: %s\n", what);
        _exit(1);
    }
}

static void write_file(const char *path, const void *data, size_t bytes)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    need(fd >= 0, path);
    need(write(fd, data, bytes) == (ssize_t) bytes, path);
    need(close(fd) == 0, path);
}

// NULL when there is none.
static void *read_file(const char *path, size_t *bytes)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return NULL;
    need(fstat(fd, &st) == 0, path);
    *bytes = (size_t) st.st_size;
    void *data = malloc(*bytes + 1);
    need(data && read(fd, data, *bytes) == (ssize_t) *bytes, path);
    close(fd);
    return data;
}

static void on_progress(void *user, const struct engine_progress *p)
{
    const struct job *j = user;
    struct error err;
    void *data;
    size_t bytes;

    need(engine_train_checkpoint(&data, &bytes, j->train, &err) == 0, err.text);
    write_file(j->fresh, data, bytes);
    need(rename(j->fresh, j->checkpoint) == 0, "rename");
    free(data);
}

// In the child: from the checkpoint, if any, to the end and the adapter file.
static void run_job(struct job *j, const char *result, bool is_saving)
{
    const struct engine_params device = {.threads = 1};
    const int fd = tinyfile_create(1);
    struct engine *engine;
    struct engine_model *model;
    struct adapter *best;
    struct recipe recipe;
    struct error err;
    size_t bytes = 0;
    void *checkpoint = is_saving ? read_file(j->checkpoint, &bytes) : NULL;

    need(engine_create(&engine, &device, &err) == 0, err.text);
    need(engine_model_open(&model, engine, fd, &err) == 0, err.text);
    recipe_init(&recipe);
    need(recipe_parse(&recipe,
                      "rank=4 lr=0.01 warmup=2 epochs=6 eval_every=3 "
                      "patience=100",
                      &err) == 0,
         err.text);
    const struct engine_train_params params = {
        .recipe = &recipe,
        .records = j->records,
        .n_records = N_RECORDS,
        .checkpoint = checkpoint,
        .checkpoint_bytes = bytes,
    };
    need(engine_train_create(&j->train, model, &params, &err) == 0, err.text);
    need(engine_train_run(j->train, 0, is_saving ? on_progress : NULL, j,
                          &err) == 0,
         err.text);
    need(engine_train_best(&best, j->train, &err) == 0, err.text);
    write_file(j->fresh, best->data, adapter_floats(best) * sizeof(float));
    need(rename(j->fresh, result) == 0, "rename");
    engine_adapter_destroy(best);
    engine_train_destroy(j->train);
    engine_model_close(model);
    engine_destroy(engine);
    free(checkpoint);
    close(fd);
}

static pid_t start_child(struct job *j, const char *result, bool is_saving)
{
    const pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        run_job(j, result, is_saving);
        _exit(0);
    }
    return pid;
}

static void sleep_us(uint32_t us)
{
    const struct timespec t = {.tv_nsec = (long) us * 1000};
    nanosleep(&t, NULL);
}

static void make_records(struct job *j)
{
    for (int i = 0; i < N_RECORDS; i++) {
        (void) snprintf(j->texts[i], sizeof j->texts[i],
                        "day %d: hive %d hummed, %d kilos of honey", i * 7,
                        i % 5, i % 11);
        j->records[i] = (struct record){
            .id = i,
            .kind = RECORD_TEXT,
            .text = {j->texts[i], strlen(j->texts[i])},
        };
    }
}

static void killed_at_random_it_ends_with_the_same_bytes(void **state)
{
    static struct job j;
    char straight[96], pieces[96];
    struct rng rng;
    int status, kills = 0;
    size_t n_straight, n_pieces;

    (void) snprintf(j.dir, sizeof j.dir, "%s/pock-kill-XXXXXX",
                    getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(j.dir));
    (void) snprintf(j.checkpoint, sizeof j.checkpoint, "%s/checkpoint", j.dir);
    (void) snprintf(j.fresh, sizeof j.fresh, "%s/fresh", j.dir);
    (void) snprintf(straight, sizeof straight, "%s/straight", j.dir);
    (void) snprintf(pieces, sizeof pieces, "%s/pieces", j.dir);
    make_records(&j);

    const pid_t whole = start_child(&j, straight, false);
    assert_int_equal(waitpid(whole, &status, 0), whole);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    rng_init(&rng, 1, 0);
    for (uint32_t patience_us = 20000;; patience_us += patience_us / 4) {
        const pid_t pid = start_child(&j, pieces, true);
        // The first children are killed for certain: they are still loading,
        // or in the first steps.
        sleep_us(rng_below(&rng, patience_us < 900000 ? patience_us : 900000));
        if (kills < KILLS_MIN || waitpid(pid, &status, WNOHANG) == 0)
            kills += kill(pid, SIGKILL) == 0;
        else
            break;
        assert_true(waitpid(pid, &status, 0) == pid);
        if (WIFEXITED(status))
            break; // it had ended before the signal came
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    print_message("# killed %d times\n", kills);

    void *a = read_file(straight, &n_straight);
    void *b = read_file(pieces, &n_pieces);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(n_straight, n_pieces);
    assert_memory_equal(a, b, n_straight);
    free(a);
    free(b);
    (void) unlink(straight);
    (void) unlink(pieces);
    (void) unlink(j.checkpoint);
    (void) unlink(j.fresh);
    (void) rmdir(j.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_random_it_ends_with_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
