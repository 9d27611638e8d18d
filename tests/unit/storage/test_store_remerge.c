// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_remerge.h"

#include "fixture.h"

#include <errno.h>

#include "storage/store_job.h"
#include "storage/store_lineage.h"

enum { A, B, C, BOTH, ADAPTERS };
static const char *const names[ADAPTERS] = {"a", "b", "c", "both"};
static const char *streams = ""; // that jobs learn from; all
static int64_t model, adapters[ADAPTERS], learned[C + 1];
static struct store_erased erased;
static struct store_used_by used[16];
static size_t n_used;

static struct store_version file_of(const char *text)
{
    struct store_version v;
    uint64_t bytes;
    const int fd = open(dir, O_TMPFILE | O_RDWR, 0600);

    assert_true(write(fd, text, strlen(text)) == (ssize_t) strlen(text));
    store_version_init(&v);
    OK(store_blob_put_fd(store, fd, 1 << 20, v.sha256, &bytes, &err));
    close(fd);
    v.bytes = (int64_t) bytes;
    v.created_ms = NOW;
    v.rank = 4;
    return v;
}

// The job that learned it is done; it is active.
static uint32_t learn(int adapter, const char *text, int64_t record,
                      int64_t now_ms)
{
    struct store_version v = file_of(text);
    struct store_job j;
    uint32_t number;

    store_job_init(&j);
    j.adapter_id = v.adapter_id = adapters[adapter];
    j.model_id = model;
    j.state = STORE_JOB_DONE;
    (void) snprintf(j.streams, sizeof(j.streams), "%s", streams);
    OK(store_job_add(store, &j, &v.job_id, &err));
    v.gate = STORE_GATE_PASSED;
    v.created_ms = now_ms;
    OK(store_version_add(store, &v, &number, &err));
    OK(store_lineage_add(store, v.adapter_id, number, &record, 1, NULL, &err));
    OK(store_adapter_activate(store, v.adapter_id, number, false, now_ms,
                              &err));
    return number;
}

static int remerge_setup(void **state)
{
    (void) setup(state);
    model = add_model("m");
    for (int i = 0; i < ADAPTERS; i++)
        OK(store_adapter_add(store, names[i], model, NOW, &adapters[i], &err));
    for (uint32_t i = A; i <= C; i++) {
        char text[16];
        (void) snprintf(text, sizeof(text), "first %s", names[i]);
        learned[i] = add_record(names[i], i, text);
        (void) learn((int) i, text, learned[i], NOW);
    }
    (void) add_record("other", 99, "what nobody learned yet");
    n_used = 0;
    return 0;
}

static struct store_part part(int adapter, uint32_t version, double weight)
{
    struct store_part p = {.adapter_id = adapters[adapter],
                           .version = version,
                           .weight = weight};
    struct store_version v;

    (void) snprintf(p.adapter, sizeof(p.adapter), "%s", names[adapter]);
    OK(store_version_get(store, p.adapter_id, version, &v, &err));
    memcpy(p.sha256, v.sha256, sizeof(p.sha256));
    return p;
}

static uint32_t merge_of(int into, const char *text,
                         const struct store_part *parts, size_t n)
{
    struct store_version v = file_of(text);
    uint32_t number;

    v.adapter_id = adapters[into];
    OK(store_merge_add(store, &v, parts, n, &number, &err));
    return number;
}

static uint32_t merge(int into, const char *text, int a, uint32_t va, int b,
                      uint32_t vb)
{
    const struct store_part parts[2] = {part(a, va, 0.7), part(b, vb, 0.3)};

    return merge_of(into, text, parts, 2);
}

static int on_used(const struct store_used_by *u, void *user)
{
    used[n_used++] = *u;
    return 0;
}

static void erase(int64_t record, int64_t now_ms)
{
    const struct store_filter f = {.ids = &record, .n_ids = 1};

    n_used = 0;
    OK(store_record_erase(store, &f, false, now_ms, &erased, on_used, NULL,
                          &err));
}

static void end_job(int64_t id, enum store_job_state how)
{
    struct store_job j;

    OK(store_job_get(store, id, &j, &err));
    j.state = how;
    OK(store_job_update(store, &j, &err));
}

static int count_row(const struct store_remerge *m, void *user)
{
    (*(int *) user)++;
    return 0;
}

static int waiting(void)
{
    int n = 0;

    OK(store_remerge_each(store, count_row, &n, &err));
    return n;
}

static struct store_remerge next(void)
{
    struct store_remerge m;

    assert_int_equal(store_remerge_next(store, NULL, 0, &m, &err), 1);
    return m;
}

static int last_row(const struct store_remerge *m, void *user)
{
    *(struct store_remerge *) user = *m;
    return 0;
}

static void waits_for(const char *adapter)
{
    struct store_remerge m = {.id = 0};

    assert_int_equal(store_remerge_next(store, NULL, 0, &m, &err), 0);
    OK(store_remerge_each(store, last_row, &m, &err));
    assert_string_equal(m.waits_for, adapter);
}

static uint32_t active_of(int adapter)
{
    struct store_adapter a;

    OK(store_adapter_get_id(store, adapters[adapter], &a, &err));
    return a.active;
}

static bool finish(const struct store_remerge *m, uint32_t made)
{
    bool is_active = false;

    OK(store_remerge_finish(store, m, made, NOW + 9, &is_active, &err));
    return is_active;
}

// both:1 of a:1 and b:1, in use.
static void both_in_use(void)
{
    assert_int_equal(merge(BOTH, "sum", A, 1, B, 1), 1);
    OK(store_adapter_activate(store, adapters[BOTH], 1, true, NOW, &err));
}

static void it_waits_for_the_part_that_is_learned_again(void **state)
{
    int64_t count;

    both_in_use();
    erase(learned[A], NOW + 1);
    assert_int_equal(erased.n_jobs, 1);
    assert_int_equal(n_used, 2);
    assert_true(used[0].is_part && !used[0].is_merged_again);
    assert_true(used[1].is_merged_again && !used[1].is_part);
    assert_int_equal(active_of(BOTH), 0);
    reopen();
    waits_for("a");
    (void) learn(A, "second a", add_record("a", 7, "more"), NOW + 2);
    waits_for("a"); // the job is what is waited for
    end_job(erased.jobs[0], STORE_JOB_DONE);

    const struct store_remerge m = next();
    assert_string_equal(m.adapter, "both");
    assert_int_equal(m.version, 1);
    assert_int_equal(m.rank, 4);
    assert_int_equal(m.model_id, model);
    assert_true(m.was_active);
    assert_int_equal(m.n_parts, 2);
    assert_string_equal(m.parts[0].adapter, "a");
    assert_int_equal(m.parts[0].version, 2);
    assert_true(m.parts[0].weight == 0.7);
    // What was not reached is what it was, also if another one is active.
    assert_string_equal(m.parts[1].adapter, "b");
    assert_int_equal(m.parts[1].version, 1);
    assert_true(m.parts[1].weight == 0.3);
    assert_string_equal(m.without, "");

    assert_int_equal(merge_of(BOTH, "new sum", m.parts, m.n_parts), 2);
    assert_true(finish(&m, 2));
    assert_int_equal(active_of(BOTH), 2);
    assert_int_equal(waiting(), 0);
    bool is_active;
    assert_int_equal(store_remerge_finish(store, &m, 2, NOW, &is_active, &err),
                     -ESTALE);
    OK(store_lineage_unseen(store, adapters[BOTH], NULL, &count, &err));
    assert_int_equal(count, 2); // c's, and what nobody learned
}

static void a_dry_run_says_it_and_remembers_nothing(void **state)
{
    const struct store_filter f = {.ids = &learned[A], .n_ids = 1};

    both_in_use();
    OK(store_record_erase(store, &f, true, NOW, &erased, on_used, NULL, &err));
    assert_int_equal(n_used, 2);
    assert_true(used[1].is_merged_again);
    assert_int_equal(waiting(), 0);
    assert_int_equal(active_of(BOTH), 1);
}

static void other_records_leave_it_alone(void **state)
{
    both_in_use();
    erase(learned[C], NOW + 1);
    assert_int_equal(waiting(), 0);
    assert_int_equal(active_of(BOTH), 1);
}

static void a_part_of_which_nothing_is_left_is_left_out(void **state)
{
    both_in_use();
    erase(learned[A], NOW + 1);
    end_job(erased.jobs[0], STORE_JOB_FAILED);
    struct store_remerge m = next();
    assert_int_equal(m.n_parts, 1);
    assert_string_equal(m.parts[0].adapter, "b");
    assert_string_equal(m.without, "a");

    erase(learned[B], NOW + 2);
    waits_for("b");
    end_job(erased.jobs[0], STORE_JOB_CANCELLED);
    m = next();
    assert_int_equal(m.n_parts, 0);
    assert_string_equal(m.without, "a, b");
    assert_false(finish(&m, 0));
    assert_int_equal(waiting(), 0);
}

static void parts_whose_adapter_is_gone_are_left_out(void **state)
{
    int64_t id;

    both_in_use();
    OK(store_adapter_delete(store, adapters[B], &err));
    erase(learned[B], NOW + 1);
    assert_int_equal(erased.n_jobs, 0);
    struct store_remerge m = next();
    assert_int_equal(m.n_parts, 1);
    assert_string_equal(m.without, "b");
    // Another one of its name is none of its, but may stand in for it.
    OK(store_adapter_add(store, "b", add_model("n"), NOW, &id, &err));
    m = next();
    assert_string_equal(m.without, "b");
    // With its adapter, what waits goes.
    OK(store_adapter_delete(store, adapters[BOTH], &err));
    assert_int_equal(waiting(), 0);
}

static void what_became_active_since_stays(void **state)
{
    for (int i = 0; i < 3; i++) {
        (void) merge(BOTH, "kept", B, 1, C, 1);
        OK(store_adapter_activate(store, adapters[BOTH], 1, true, NOW, &err));
        assert_int_equal(merge(BOTH, "sum", A, 1, B, 1), 2);
        OK(store_adapter_activate(store, adapters[BOTH], 2, true, NOW, &err));
        erase(learned[A], NOW + 1);
        end_job(erased.jobs[0], STORE_JOB_FAILED);
        assert_int_equal(active_of(BOTH), 1);
        const struct store_remerge m = next();
        const struct store_part b = part(B, 1, 0.3);
        const uint32_t made = merge_of(BOTH, "new", &b, 1);
        if (i == 1) // its owner wants none
            OK(store_adapter_deactivate(store, adapters[BOTH], NOW + 2, &err));
        if (i == 2) { // or this one, and another erase asks nobody
            (void) learn(BOTH, "own", add_record("x", 50, "x"), NOW - 1);
            erase(learned[C], NOW + 3);
        }
        const uint32_t before = active_of(BOTH);
        assert_true(finish(&m, made) == (i == 0));
        assert_int_equal(active_of(BOTH), i == 0 ? made : before);
        (void) teardown(state);
        (void) remerge_setup(state);
    }
}

static void a_second_erase_is_no_choice_of_anybody(void **state)
{
    (void) merge(BOTH, "kept", B, 1, C, 1);
    OK(store_adapter_activate(store, adapters[BOTH], 1, true, NOW, &err));
    assert_int_equal(merge(BOTH, "sum", A, 1, B, 1), 2);
    OK(store_adapter_activate(store, adapters[BOTH], 2, true, NOW, &err));
    erase(learned[A], NOW + 1);
    end_job(erased.jobs[0], STORE_JOB_FAILED);
    erase(learned[C], NOW + 2);
    end_job(erased.jobs[0], STORE_JOB_FAILED);
    assert_int_equal(active_of(BOTH), 0);
    assert_int_equal(waiting(), 2);
    // The one that was in use first, and only that.
    const struct store_remerge m = next();
    struct store_remerge later;
    assert_int_equal(store_remerge_next(store, &m.id, 1, &later, &err), 1);
    assert_int_equal(later.version, 1);
    assert_int_equal(m.version, 2);
    const struct store_part b = part(B, 1, 0.3);
    assert_true(finish(&m, merge_of(BOTH, "new", &b, 1)));
    const struct store_remerge other = next();
    assert_int_equal(other.version, 1);
    assert_false(other.was_active);
    assert_false(finish(&other, 3));
}

static void what_was_merged_of_it_waits_for_it(void **state)
{
    both_in_use();
    assert_int_equal(merge(C, "of both", BOTH, 1, C, 1), 2);
    OK(store_adapter_activate(store, adapters[C], 2, true, NOW, &err));
    erase(learned[A], NOW + 1);
    assert_int_equal(waiting(), 2);
    assert_int_equal(active_of(C), 1);
    waits_for("both");
    end_job(erased.jobs[0], STORE_JOB_FAILED);
    struct store_remerge m = next();
    assert_string_equal(m.adapter, "both");
    assert_true(finish(&m, merge_of(BOTH, "new", m.parts, m.n_parts)));
    m = next();
    assert_string_equal(m.adapter, "c");
    assert_string_equal(m.parts[0].adapter, "both");
    assert_int_equal(m.parts[0].version, 2);
    assert_int_equal(m.parts[1].version, 1);
    assert_true(finish(&m, merge_of(C, "newer", m.parts, m.n_parts)));
    assert_int_equal(active_of(C), 3);
}

// As `pockctl adapter merge a b` without a name does it.
static void merged_into_one_of_its_parts_it_is_active_again(void **state)
{
    assert_int_equal(merge(A, "sum", A, 1, B, 1), 2);
    OK(store_adapter_activate(store, adapters[A], 2, true, NOW, &err));
    erase(learned[A], NOW + 1);
    assert_int_equal(active_of(A), 0);
    assert_int_equal(erased.n_jobs, 1);
    waits_for("a");
    const uint32_t again = learn(A, "again", add_record("a", 7, "x"), NOW + 2);
    end_job(erased.jobs[0], STORE_JOB_DONE);
    const struct store_remerge m = next();
    assert_int_equal(m.parts[0].version, again);
    assert_true(finish(&m, merge_of(A, "new", m.parts, m.n_parts)));
    assert_int_equal(active_of(A), again + 1);
}

static void of_those_merged_alike_one_is_enough(void **state)
{
    (void) merge(BOTH, "one", A, 1, B, 1);
    (void) merge(BOTH, "two", A, 1, B, 1);
    (void) merge(BOTH, "three", B, 1, A, 1); // 0.7 b + 0.3 a
    (void) merge(BOTH, "four", A, 1, B, 1);
    OK(store_adapter_activate(store, adapters[BOTH], 2, true, NOW, &err));
    erase(learned[A], NOW + 1);
    assert_int_equal(n_used, 5);
    for (size_t i = 1; i < n_used; i++)
        assert_true(used[i].is_merged_again ==
                    (used[i].version == 2 || used[i].version == 3));
    assert_int_equal(waiting(), 2);
}

static void a_slice_that_is_in_use_as_a_part_is_learned_again(void **state)
{
    both_in_use();
    OK(store_adapter_deactivate(store, adapters[A], NOW, &err));
    erase(learned[A], NOW + 1);
    assert_int_equal(erased.n_jobs, 1);
    waits_for("a");
}

static void a_slice_with_nothing_left_is_not_learned_again(void **state)
{
    streams = "b x"; // not ab, which is there
    (void) add_record("ab", 60, "of another");
    (void) learn(B, "by streams", learned[B], NOW);
    streams = "";
    assert_int_equal(merge(BOTH, "sum", A, 1, B, 2), 1);
    erase(learned[B], NOW + 1);
    assert_int_equal(erased.n_jobs, 0);
    const struct store_remerge m = next();
    assert_int_equal(m.n_parts, 1);
    assert_string_equal(m.without, "b");
    assert_false(m.was_active);
}

int main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, remerge_setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_waits_for_the_part_that_is_learned_again),
        TEST(a_dry_run_says_it_and_remembers_nothing),
        TEST(other_records_leave_it_alone),
        TEST(a_part_of_which_nothing_is_left_is_left_out),
        TEST(parts_whose_adapter_is_gone_are_left_out),
        TEST(what_became_active_since_stays),
        TEST(a_second_erase_is_no_choice_of_anybody),
        TEST(what_was_merged_of_it_waits_for_it),
        TEST(merged_into_one_of_its_parts_it_is_active_again),
        TEST(of_those_merged_alike_one_is_enough),
        TEST(a_slice_that_is_in_use_as_a_part_is_learned_again),
        TEST(a_slice_with_nothing_left_is_not_learned_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
