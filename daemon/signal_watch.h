// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Streams of signals.get (loop thread)
 *
 * They see what pockd sees, when it looks: nothing is read for their sake.
 */

struct pockd;
struct signal_watch;

// The snapshot may have changed.
void signal_watch_tell(struct pockd *p);
// All of them end with SHUTTING_DOWN.
void signal_watch_end(struct pockd *p);
