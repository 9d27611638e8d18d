// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * How busy GPUs are
 *
 * All of them by sysfs, whoever uses them; and what other programs use, by the
 * engine times in the descriptors' files of their processes, as far as those
 * may be read. Everything below `root`.
 */

#include <stddef.h>
#include <stdint.h>

// The busiest GPU in percent; -1 when none says so. amdgpu counts; devfreq
// tells its load, or else only how high it is clocked.
int signals_gpu_read_busy(const char *root);

struct gpu_users;

struct gpu_users *gpu_users_create(void); // NULL: out of memory
void gpu_users_destroy(struct gpu_users *g);
// Look at some of the processes, for about `budget_us`; after the last of them
// a round ends, and the next one begins five seconds after it did. Nothing
// where there is no GPU. now_ms: monotonic.
void gpu_users_scan(struct gpu_users *g, const char *root, int64_t now_ms,
                    int64_t budget_us);
// Of one GPU's time, between the last two rounds; -1: not known.
int gpu_users_pct(const struct gpu_users *g);

// The client and its engines' time in such a file: 0, or -1 when it is none.
int gpu_users_parse(uint64_t *client, uint64_t *ns, const char *text);
