// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "../storage/fixture.h"

#include "daemon/dbthread.h"

#include <errno.h>
#include <stdatomic.h>

#include "storage/store_sql.h"

enum { MANY = 200, QUEUE_MAX = 1000 };

static uv_loop_t loop;
static struct dbthread *db;
static uv_mutex_t gate; // held by the test: the first task waits for it

// What came back, in order.
static struct {
    int who[2 * MANY + 8];
    int rc[2 * MANY + 8];
    int count;
} back;

static int run_gate(struct store *s, void *arg, struct error *e)
{
    uv_mutex_lock(&gate);
    uv_mutex_unlock(&gate);
    return 0;
}

static int run_nothing(struct store *s, void *arg, struct error *e)
{
    return 0;
}

static int run_fails(struct store *s, void *arg, struct error *e)
{
    return error_set(e, -EINVAL, "no");
}

static int run_put(struct store *s, void *arg, struct error *e)
{
    const int number = (int) (intptr_t) arg;
    struct store_record r = record_of(1, (uint32_t) number, "Seven hives.");
    int64_t id;
    bool is_new;

    return store_record_put(s, &r, &id, &is_new, e);
}

static void done(void *arg, int rc, const struct error *e)
{
    back.who[back.count] = (int) (intptr_t) arg;
    back.rc[back.count++] = rc;
}

static int submit(enum dbthread_kind kind, dbthread_run_fn run, int who)
{
    return dbthread_submit(db, kind, run, done, (void *) (intptr_t) who);
}

static int start(void **state)
{
    int64_t stream;

    make_dir();
    OK(open_store());
    OK(store_stream_make(store, STORE_APP_HOST, "notes", NOW, &stream, &err));
    memset(&back, 0, sizeof(back));
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_mutex_init(&gate), 0);
    OK(dbthread_create(&db, &loop, store, QUEUE_MAX, &err));
    uv_mutex_lock(&gate);
    assert_int_equal(submit(DBTHREAD_ALONE, run_gate, 0), 0);
    return 0;
}

// Opens the gate and gathers what comes back.
static void finish(void)
{
    uv_mutex_unlock(&gate);
    dbthread_destroy(db);
    while (uv_run(&loop, UV_RUN_DEFAULT) != 0)
        continue;
    assert_int_equal(uv_loop_close(&loop), 0);
    uv_mutex_destroy(&gate);
}

static int place_of(int who)
{
    for (int i = 0; i < back.count; i++)
        if (back.who[i] == who)
            return i;
    fail_msg("%d did not come back", who);
    return -1;
}

static void who_asks_for_much_keeps_nobody_waiting(void **state)
{
    dbthread_set_lane(db, 1);
    for (int i = 1; i <= MANY; i++)
        assert_int_equal(submit(DBTHREAD_READ, run_nothing, i), 0);
    dbthread_set_lane(db, 2);
    for (int i = 1; i <= 3; i++)
        assert_int_equal(submit(DBTHREAD_READ, run_nothing, 1000 + i), 0);
    dbthread_set_lane(db, 0);
    assert_int_equal(submit(DBTHREAD_READ, run_nothing, 2000), 0);
    finish();
    assert_int_equal(back.count, MANY + 5);
    // Its own first, then in turns, each client's in order.
    assert_in_range(place_of(2000), 1, 2);
    assert_in_range(place_of(1001), 2, 4);
    assert_in_range(place_of(1003), 6, 8);
    assert_true(place_of(1001) < place_of(1002));
    assert_true(place_of(1002) < place_of(1003));
    for (int i = 1; i < MANY; i++)
        assert_true(place_of(i) < place_of(i + 1));
}

static void clients_that_come_later_are_not_behind_for_ever(void **state)
{
    for (int i = 1; i <= MANY; i++) {
        dbthread_set_lane(db, (uint64_t) i % 3 + 1);
        assert_int_equal(submit(DBTHREAD_READ, run_nothing, i), 0);
    }
    finish();
    for (int i = 1; i <= MANY; i++)
        assert_int_equal(back.who[i], i);
}

static int on_stream(const struct store_stream *st, void *user)
{
    *(int64_t *) user += st->records;
    return 0;
}

static void one_that_fails_takes_no_other_with_it(void **state)
{
    int64_t records = 0;

    dbthread_set_lane(db, 1);
    assert_int_equal(submit(DBTHREAD_WRITE, run_put, 1), 0);
    assert_int_equal(submit(DBTHREAD_WRITE, run_fails, 2), 0);
    assert_int_equal(submit(DBTHREAD_READ, run_nothing, 3), 0);
    assert_int_equal(submit(DBTHREAD_WRITE, run_put, 4), 0);
    assert_int_equal(submit(DBTHREAD_ALONE, run_fails, 5), 0);
    assert_int_equal(submit(DBTHREAD_WRITE, run_put, 6), 0);
    finish();
    assert_int_equal(back.count, 7);
    for (int i = 0; i < back.count; i++) {
        assert_int_equal(back.who[i], i);
        assert_int_equal(back.rc[i], i == 2 || i == 5 ? -EINVAL : 0);
    }
    assert_false(store_is_in_transaction(store));
    OK(store_record_count(store, NULL, on_stream, &records, &err));
    assert_int_equal(records, 3);
}

static void a_queue_has_an_end(void **state)
{
    for (int i = 1; i < QUEUE_MAX; i++)
        assert_int_equal(dbthread_submit(db, DBTHREAD_READ, run_nothing, NULL,
                                         NULL),
                         0);
    assert_int_equal(submit(DBTHREAD_READ, run_nothing, 1), -EAGAIN);
    assert_int_equal(dbthread_pending(db), QUEUE_MAX);
    // pockd's own work is never refused.
    assert_int_equal(dbthread_submit_own(db, DBTHREAD_READ, run_nothing, NULL,
                                         NULL),
                     0);
    finish();
    assert_int_equal(dbthread_submit(NULL, DBTHREAD_READ, run_nothing, NULL,
                                     NULL),
                     -ESHUTDOWN);
}

enum { CLIENTS = 4, ROUNDS = 10, COMMIT_MS = 20 };

static atomic_int commits;
static int sent;

// A disk that takes its time.
static int on_commit(void *user)
{
    commits++;
    usleep(COMMIT_MS * 1000);
    return 0;
}

static void send_next(void);

static void done_next(void *arg, int rc, const struct error *e)
{
    assert_int_equal(rc, 0);
    send_next();
}

static void send_next(void)
{
    if (sent >= CLIENTS * ROUNDS)
        return;
    const int number = ++sent;
    dbthread_set_lane(db, (uint64_t) number % CLIENTS + 1);
    assert_int_equal(dbthread_submit(db, DBTHREAD_WRITE, run_put, done_next,
                                     (void *) (intptr_t) number),
                     0);
}

// Each sends the next when its last is on disk. One comes first, so that the
// others wait for its commit: without patience it would have one of its own
// from then on, while they share the other.
static void who_comes_back_at_once_shares_the_commit(void **state)
{
    commits = sent = 0;
    (void) sqlite3_commit_hook(store->db, on_commit, NULL);
    send_next();
    uv_mutex_unlock(&gate);
    while (commits == 0)
        usleep(100);
    for (int i = 1; i < CLIENTS; i++)
        send_next();
    while (dbthread_pending(db) > 0)
        (void) uv_run(&loop, UV_RUN_ONCE);
    uv_mutex_lock(&gate);
    finish();
    assert_int_equal(sent, CLIENTS * ROUNDS);
    // Some 10 or 11; 20 when they alternate. A loop that was stopped may cost
    // some.
    assert_in_range(commits, ROUNDS, 2 * ROUNDS - 4);
    int64_t records = 0;
    OK(store_record_count(store, NULL, on_stream, &records, &err));
    assert_int_equal(records, CLIENTS * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_asks_for_much_keeps_nobody_waiting,
                                        start, teardown),
        cmocka_unit_test_setup_teardown(
            clients_that_come_later_are_not_behind_for_ever, start, teardown),
        cmocka_unit_test_setup_teardown(one_that_fails_takes_no_other_with_it,
                                        start, teardown),
        cmocka_unit_test_setup_teardown(a_queue_has_an_end, start, teardown),
        cmocka_unit_test_setup_teardown(
            who_comes_back_at_once_shares_the_commit, start, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
