// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Places that a daemon has for requests that last
 *
 * An app cannot take those of others: of all places some are for the owner's
 * own tools, and one app has no more than its part.
 */

#include "daemon/request.h"

struct places {
    const struct request *r; // that wants one
    int all;                 // that are taken, counted so far;
    int apps;                // by apps;
    int same;                // by the app that wants one
};

void places_count(struct places *p, bool is_owner, const char *app);
bool places_are_left(const struct places *p, int max, int for_owner,
                     int app_max);
