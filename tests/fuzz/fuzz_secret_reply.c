// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any messages as answers of a Secret Service: of the right shape with wrong
 * contents, and of other shapes. Paths that come out fit and end; a secret that
 * is no key gives none.
 */

#include <stdlib.h>
#include <string.h>

#include "daemon/secret_take.h"
#include "tests/fuzz/deadbus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 5 * 255 };

struct input {
    const uint8_t *data;
    size_t left;
};

static size_t take_bytes(struct input *in, uint8_t *out, size_t bytes)
{
    size_t n = bytes < in->left ? bytes : in->left;

    if (n > 0)
        memcpy(out, in->data, n);
    in->data += n;
    in->left -= n;
    return n;
}

static uint8_t take_byte(struct input *in)
{
    uint8_t v = 0;

    (void) take_bytes(in, &v, 1);
    return v;
}

// As long as it says, up to 300 letters: some are too long to be kept.
static int put_path(sd_bus_message *m, struct input *in)
{
    char path[310] = "/";
    const size_t n = take_byte(in) * 12 / 10;

    memset(path + 1, 'a' + take_byte(in) % 26, n);
    return sd_bus_message_append(m, "o", path);
}

static int put_paths(sd_bus_message *m, struct input *in)
{
    int rc = sd_bus_message_open_container(m, 'a', "o");

    for (int n = take_byte(in) % 12; rc >= 0 && n > 0; n--)
        rc = put_path(m, in);
    return rc < 0 ? rc : sd_bus_message_close_container(m);
}

// Bytes as they are, or sealed for the session as a service would.
static int put_bytes(sd_bus_message *m, struct input *in,
                     const struct secret_session *s)
{
    static const uint8_t iv[SECRET_BLOCK_BYTES];
    uint8_t raw[BYTES_MAX], out[BYTES_MAX + SECRET_BLOCK_BYTES];
    const uint8_t how = take_byte(in);
    size_t n = take_bytes(in, raw, (size_t) take_byte(in) * 5);

    memcpy(out, raw, n);
    if (how % 2)
        n = secret_session_close(out, s, iv, raw, n);
    return sd_bus_message_append_array(m, 'y', out, n);
}

static int put_secret(sd_bus_message *m, struct input *in,
                      const struct secret_session *s)
{
    static const uint8_t iv[20];
    int rc;

    if ((rc = sd_bus_message_open_container(m, 'r', "oayays")) < 0 ||
        (rc = put_path(m, in)) < 0 ||
        (rc = sd_bus_message_append_array(m, 'y', iv,
                                          take_byte(in) % 4 ? 16 : 20)) < 0 ||
        (rc = put_bytes(m, in, s)) < 0 ||
        (rc = sd_bus_message_append(m, "s", "text/plain")) < 0)
        return rc;
    return sd_bus_message_close_container(m);
}

static int put_any(sd_bus_message *m, struct input *in,
                   const struct secret_session *s)
{
    int rc;

    switch (take_byte(in) % 8) {
    case 0:
        return put_path(m, in);
    case 1:
        return put_paths(m, in);
    case 2:
        return put_secret(m, in, s);
    case 3:
        if ((rc = sd_bus_message_open_container(m, 'v', "ay")) < 0 ||
            (rc = put_bytes(m, in, s)) < 0)
            return rc;
        return sd_bus_message_close_container(m);
    case 4:
        return sd_bus_message_append(m, "b", take_byte(in) % 2);
    case 5:
        return sd_bus_message_append(m, "v", "s", "text");
    case 6:
        return put_bytes(m, in, s);
    default:
        return sd_bus_message_append(m, "(os)", "/o", "secret");
    }
}

static void want(bool is_true)
{
    if (!is_true)
        abort();
}

static void want_path(int rc, const char *path)
{
    want(rc <= 0);
    if (rc == 0)
        want(path[0] == '/' && strlen(path) < SECRET_PATH_BYTES);
}

static void want_paths(int rc, const struct secret_paths *p)
{
    if (rc < 0)
        return;
    want(p->count >= 0 && p->count <= SECRET_PATHS_MAX);
    for (int i = 0; i < p->count; i++)
        want_path(0, p->path[i]);
}

static void read_key(sd_bus_message *m, const struct secret_session *s)
{
    static const uint8_t none[SEAL_KEY_BYTES];
    uint8_t key[SEAL_KEY_BYTES] = {0};
    struct error err = {0};
    const int rc = secret_take_key(m, s, key, &err);

    want(rc == 0 || (rc < 0 && err.text[0]));
    want(rc == 0 || memcmp(key, none, sizeof(key)) == 0);
}

static void read_as(sd_bus_message *m, uint8_t which, struct secret_session *s)
{
    char path[SECRET_PATH_BYTES], prompt[SECRET_PATH_BYTES];
    struct secret_paths unlocked, locked;
    bool is_dismissed;
    int rc;

    want(sd_bus_message_rewind(m, 1) >= 0);
    switch (which % 7) {
    case 0:
        rc = secret_take_session(m, s, path);
        want_path(rc, path);
        break;
    case 1:
        rc = secret_take_found(m, &unlocked, &locked);
        want_paths(rc, &unlocked);
        want_paths(rc, &locked);
        break;
    case 2:
        rc = secret_take_unlocked(m, prompt);
        want_path(rc, prompt);
        break;
    case 3:
        rc = secret_take_created(m, path, prompt);
        want_path(rc, path);
        want_path(rc, prompt);
        break;
    case 4:
        rc = secret_take_path(m, path);
        want_path(rc, path);
        break;
    case 5:
        want(secret_take_completed(m, &is_dismissed) <= 0);
        break;
    default:
        read_key(m, s);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct secret_session *s;
    static sd_bus *bus;
    struct input in = {data, size};
    sd_bus_message *m = NULL;
    int rc = 0;

    if (!bus) {
        bus = deadbus();
        if (seal_init() < 0 || !(s = seal_alloc(sizeof(*s))))
            abort();
    }
    memset(s, 7, sizeof(*s));
    const uint8_t which = take_byte(&in);
    if (sd_bus_message_new_signal(bus, &m, "/o", "i.i", "S") < 0)
        abort();
    while (rc >= 0 && in.left > 0)
        rc = put_any(m, &in, s);
    if (rc >= 0 && sd_bus_message_seal(m, 1, 0) >= 0)
        for (uint8_t i = 0; i < 7; i++)
            read_as(m, which + i, s);
    (void) sd_bus_message_unref(m);
    return 0;
}
