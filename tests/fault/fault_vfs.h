// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A file layer for SQLite that fails on demand
 *
 * "fault" passes everything on to the default one, counts the operations that
 * change files, and makes the n-th fail. In the mode of a power loss
 * everything fails from there on, and fault_vfs_lose_power() then takes back
 * sectors that were written but not synced, at random.
 */

#include <stdbool.h>
#include <stdint.h>

enum fault_vfs_mode {
    FAULT_VFS_FULL_ONCE, // no space, once
    FAULT_VFS_FULL,      // and from there on
    FAULT_VFS_EIO_ONCE,
    FAULT_VFS_TORN, // half of a write arrives, then EIO; as power loss goes on
    FAULT_VFS_POWER,
    FAULT_VFS_KILL, // the process is killed
    FAULT_VFS_MODES
};

int fault_vfs_register(void);
// The n-th operation from now on fails; 0: none.
void fault_vfs_arm(enum fault_vfs_mode mode, unsigned n);
bool fault_vfs_fired(void);
// After the store was closed, or given up.
void fault_vfs_lose_power(uint64_t seed);
