// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Up to the next comma that stands outside of JSON; NULL at the end.
static char *next_item(char **rest)
{
    char *item = *rest;
    bool is_string = false;
    int depth = 0;

    if (!item)
        return NULL;
    for (char *p = item;; p++) {
        if (*p == '\0') {
            *rest = NULL;
            return item;
        }
        is_string ^= *p == '"';
        if (is_string)
            continue;
        depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
        if (*p == ',' && depth == 0) {
            *p = '\0';
            *rest = p + 1;
            return item;
        }
    }
}

// KEY=VALUE into the map that is open
static int set_item(struct ctl *c, struct pock_request *r, char *item)
{
    char *equals = strchr(item, '=');
    char *end;

    if (!equals || equals == item || !equals[1])
        return ctl_fail(c, CTL_USAGE,
                        "--recipe: \"%s\" is not of the form KEY=VALUE", item);
    *equals++ = '\0';
    long long whole = strtoll(equals, &end, 10);
    if (!*end) {
        pock_set_int(r, item, whole);
        return CTL_OK;
    }
    double v = strtod(equals, &end);
    if (!*end && isfinite(v)) {
        pock_set_float(r, item, v);
    } else if (strcmp(item, "targets") == 0) {
        pock_open_list(r, item);
        while ((item = strsep(&equals, "+")))
            pock_set_str(r, NULL, item);
        pock_close(r);
    } else {
        pock_set_str(r, item, equals);
    }
    return CTL_OK;
}

int ctl_set_recipe(struct ctl *c, struct pock_request *r)
{
    const char *text = c->line.values[FLAG_RECIPE];
    const char *method = c->line.values[FLAG_METHOD];
    const char *device = c->line.values[FLAG_DEVICE];
    int64_t queries = 0;
    int status = CTL_OK;

    if (c->line.values[FLAG_QUERIES] &&
        (status = ctl_int_flag(c, FLAG_QUERIES, 1, 256, &queries)) != CTL_OK)
        return status;
    if (!text && !method && !device && queries == 0)
        return CTL_OK;
    char *copy = strdup(text ? text : "");
    char *rest = text ? copy : NULL;
    char *item;
    if (!copy)
        return ctl_no_memory(c);
    pock_open_map(r, "recipe");
    if (device)
        pock_set_str(r, "device", device);
    if (method)
        pock_set_str(r, "method", method);
    if (queries > 0)
        pock_set_int(r, "queries", queries);
    while (status == CTL_OK && (item = next_item(&rest)))
        status = set_item(c, r, item);
    pock_close(r);
    free(copy);
    return status;
}
