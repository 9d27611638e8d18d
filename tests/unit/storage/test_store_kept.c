// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A key that somebody else keeps: here a directory that plays the keeper, so
 * that it outlives a process that is killed.
 */

#include "storage/keykeeper.h"

#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine/base/fault.h"
#include "storage/keyfile.h"
#include "storage/store_record.h"

static char ring[300];
static bool is_away;     // the keeper is
static bool is_stubborn; // it removes nothing
static bool is_unsure;   // it may have taken what it did not say it took
static bool is_spoiling; // it gives back something else
static char ids[64];     // of the store, as it was last asked

static void item_path(char path[400], const char *key)
{
    (void) snprintf(path, 400, "%s/%.32s", ring, key);
}

static int away(struct error *e)
{
    return error_set(e, -EHOSTUNREACH, "nobody is there");
}

static int load(void *user, const struct keykeeper_item *item,
                uint8_t key[SEAL_KEY_BYTES], struct error *e)
{
    char path[400];

    (void) snprintf(ids, sizeof(ids), "%s", item->store);
    if (is_away)
        return away(e);
    item_path(path, item->key);
    FILE *f = fopen(path, "r");
    if (!f)
        return error_set(e, -ENOENT, "no such item");
    const size_t n = fread(key, 1, SEAL_KEY_BYTES, f);
    (void) fclose(f);
    assert_int_equal(n, SEAL_KEY_BYTES);
    if (is_spoiling)
        key[0] ^= 1;
    return 0;
}

static int save(void *user, const struct keykeeper_item *item,
                const uint8_t key[SEAL_KEY_BYTES], struct error *e)
{
    char path[400];

    if (is_away)
        return is_unsure ? error_set(e, -EINPROGRESS, "who knows") : away(e);
    assert_string_equal(item->dir, dir);
    assert_int_equal(strlen(item->store), 32);
    item_path(path, item->key);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(key, 1, SEAL_KEY_BYTES, f), SEAL_KEY_BYTES);
    assert_int_equal(fclose(f), 0);
    return 0;
}

static int drop(void *user, const struct keykeeper_item *item, struct error *e)
{
    char path[400];

    if (is_away || is_stubborn)
        return away(e);
    item_path(path, item->key);
    (void) unlink(path);
    return 0;
}

static const struct keykeeper keeper = {.load = load,
                                        .save = save,
                                        .remove = drop};

static int open_kept(bool is_key_kept)
{
    return store_open(&store,
                      &(struct store_params){.dir = dir,
                                             .now_ms = NOW,
                                             .keeper = &keeper,
                                             .is_key_kept = is_key_kept},
                      &report, &err);
}

static void close_it(void)
{
    store_close(store);
    store = NULL;
}

static void again(void)
{
    close_it();
    OK(open_kept(false));
}

static int ringed_setup(void **state)
{
    make_dir();
    (void) snprintf(ring, sizeof(ring), "%s-ring", dir);
    assert_int_equal(mkdir(ring, 0700), 0);
    is_away = is_stubborn = is_spoiling = is_unsure = false;
    return 0;
}

static int ringed_teardown(void **state)
{
    close_it();
    assert_int_equal(nftw(ring, on_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    remove_dir();
    return 0;
}

static int kept_count(void)
{
    DIR *d = opendir(ring);
    int n = 0;

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    (void) closedir(d);
    return n;
}

static bool has_file(const char *name)
{
    char path[400];

    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static char text[64];

static int on_text(const struct store_record *r, void *user)
{
    (void) snprintf(text, sizeof(text), "%.*s", (int) r->body_bytes,
                    (const char *) r->body);
    return 0;
}

static void assert_reads(void)
{
    text[0] = '\0';
    OK(store_record_get(store, 1, on_text, NULL, &err));
    assert_string_equal(text, "one");
}

static enum store_key_place place(void)
{
    struct store_key_info info;

    OK(store_key_info(store, &info, &err));
    return info.place;
}

static bool is_left(void)
{
    struct store_key_info info;

    OK(store_key_info(store, &info, &err));
    return info.is_left;
}

// One key in one place, and nothing else anywhere.
static void assert_tidy(void)
{
    struct store_key_info info;
    char path[400];

    OK(store_key_info(store, &info, &err));
    item_path(path, info.name);
    const bool is_kept = info.place == STORE_KEY_KEEPER;
    assert_int_equal(kept_count(), is_kept ? 1 : 0);
    assert_int_equal(access(path, F_OK) == 0, is_kept);
    assert_int_equal(has_file("pockd.key"), !is_kept);
    assert_false(has_file("pockd.key.new"));
    assert_false(info.is_left);
}

static void a_new_store_has_its_key_kept(void **state)
{
    char id[64];

    OK(open_kept(true));
    assert_int_equal(place(), STORE_KEY_KEEPER);
    (void) add_record("a", 1, "one");
    assert_tidy();
    memcpy(id, ids, sizeof(id));
    again();
    assert_reads();
    assert_tidy();
    assert_string_equal(id, ids);
    // Where it goes is settled: the store knows.
    close_it();
    is_away = true;
    assert_int_equal(open_kept(false), -ENOKEY);
    assert_says("nobody is there: nothing was changed");
}

static void without_a_keeper_there_is_no_other_key_instead(void **state)
{
    is_away = true;
    assert_int_equal(open_kept(true), -ENOKEY);
    assert_says("needs a first key: the Secret Service did not take the key: "
                "nobody is there");
    assert_false(has_file("pockd.key"));
    is_away = false;
    is_spoiling = true;
    assert_int_equal(open_kept(true), -ENOKEY);
    assert_says("does not give it back");
    is_spoiling = false;
    OK(open_kept(true));
    (void) add_record("a", 1, "one");
    assert_tidy(); // What was given in vain is gone.
    close_it();
    assert_int_equal(open_store(), -ENOKEY);
    assert_says("has nobody to ask");
    OK(open_kept(false));
    assert_reads();
}

static void a_key_moves_and_changes_where_it_is(void **state)
{
    static const enum store_key_place to[] = {
        STORE_KEY_KEEPER, STORE_KEY_SAME, STORE_KEY_KEEPER, STORE_KEY_FILE,
        STORE_KEY_FILE,   STORE_KEY_SAME, STORE_KEY_KEEPER,
    };
    struct store_key_info before, after;

    OK(open_kept(false));
    (void) add_record("a", 1, "one");
    assert_int_equal(place(), STORE_KEY_FILE);
    for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
        OK(store_key_info(store, &before, &err));
        OK(store_key_rotate(store, to[i], &err));
        OK(store_key_info(store, &after, &err));
        assert_string_not_equal(before.name, after.name);
        assert_int_equal(after.place,
                         to[i] == STORE_KEY_SAME ? before.place : to[i]);
        assert_tidy();
        again();
        assert_reads();
        assert_int_equal(place(), after.place);
        assert_tidy();
    }
}

static void a_key_that_cannot_be_put_there_changes_nothing(void **state)
{
    struct store_key_info before, after;
    char path[400];

    OK(open_kept(false));
    (void) add_record("a", 1, "one");
    OK(store_key_info(store, &before, &err));
    is_away = true;
    assert_int_equal(store_key_rotate(store, STORE_KEY_KEEPER, &err),
                     -EOPNOTSUPP);
    assert_says("did not take the key: nobody is there");
    assert_false(is_left());
    is_unsure = true;
    assert_int_equal(store_key_rotate(store, STORE_KEY_KEEPER, &err),
                     -EOPNOTSUPP);
    assert_true(is_left());
    is_unsure = false;
    is_away = false;
    is_spoiling = true;
    assert_int_equal(store_key_rotate(store, STORE_KEY_KEEPER, &err),
                     -EOPNOTSUPP);
    assert_says("does not give it back: what is kept under its name is key");
    is_spoiling = false;
    OK(store_key_info(store, &after, &err));
    assert_string_equal(before.name, after.name);
    assert_reads();
    again();
    assert_tidy();
    // Nor does a move take the place of somebody else's file.
    OK(store_key_rotate(store, STORE_KEY_KEEPER, &err));
    (void) snprintf(path, sizeof(path), "%s/pockd.key", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void) fputs("mine", f);
    (void) fclose(f);
    assert_int_equal(store_key_rotate(store, STORE_KEY_FILE, &err), -EEXIST);
    assert_says("move it away first");
    assert_int_equal(unlink(path), 0);
    OK(store_key_rotate(store, STORE_KEY_FILE, &err));
    again();
    assert_reads();
    assert_tidy();
}

static void an_old_key_goes_when_its_keeper_is_back(void **state)
{
    OK(open_kept(true));
    (void) add_record("a", 1, "one");
    is_stubborn = true;
    OK(store_key_rotate(store, STORE_KEY_SAME, &err));
    assert_true(is_left());
    OK(store_key_rotate(store, STORE_KEY_SAME, &err));
    OK(store_key_rotate(store, STORE_KEY_FILE, &err));
    assert_true(is_left());
    assert_int_equal(kept_count(), 3);
    is_away = true;
    again();
    assert_true(report.is_key_left);
    assert_reads();
    close_it();
    // A daemon without a keeper does not forget them either.
    OK(open_store());
    assert_true(report.is_key_left);
    is_away = is_stubborn = false;
    again();
    assert_false(report.is_key_left);
    assert_reads();
    assert_tidy();
}

static void more_than_can_be_listed_lose_the_oldest_only(void **state)
{
    OK(open_kept(true));
    (void) add_record("a", 1, "one");
    is_stubborn = true;
    for (int i = 0; i < 20; i++)
        OK(store_key_rotate(store, STORE_KEY_SAME, &err));
    is_stubborn = false;
    again();
    assert_reads();
    assert_false(is_left());
    assert_in_range(kept_count(), 2, 6); // the one in force is one of them
    again();
    assert_reads();
}

static void a_missing_or_other_key_is_refused(void **state)
{
    char path[400], kept[420];
    struct store_key_info info;
    uint8_t key[SEAL_KEY_BYTES];

    OK(open_kept(true));
    (void) add_record("a", 1, "one");
    OK(store_key_info(store, &info, &err));
    close_it();
    item_path(path, info.name);
    (void) snprintf(kept, sizeof(kept), "%s.kept", path);
    assert_int_equal(rename(path, kept), 0);
    assert_int_equal(open_kept(true), -ENOKEY);
    assert_says("it is not there any more: put it back");
    assert_says(info.name);
    assert_int_equal(kept_count(), 1);
    assert_false(has_file("pockd.key"));
    assert_int_equal(rename(kept, path), 0);
    is_spoiling = true;
    assert_int_equal(open_kept(false), -ENOKEY);
    assert_says("what is kept under its name is key");
    is_spoiling = false;
    OK(open_kept(false));
    assert_reads();
    // The owner puts a copy of it into the file.
    close_it();
    FILE *f = fopen(path, "r");
    assert_int_equal(fread(key, 1, sizeof(key), f), sizeof(key));
    (void) fclose(f);
    is_away = true;
    (void) snprintf(path, sizeof(path), "%s/pockd.key", dir);
    f = fopen(path, "w");
    assert_int_equal(fwrite(key, 1, sizeof(key), f), sizeof(key));
    (void) fclose(f);
    OK(open_kept(false));
    assert_reads();
    assert_int_equal(place(), STORE_KEY_FILE);
    assert_false(is_left());
    close_it();
    OK(open_store());
    assert_reads();
}

static void a_credential_takes_the_place_of_one_that_is_kept(void **state)
{
    char credentials[300], path[400];
    const struct store_params with = {.dir = dir,
                                      .now_ms = NOW,
                                      .credentials = credentials,
                                      .keeper = &keeper};

    OK(open_kept(true));
    (void) add_record("a", 1, "one");
    close_it();
    (void) snprintf(credentials, sizeof(credentials), "%s/credentials", dir);
    assert_int_equal(mkdir(credentials, 0700), 0);
    (void) snprintf(path, sizeof(path), "%s/pockd.key", credentials);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 32; i++)
        (void) fputs("5a", f);
    (void) fclose(f);
    is_away = true;
    assert_int_equal(store_open(&store, &with, &report, &err), -ENOKEY);
    assert_says("nobody is there");
    is_away = false;
    OK(store_open(&store, &with, &report, &err));
    assert_reads();
    assert_int_equal(place(), STORE_KEY_CREDENTIAL);
    assert_int_equal(kept_count(), 0);
    assert_int_equal(store_key_rotate(store, STORE_KEY_KEEPER, &err),
                     -EOPNOTSUPP);
    is_away = true;
    close_it();
    OK(store_open(&store, &with, &report, &err));
    assert_reads();
}

// Each way there is, killed at each step: it opens, and nothing stays behind.
static void a_killed_move_leaves_a_key_that_opens(void **state)
{
    static const enum store_key_place way[][2] = {
        {STORE_KEY_FILE, STORE_KEY_KEEPER},
        {STORE_KEY_KEEPER, STORE_KEY_KEEPER},
        {STORE_KEY_KEEPER, STORE_KEY_FILE},
        {STORE_KEY_FILE, STORE_KEY_FILE},
    };
    int status;

    OK(open_kept(false));
    (void) add_record("a", 1, "one");
    for (size_t i = 0; i < sizeof(way) / sizeof(way[0]); i++) {
        int kills = 0;
        for (unsigned n = 1;; n++) {
            OK(store_key_rotate(store, way[i][0], &err));
            close_it();
            pid_t child = fork();
            if (child == 0) {
                OK(open_kept(false));
                fault_arm(FAULT_STEP, n);
                _exit(store_key_rotate(store, way[i][1], &err) < 0);
            }
            assert_int_equal(waitpid(child, &status, 0), child);
            OK(open_kept(false));
            assert_reads();
            assert_tidy();
            if (WIFEXITED(status)) {
                assert_int_equal(WEXITSTATUS(status), 0);
                break;
            }
            kills++;
        }
        assert_true(kills >= 3);
    }
}

static void a_disk_that_fails_leaves_a_key_that_opens(void **state)
{
    OK(open_kept(false));
    (void) add_record("a", 1, "one");
    for (unsigned n = 1;; n++) {
        const enum store_key_place to =
            place() == STORE_KEY_FILE ? STORE_KEY_KEEPER : STORE_KEY_FILE;
        fault_arm(FAULT_WRITE, n);
        int rc = store_key_rotate(store, to, &err);
        bool fired = fault_fired(FAULT_WRITE);
        fault_arm(FAULT_WRITE, 0);
        assert_reads();
        again();
        assert_reads();
        assert_tidy();
        if (!fired) {
            assert_int_equal(rc, 0);
            if (to == STORE_KEY_FILE)
                break;
        }
    }
}

int main(void)
{
#define RINGED(f) \
    cmocka_unit_test_setup_teardown(f, ringed_setup, ringed_teardown)
    const struct CMUnitTest tests[] = {
        RINGED(a_new_store_has_its_key_kept),
        RINGED(without_a_keeper_there_is_no_other_key_instead),
        RINGED(a_key_moves_and_changes_where_it_is),
        RINGED(a_key_that_cannot_be_put_there_changes_nothing),
        RINGED(an_old_key_goes_when_its_keeper_is_back),
        RINGED(more_than_can_be_listed_lose_the_oldest_only),
        RINGED(a_missing_or_other_key_is_refused),
        RINGED(a_credential_takes_the_place_of_one_that_is_kept),
        RINGED(a_killed_move_leaves_a_key_that_opens),
        RINGED(a_disk_that_fails_leaves_a_key_that_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
