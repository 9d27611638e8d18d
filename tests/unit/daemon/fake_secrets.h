// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A private bus, and a small Secret Service on it, played by a child process as
 * its script says. It has one collection and at most one item.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/secret_session.h"
#include "engine/base/seal.h"

#define NAME       "org.freedesktop.secrets"
#define ROOT       "/org/freedesktop/secrets"
#define SERVICE    "org.freedesktop.Secret.Service"
#define COLLECTION "org.freedesktop.Secret.Collection"
#define ITEM       "org.freedesktop.Secret.Item"
#define PROMPT     "org.freedesktop.Secret.Prompt"
#define RING       ROOT "/collection/ring"
#define THING      RING "/1"
#define QUESTION   ROOT "/prompt/p1"

enum answer { ANSWER_AGREE, ANSWER_DISMISS, ANSWER_NEVER, ANSWER_LIE };

// Shared with the child.
struct script {
    enum answer answer;  // of its owner to a prompt
    int unlock_at_look;  // it is unlocked by itself when it is asked n times
    int default_at_look; // the same for the default collection
    int is_locked;
    int is_shy;         // says nothing of what is in a locked collection
    int has_no_default; // until default_at_look
    int is_hanging;     // answers nothing but OpenSession
    int is_mumbling;    // answers of other shapes
    int asks_to_create; // a prompt before an item is made, or deleted
    int has_no_dh;      // no algorithm but plain
    char secret[200];   // "": no item
    char store[64];     // its attributes
    char key[64];
    // What happened
    int looks;
    int prompts;
    int dismissals;
    int was_dismissed; // by who asked
};

static struct script *script;
static struct secret_session *fake_session;
static char fake_pending[200]; // to be created when its owner agrees
static int is_deleting;

static int fake_reply_path(sd_bus_message *m, const char *path)
{
    return sd_bus_reply_method_return(m, "o", path);
}

static int on_open_session(sd_bus_message *m, void *user, sd_bus_error *e)
{
    sd_bus_message *r = NULL;
    const char *algorithm;
    const void *public;
    size_t bytes;

    if (sd_bus_message_read(m, "s", &algorithm) < 0 || script->has_no_dh ||
        strcmp(algorithm, SECRET_ALGORITHM) != 0)
        return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_NOT_SUPPORTED,
                                          "plain only");
    if (sd_bus_message_enter_container(m, 'v', "ay") < 0 ||
        sd_bus_message_read_array(m, 'y', &public, &bytes) < 0 ||
        secret_session_init(fake_session) < 0 ||
        secret_session_agree(fake_session, public, bytes) < 0)
        return -EINVAL;
    if (script->is_mumbling == 1)
        bytes = 0;
    else
        bytes = sizeof(fake_session->public);
    (void) sd_bus_message_new_method_return(m, &r);
    (void) sd_bus_message_open_container(r, 'v', "ay");
    (void) sd_bus_message_append_array(r, 'y', fake_session->public, bytes);
    (void) sd_bus_message_close_container(r);
    (void) sd_bus_message_append(r, "o", ROOT "/session/s1");
    int rc = sd_bus_send(NULL, r, NULL);
    sd_bus_message_unref(r);
    return rc;
}

static int matches(sd_bus_message *m)
{
    const char *name, *value;
    int fits = 0;

    if (sd_bus_message_enter_container(m, 'a', "{ss}") < 0)
        return 0;
    while (sd_bus_message_read(m, "{ss}", &name, &value) > 0)
        fits +=
            strcmp(name, "application") == 0 ? strcmp(value, "pockd") == 0
            : strcmp(name, "store") == 0
                ? strcmp(value, script->store) == 0
                : strcmp(name, "key") == 0 && strcmp(value, script->key) == 0;
    return fits == 3;
}

static void look(void)
{
    script->looks++;
    if (script->looks == script->unlock_at_look)
        script->is_locked = 0;
    if (script->looks == script->default_at_look)
        script->has_no_default = 0;
}

static int on_search(sd_bus_message *m, void *user, sd_bus_error *e)
{
    if (script->is_hanging)
        return 1;
    look();
    if (script->is_mumbling == 2)
        return sd_bus_reply_method_return(m, "ao", 1, THING);
    if (!matches(m) || !script->secret[0] ||
        (script->is_locked && script->is_shy))
        return sd_bus_reply_method_return(m, "aoao", 0, 0);
    if (script->is_locked)
        return sd_bus_reply_method_return(m, "aoao", 0, 1, THING);
    return sd_bus_reply_method_return(m, "aoao", 1, THING, 0);
}

static int on_unlock(sd_bus_message *m, void *user, sd_bus_error *e)
{
    return sd_bus_reply_method_return(m, "aoo", 0,
                                      script->is_locked ? QUESTION : "/");
}

static int on_read_alias(sd_bus_message *m, void *user, sd_bus_error *e)
{
    return fake_reply_path(m, script->has_no_default ? "/" : RING);
}

static int get_locked(sd_bus *bus, const char *path, const char *interface,
                      const char *property, sd_bus_message *reply, void *user,
                      sd_bus_error *e)
{
    return sd_bus_message_append(reply, "b", script->is_locked);
}

static void take_attributes(sd_bus_message *m)
{
    const char *property, *type, *name, *value;

    (void) sd_bus_message_enter_container(m, 'a', "{sv}");
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
        (void) sd_bus_message_read(m, "s", &property);
        (void) sd_bus_message_peek_type(m, NULL, &type);
        if (strcmp(type, "a{ss}") != 0) {
            (void) sd_bus_message_skip(m, "v");
        } else {
            (void) sd_bus_message_enter_container(m, 'v', "a{ss}");
            (void) sd_bus_message_enter_container(m, 'a', "{ss}");
            while (sd_bus_message_read(m, "{ss}", &name, &value) > 0)
                (void) snprintf(strcmp(name, "store") == 0 ? script->store
                                : strcmp(name, "key") == 0 ? script->key
                                                           : fake_pending,
                                64, "%s", value);
            (void) sd_bus_message_exit_container(m);
            (void) sd_bus_message_exit_container(m);
        }
        (void) sd_bus_message_exit_container(m);
    }
    (void) sd_bus_message_exit_container(m);
}

static int on_create(sd_bus_message *m, void *user, sd_bus_error *e)
{
    uint8_t text[SECRET_VALUE_MAX];
    const void *iv, *data;
    size_t iv_bytes, bytes;

    take_attributes(m);
    if (sd_bus_message_enter_container(m, 'r', "oayays") < 0 ||
        sd_bus_message_skip(m, "o") < 0 ||
        sd_bus_message_read_array(m, 'y', &iv, &iv_bytes) < 0 ||
        sd_bus_message_read_array(m, 'y', &data, &bytes) < 0)
        return -EINVAL;
    const int n =
        secret_session_open(text, fake_session, iv, iv_bytes, data, bytes);
    if (n < 0)
        return n;
    (void) snprintf(script->asks_to_create ? fake_pending : script->secret,
                    sizeof(fake_pending), "%.*s", n, (char *) text);
    is_deleting = 0;
    return sd_bus_reply_method_return(m, "oo",
                                      script->asks_to_create ? "/" : THING,
                                      script->asks_to_create ? QUESTION : "/");
}

static int on_get_secret(sd_bus_message *m, void *user, sd_bus_error *e)
{
    static const uint8_t iv[SECRET_BLOCK_BYTES] = {1, 2, 3};
    uint8_t out[sizeof(script->secret) + SECRET_BLOCK_BYTES];
    sd_bus_message *r = NULL;

    if (script->is_locked)
        return sd_bus_reply_method_errorf(
            m, "org.freedesktop.Secret.Error.IsLocked", "locked");
    const size_t n = secret_session_close(out, fake_session, iv, script->secret,
                                          strlen(script->secret));
    (void) sd_bus_message_new_method_return(m, &r);
    (void) sd_bus_message_open_container(r, 'r', "oayays");
    (void) sd_bus_message_append(r, "o", ROOT "/session/s1");
    (void) sd_bus_message_append_array(r, 'y', iv,
                                       script->is_mumbling == 3 ? 5 : 16);
    (void) sd_bus_message_append_array(r, 'y', out, n);
    (void) sd_bus_message_append(r, "s", "text/plain");
    (void) sd_bus_message_close_container(r);
    int rc = sd_bus_send(NULL, r, NULL);
    sd_bus_message_unref(r);
    return rc;
}

static int on_delete(sd_bus_message *m, void *user, sd_bus_error *e)
{
    if (script->asks_to_create) {
        is_deleting = 1;
        return fake_reply_path(m, QUESTION);
    }
    script->secret[0] = '\0';
    return fake_reply_path(m, "/");
}

static void agree(void)
{
    script->is_locked = 0;
    if (is_deleting)
        script->secret[0] = '\0';
    else if (script->asks_to_create)
        memcpy(script->secret, fake_pending, sizeof(script->secret));
}

static int on_prompt(sd_bus_message *m, void *user, sd_bus_error *e)
{
    const int is_no = script->answer == ANSWER_DISMISS;

    script->prompts++;
    script->dismissals += is_no;
    (void) sd_bus_reply_method_return(m, "");
    if (script->answer == ANSWER_NEVER)
        return 1;
    if (script->answer == ANSWER_AGREE)
        agree();
    return sd_bus_emit_signal(sd_bus_message_get_bus(m), QUESTION, PROMPT,
                              "Completed", "bv", is_no, "o", "/");
}

static int on_dismiss(sd_bus_message *m, void *user, sd_bus_error *e)
{
    script->was_dismissed++;
    return sd_bus_reply_method_return(m, "");
}

static const sd_bus_vtable fake_service[] = {
    SD_BUS_VTABLE_START(SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("OpenSession", "sv", "vo", on_open_session, 0),
    SD_BUS_METHOD("SearchItems", "a{ss}", "aoao", on_search, 0),
    SD_BUS_METHOD("Unlock", "ao", "aoo", on_unlock, 0),
    SD_BUS_METHOD("ReadAlias", "s", "o", on_read_alias, 0),
    SD_BUS_VTABLE_END,
};

static const sd_bus_vtable fake_collection[] = {
    SD_BUS_VTABLE_START(SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Locked", "b", get_locked, 0, 0),
    SD_BUS_METHOD("CreateItem", "a{sv}(oayays)b", "oo", on_create, 0),
    SD_BUS_VTABLE_END,
};

static const sd_bus_vtable fake_item[] = {
    SD_BUS_VTABLE_START(SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("GetSecret", "o", "(oayays)", on_get_secret, 0),
    SD_BUS_METHOD("Delete", "", "o", on_delete, 0),
    SD_BUS_VTABLE_END,
};

static const sd_bus_vtable fake_prompt[] = {
    SD_BUS_VTABLE_START(SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Prompt", "s", "", on_prompt, 0),
    SD_BUS_METHOD("Dismiss", "", "", on_dismiss, 0),
    SD_BUS_SIGNAL("Completed", "bv", 0),
    SD_BUS_VTABLE_END,
};

// The child. `ready` is closed when it may be asked.
static void play_secrets(int ready)
{
    sd_bus *bus = NULL;

    fake_session = seal_alloc(sizeof(*fake_session));
    if (!fake_session || sd_bus_open_user(&bus) < 0 ||
        sd_bus_add_object_vtable(bus, NULL, ROOT, SERVICE, fake_service, NULL) <
            0 ||
        sd_bus_add_object_vtable(bus, NULL, RING, COLLECTION, fake_collection,
                                 NULL) < 0 ||
        sd_bus_add_object_vtable(bus, NULL, THING, ITEM, fake_item, NULL) < 0 ||
        sd_bus_add_object_vtable(bus, NULL, QUESTION, PROMPT, fake_prompt,
                                 NULL) < 0 ||
        sd_bus_request_name(bus, NAME, 0) < 0)
        _exit(1);
    (void) close(ready);
    for (;;) {
        int rc = sd_bus_process(bus, NULL);
        if (rc < 0 || (rc == 0 && sd_bus_wait(bus, UINT64_MAX) < 0))
            _exit(0);
    }
}

static struct {
    FILE *daemon;
    pid_t bus_pid;
    pid_t secrets;
    char dir[64];
} fake;

static void fake_conf(char path[100])
{
    (void) snprintf(fake.dir, sizeof(fake.dir), "/tmp/pockd-bus-XXXXXX");
    assert_non_null(mkdtemp(fake.dir));
    (void) snprintf(path, 100, "%s/conf", fake.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    // It starts nobody.
    (void) fprintf(f,
                   "<busconfig><type>session</type>"
                   "<listen>unix:path=%s/bus</listen>"
                   "<policy context=\"default\">"
                   "<allow send_destination=\"*\" eavesdrop=\"true\"/>"
                   "<allow eavesdrop=\"true\"/><allow own=\"*\"/>"
                   "</policy></busconfig>\n",
                   fake.dir);
    (void) fclose(f);
}

// False: there is no dbus-daemon.
static bool fake_start_bus(void)
{
    char line[512], conf[100], command[300];

    fake_conf(conf);
    (void) snprintf(command, sizeof(command),
                    "exec dbus-daemon --config-file=%s --nofork --nopidfile "
                    "--print-address=1 --print-pid=1 2>/dev/null",
                    conf);
    fake.daemon = popen(command, "r");
    if (!fake.daemon || !fgets(line, sizeof(line), fake.daemon))
        return false;
    line[strcspn(line, "\n")] = '\0';
    (void) setenv("DBUS_SESSION_BUS_ADDRESS", line, 1);
    if (!fgets(line, sizeof(line), fake.daemon))
        return false;
    fake.bus_pid = (pid_t) strtol(line, NULL, 10);
    return true;
}

static void fake_start_secrets(void)
{
    int ready[2];
    char none;

    assert_int_equal(pipe(ready), 0);
    fake.secrets = fork();
    if (fake.secrets == 0) {
        (void) close(ready[0]);
        play_secrets(ready[1]);
    }
    (void) close(ready[1]);
    assert_int_equal(read(ready[0], &none, 1), 0);
    (void) close(ready[0]);
}

static void fake_stop_secrets(void)
{
    if (fake.secrets > 0) {
        (void) kill(fake.secrets, SIGKILL);
        (void) waitpid(fake.secrets, NULL, 0);
    }
    fake.secrets = 0;
}

static void fake_stop_bus(void)
{
    char command[100];

    if (fake.bus_pid > 0)
        (void) kill(fake.bus_pid, SIGTERM);
    if (fake.daemon)
        (void) pclose(fake.daemon);
    (void) snprintf(command, sizeof(command), "rm -r '%s'", fake.dir);
    (void) !system(command);
}
