// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Secret Service
 *
 * The keeper of keys that a person's session has on its bus
 * (org.freedesktop.secrets: gnome-keyring, KWallet, KeePassXC). It is asked at
 * the start, before there is a loop, and by the database thread when the key
 * is changed: never by the loop. Nothing stays connected in between, so it may
 * end and come back. Whoever is asked may have to be unlocked by a person:
 * that is waited for, no longer than `wait_ms`.
 */

#include "storage/keykeeper.h"

#include <stdbool.h>
#include <stdint.h>

struct secret_service {
    struct keykeeper keeper; // for store_open()
    int64_t wait_ms;
    // In a session that has just begun: who is not there, or locked, may come
    // or be unlocked without being asked.
    bool is_starting;
};

void secret_service_init(struct secret_service *s, int64_t wait_ms);
