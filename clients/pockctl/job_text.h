// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A job in words, and its progress bar
 *
 * On a terminal the bar is redrawn in place at most ten times a second; on
 * anything else there is a line per 10 %. Changes of state get a line of their
 * own in both.
 */

#include "clients/pockctl/ctl.h"

enum { JOB_TEXT_BYTES = 320 };

// "training default on pock-16m, step 120 of 400, loss 4.12, 2 min 5 s left"
void job_text(char out[JOB_TEXT_BYTES], const struct pock_value *job);
// How it ended: "version 1: held-out loss 5.35 -> 3.62".
void job_result_text(char out[JOB_TEXT_BYTES], const struct pock_value *job);
bool job_is_final(const struct pock_value *job);
// 0 to 1; 0 before the steps are known.
double job_part(const struct pock_value *job);

struct job_bar {
    struct ctl *ctl;
    FILE *file; // standard error, or a test's
    bool has_cursor;
    int columns;
    int last_tenth; // of the lines that were written
    uint64_t drawn_ns;
    bool is_drawn; // the cursor stands behind a bar
    char state[32];
    char reason[32];
};

void job_bar_init(struct job_bar *b, struct ctl *c);
void job_bar_update(struct job_bar *b, const struct pock_value *job,
                    uint64_t now_ns);
// Leaves the bar's last picture on a line of its own.
void job_bar_finish(struct job_bar *b);
// A merged version that an erase took and that is merged again.
void remerge_text(char out[JOB_TEXT_BYTES], const struct pock_value *remerge);
