// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/signal_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum kind {
    KIND_TRI,
    KIND_BOOL,
    KIND_COUNT,
    KIND_BIG,
    KIND_NUM,
    KIND_STATE,
    KIND_HEALTH,
    KIND_WARNING,
    KIND_TEXT,
    KIND_USE,
    KIND_UNUSED,
};

static const struct {
    const char *name;
    const char *unit;
    const char *doc;
    size_t offset;
    size_t bytes;
    enum kind kind;
} rows[SIGNAL_COUNT] = {
#define SIGNAL(name, field, kind, unit, doc)    \
    {#name,                                     \
     unit,                                      \
     doc,                                       \
     offsetof(struct snapshot, field),          \
     sizeof(((struct snapshot *) NULL)->field), \
     KIND_##kind},
#include "daemon/signals.def"
#undef SIGNAL
};

// The first of each stands for "unknown".
static const char *const states[] = {NULL, "charging", "discharging", "full",
                                     "not charging"};
static const char *const healths[] = {NULL, "good", "cold", "hot", "bad"};
static const char *const warnings[] = {NULL,  "none",     "discharging",
                                       "low", "critical", "action"};
static const char *const sources[SIGNAL_SOURCE_COUNT] = {
    [SIGNAL_SOURCE_NONE] = "none",   [SIGNAL_SOURCE_DBUS] = "dbus",
    [SIGNAL_SOURCE_SYSFS] = "sysfs", [SIGNAL_SOURCE_PROCFS] = "procfs",
    [SIGNAL_SOURCE_AGENT] = "agent", [SIGNAL_SOURCE_STORE] = "store",
};

struct names {
    const char *const *list;
    int count;
};

static struct names names_of(enum kind kind)
{
    if (kind == KIND_STATE)
        return (struct names){states, 5};
    if (kind == KIND_HEALTH)
        return (struct names){healths, 5};
    return (struct names){warnings, 6};
}

const char *signal_name(enum signal g)
{
    return rows[g].name;
}

const char *signal_unit(enum signal g)
{
    return rows[g].unit;
}

const char *signal_doc(enum signal g)
{
    return rows[g].doc;
}

enum signal signal_find(const char *name)
{
    int i = 0;

    while (i < SIGNAL_COUNT && strcmp(rows[i].name, name) != 0)
        i++;
    return (enum signal) i;
}

const char *signal_source_name(enum signal_source s)
{
    return s < SIGNAL_SOURCE_COUNT ? sources[s] : "none";
}

enum signal_source signal_source_find(const char *name)
{
    int i = 0;

    while (i < SIGNAL_SOURCE_COUNT && strcmp(sources[i], name) != 0)
        i++;
    return (enum signal_source) i;
}

static struct signal_value none(void)
{
    return (struct signal_value){.type = SIGNAL_TYPE_NONE};
}

static struct signal_value flag(bool v)
{
    return (struct signal_value){.type = SIGNAL_TYPE_BOOL, .flag = v};
}

static struct signal_value integer(int64_t v)
{
    if (v < 0)
        return none();
    return (struct signal_value){.type = SIGNAL_TYPE_INT, .integer = v};
}

static struct signal_value text(const char *v)
{
    return (struct signal_value){.type = SIGNAL_TYPE_TEXT, .text = v};
}

struct signal_value signal_get(const struct snapshot *s, enum signal g)
{
    const void *at = (const char *) s + rows[g].offset;

    switch (rows[g].kind) {
    case KIND_TRI: {
        enum tri v = *(const enum tri *) at;
        return v == TRI_UNKNOWN ? none() : flag(v == TRI_YES);
    }
    case KIND_BOOL:
        return flag(*(const bool *) at);
    case KIND_USE:
        return s->is_use_known ? flag(s->is_in_use) : none();
    case KIND_COUNT:
        return integer(*(const int *) at);
    case KIND_BIG:
        return integer(*(const int64_t *) at);
    case KIND_UNUSED:
        return s->is_use_known && !s->is_in_use ? integer(*(const int64_t *) at)
                                                : none();
    case KIND_NUM: {
        double v = *(const double *) at;
        if (!isfinite(v))
            return none();
        return (struct signal_value){.type = SIGNAL_TYPE_NUM, .number = v};
    }
    case KIND_STATE:
    case KIND_HEALTH:
    case KIND_WARNING: {
        struct names n = names_of(rows[g].kind);
        int v = *(const int *) at;
        return v > 0 && v < n.count ? text(n.list[v]) : none();
    }
    case KIND_TEXT:
        return text(at);
    }
    return none();
}

// What stands for "unknown" where a value is taken back.
static bool set_none(struct snapshot *s, enum signal g)
{
    void *at = (char *) s + rows[g].offset;

    switch (rows[g].kind) {
    case KIND_TRI:
        *(enum tri *) at = TRI_UNKNOWN;
        return true;
    case KIND_BOOL:
        *(bool *) at = false;
        return true;
    case KIND_USE:
        s->is_use_known = false;
        s->is_in_use = false;
        return true;
    case KIND_COUNT:
        *(int *) at = -1;
        return true;
    case KIND_BIG:
        *(int64_t *) at = -1;
        return true;
    case KIND_UNUSED:
        *(int64_t *) at = 0;
        return true;
    case KIND_NUM:
        *(double *) at = NAN;
        return true;
    case KIND_STATE:
    case KIND_HEALTH:
    case KIND_WARNING:
        *(int *) at = 0;
        return true;
    case KIND_TEXT:
        *(char *) at = '\0';
        return true;
    }
    return false;
}

static bool set_flag(struct snapshot *s, enum signal g, bool v)
{
    void *at = (char *) s + rows[g].offset;

    if (rows[g].kind == KIND_TRI) {
        *(enum tri *) at = v ? TRI_YES : TRI_NO;
    } else if (rows[g].kind == KIND_BOOL) {
        *(bool *) at = v;
    } else if (rows[g].kind == KIND_USE) {
        s->is_use_known = true;
        s->is_in_use = v;
    } else {
        return false;
    }
    return true;
}

static bool set_integer(struct snapshot *s, enum signal g, int64_t v)
{
    void *at = (char *) s + rows[g].offset;

    if (v < 0 && rows[g].kind != KIND_NUM)
        return false;
    if (rows[g].kind == KIND_COUNT && v <= 1000000)
        *(int *) at = (int) v;
    else if (rows[g].kind == KIND_BIG || rows[g].kind == KIND_UNUSED)
        *(int64_t *) at = v;
    else if (rows[g].kind == KIND_NUM)
        *(double *) at = (double) v;
    else
        return false;
    return true;
}

static bool set_text(struct snapshot *s, enum signal g, const char *v)
{
    char *at = (char *) s + rows[g].offset;

    if (rows[g].kind == KIND_TEXT) {
        if (strlen(v) >= rows[g].bytes)
            return false;
        strcpy(at, v);
        return true;
    }
    if (rows[g].kind != KIND_STATE && rows[g].kind != KIND_HEALTH &&
        rows[g].kind != KIND_WARNING)
        return false;
    struct names n = names_of(rows[g].kind);
    for (int i = 1; i < n.count; i++)
        if (strcmp(n.list[i], v) == 0) {
            *(int *) (void *) at = i;
            return true;
        }
    return false;
}

bool signal_set(struct snapshot *s, enum signal g, const struct signal_value *v)
{
    switch (v->type) {
    case SIGNAL_TYPE_NONE:
        return set_none(s, g);
    case SIGNAL_TYPE_BOOL:
        return set_flag(s, g, v->flag);
    case SIGNAL_TYPE_INT:
        return set_integer(s, g, v->integer);
    case SIGNAL_TYPE_NUM:
        if (rows[g].kind != KIND_NUM || !isfinite(v->number))
            return false;
        *(double *) (void *) ((char *) s + rows[g].offset) = v->number;
        return true;
    case SIGNAL_TYPE_TEXT:
        return set_text(s, g, v->text);
    }
    return false;
}

bool signal_is_same(const struct snapshot *a, const struct snapshot *b,
                    enum signal g)
{
    struct signal_value x = signal_get(a, g);
    struct signal_value y = signal_get(b, g);

    if (x.type != y.type)
        return false;
    switch (x.type) {
    case SIGNAL_TYPE_NONE:
        return true;
    case SIGNAL_TYPE_BOOL:
        return x.flag == y.flag;
    case SIGNAL_TYPE_INT:
        return x.integer == y.integer;
    case SIGNAL_TYPE_NUM:
        return x.number == y.number;
    case SIGNAL_TYPE_TEXT:
        return strcmp(x.text, y.text) == 0;
    }
    return false;
}

static void put_integer(char *out, enum signal g, int64_t v, int64_t now_ms)
{
    if (rows[g].kind == KIND_UNUSED)
        snprintf(out, SIGNAL_TEXT_BYTES, "for %lld s",
                 (long long) ((now_ms > v ? now_ms - v : 0) / 1000));
    else if (strcmp(rows[g].unit, "bytes") == 0)
        snprintf(out, SIGNAL_TEXT_BYTES, "%lld MiB", (long long) (v >> 20));
    else
        snprintf(out, SIGNAL_TEXT_BYTES, "%lld%s%s", (long long) v,
                 rows[g].unit[0] ? " " : "", rows[g].unit);
}

const char *signal_text(char out[SIGNAL_TEXT_BYTES], const struct snapshot *s,
                        enum signal g, int64_t now_ms)
{
    struct signal_value v = signal_get(s, g);

    switch (v.type) {
    case SIGNAL_TYPE_NONE:
        snprintf(out, SIGNAL_TEXT_BYTES, "%s",
                 rows[g].kind == KIND_UNUSED && s->is_use_known ? "in use"
                                                                : "not known");
        break;
    case SIGNAL_TYPE_BOOL:
        snprintf(out, SIGNAL_TEXT_BYTES, "%s", v.flag ? "yes" : "no");
        break;
    case SIGNAL_TYPE_INT:
        put_integer(out, g, v.integer, now_ms);
        break;
    case SIGNAL_TYPE_NUM:
        snprintf(out, SIGNAL_TEXT_BYTES, "%.4g%s%s", v.number,
                 rows[g].unit[0] ? " " : "", rows[g].unit);
        break;
    case SIGNAL_TYPE_TEXT:
        snprintf(out, SIGNAL_TEXT_BYTES, "%s", v.text[0] ? v.text : "none");
        break;
    }
    if (g == SIGNAL_external_power && s->power_flaps > 0)
        snprintf(out, SIGNAL_TEXT_BYTES, "no: unsteady, %d changes in a minute",
                 s->power_flaps);
    return out;
}

void signal_mark(struct snapshot *s, enum signal g, enum signal_source source)
{
    s->source[g] =
        signal_get(s, g).type == SIGNAL_TYPE_NONE ? SIGNAL_SOURCE_NONE : source;
}

void signal_judge_use(struct snapshot *s)
{
    enum signal_source source = SIGNAL_SOURCE_DBUS;

    s->is_use_known =
        s->is_screen_off != TRI_UNKNOWN || s->is_session_idle != TRI_UNKNOWN;
    bool is_unused =
        s->is_screen_off == TRI_YES || s->is_session_idle == TRI_YES;
    s->is_in_use = s->is_use_known && !is_unused;
    if (!s->is_use_known)
        source = SIGNAL_SOURCE_NONE;
    else if (s->is_session_idle != TRI_YES && s->is_screen_off != TRI_UNKNOWN)
        source = SIGNAL_SOURCE_SYSFS;
    s->use_source = signal_source_name(source);
    s->source[SIGNAL_in_use] = source;
    signal_mark(s, SIGNAL_unused_since, source);
}
