// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Side job
 *
 * A thread that does one thing at a time while its owner waits for something
 * else, a GPU or a disk. It sleeps in between. All calls by one thread.
 */

struct sidejob;

// -EAGAIN, -ENOMEM.
int sidejob_create(struct sidejob **out);
void sidejob_destroy(struct sidejob *s); // accepts NULL; waits

// Begins fn(ctx), after what was begun before. What `ctx` leads to is the
// job's until sidejob_wait().
void sidejob_start(struct sidejob *s, void (*fn)(void *ctx), void *ctx);
void sidejob_wait(struct sidejob *s);
