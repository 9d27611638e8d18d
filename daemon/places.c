// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/places.h"

#include <string.h>

void places_count(struct places *p, bool is_owner, const char *app)
{
    p->all++;
    if (is_owner)
        return;
    p->apps++;
    p->same += strcmp(app, request_app(p->r)) == 0;
}

bool places_are_left(const struct places *p, int max, int for_owner,
                     int app_max)
{
    if (request_is_owner(p->r))
        return p->all < max;
    return p->same < app_max && p->apps < max - for_owner;
}
