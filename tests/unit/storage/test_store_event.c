// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_event.h"

#include "fixture.h"

#include <errno.h>

#include "storage/store_policy.h"

static struct store_event events[16];
static size_t n_events;
static char text[256];

static int on_event(const struct store_event *e, void *user)
{
    if (n_events < 16)
        events[n_events] = *e;
    n_events++;
    return 0;
}

static int on_policy(const char *key, const char *value, void *user)
{
    size_t n = strlen(text);

    (void) snprintf(text + n, sizeof(text) - n, "%s=%s ", key, value);
    return 0;
}

static int64_t add(const char *kind)
{
    struct store_event e = {.time_ms = NOW, .job_id = 3, .version = 2};
    int64_t id;

    (void) snprintf(e.kind, sizeof(e.kind), "%s", kind);
    strcpy(e.adapter, "mine");
    strcpy(e.reason, "POWER");
    strcpy(e.text, "external power was lost");
    OK(store_event_add(store, &e, &id, &err));
    return id;
}

static void lists_what_came_after(void **state)
{
    const char *const kinds[] = {"job_paused"};
    int64_t oldest;
    int64_t first = add("job_started");
    int64_t second = add("job_paused");
    int64_t third = add("job_started");

    n_events = 0;
    OK(store_event_each(store, first, NULL, 0, 0, on_event, NULL, &oldest,
                        &err));
    assert_int_equal(n_events, 2);
    assert_int_equal(oldest, first);
    assert_int_equal(events[0].id, second);
    assert_string_equal(events[0].reason, "POWER");
    assert_string_equal(events[0].adapter, "mine");
    assert_int_equal(events[0].job_id, 3);
    n_events = 0;
    OK(store_event_each(store, 0, kinds, 1, 0, on_event, NULL, NULL, &err));
    assert_int_equal(n_events, 1);
    n_events = 0;
    OK(store_event_each(store, 0, NULL, 0, 2, on_event, NULL, NULL, &err));
    assert_int_equal(n_events, 2);
    assert_int_equal(events[1].id, third);
}

static void forgets_the_oldest(void **state)
{
    int64_t oldest;

    OK(store_begin(store, &err));
    for (int i = 0; i < STORE_EVENTS_MAX + 5; i++)
        (void) add("records_added");
    OK(store_commit(store, &err));
    n_events = 0;
    OK(store_event_each(store, 0, NULL, 0, 0, on_event, NULL, &oldest, &err));
    assert_int_equal(n_events, STORE_EVENTS_MAX);
    assert_int_equal(oldest, 6);
}

static void policy_is_set_and_forgotten(void **state)
{
    char value[8];

    text[0] = '\0';
    OK(store_policy_set(store, "level.start", "50", NOW, &err));
    OK(store_policy_set(store, "budget.hours", "1.5", NOW, &err));
    OK(store_policy_set(store, "level.start", "60", NOW, &err));
    OK(store_policy_each(store, on_policy, NULL, &err));
    assert_string_equal(text, "budget.hours=1.5 level.start=60 ");
    OK(store_policy_get(store, "level.start", value, sizeof(value), &err));
    assert_string_equal(value, "60");
    assert_int_equal(store_policy_get(store, "level.start", value, 2, &err),
                     -E2BIG);
    OK(store_policy_set(store, "level.start", NULL, NOW, &err));
    assert_int_equal(store_policy_get(store, "level.start", value,
                                      sizeof(value), &err),
                     -ENOENT);
    assert_int_equal(store_policy_set(store, "", "x", NOW, &err), -EINVAL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(lists_what_came_after),
        TEST(forgets_the_oldest),
        TEST(policy_is_set_and_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
