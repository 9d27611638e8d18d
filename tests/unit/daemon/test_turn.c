// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/turn.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/pock-turn.XXXXXX";

static void path_of(char out[64], const char *name)
{
    snprintf(out, 64, "%s/%s", dir, name);
}

static int setup(void **state)
{
    char path[64];

    if (!mkdtemp(dir))
        return -1;
    for (int i = 0; i < 2; i++) {
        path_of(path, i ? "train.next" : "train.lock");
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0400);
        if (fd < 0)
            return -1;
        close(fd);
    }
    return 0;
}

static int teardown(void **state)
{
    char path[64];

    path_of(path, "train.lock");
    unlink(path);
    path_of(path, "train.next");
    unlink(path);
    return rmdir(dir);
}

static struct turn *owner(void)
{
    struct turn *t = NULL;

    assert_int_equal(turn_create(&t, dir), 0);
    return t;
}

static void alone_without_locks(void **state)
{
    static const char *const places[] = {NULL, "/nonexistent"};

    for (int i = 0; i < 2; i++) {
        struct turn *t;
        assert_int_equal(turn_create(&t, places[i]), 0);
        assert_int_equal(turn_look(t), TURN_ALONE);
        assert_int_equal(turn_take(t), TURN_ALONE);
        turn_wait(t);
        turn_release(t);
        turn_destroy(t);
    }
    turn_destroy(NULL);
}

static void one_trains_and_the_other_is_next(void **state)
{
    struct turn *anna = owner();
    struct turn *ben = owner();
    struct turn *cleo = owner();

    assert_int_equal(turn_look(anna), TURN_FREE);
    assert_int_equal(turn_take(anna), TURN_MINE);
    assert_int_equal(turn_take(anna), TURN_MINE);
    assert_int_equal(turn_look(anna), TURN_MINE);
    assert_int_equal(turn_look(ben), TURN_TAKEN);

    assert_int_equal(turn_take(ben), TURN_TAKEN);
    assert_int_equal(turn_look(anna), TURN_WANTED);

    // The one who made room does not overtake the one who waits.
    turn_release(anna);
    assert_int_equal(turn_look(anna), TURN_TAKEN);
    assert_int_equal(turn_take(anna), TURN_TAKEN);
    assert_int_equal(turn_look(cleo), TURN_TAKEN);
    assert_int_equal(turn_look(ben), TURN_FREE);
    assert_int_equal(turn_take(ben), TURN_MINE);
    assert_int_equal(turn_look(ben), TURN_MINE);

    turn_wait(anna);
    turn_wait(cleo);
    assert_int_equal(turn_look(ben), TURN_WANTED);
    turn_release(ben);
    assert_int_equal(turn_take(cleo), TURN_TAKEN);
    assert_int_equal(turn_take(anna), TURN_MINE);
    // Gates closed: one who need not wait lets the next one be next.
    turn_release(anna);
    turn_release(cleo);
    assert_int_equal(turn_look(ben), TURN_FREE);

    turn_destroy(anna);
    turn_destroy(ben);
    turn_destroy(cleo);
}

static void a_daemon_that_dies_lets_go(void **state)
{
    struct turn *ben = owner();
    int ready[2];
    char byte;

    assert_int_equal(pipe(ready), 0);
    const pid_t anna = fork();
    assert_true(anna >= 0);
    if (anna == 0) {
        struct turn *t = NULL;
        if (turn_create(&t, dir) == 0 && turn_take(t) == TURN_MINE &&
            write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(turn_take(ben), TURN_TAKEN);
    assert_int_equal(kill(anna, SIGKILL), 0);
    assert_int_equal(waitpid(anna, NULL, 0), anna);
    assert_int_equal(turn_take(ben), TURN_MINE);
    close(ready[0]);
    close(ready[1]);
    turn_destroy(ben);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_without_locks),
        cmocka_unit_test(one_trains_and_the_other_is_next),
        cmocka_unit_test(a_daemon_that_dies_lets_go),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
