// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Timetables of several devices
 *
 * A machine has a CPU and may have GPUs, and each has a table of its own: as
 * bytes they stand one behind the other, the newest first. One alone is such a
 * file, too.
 */

#include "engine/plan/timetable.h"

enum { TIMETABLES_MAX = 4 };

// That of the device. -EBADMSG with a sentence when any of them is damaged;
// -ESTALE when it is of another build, or driver, or processor; -ENODATA when
// there is none.
int timetables_find(struct timetable **out, const void *data, size_t bytes,
                    const char *device, const char *build, uint32_t threads,
                    struct error *err);
// malloc'ed bytes: the table, and behind it those of other devices that `data`
// (NULL: nothing) has of the same build, as far as they are whole.
int timetables_put(void **out, size_t *out_bytes, const struct timetable *t,
                   const void *data, size_t bytes);
