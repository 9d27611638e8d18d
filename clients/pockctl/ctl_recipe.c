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

int ctl_set_recipe(struct ctl *c, struct pock_request *r, const char *text)
{
    const char *device = c->line.values[FLAG_DEVICE];

    if (!text && !device)
        return CTL_OK;
    char *copy = strdup(text ? text : "");
    char *rest = text ? copy : NULL;
    char *item;
    int status = CTL_OK;

    if (!copy)
        return ctl_no_memory(c);
    pock_open_map(r, "recipe");
    if (device)
        pock_set_str(r, "device", device);
    while (status == CTL_OK && (item = next_item(&rest))) {
        char *equals = strchr(item, '=');
        char *end;
        if (!equals || equals == item || !equals[1]) {
            status =
                ctl_fail(c, CTL_USAGE,
                         "--recipe: \"%s\" is not of the form KEY=VALUE", item);
            break;
        }
        *equals++ = '\0';
        long long whole = strtoll(equals, &end, 10);
        if (!*end) {
            pock_set_int(r, item, whole);
            continue;
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
    }
    pock_close(r);
    free(copy);
    return status;
}
