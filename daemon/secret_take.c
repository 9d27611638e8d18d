// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/secret_take.h"

#include <errno.h>
#include <string.h>

#include "storage/keyfile.h"

static int broken(int rc)
{
    return rc == -ENOMEM ? rc : -EBADMSG;
}

bool secret_is_path(const char *path)
{
    return path[0] == '/' && path[1] != '\0';
}

static int copy_path(char out[SECRET_PATH_BYTES], const char *path)
{
    const size_t n = strlen(path);

    if (n >= SECRET_PATH_BYTES)
        return -EBADMSG;
    memcpy(out, path, n + 1);
    return 0;
}

int secret_take_path(sd_bus_message *m, char path[SECRET_PATH_BYTES])
{
    const char *text;
    int rc = sd_bus_message_read_basic(m, 'o', &text);

    return rc <= 0 ? broken(rc) : copy_path(path, text);
}

static int read_bytes(sd_bus_message *m, const void **data, size_t *bytes)
{
    int rc = sd_bus_message_read_array(m, 'y', data, bytes);

    return rc <= 0 ? broken(rc) : 0;
}

int secret_take_session(sd_bus_message *m, struct secret_session *s,
                        char path[SECRET_PATH_BYTES])
{
    const void *public;
    size_t bytes;
    int rc = sd_bus_message_enter_container(m, 'v', "ay");

    if (rc <= 0)
        return broken(rc);
    if ((rc = read_bytes(m, &public, &bytes)) < 0 ||
        (rc = secret_session_agree(s, public, bytes)) < 0)
        return rc;
    rc = sd_bus_message_exit_container(m);
    return rc < 0 ? broken(rc) : secret_take_path(m, path);
}

static int take_paths(sd_bus_message *m, struct secret_paths *out)
{
    const char *text;
    int rc = sd_bus_message_enter_container(m, 'a', "o");

    out->count = 0;
    if (rc <= 0)
        return broken(rc);
    while ((rc = sd_bus_message_read_basic(m, 'o', &text)) > 0)
        if (out->count < SECRET_PATHS_MAX &&
            copy_path(out->path[out->count], text) == 0)
            out->count++;
    if (rc == 0)
        rc = sd_bus_message_exit_container(m);
    return rc < 0 ? broken(rc) : 0;
}

int secret_take_found(sd_bus_message *m, struct secret_paths *unlocked,
                      struct secret_paths *locked)
{
    int rc = take_paths(m, unlocked);

    return rc < 0 ? rc : take_paths(m, locked);
}

int secret_take_unlocked(sd_bus_message *m, char prompt[SECRET_PATH_BYTES])
{
    int rc = sd_bus_message_skip(m, "ao");

    return rc <= 0 ? broken(rc) : secret_take_path(m, prompt);
}

int secret_take_created(sd_bus_message *m, char item[SECRET_PATH_BYTES],
                        char prompt[SECRET_PATH_BYTES])
{
    int rc = secret_take_path(m, item);

    return rc < 0 ? rc : secret_take_path(m, prompt);
}

int secret_take_completed(sd_bus_message *m, bool *is_dismissed)
{
    int v;
    int rc = sd_bus_message_read_basic(m, 'b', &v);

    if (rc <= 0)
        return broken(rc);
    *is_dismissed = v != 0;
    return 0;
}

static int read_secret(sd_bus_message *m, const void **iv, size_t *iv_bytes,
                       const void **data, size_t *bytes)
{
    char session[SECRET_PATH_BYTES];
    int rc = sd_bus_message_enter_container(m, 'r', "oayays");

    if (rc <= 0)
        return broken(rc);
    if ((rc = secret_take_path(m, session)) < 0 ||
        (rc = read_bytes(m, iv, iv_bytes)) < 0)
        return rc;
    return read_bytes(m, data, bytes);
}

int secret_take_key(sd_bus_message *m, const struct secret_session *s,
                    uint8_t key[SEAL_KEY_BYTES], struct error *err)
{
    uint8_t text[SECRET_VALUE_MAX];
    const void *iv, *data;
    size_t iv_bytes, bytes;
    int rc = read_secret(m, &iv, &iv_bytes, &data, &bytes);

    if (rc == 0)
        rc = secret_session_open(text, s, iv, iv_bytes, data, bytes);
    if (rc < 0)
        return error_set(err, rc, "its secret cannot be read");
    rc = keyfile_parse(key, text, (size_t) rc, err);
    seal_wipe(text, sizeof(text));
    return rc < 0 ? error_prefix(err, rc, "its secret is no key") : 0;
}
