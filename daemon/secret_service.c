// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "secret"

#include "daemon/secret_service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/secret_take.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/sdnotify.h"
#include "storage/keyfile.h"

#define NAME       "org.freedesktop.secrets"
#define PATH       "/org/freedesktop/secrets"
#define SERVICE    "org.freedesktop.Secret.Service"
#define COLLECTION "org.freedesktop.Secret.Collection"
#define ITEM       "org.freedesktop.Secret.Item"
#define PROMPT     "org.freedesktop.Secret.Prompt"

enum {
    CALL_MS = 20 * 1000,
    LEAST_MS = 1000, // for a last look
    REMOVE_MS = 10 * 1000,
    RUNNING_MS = 60 * 1000, // others wait for the database meanwhile
    PROMPTS_MAX = 3,        // of one dialog
    LOOK_MS = 500,
    GRACE_MS = 3000, // for a session that is about to unlock it anyway
    LABEL_BYTES = 300,
};

// One connection, with one session on it.
struct dialog {
    sd_bus *bus;
    struct secret_session *session;
    char path[SECRET_PATH_BYTES]; // of the session
    uint64_t began_ms;
    uint64_t until_ms;
    bool is_starting; // as the owner of the dialog was when it began
    bool is_told;     // that it waits
    bool was_dismissed;
    int prompts;
};

static uint64_t now_ms(void)
{
    return clock_monotonic_ns() / 1000000;
}

static uint64_t left_ms(const struct dialog *d)
{
    const uint64_t now = now_ms();

    return now < d->until_ms ? d->until_ms - now : 0;
}

// Once, before the first wait.
static void tell_waiting(struct dialog *d, const char *what)
{
    char text[64];

    if (d->is_told)
        return;
    d->is_told = true;
    log_info("event=key_waiting text=%s seconds=%" PRIu64, what,
             left_ms(d) / 1000);
    if (!d->is_starting)
        return;
    sdnotify_send("STATUS=Waiting for the Secret Service");
    (void) snprintf(text, sizeof(text), "EXTEND_TIMEOUT_USEC=%" PRIu64,
                    (left_ms(d) + 2 * CALL_MS) * 1000);
    sdnotify_send(text);
}

// A step while waiting; false: the time is up.
static bool look_again(struct dialog *d)
{
    const uint64_t left = left_ms(d);

    tell_waiting(d, "the Secret Service is not there or is locked");
    if (left > 0)
        (void) usleep((useconds_t) (left < LOOK_MS ? left : LOOK_MS) * 1000);
    return left > 0;
}

static bool is_absent(const sd_bus_error *e)
{
    static const char spawn[] = "org.freedesktop.DBus.Error.Spawn.";

    return sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
           sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
           (e->name && strncmp(e->name, spawn, sizeof(spawn) - 1) == 0);
}

// -EHOSTUNREACH: nobody is there.
static int say(int rc, const sd_bus_error *e, const char *what,
               struct error *err)
{
    if (is_absent(e))
        return error_set(err, -EHOSTUNREACH,
                         "nobody keeps secrets on this session's bus (" NAME
                         "): start gnome-keyring, KWallet or KeePassXC");
    if (rc == -ETIMEDOUT)
        return error_set(err, rc, "it does not answer");
    // That it has no key, only load() may say.
    return error_set(err, rc == -ENOENT ? -EIO : rc, "it cannot %s: %.120s",
                     what, e->name ? e->name : strerror(-rc));
}

// Takes m.
static int call(const struct dialog *d, sd_bus_message *m,
                sd_bus_message **reply, const char *what, struct error *err)
{
    sd_bus_error e = SD_BUS_ERROR_NULL;
    const uint64_t left = left_ms(d);
    // Some ask their owner while they search: it may take all the time there
    // is.
    const uint64_t ms = left > LEAST_MS ? left : LEAST_MS;
    int rc = sd_bus_call(d->bus, m, ms * 1000, &e, reply);

    if (rc < 0)
        rc = say(rc, &e, what, err);
    sd_bus_error_free(&e);
    sd_bus_message_unref(m);
    return rc < 0 ? rc : 0;
}

static int new_call(const struct dialog *d, sd_bus_message **m,
                    const char *path, const char *interface, const char *method,
                    struct error *err)
{
    int rc = sd_bus_message_new_method_call(d->bus, m, NAME, path, interface,
                                            method);

    return rc < 0 ? error_set(err, rc, "cannot ask: %s", strerror(-rc)) : 0;
}

static int cannot_ask(sd_bus_message *m, int rc, struct error *err)
{
    sd_bus_message_unref(m);
    return error_set(err, rc, "cannot ask: %s", strerror(-rc));
}

static int bad_reply(int rc, const char *method, struct error *err)
{
    return error_set(err, rc, "its answer to %s makes no sense", method);
}

static int open_session(struct dialog *d, struct error *err)
{
    struct secret_session *s = d->session;
    sd_bus_message *m, *reply;
    int rc = new_call(d, &m, PATH, SERVICE, "OpenSession", err);

    if (rc < 0)
        return rc;
    if ((rc = sd_bus_message_append(m, "s", SECRET_ALGORITHM)) < 0 ||
        (rc = sd_bus_message_open_container(m, 'v', "ay")) < 0 ||
        (rc = sd_bus_message_append_array(m, 'y', s->public,
                                          sizeof(s->public))) < 0 ||
        (rc = sd_bus_message_close_container(m)) < 0)
        return cannot_ask(m, rc, err);
    if ((rc = call(d, m, &reply, "open a session (" SECRET_ALGORITHM ")",
                   err)) < 0)
        return rc;
    rc = secret_take_session(reply, s, d->path);
    sd_bus_message_unref(reply);
    return rc < 0 ? bad_reply(rc, "OpenSession", err) : 0;
}

static void dialog_finish(struct dialog *d)
{
    d->bus = sd_bus_flush_close_unref(d->bus);
    seal_free(d->session);
    d->session = NULL;
}

static int dialog_open(struct dialog *d, bool is_starting, int64_t wait_ms,
                       struct error *err)
{
    *d = (struct dialog){.is_starting = is_starting, .began_ms = now_ms()};
    d->until_ms = d->began_ms + (uint64_t) wait_ms;
    d->session = seal_alloc(sizeof(*d->session));
    if (!d->session || secret_session_init(d->session) < 0) {
        dialog_finish(d);
        return error_set(err, -ENOMEM, "out of memory");
    }
    int rc = sd_bus_open_user(&d->bus);
    if (rc < 0)
        rc = error_set(err, -ENOTCONN,
                       "there is no session bus (%s): pockd must be started "
                       "in a session, as by `systemctl --user start pockd`",
                       strerror(-rc));
    else
        (void) sd_bus_set_method_call_timeout(d->bus, CALL_MS * 1000);
    while (rc >= 0) {
        rc = open_session(d, err);
        if (rc != -EHOSTUNREACH || !is_starting || !look_again(d))
            break;
        rc = 0;
    }
    if (rc < 0)
        dialog_finish(d);
    return rc;
}

// What finds the item again.
static int put_attributes(sd_bus_message *m, const struct keykeeper_item *item)
{
    return sd_bus_message_append(m, "a{ss}", 3, "application", "pockd", "store",
                                 item->store, "key", item->key);
}

static int search(const struct dialog *d, const struct keykeeper_item *item,
                  struct secret_paths *unlocked, struct secret_paths *locked,
                  struct error *err)
{
    sd_bus_message *m, *reply;
    int rc = new_call(d, &m, PATH, SERVICE, "SearchItems", err);

    if (rc < 0)
        return rc;
    if ((rc = put_attributes(m, item)) < 0)
        return cannot_ask(m, rc, err);
    if ((rc = call(d, m, &reply, "search", err)) < 0)
        return rc;
    rc = secret_take_found(reply, unlocked, locked);
    sd_bus_message_unref(reply);
    return rc < 0 ? bad_reply(rc, "SearchItems", err) : 0;
}

// "/": there is none.
static int find_default(const struct dialog *d, char path[SECRET_PATH_BYTES],
                        bool *is_locked, struct error *err)
{
    sd_bus_error e = SD_BUS_ERROR_NULL;
    sd_bus_message *m, *reply;
    int locked = 0;
    int rc = new_call(d, &m, PATH, SERVICE, "ReadAlias", err);

    if (rc < 0)
        return rc;
    if ((rc = sd_bus_message_append(m, "s", "default")) < 0)
        return cannot_ask(m, rc, err);
    if ((rc = call(d, m, &reply, "say which collection is the default", err)) <
        0)
        return rc;
    rc = secret_take_path(reply, path);
    sd_bus_message_unref(reply);
    if (rc < 0)
        return bad_reply(rc, "ReadAlias", err);
    if (secret_is_path(path) &&
        (rc = sd_bus_get_property_trivial(d->bus, NAME, path, COLLECTION,
                                          "Locked", &e, 'b', &locked)) < 0)
        rc = say(rc, &e, "say whether it is locked", err);
    sd_bus_error_free(&e);
    *is_locked = locked != 0;
    return rc < 0 ? rc : 0;
}

struct waiting {
    bool is_over;
    bool is_dismissed;
};

static int on_completed(sd_bus_message *m, void *user, sd_bus_error *error)
{
    struct waiting *w = user;

    w->is_over = true;
    if (secret_take_completed(m, &w->is_dismissed) < 0)
        w->is_dismissed = true;
    return 0;
}

static int show_prompt(const struct dialog *d, const char *path,
                       const char *method, const char *parameter,
                       struct error *err)
{
    sd_bus_message *m, *reply;
    int rc = new_call(d, &m, path, PROMPT, method, err);

    if (rc < 0)
        return rc;
    if (parameter && (rc = sd_bus_message_append(m, "s", parameter)) < 0)
        return cannot_ask(m, rc, err);
    if ((rc = call(d, m, &reply, "ask its owner", err)) == 0)
        sd_bus_message_unref(reply);
    return rc;
}

static int wait_until_over(const struct dialog *d, const struct waiting *w)
{
    int rc = 0;

    while (rc >= 0 && !w->is_over) {
        if ((rc = sd_bus_process(d->bus, NULL)) != 0)
            continue;
        const uint64_t left = left_ms(d);
        if (left == 0)
            return 0;
        rc = sd_bus_wait(d->bus, left * 1000);
        if (rc == -EINTR)
            rc = 0;
    }
    return rc < 0 ? rc : 0;
}

// 0: agreed; -EACCES: dismissed, or nobody said anything in time.
static int wait_for_prompt(struct dialog *d, const char *path,
                           struct error *err)
{
    struct waiting w = {0};
    sd_bus_slot *slot;
    int rc = sd_bus_match_signal(d->bus, &slot, NAME, path, PROMPT, "Completed",
                                 on_completed, &w);

    if (rc < 0)
        return error_set(err, rc, "cannot ask: %s", strerror(-rc));
    tell_waiting(d, "the Secret Service asks its owner");
    d->prompts++;
    rc = show_prompt(d, path, "Prompt", "", err);
    if (rc == 0 && (rc = wait_until_over(d, &w)) < 0)
        rc = error_set(err, rc, "the session bus is gone: %s", strerror(-rc));
    if (rc == 0 && !w.is_over)
        (void) show_prompt(d, path, "Dismiss", NULL, NULL);
    sd_bus_slot_unref(slot);
    d->was_dismissed = rc < 0 || !w.is_over || w.is_dismissed;
    if (rc < 0)
        return rc;
    return d->was_dismissed ? error_set(err, -EACCES, "its owner did not agree")
                            : 0;
}

static int locked_sentence(const struct dialog *d, struct error *err)
{
    return error_set(err, -EACCES,
                     "it is locked: unlock it (log in, or open it in Seahorse, "
                     "KWalletManager or KeePassXC) and %s",
                     d->is_starting ? "start pockd again" : "try again");
}

static int unlock(struct dialog *d, const char *path, struct error *err)
{
    char prompt[SECRET_PATH_BYTES];
    sd_bus_message *m, *reply;

    // It may be unlocked by who logs in, without being asked twice.
    if (d->is_starting) {
        const uint64_t whole = d->until_ms - d->began_ms;
        const uint64_t grace = whole / 4 < GRACE_MS ? whole / 4 : GRACE_MS;
        if (d->was_dismissed || now_ms() < d->began_ms + grace)
            return look_again(d) ? 0 : locked_sentence(d, err);
    }
    if (d->was_dismissed || d->prompts >= PROMPTS_MAX || left_ms(d) == 0)
        return locked_sentence(d, err);
    int rc = new_call(d, &m, PATH, SERVICE, "Unlock", err);
    if (rc < 0)
        return rc;
    if ((rc = sd_bus_message_append(m, "ao", 1, path)) < 0)
        return cannot_ask(m, rc, err);
    if ((rc = call(d, m, &reply, "unlock", err)) < 0)
        return rc;
    rc = secret_take_unlocked(reply, prompt);
    sd_bus_message_unref(reply);
    if (rc < 0)
        return bad_reply(rc, "Unlock", err);
    if (secret_is_path(prompt))
        rc = wait_for_prompt(d, prompt, err);
    else if (!look_again(d)) // Unlocked, and yet it was locked? Not for ever.
        rc = locked_sentence(d, err);
    return rc == -EACCES ? 0 : rc; // What it is now shows when it is asked.
}

// 1: the default collection is there, and unlocked. 0: look again.
static int open_default(struct dialog *d, char path[SECRET_PATH_BYTES],
                        struct error *err)
{
    bool is_locked;
    int rc = find_default(d, path, &is_locked, err);

    if (rc < 0)
        return rc;
    if (!secret_is_path(path)) {
        if (d->is_starting && look_again(d))
            return 0;
        return error_set(err, -ENODEV,
                         "it has no default collection: make one in Seahorse, "
                         "KWalletManager or KeePassXC");
    }
    if (!is_locked)
        return 1;
    return unlock(d, path, err);
}

// Of the items that were found, which may be copies of each other. -ENOENT:
// there are none.
static int read_items(const struct dialog *d, const struct secret_paths *items,
                      const char *name, uint8_t key[SEAL_KEY_BYTES],
                      struct error *err)
{
    char its[KEYFILE_NAME_SIZE];
    sd_bus_message *m, *reply;
    int rc = -ENOENT;

    for (int i = 0; i < items->count; i++) {
        if ((rc = new_call(d, &m, items->path[i], ITEM, "GetSecret", err)) < 0)
            return rc;
        if ((rc = sd_bus_message_append(m, "o", d->path)) < 0)
            return cannot_ask(m, rc, err);
        if ((rc = call(d, m, &reply, "hand out the key", err)) < 0)
            continue;
        rc = secret_take_key(reply, d->session, key, err);
        sd_bus_message_unref(reply);
        if (rc < 0)
            continue;
        keyfile_name(its, key);
        if (strcmp(its, name) == 0)
            break;
    }
    return rc;
}

static int64_t bounded(const struct secret_service *s)
{
    return s->is_starting || s->wait_ms < RUNNING_MS ? s->wait_ms : RUNNING_MS;
}

static int load(void *user, const struct keykeeper_item *item,
                uint8_t key[SEAL_KEY_BYTES], struct error *err)
{
    const struct secret_service *s = user;
    struct secret_paths unlocked, locked;
    char path[SECRET_PATH_BYTES];
    struct dialog d;
    int rc = dialog_open(&d, s->is_starting, bounded(s), err);

    while (rc >= 0) {
        if ((rc = search(&d, item, &unlocked, &locked, err)) < 0)
            break;
        if (unlocked.count > 0) {
            rc = read_items(&d, &unlocked, item->key, key, err);
            break;
        }
        if (locked.count > 0) {
            rc = unlock(&d, locked.path[0], err);
            continue;
        }
        // Some say nothing of what is in a locked collection.
        if ((rc = open_default(&d, path, err)) <= 0)
            continue;
        rc = search(&d, item, &unlocked, &locked, err);
        if (rc == 0 && unlocked.count + locked.count == 0)
            rc = error_set(err, -ENOENT, "it does not have the key");
    }
    dialog_finish(&d);
    return rc;
}

static int put_item(sd_bus_message *m, const struct dialog *d,
                    const struct keykeeper_item *item,
                    const uint8_t key[SEAL_KEY_BYTES])
{
    char text[KEYFILE_TEXT_SIZE];
    char label[LABEL_BYTES];
    uint8_t iv[SECRET_BLOCK_BYTES];
    uint8_t sealed[sizeof(text) + SECRET_BLOCK_BYTES];
    int rc;

    keyfile_format(text, key);
    seal_random(iv, sizeof(iv));
    const size_t bytes =
        secret_session_close(sealed, d->session, iv, text, 2 * SEAL_KEY_BYTES);
    seal_wipe(text, sizeof(text));
    (void) snprintf(label, sizeof(label), "pockd: key of what is in %.200s",
                    item->dir);
    if ((rc = sd_bus_message_open_container(m, 'a', "{sv}")) < 0 ||
        (rc = sd_bus_message_append(m, "{sv}", ITEM ".Label", "s", label)) <
            0 ||
        (rc = sd_bus_message_open_container(m, 'e', "sv")) < 0 ||
        (rc = sd_bus_message_append(m, "s", ITEM ".Attributes")) < 0 ||
        (rc = sd_bus_message_open_container(m, 'v', "a{ss}")) < 0 ||
        (rc = put_attributes(m, item)) < 0 ||
        (rc = sd_bus_message_close_container(m)) < 0 ||
        (rc = sd_bus_message_close_container(m)) < 0 ||
        (rc = sd_bus_message_close_container(m)) < 0 ||
        (rc = sd_bus_message_open_container(m, 'r', "oayays")) < 0 ||
        (rc = sd_bus_message_append(m, "o", d->path)) < 0 ||
        (rc = sd_bus_message_append_array(m, 'y', iv, sizeof(iv))) < 0 ||
        (rc = sd_bus_message_append_array(m, 'y', sealed, bytes)) < 0 ||
        (rc = sd_bus_message_append(m, "s", "text/plain")) < 0 ||
        (rc = sd_bus_message_close_container(m)) < 0)
        return rc;
    return sd_bus_message_append(m, "b", 1);
}

static int create_item(struct dialog *d, const char *collection,
                       const struct keykeeper_item *item,
                       const uint8_t key[SEAL_KEY_BYTES], struct error *err)
{
    char path[SECRET_PATH_BYTES], prompt[SECRET_PATH_BYTES];
    sd_bus_message *m, *reply;
    int rc = new_call(d, &m, collection, COLLECTION, "CreateItem", err);

    if (rc < 0)
        return rc;
    if ((rc = put_item(m, d, item, key)) < 0)
        return cannot_ask(m, rc, err);
    if ((rc = call(d, m, &reply, "take the key", err)) < 0)
        return rc;
    rc = secret_take_created(reply, path, prompt);
    sd_bus_message_unref(reply);
    if (rc < 0)
        return bad_reply(rc, "CreateItem", err);
    return secret_is_path(prompt) ? wait_for_prompt(d, prompt, err) : 0;
}

static int save(void *user, const struct keykeeper_item *item,
                const uint8_t key[SEAL_KEY_BYTES], struct error *err)
{
    const struct secret_service *s = user;
    char path[SECRET_PATH_BYTES];
    struct dialog d;
    int rc = dialog_open(&d, s->is_starting, bounded(s), err);

    if (rc < 0)
        return rc;
    while ((rc = open_default(&d, path, err)) == 0)
        continue;
    if (rc > 0)
        rc = create_item(&d, path, item, key, err) < 0 ? -EINPROGRESS : 0;
    dialog_finish(&d);
    return rc;
}

static int delete_item(struct dialog *d, const char *item, struct error *err)
{
    char prompt[SECRET_PATH_BYTES];
    sd_bus_message *m, *reply;
    int rc = new_call(d, &m, item, ITEM, "Delete", err);

    if (rc < 0 || (rc = call(d, m, &reply, "delete a key", err)) < 0)
        return rc;
    rc = secret_take_path(reply, prompt);
    sd_bus_message_unref(reply);
    if (rc < 0)
        return bad_reply(rc, "Delete", err);
    return secret_is_path(prompt) ? wait_for_prompt(d, prompt, err) : 0;
}

// Nobody is asked to unlock it for that.
static int drop(void *user, const struct keykeeper_item *item,
                struct error *err)
{
    struct secret_paths unlocked, locked;
    char path[SECRET_PATH_BYTES];
    bool is_locked = false;
    struct dialog d;
    int rc = dialog_open(&d, false, REMOVE_MS, err);

    if (rc < 0)
        return rc;
    if ((rc = search(&d, item, &unlocked, &locked, err)) == 0 &&
        unlocked.count == 0)
        rc = find_default(&d, path, &is_locked, err);
    if (rc == 0 && (locked.count > 0 || is_locked))
        rc = locked_sentence(&d, err);
    for (int i = 0; rc == 0 && i < unlocked.count; i++)
        rc = delete_item(&d, unlocked.path[i], err);
    dialog_finish(&d);
    return rc;
}

void secret_service_init(struct secret_service *s, int64_t wait_ms)
{
    *s = (struct secret_service){
        .keeper = {.user = s, .load = load, .save = save, .remove = drop},
        .wait_ms = wait_ms,
    };
}
