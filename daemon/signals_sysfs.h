// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Signals from sysfs and procfs
 *
 * Reads power supplies, displays, thermal zones, memory, pressure and free
 * space into a snapshot. Everything below `root`, which is empty on a real
 * machine. A file that is missing, empty or nonsense leaves its value unknown.
 */

#include "daemon/snapshot.h"

// Power supplies, displays, platform profile: cheap, changes matter at once.
void signals_sysfs_read_power(struct snapshot *s, const char *root);
// Thermal zones and cooling devices.
void signals_sysfs_read_thermal(struct snapshot *s, const char *root);
// Memory and pressure.
void signals_sysfs_read_load(struct snapshot *s, const char *root);
// Free space of the file system that holds `dir`, which is not below root.
void signals_sysfs_read_disk(struct snapshot *s, const char *dir);
