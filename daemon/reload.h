// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Reload hooks (loop thread)
 *
 * After another version became active, a llama-server of this machine may be
 * told the scale of its adapter, and a command may be run: both only where the
 * policy says so. They get the adapter's name and the version's number, never
 * anything of records. What goes wrong is an event with a sentence; nothing
 * waits for a hook.
 */

#include "engine/base/error.h"

#include <stddef.h>
#include <stdint.h>

struct pockd;
struct reload;

enum { RELOAD_ARGS_MAX = 32, RELOAD_PATH_BYTES = 108 };

// Where a server listens: this machine, or a socket in the file system.
struct reload_target {
    char path[RELOAD_PATH_BYTES]; // "": by TCP
    int is_ipv6;
    uint16_t port;
};

// "http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost" or
// "unix:/run/llama.sock". -EINVAL with a sentence for all else: no name is
// looked up, and nothing leaves the machine.
int reload_parse_url(struct reload_target *out, const char *url,
                     struct error *err);
// An array of strings in JSON, the first an absolute path. `args` point into
// `room` and end with NULL, with two places left before it.
int reload_parse_command(char *args[RELOAD_ARGS_MAX], char *room, size_t size,
                         const char *json, struct error *err);
// Is the text of this key of the policy as it must be?
int reload_check(const char *key, const char *text, struct error *err);

int reload_create(struct reload **out, struct pockd *p);
// Hooks that run are left alone; commands go on. NULL is fine.
void reload_destroy(struct reload *r);
// `version` is active now; 0: the base model.
void reload_run(struct reload *r, const char *adapter, uint32_t version);
