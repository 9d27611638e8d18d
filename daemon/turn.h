// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Turn (loop thread)
 *
 * A machine has a daemon for each owner, and one training at a time. Two files
 * that tmpfiles.d makes are locked (flock): train.lock by the daemon whose
 * training runs, train.next by the one that waits for it. The one that runs
 * sees the other and makes room after its slice. The kernel takes a lock back
 * when its daemon dies. Without the files there is nobody to wait for.
 */

struct turn;

enum turn_state {
    TURN_ALONE,  // no other owner's daemon could train here
    TURN_FREE,   // nobody trains
    TURN_MINE,   // this daemon does
    TURN_WANTED, // this daemon does, and another owner's waits
    TURN_TAKEN,  // another owner's daemon trains, or is next
};

// Of the locks in `dir`; NULL: alone. -ENOMEM.
int turn_create(struct turn **out, const char *dir);
void turn_destroy(struct turn *t);

// Takes nothing.
enum turn_state turn_look(struct turn *t);
// MINE or ALONE: training may begin. TAKEN: not now.
enum turn_state turn_take(struct turn *t);
// Be the next, if nobody else is.
void turn_wait(struct turn *t);
// Neither training nor waiting.
void turn_release(struct turn *t);
