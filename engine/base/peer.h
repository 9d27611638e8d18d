// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Who is at the other end of a Unix stream socket
 *
 * The kernel names the process (SO_PEERCRED), holds on to it (SO_PEERPIDFD, or
 * pidfd_open() and a second look at its start time), and /proc says what it
 * belongs to. What cannot be told is an error, never a guess: the caller must
 * refuse then.
 *
 * strength says what a name is worth. SANDBOXED: read out of the sandbox's own
 * root, which the app cannot change. SCOPE: a unit of the service manager,
 * which any program outside of a sandbox can make. UID: the user, and nothing
 * else.
 */

#include "engine/base/appid.h"
#include "engine/base/error.h"

#include <stdint.h>
#include <sys/types.h>

enum peer_strength {
    PEER_STRENGTH_UID = 1,
    PEER_STRENGTH_SCOPE = 2,
    PEER_STRENGTH_SANDBOXED = 3,
};

struct peer {
    uid_t uid;
    pid_t pid;
    enum peer_strength strength;
    bool is_sandboxed; // by what is known of it, however weakly
    bool is_held;      // the kernel itself named it by a pidfd
    struct appid app;  // APPID_NONE: nothing says which app it is
    char comm[16];     // what the process calls itself
};

// *out is filled with uid and pid also on failure, when the kernel said them.
// Inside of the root of a process of another user only root may look: else the
// cgroup's word must do.
int peer_identify(struct peer *out, int sock, struct error *err);
// What a name of that kind is worth at most.
enum peer_strength peer_strength_of(enum appid_kind kind);
