// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_scheme.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#define JSON "{\"rules\":[]}"

static void put(const char *name, const char *json)
{
    struct store_scheme sc = {.model = "tiny", .made_ms = NOW};

    (void) snprintf(sc.name, sizeof(sc.name), "%s", name);
    (void) snprintf(sc.json, sizeof(sc.json), "%s", json);
    OK(store_scheme_put(store, &sc, &err));
}

static void keeps_schemes_by_name(void **state)
{
    struct store_scheme sc;

    put("small", JSON);
    OK(store_scheme_get(store, "small", &sc, &err));
    assert_string_equal(sc.json, JSON);
    assert_string_equal(sc.model, "tiny");
    assert_int_equal(sc.made_ms, NOW);
    put("small", "{\"rules\":[1]}");
    store_close(store);
    OK(open_store());
    OK(store_scheme_get(store, "small", &sc, &err));
    assert_string_equal(sc.json, "{\"rules\":[1]}");
}

static int on_scheme(const struct store_scheme *sc, void *user)
{
    char *seen = user;

    strcat(seen, sc->name);
    return strcmp(sc->name, "b") == 0 ? 7 : 0;
}

static void lists_them_and_stops_when_asked(void **state)
{
    char seen[16] = "";

    OK(store_scheme_each(store, on_scheme, seen, &err));
    assert_string_equal(seen, "");
    put("c", JSON);
    put("a", JSON);
    OK(store_scheme_each(store, on_scheme, seen, &err));
    assert_string_equal(seen, "ac");
    put("b", JSON);
    seen[0] = '\0';
    assert_int_equal(store_scheme_each(store, on_scheme, seen, &err), 7);
    assert_string_equal(seen, "ab");
}

static void an_unknown_one_is_told_with_those_that_exist(void **state)
{
    struct store_scheme sc;
    char name[STORE_NAME_SIZE];

    assert_int_equal(store_scheme_get(store, "x", &sc, &err), -ENOENT);
    assert_says("there is no scheme x: none has been saved");
    put("small", JSON);
    put("large", JSON);
    assert_int_equal(store_scheme_get(store, "x", &sc, &err), -ENOENT);
    assert_says("there is no scheme x: those saved are large, small");
    assert_int_equal(store_scheme_remove(store, "x", &err), -ENOENT);
    OK(store_scheme_remove(store, "large", &err));
    assert_int_equal(store_scheme_get(store, "large", &sc, &err), -ENOENT);
    assert_says("those saved are small");
    // More than a sentence holds.
    for (int i = 0; i < 40; i++) {
        (void) snprintf(name, sizeof(name), "a-rather-long-name-%d", i);
        put(name, JSON);
    }
    assert_int_equal(store_scheme_get(store, "x", &sc, &err), -ENOENT);
    assert_says(", ...");
}

static void the_schema_refuses_what_no_recipe_could_hold(void **state)
{
    struct store_scheme sc = {.made_ms = NOW, .json = JSON};

    assert_true(store_scheme_put(store, &sc, &err) < 0); // no name
    strcpy(sc.name, "n");
    sc.json[0] = '\0';
    assert_true(store_scheme_put(store, &sc, &err) < 0);
    assert_int_equal(store_scheme_get(store, "n", &sc, &err), -ENOENT);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(keeps_schemes_by_name),
        TEST(lists_them_and_stops_when_asked),
        TEST(an_unknown_one_is_told_with_those_that_exist),
        TEST(the_schema_refuses_what_no_recipe_could_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
