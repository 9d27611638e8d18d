// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_app.h"

#include "fixture.h"
#include "storage/store_lineage.h"

#include <errno.h>
#include <string.h>

static struct store_app app_of(const char *name)
{
    struct store_app a = {.strength = 2,
                          .state = STORE_APP_GRANTED,
                          .purposes = STORE_PURPOSE_ALL,
                          .wanted = STORE_PURPOSE_ALL,
                          .first_ms = NOW,
                          .changed_ms = NOW};

    (void) snprintf(a.name, sizeof(a.name), "%s", name);
    return a;
}

static int64_t put_record(const char *app, const char *stream, uint32_t kind)
{
    static uint8_t last;
    struct store_record r = {.kind = kind,
                             .time_ms = NOW,
                             .added_ms = NOW,
                             .bytes = 4,
                             .body = "body",
                             .body_bytes = 4};
    int64_t id = 0;
    bool is_new;

    r.uid[0] = ++last;
    OK(store_stream_make(store, app, stream, NOW, &r.stream_id, &err));
    OK(store_record_put(store, &r, &id, &is_new, &err));
    return id;
}

static int count_one(const struct store_record *r, void *user)
{
    int64_t *n = user;

    *n = *n * 10 + r->id;
    return 0;
}

// Ids of what may be learned from, as decimal digits.
static int64_t trainable(int64_t now)
{
    struct store_filter f = {.trainable_ms = now};
    int64_t ids = 0;
    int64_t unseen = 0;

    OK(store_record_each(store, &f, 0, 0, true, count_one, &ids, &err));
    OK(store_lineage_unseen(store, 0, &f, &unseen, &err));
    int64_t digits = 0;
    for (int64_t i = ids; i > 0; i /= 10)
        digits++;
    assert_int_equal(unseen, digits);
    return ids;
}

static void keeps_what_was_granted(void **state)
{
    struct store_app a = app_of("flatpak:org.example.Notes");
    struct store_app b;

    a.strength = 3;
    a.kinds = 3;
    strcpy(a.streams, "notes drafts");
    a.retention_days = 90;
    a.expires_ms = NOW + 5;
    strcpy(a.client, "notes/2");
    OK(store_app_put(store, &a, &err));
    reopen();
    OK(store_app_get(store, a.name, &b, &err));
    assert_string_equal(b.name, a.name);
    assert_string_equal(b.streams, "notes drafts");
    assert_string_equal(b.client, "notes/2");
    assert_int_equal(b.strength, 3);
    assert_int_equal(b.state, STORE_APP_GRANTED);
    assert_int_equal(b.purposes, STORE_PURPOSE_ALL);
    assert_int_equal(b.wanted, STORE_PURPOSE_ALL);
    assert_int_equal(b.kinds, 3);
    assert_int_equal(b.retention_days, 90);
    assert_int_equal(b.expires_ms, NOW + 5);
    assert_int_equal(b.first_ms, NOW);
    assert_int_equal(b.changed_ms, NOW);
    a.state = STORE_APP_REVOKED;
    a.purposes = 0;
    OK(store_app_put(store, &a, &err));
    OK(store_app_get(store, a.name, &b, &err));
    assert_int_equal(b.state, STORE_APP_REVOKED);
    assert_int_equal(store_app_get(store, "host:none", &b, &err), -ENOENT);
    assert_says("host:none");
}

static void the_schema_refuses_what_is_no_grant(void **state)
{
    struct store_app a = app_of("host:a");

    a.purposes = 8;
    assert_int_equal(store_app_put(store, &a, &err), -EINVAL);
    a = app_of("host:a");
    a.strength = 0;
    assert_int_equal(store_app_put(store, &a, &err), -EINVAL);
    a = app_of("");
    assert_int_equal(store_app_put(store, &a, &err), -EINVAL);
}

static void a_job_reads_only_what_may_be_trained_on(void **state)
{
    struct store_app a = app_of("scope:a");

    assert_int_equal(put_record(STORE_APP_HOST, "notes", 1), 1);
    assert_int_equal(put_record("scope:a", "notes", 1), 2);
    assert_int_equal(put_record("scope:a", "chats", 3), 3);
    // The owner's own always; an app that nobody answered never.
    assert_int_equal(trainable(NOW), 1);
    a.state = STORE_APP_PENDING;
    OK(store_app_put(store, &a, &err));
    assert_int_equal(trainable(NOW), 1);
    a.state = STORE_APP_GRANTED;
    OK(store_app_put(store, &a, &err));
    assert_int_equal(trainable(NOW), 123);
    a.purposes = STORE_PURPOSE_GENERATE | STORE_PURPOSE_SCORE;
    OK(store_app_put(store, &a, &err));
    assert_int_equal(trainable(NOW), 1);
    a.purposes = STORE_PURPOSE_TRAIN;
    a.kinds = 1 << 2;
    OK(store_app_put(store, &a, &err));
    assert_int_equal(trainable(NOW), 13);
    // Feedback is a kind of its own, although it is stored as a pair.
    assert_int_equal(put_record("scope:a", "more", 4), 4);
    assert_int_equal(trainable(NOW), 13);
    a.kinds = 1 << 1;
    OK(store_app_put(store, &a, &err));
    assert_int_equal(trainable(NOW), 1);
    a.kinds = 1 << 3;
    OK(store_app_put(store, &a, &err));
    assert_int_equal(trainable(NOW), 14);
    a.kinds = 0;
    strcpy(a.streams, "drafts notes");
    OK(store_app_put(store, &a, &err));
    assert_int_equal(trainable(NOW), 12);
    strcpy(a.streams, "note");
    OK(store_app_put(store, &a, &err));
    assert_int_equal(trainable(NOW), 1);
    a.state = STORE_APP_REVOKED;
    OK(store_app_put(store, &a, &err));
    assert_int_equal(trainable(NOW), 1);
}

static void a_grant_ends_with_its_time(void **state)
{
    struct store_app a = app_of("scope:a");

    assert_int_equal(put_record("scope:a", "notes", 1), 1);
    a.expires_ms = NOW + 10;
    OK(store_app_put(store, &a, &err));
    assert_int_equal(trainable(NOW + 9), 1);
    assert_int_equal(trainable(NOW + 10), 0);
}

static void filters_by_app(void **state)
{
    struct store_filter f = {.app = "scope:b"};
    int64_t ids = 0;

    (void) put_record("scope:a", "notes", 1);
    assert_int_equal(put_record("scope:b", "notes", 1), 2);
    OK(store_record_each(store, &f, 0, 0, false, count_one, &ids, &err));
    assert_int_equal(ids, 2);
}

static void filters_by_when_it_was_added(void **state)
{
    struct store_filter f = {.app = "scope:a", .added_before_ms = NOW};
    struct store_erased erased;
    int64_t ids = 0;

    (void) put_record("scope:a", "notes", 1);
    OK(store_record_each(store, &f, 0, 0, false, count_one, &ids, &err));
    assert_int_equal(ids, 0);
    f.added_before_ms = NOW + 1;
    OK(store_record_each(store, &f, 0, 0, false, count_one, &ids, &err));
    assert_int_equal(ids, 1);
    OK(store_record_erase(store, &f, false, NOW, &erased, NULL, NULL, &err));
    assert_int_equal(erased.records, 1);
}

static int see_use(const struct store_app_use *u, void *user)
{
    char *text = user;

    (void) sprintf(text + strlen(text), "%s %lld %lld ", u->name,
                   (long long) u->records, (long long) u->bytes);
    assert_int_equal(u->last_ms, NOW);
    return 0;
}

static int see_app(const struct store_app *a, void *user)
{
    strcat(user, a->name);
    return strcmp(a->name, "host:b") == 0 ? 5 : 0;
}

static void counts_what_each_gave(void **state)
{
    struct store_app a = app_of("host:b");
    char text[200] = "";

    (void) put_record("host:b", "notes", 1);
    (void) put_record("host:b", "more", 2);
    (void) put_record("host", "notes", 1);
    OK(store_app_use_each(store, see_use, text, &err));
    assert_string_equal(text, "host 1 4 host:b 2 8 ");
    OK(store_app_put(store, &a, &err));
    a = app_of("host:a");
    OK(store_app_put(store, &a, &err));
    a = app_of("host:c");
    OK(store_app_put(store, &a, &err));
    text[0] = '\0';
    assert_int_equal(store_app_each(store, see_app, text, &err), 5);
    assert_string_equal(text, "host:ahost:b");
}

static void knows_a_streams_name_whoever_has_it(void **state)
{
    bool is_there = true;

    (void) put_record("host:b", "letters", 1);
    OK(store_stream_named(store, "letters", &is_there, &err));
    assert_true(is_there);
    OK(store_stream_named(store, "notes", &is_there, &err));
    assert_false(is_there);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keeps_what_was_granted),
        TEST(the_schema_refuses_what_is_no_grant),
        TEST(a_job_reads_only_what_may_be_trained_on),
        TEST(a_grant_ends_with_its_time),
        TEST(filters_by_app),
        TEST(filters_by_when_it_was_added),
        TEST(counts_what_each_gave),
        TEST(knows_a_streams_name_whoever_has_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
