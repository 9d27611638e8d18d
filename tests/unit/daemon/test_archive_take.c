// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Lines of an archive that is signed and whole: what is wrong with one of them
 * is told in a sentence, and the others are taken.
 */

#include "../storage/fixture.h"

#include "daemon/archive_import.h"
#include "storage/store_manifest.h"
#include "storage/store_scheme.h"

#define UID  "\"uid\":\"000102030405060708090a0b0c0d0e0f\""
#define NOTE UID ",\"kind\":\"text\",\"stream\":\"notes\",\"app\":\"host\""
#define HASH "1111111111111111111111111111111111111111111111111111111111111111"
#define VERSION                                                       \
    "{\"adapter\":\"mine\",\"version\":%d,\"parent\":%d,\"bytes\":7," \
    "\"gate\":\"passed\",\"state\":\"retired\",\"sha256\":\"" HASH "\"%s}"

static struct archive_import *import;

static int import_setup(void **state)
{
    (void) setup(state);
    OK(archive_import_create(&import, NULL, &err));
    OK(store_begin(store, &err));
    return 0;
}

static int import_teardown(void **state)
{
    store_rollback(store);
    archive_import_destroy(import);
    return teardown(state);
}

static void give(enum archive_kind kind, const char *line)
{
    OK(archive_import_lines(import, store, kind, line, strlen(line), &err));
}

// All remarks so far have been looked at.
static uint32_t n_told;

static void assert_refused(enum archive_kind kind, const char *line,
                           const char *words)
{
    const struct archive_result *r = archive_import_result(import);
    const uint64_t taken = r->taken[kind], refused = r->refused[kind];

    n_told = r->n_remarks;
    give(kind, line);
    if (r->refused[kind] != refused + 1 || r->taken[kind] != taken)
        fail_msg("it was not refused: %s", line);
    if (r->n_remarks != n_told + 1 || !strstr(r->remarks[n_told], words))
        fail_msg("\"%s\" does not say \"%s\"",
                 r->n_remarks > n_told ? r->remarks[n_told] : "", words);
}

static void assert_taken(enum archive_kind kind, const char *line)
{
    const struct archive_result *r = archive_import_result(import);
    const uint64_t taken = r->taken[kind];

    give(kind, line);
    if (r->taken[kind] != taken + 1)
        fail_msg("it was not taken: %s: %s", line,
                 r->n_remarks ? r->remarks[r->n_remarks - 1] : "no remark");
}

static void records_that_are_none_are_told_of(void **state)
{
    const enum archive_kind k = ARCHIVE_RECORDS;

    assert_refused(k, "[1]", "a line is no object");
    assert_refused(k, "{\"id\":1", "");
    assert_refused(k, "{" NOTE ",\"text\":\"x\"}", "a record has no id");
    assert_refused(k, "{\"id\":1,\"uid\":\"12\"}", "a record has no uid");
    assert_refused(k, "{\"id\":1," NOTE ",\"text\":\"x\",\"salt\":\"zz\"}",
                   "a damaged salt");
    assert_refused(k,
                   "{\"id\":1," UID
                   ",\"stream\":\"a\",\"kind\":\"poem\",\"text\":\"x\"}",
                   "kind");
    assert_refused(k, "{\"id\":1," NOTE "}", "text");
    assert_refused(k,
                   "{\"id\":1," UID ",\"kind\":\"text\",\"app\":\"host\","
                   "\"stream\":\"a b\",\"text\":\"x\"}",
                   "stream");
    assert_refused(k,
                   "{\"id\":1," UID ",\"kind\":\"text\",\"app\":\"\","
                   "\"stream\":\"notes\",\"text\":\"x\"}",
                   "a stream has no proper name");
    // The same is taken without the mistake, and again changes nothing.
    assert_taken(k, "{\"id\":7," NOTE ",\"text\":\"x\",\"accepted\":true}");
    assert_refused(k, "{\"id\":8," NOTE ",\"text\":\"y\"}",
                   "with other content: those of here stay");
    OK(store_check(store, true, &err));
}

static void numbers_that_are_taken_are_changed_everywhere(void **state)
{
    const int64_t here = add_record("mine", 1, "here");
    const char line[] = "{\"id\":1," NOTE ",\"text\":\"of there\"}";
    int64_t *ids = NULL;
    size_t n = 0;
    char text[400];
    struct store_adapter a;

    assert_int_equal(here, 1);
    (void) add_model("m");
    assert_taken(ARCHIVE_RECORDS, line);
    uint8_t hash[HASH_BYTES];
    char hex[HASH_HEX];
    hash_bytes(hash, "m", 1);
    hash_to_hex(hex, hash);
    (void) snprintf(text, sizeof(text),
                    "{\"adapter\":\"mine\",\"created\":5,\"active\":1,"
                    "\"base\":\"%s\"}",
                    hex);
    assert_taken(ARCHIVE_ADAPTERS, text);
    (void) snprintf(text, sizeof(text), VERSION, 1, 0, "");
    assert_taken(ARCHIVE_VERSIONS, text);
    assert_taken(ARCHIVE_LINEAGE, "{\"adapter\":\"mine\",\"version\":1,"
                                  "\"records\":[1,\"x\",-3]}");
    OK(store_adapter_get(store, "mine", &a, &err));
    OK(store_lineage_own(store, a.id, 1, &ids, &n, &err));
    assert_int_equal(n, 1);
    assert_int_equal(ids[0], 2);
    free(ids);
    // A retired version is not what answers.
    assert_int_equal(a.active, 0);
}

static void versions_that_are_none_are_told_of(void **state)
{
    const enum archive_kind k = ARCHIVE_VERSIONS;
    int64_t adapter;
    char text[1000];

    assert_refused(ARCHIVE_ADAPTERS,
                   "{\"adapter\":\"a b\",\"base\":\"" HASH "\"}",
                   "an adapter has no proper name");
    assert_refused(ARCHIVE_ADAPTERS,
                   "{\"adapter\":\"mine\",\"base\":\"" HASH
                   "\",\"base_name\":\"tiny\"}",
                   "needs the base model tiny");
    (void) snprintf(text, sizeof(text), VERSION, 1, 0, "");
    assert_refused(k, text, "adapter mine was not taken");
    assert_refused(ARCHIVE_JOBS, "{\"adapter\":\"other\"}",
                   "adapter other was not taken");
    assert_refused(ARCHIVE_METRICS, "{\"job\":1}",
                   "figures of jobs that were not taken");

    OK(store_adapter_add(store, "mine", add_model("m"), NOW, &adapter, &err));
    uint8_t hash[HASH_BYTES];
    char hex[HASH_HEX];
    hash_bytes(hash, "m", 1);
    hash_to_hex(hex, hash);
    (void) snprintf(text, sizeof(text),
                    "{\"adapter\":\"mine\",\"base\":\"%s\"}", hex);
    give(ARCHIVE_ADAPTERS, text);
    assert_refused(ARCHIVE_JOBS,
                   "{\"adapter\":\"mine\",\"job\":1,\"state\":\"odd\"}",
                   "a job has no proper state");
    (void) snprintf(text, sizeof(text), VERSION, 0, 0, "");
    assert_refused(k, text, "a version of adapter mine is none");
    (void) snprintf(text, sizeof(text), VERSION, 3, 2, "");
    assert_refused(k, text, "comes of a version 2 that is not here");
    (void) snprintf(text, sizeof(text), VERSION, 1, 0, ",\"manifest\":\"{}\"");
    assert_refused(k, text, "a version has a damaged manifest");
    assert_refused(ARCHIVE_LINEAGE, "{\"adapter\":\"mine\",\"version\":1}",
                   "a line of the lineage is none");
    assert_refused(ARCHIVE_LINEAGE,
                   "{\"adapter\":\"mine\",\"version\":1,\"records\":[1]}",
                   "lineage of versions that were not taken");
    // Parts are names for people: odd ones are left out.
    (void) snprintf(text, sizeof(text), VERSION, 1, 0,
                    ",\"merged_from\":[{\"adapter\":\"\"},3,{\"adapter\":"
                    "\"old\",\"version\":2,\"weight\":0.5}]");
    assert_taken(k, text);
    OK(store_check(store, true, &err));
}

static void settings_of_here_stay(void **state)
{
    static struct store_scheme sc;
    const char *const evening =
        "{\"name\":\"evening\",\"model\":\"m\",\"scheme\":\"{\\\"a\\\":1}\","
        "\"made\":5}";

    assert_taken(ARCHIVE_SCHEMES, evening);
    give(ARCHIVE_SCHEMES,
         "{\"name\":\"evening\",\"model\":\"m\",\"scheme\":\"{}\",\"made\":6}");
    OK(store_scheme_get(store, "evening", &sc, &err));
    assert_string_equal(sc.json, "{\"a\":1}");
    assert_refused(ARCHIVE_SCHEMES,
                   "{\"name\":\"a b\",\"model\":\"m\",\"scheme\":\"{}\"}",
                   "a scheme has no proper name");

    assert_refused(ARCHIVE_POLICY, "{\"key\":\"nonsense\",\"value\":\"1\"}",
                   "this pockd has no policy key nonsense");
    assert_refused(ARCHIVE_POLICY,
                   "{\"key\":\"reload_url\",\"value\":\"/bin/rm\"}",
                   "hooks are not taken from archives");
    assert_refused(ARCHIVE_POLICY,
                   "{\"key\":\"level_start_pct\",\"value\":\"much\"}",
                   "level_start_pct");
    assert_taken(ARCHIVE_POLICY,
                 "{\"key\":\"level_start_pct\",\"value\":\"55\"}");
    give(ARCHIVE_POLICY, "{\"key\":\"level_start_pct\",\"value\":\"56\"}");
    assert_int_equal(archive_import_result(import)->taken[ARCHIVE_POLICY], 1);
}

int main(void)
{
#define TEST(f) \
    cmocka_unit_test_setup_teardown(f, import_setup, import_teardown)
    const struct CMUnitTest tests[] = {
        TEST(records_that_are_none_are_told_of),
        TEST(numbers_that_are_taken_are_changed_everywhere),
        TEST(versions_that_are_none_are_told_of),
        TEST(settings_of_here_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
