// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/out_json.h"

#include <string.h>

static bool is_one_of(const char *key, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(key, *names) == 0)
            return true;
    return false;
}

static const char *const time_keys[] = {"time",    "added",    "created",
                                        "started", "finished", "since",
                                        "first",   "last",     NULL};

static void add_value(struct ctl *c, struct str *s, const char *key,
                      const struct pock_value *v)
{
    char text[OUT_TIME_BYTES];

    if (pock_kind(v) == POCK_KIND_STR) {
        str_puts(s, pock_as_str(v, ""));
    } else if (pock_kind(v) == POCK_KIND_INT && is_one_of(key, time_keys)) {
        str_puts(s, ctl_time(c, text, pock_as_int(v, 0)));
    } else if (pock_kind(v) == POCK_KIND_INT && strcmp(key, "bytes") == 0) {
        out_bytes_format(text, pock_as_int(v, 0));
        str_puts(s, text);
    } else if (pock_kind(v) == POCK_KIND_INT && strcmp(key, "run_ms") == 0) {
        out_duration_format(text, pock_as_int(v, 0));
        str_puts(s, text);
    } else if (pock_kind(v) == POCK_KIND_FLOAT) {
        str_printf(s, "%.4g", pock_as_float(v, 0));
    } else if (pock_kind(v) == POCK_KIND_BOOL) {
        str_puts(s, pock_as_bool(v, false) ? "yes" : "no");
    } else {
        out_json_value(s, v);
    }
}

int ctl_show(struct ctl *c, const struct pock_value *map)
{
    static const struct out_column columns[] = {{NULL, false, false},
                                                {NULL, false, false}};
    struct out_table *t;
    struct str s = {0};

    if (out_table_create(&t, columns, 2) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(map); i++) {
        str_clear(&s);
        add_value(c, &s, pock_key_at(map, i), pock_at(map, i));
        out_table_text(t, pock_key_at(map, i));
        out_table_text(t, str_finish(&s) == 0 && s.data ? s.data : "");
    }
    str_free(&s);
    return ctl_table(c, t);
}
