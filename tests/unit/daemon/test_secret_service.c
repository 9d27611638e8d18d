// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The keeper against a Secret Service that is played, because one whose owner
 * agrees, says no, says nothing, or lies is hard to come by. Without a
 * dbus-daemon all is skipped.
 */

#include "fake_secrets.h"

#include "daemon/secret_service.h"
#include "engine/base/clock.h"
#include "storage/keyfile.h"

static struct secret_service keyring;
static struct error err;
static char name[KEYFILE_NAME_SIZE];
static struct keykeeper_item item = {"0123456789abcdef0123456789abcdef", name,
                                     "/somewhere"};
static uint8_t key[SEAL_KEY_BYTES];
static bool has_bus;

enum { WAIT_MS = 30000, SHORT_MS = 300, START_MS = 1500 };

#define SKIP_WITHOUT_BUS()                                \
    do {                                                  \
        if (!has_bus) {                                   \
            print_message("# no dbus-daemon: skipped\n"); \
            return;                                       \
        }                                                 \
    } while (0)

#define assert_says(words)                                           \
    do {                                                             \
        if (!strstr(err.text, words))                                \
            fail_msg("\"%s\" does not say \"%s\"", err.text, words); \
    } while (0)

static int group_setup(void **state)
{
    script = mmap(NULL, sizeof(*script), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(script != MAP_FAILED);
    has_bus = fake_start_bus();
    return 0;
}

static int group_teardown(void **state)
{
    fake_stop_bus();
    return 0;
}

static int setup(void **state)
{
    memset(script, 0, sizeof(*script));
    memset(&err, 0, sizeof(err));
    secret_service_init(&keyring, WAIT_MS);
    seal_random(key, sizeof(key));
    keyfile_name(name, key);
    if (has_bus)
        fake_start_secrets();
    return 0;
}

static int teardown(void **state)
{
    fake_stop_secrets();
    return 0;
}

static int save(void)
{
    return keyring.keeper.save(keyring.keeper.user, &item, key, &err);
}

static int load(uint8_t out[SEAL_KEY_BYTES])
{
    memset(out, 0, SEAL_KEY_BYTES);
    return keyring.keeper.load(keyring.keeper.user, &item, out, &err);
}

static int drop(void)
{
    return keyring.keeper.remove(keyring.keeper.user, &item, &err);
}

static void put_item(void)
{
    (void) snprintf(script->store, sizeof(script->store), "%s", item.store);
    (void) snprintf(script->key, sizeof(script->key), "%s", name);
    keyfile_format(script->secret, key);
}

static void assert_loads(void)
{
    uint8_t got[SEAL_KEY_BYTES];
    int rc = load(got);

    if (rc != 0)
        fail_msg("%d: %s", rc, err.text);
    assert_memory_equal(got, key, sizeof(key));
}

static void keeps_gives_back_and_removes(void **state)
{
    char text[KEYFILE_TEXT_SIZE];
    uint8_t got[SEAL_KEY_BYTES];

    SKIP_WITHOUT_BUS();
    assert_int_equal(save(), 0);
    keyfile_format(text, key);
    assert_string_equal(script->secret, text);
    assert_string_equal(script->store, item.store);
    assert_string_equal(script->key, name);
    assert_loads();
    // Other attributes are another item.
    name[0] ^= 1;
    assert_int_equal(load(got), -ENOENT);
    name[0] ^= 1;
    assert_int_equal(drop(), 0);
    assert_string_equal(script->secret, "");
    assert_int_equal(drop(), 0);
    assert_int_equal(load(got), -ENOENT);
    assert_int_equal(script->prompts, 0);
}

static void its_owner_is_asked_once_and_may_agree(void **state)
{
    SKIP_WITHOUT_BUS();
    put_item();
    script->is_locked = 1;
    assert_loads();
    assert_int_equal(script->prompts, 1);
    // One that does not even say what it has.
    script->is_locked = script->is_shy = 1;
    assert_loads();
    assert_int_equal(script->prompts, 2);
    // And one that asks before it takes a key, and before it lets go of one.
    script->asks_to_create = script->is_locked = 1;
    script->secret[0] = '\0';
    assert_int_equal(save(), 0);
    assert_int_equal(script->prompts, 4);
    assert_loads();
    assert_int_equal(drop(), 0);
    assert_string_equal(script->secret, "");
}

static void who_says_no_is_not_asked_again(void **state)
{
    uint8_t got[SEAL_KEY_BYTES];

    SKIP_WITHOUT_BUS();
    put_item();
    script->is_locked = 1;
    script->answer = ANSWER_DISMISS;
    assert_int_equal(load(got), -EACCES);
    assert_says("it is locked: unlock it");
    assert_says("and try again");
    assert_int_equal(script->prompts, 1);
    assert_int_equal(save(), -EACCES);
    assert_int_equal(script->prompts, 2);
    // For an old key nobody is asked at all.
    assert_int_equal(drop(), -EACCES);
    assert_int_equal(script->prompts, 2);
    script->is_locked = 0;
    script->asks_to_create = 1;
    assert_int_equal(save(), -EINPROGRESS);
    assert_says("its owner did not agree");
    // At a start somebody may still unlock it: that is waited for in silence.
    script->is_locked = 1;
    script->prompts = 0;
    keyring.is_starting = true;
    keyring.wait_ms = START_MS;
    assert_int_equal(load(got), -EACCES);
    assert_says("and start pockd again");
    assert_int_equal(script->prompts, 1);
    keyring.wait_ms = WAIT_MS;
    script->unlock_at_look = script->looks + 4;
    script->asks_to_create = 0;
    assert_loads();
}

static void silence_and_lies_end_with_the_time(void **state)
{
    uint8_t got[SEAL_KEY_BYTES];

    SKIP_WITHOUT_BUS();
    keyring.wait_ms = SHORT_MS;
    put_item();
    script->is_locked = 1;
    script->answer = ANSWER_NEVER;
    const uint64_t began = clock_monotonic_ns();
    assert_int_equal(load(got), -EACCES);
    assert_true(clock_monotonic_ns() - began >= SHORT_MS * UINT64_C(1000000));
    assert_int_equal(script->prompts, 1);
    assert_int_equal(script->was_dismissed, 1); // Its question goes, too.
    // Who says yes and does not do it is asked three times.
    keyring.wait_ms = 60000;
    script->answer = ANSWER_LIE;
    script->prompts = 0;
    assert_int_equal(load(got), -EACCES);
    assert_int_equal(script->prompts, 3);
    script->is_locked = 0;
    script->is_hanging = 1;
    keyring.wait_ms = SHORT_MS;
    assert_int_equal(load(got), -ETIMEDOUT);
    assert_says("it does not answer");
    for (int i = 0; i < SEAL_KEY_BYTES; i++)
        assert_int_equal(got[i], 0);
}

static void who_is_late_at_a_start_is_waited_for(void **state)
{
    uint8_t got[SEAL_KEY_BYTES];

    SKIP_WITHOUT_BUS();
    put_item();
    script->is_locked = 1;
    script->unlock_at_look = 2;
    keyring.is_starting = true;
    assert_loads();
    assert_int_equal(script->prompts, 0); // A login does it without a question.
    script->secret[0] = '\0';
    script->has_no_default = 1;
    script->default_at_look = script->looks + 3;
    assert_int_equal(load(got), -ENOENT);
    assert_int_equal(script->has_no_default, 0);
    script->has_no_default = 1;
    keyring.is_starting = false;
    assert_int_equal(save(), -ENODEV);
    assert_says("it has no default collection: make one");
    fake_stop_secrets();
    const uint64_t began = clock_monotonic_ns();
    assert_int_equal(load(got), -EHOSTUNREACH);
    assert_says("nobody keeps secrets");
    assert_true(clock_monotonic_ns() - began < WAIT_MS * UINT64_C(1000000));
    keyring.is_starting = true;
    keyring.wait_ms = SHORT_MS;
    assert_int_equal(load(got), -EHOSTUNREACH);
    assert_int_equal(drop(), -EHOSTUNREACH);
}

static void answers_that_make_no_sense_are_refused(void **state)
{
    uint8_t got[SEAL_KEY_BYTES];

    SKIP_WITHOUT_BUS();
    put_item();
    script->is_mumbling = 1;
    assert_int_equal(load(got), -EBADMSG);
    assert_says("answer to OpenSession makes no sense");
    script->is_mumbling = 2;
    assert_true(load(got) < 0);
    script->is_mumbling = 3;
    assert_int_equal(load(got), -EBADMSG);
    assert_says("its secret cannot be read");
    script->is_mumbling = 0;
    (void) snprintf(script->secret, sizeof(script->secret), "hunter2");
    assert_int_equal(load(got), -EINVAL);
    assert_says("its secret is no key");
    assert_null(strstr(err.text, "hunter2"));
    script->has_no_dh = 1;
    assert_true(load(got) < 0);
    assert_says("cannot open a session (dh-ietf1024-sha256-aes128-cbc-pkcs7)");
    script->has_no_dh = 0;
    put_item();
    assert_loads();
}

static void without_a_bus_it_says_so(void **state)
{
    char address[200];
    uint8_t got[SEAL_KEY_BYTES];

    SKIP_WITHOUT_BUS();
    (void) snprintf(address, sizeof(address), "%s",
                    getenv("DBUS_SESSION_BUS_ADDRESS"));
    (void) setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent", 1);
    keyring.is_starting = true;
    assert_int_equal(load(got), -ENOTCONN);
    assert_says("there is no session bus");
    assert_int_equal(drop(), -ENOTCONN);
    (void) setenv("DBUS_SESSION_BUS_ADDRESS", address, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(keeps_gives_back_and_removes),
        TEST(its_owner_is_asked_once_and_may_agree),
        TEST(who_says_no_is_not_asked_again),
        TEST(silence_and_lies_end_with_the_time),
        TEST(who_is_late_at_a_start_is_waited_for),
        TEST(answers_that_make_no_sense_are_refused),
        TEST(without_a_bus_it_says_so),
    };
    assert_int_equal(seal_init(), 0);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
