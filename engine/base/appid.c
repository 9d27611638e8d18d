// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/appid.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    UNIT_BYTES_MAX = 255, // of a component of a path
    PARTS_MAX = 4,
};

// A piece of a text that somebody else owns.
struct piece {
    const char *p;
    size_t n;
};

static const char *const prefixes[] = {
    [APPID_NONE] = "",
    [APPID_HOST] = "host:",
    [APPID_SCOPE] = "scope:",
    [APPID_SNAP] = "snap:",
    [APPID_FLATPAK] = "flatpak:",
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_';
}

static bool is_id(const char *p, size_t n)
{
    if (n == 0 || !is_letter(p[0]))
        return false;
    for (size_t i = 1; i < n; i++)
        if (!is_letter(p[i]) && p[i] != '.' && p[i] != '-')
            return false;
    return true;
}

int appid_set(struct appid *out, enum appid_kind kind, const char *id,
              size_t bytes)
{
    size_t head = strlen(prefixes[kind]);

    if (!is_id(id, bytes) || head + bytes >= APPID_SIZE)
        return -EINVAL;
    *out = (struct appid){.kind = kind};
    memcpy(out->name, prefixes[kind], head);
    memcpy(out->name + head, id, bytes);
    return 0;
}

int appid_set_host(struct appid *out, const char *text, size_t bytes)
{
    const size_t room = APPID_SIZE - 1 - strlen(prefixes[APPID_HOST]);
    char id[APPID_SIZE];
    size_t n = 0;

    for (size_t i = 0; i < bytes && n < room; i++)
        if (is_letter(text[i]) || (n > 0 && (text[i] == '.' || text[i] == '-')))
            id[n++] = text[i];
    return appid_set(out, APPID_HOST, id, n);
}

enum appid_kind appid_kind_of(const char *name)
{
    for (int k = APPID_HOST; k <= APPID_FLATPAK; k++) {
        size_t head = strlen(prefixes[k]);
        if (strncmp(name, prefixes[k], head) == 0)
            return is_id(name + head, strlen(name + head)) &&
                           strlen(name) < APPID_SIZE
                       ? (enum appid_kind) k
                       : APPID_NONE;
    }
    return APPID_NONE;
}

static bool begins(struct piece s, const char *with)
{
    size_t n = strlen(with);

    return s.n >= n && memcmp(s.p, with, n) == 0;
}

static bool cut_end(struct piece *s, const char *end)
{
    size_t n = strlen(end);

    if (s->n < n || memcmp(s->p + s->n - n, end, n) != 0)
        return false;
    s->n -= n;
    return true;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// \xHH of the service manager's names. False: some other use of a backslash.
static bool unescape(char out[UNIT_BYTES_MAX + 1], size_t *n, struct piece s)
{
    *n = 0;
    for (size_t i = 0; i < s.n && *n < UNIT_BYTES_MAX; i++) {
        if (s.p[i] != '\\') {
            out[(*n)++] = s.p[i];
            continue;
        }
        if (i + 3 >= s.n || s.p[i + 1] != 'x' || hex(s.p[i + 2]) < 0 ||
            hex(s.p[i + 3]) < 0)
            return false;
        out[(*n)++] = (char) (hex(s.p[i + 2]) * 16 + hex(s.p[i + 3]));
        i += 3;
    }
    return true;
}

// Between the '-'s: a '-' of a name is escaped. 0: more than PARTS_MAX.
static size_t split(struct piece parts[PARTS_MAX], struct piece s)
{
    size_t count = 0;

    while (count < PARTS_MAX) {
        const char *end = memchr(s.p, '-', s.n);
        size_t n = end ? (size_t) (end - s.p) : s.n;
        parts[count++] = (struct piece){s.p, n};
        if (!end)
            return count;
        s = (struct piece){end + 1, s.n - n - 1};
    }
    return 0;
}

// app-[LAUNCHER-]ID-RANDOM.scope and app-[LAUNCHER-]ID[@RANDOM].service
static int read_app_unit(struct appid *out, struct piece unit)
{
    struct piece parts[PARTS_MAX];
    char id[UNIT_BYTES_MAX + 1];
    size_t n;
    bool is_flatpak = begins(unit, "app-flatpak-");
    int bad = is_flatpak ? -EINVAL : 0;
    bool is_scope = cut_end(&unit, ".scope");

    if (!is_scope && !cut_end(&unit, ".service"))
        return bad;
    unit = (struct piece){unit.p + 4, unit.n - 4};
    const char *at = is_scope ? NULL : memchr(unit.p, '@', unit.n);
    if (at)
        unit.n = (size_t) (at - unit.p);
    size_t count = split(parts, unit);
    if (count < 1u + is_scope + is_flatpak)
        return bad;
    count -= is_scope;
    if (!unescape(id, &n, parts[count - 1]) ||
        appid_set(out, APPID_SCOPE, id, n) < 0)
        return bad;
    out->is_flatpak_scope = is_flatpak;
    return 0;
}

// snap.NAME.APP[-RANDOM].scope or .service
static int read_snap_unit(struct appid *out, struct piece unit)
{
    if ((!cut_end(&unit, ".scope") && !cut_end(&unit, ".service")) ||
        unit.n < 5)
        return -EINVAL;
    unit = (struct piece){unit.p + 5, unit.n - 5};
    const char *dot = memchr(unit.p, '.', unit.n);
    return dot ? appid_set(out, APPID_SNAP, unit.p, (size_t) (dot - unit.p))
               : -EINVAL;
}

static int read_unit(struct appid *out, struct piece unit)
{
    if (unit.n > UNIT_BYTES_MAX)
        return -EINVAL;
    if (begins(unit, "snap."))
        return read_snap_unit(out, unit);
    return begins(unit, "app-") ? read_app_unit(out, unit) : 0;
}

static bool is_sandbox(const struct appid *a)
{
    return a->kind == APPID_SNAP || a->is_flatpak_scope;
}

// The outermost unit that names an app; one of a sandbox counts before others.
static int read_path(struct appid *best, struct piece path)
{
    while (path.n > 0) {
        const char *end = memchr(path.p, '/', path.n);
        size_t n = end ? (size_t) (end - path.p) : path.n;
        struct appid a = {.kind = APPID_NONE};
        int rc = read_unit(&a, (struct piece){path.p, n});
        if (rc < 0)
            return rc;
        if (a.kind != APPID_NONE &&
            (best->kind == APPID_NONE || (is_sandbox(&a) && !is_sandbox(best))))
            *best = a;
        path = (struct piece){path.p + n + (end ? 1 : 0),
                              path.n - n - (end ? 1 : 0)};
    }
    return 0;
}

// "NUMBER:CONTROLLERS:PATH"; the service manager's hierarchy has none, or one
// with a name.
static int read_line(struct appid *best, struct piece line)
{
    const char *a = memchr(line.p, ':', line.n);
    const char *b =
        a ? memchr(a + 1, ':', line.n - (size_t) (a + 1 - line.p)) : NULL;

    if (!b || a == line.p)
        return -EINVAL;
    struct piece what = {a + 1, (size_t) (b - a - 1)};
    if (what.n > 0 && !(what.n == 12 && begins(what, "name=systemd")))
        return 0;
    return read_path(best,
                     (struct piece){b + 1, line.n - (size_t) (b + 1 - line.p)});
}

int appid_from_cgroup(struct appid *out, const char *text, size_t bytes)
{
    struct appid best = {.kind = APPID_NONE};

    if (bytes == 0 || bytes > APPID_FILE_BYTES_MAX || memchr(text, '\0', bytes))
        return -EINVAL;
    for (const char *end = text + bytes; text < end;) {
        const char *nl = memchr(text, '\n', (size_t) (end - text));
        size_t n = (size_t) ((nl ? nl : end) - text);
        int rc = read_line(&best, (struct piece){text, n});
        if (rc < 0)
            return rc;
        text += n + (nl ? 1 : 0);
    }
    *out = best;
    return 0;
}

static struct piece trim(struct piece s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (struct piece){s.p + 1, s.n - 1};
    while (s.n > 0 && strchr(" \t\r", s.p[s.n - 1]))
        s.n--;
    return s;
}

static bool equals(struct piece s, const char *with)
{
    return s.n == strlen(with) && memcmp(s.p, with, s.n) == 0;
}

int appid_from_flatpak_info(struct appid *out, const char *text, size_t bytes)
{
    struct appid found = {.kind = APPID_NONE};
    bool is_inside = false;

    if (bytes == 0 || bytes > APPID_FILE_BYTES_MAX || memchr(text, '\0', bytes))
        return -EINVAL;
    for (const char *end = text + bytes; text < end;) {
        const char *nl = memchr(text, '\n', (size_t) (end - text));
        size_t n = (size_t) ((nl ? nl : end) - text);
        struct piece line = trim((struct piece){text, n});
        text += n + (nl ? 1 : 0);
        if (line.n > 0 && line.p[0] == '[') {
            is_inside = equals(line, "[Application]");
            continue;
        }
        const char *eq = memchr(line.p, '=', line.n);
        if (!is_inside || !eq ||
            !equals(trim((struct piece){line.p, (size_t) (eq - line.p)}),
                    "name"))
            continue;
        struct piece id =
            trim((struct piece){eq + 1, line.n - (size_t) (eq + 1 - line.p)});
        // Two names are one too many to choose from.
        if (found.kind != APPID_NONE ||
            appid_set(&found, APPID_FLATPAK, id.p, id.n) < 0)
            return -EINVAL;
    }
    if (found.kind == APPID_NONE)
        return -EINVAL;
    *out = found;
    return 0;
}
