// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Names of apps
 *
 * What /proc/PID/cgroup and a sandbox's .flatpak-info say about the app that a
 * process belongs to, as a name whose first word says how it is known:
 * flatpak:org.gnome.Text, snap:editor, scope:org.gnome.Text (a scope or service
 * of the user's service manager: any program may make one of any name), or
 * host:editor (what a program says of itself). No I/O: bytes in, a name out.
 */

#include <stdbool.h>
#include <stddef.h>

enum appid_kind {
    APPID_NONE,
    APPID_HOST,
    APPID_SCOPE,
    APPID_SNAP,
    APPID_FLATPAK,
};

enum {
    APPID_SIZE = 65, // of a name, with its NUL
    APPID_FILE_BYTES_MAX = 64 << 10,
};

struct appid {
    enum appid_kind kind;
    char name[APPID_SIZE]; // "" when there is none
    // From a cgroup that a flatpak lies in. Not proof: name has scope:.
    bool is_flatpak_scope;
};

// `word` alone is in the id's characters: [A-Za-z0-9._-], the first no '-' or
// '.'. -EINVAL: it is not, or it is too long.
int appid_set(struct appid *out, enum appid_kind kind, const char *id,
              size_t bytes);
// As appid_set() for host:, with what does not fit left out. Empty: -EINVAL.
int appid_set_host(struct appid *out, const char *text, size_t bytes);
// APPID_NONE: not a name as above.
enum appid_kind appid_kind_of(const char *name);

// The text of /proc/PID/cgroup. The outermost unit counts: those below are the
// app's own to make. APPID_NONE where none says it. -EINVAL: not such a text,
// or a sandbox whose name cannot be told.
int appid_from_cgroup(struct appid *out, const char *text, size_t bytes);
// The text of .flatpak-info. -EINVAL: it does not name an app, once.
int appid_from_flatpak_info(struct appid *out, const char *text, size_t bytes);
