// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_scheme.h"

#include "storage/store_sql.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int store_scheme_put(struct store *s, const struct store_scheme *sc,
                     struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT OR REPLACE INTO schemes (name, model, json,"
                       " made_ms) VALUES (?, ?, ?, ?)",
                       err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, sc->name);
    (void) store_sql_bind_text(q, 2, sc->model);
    (void) store_sql_bind_text(q, 3, sc->json);
    (void) sqlite3_bind_int64(q, 4, sc->made_ms);
    return store_sql_run(s, q, "store the scheme", err);
}

static void read_row(struct store_scheme *sc, sqlite3_stmt *q)
{
    store_sql_text(sc->name, sizeof(sc->name), q, 0);
    store_sql_text(sc->model, sizeof(sc->model), q, 1);
    store_sql_text(sc->json, sizeof(sc->json), q, 2);
    sc->made_ms = sqlite3_column_int64(q, 3);
}

struct names {
    char text[320];
    size_t at;
};

static int add_name(const struct store_scheme *sc, void *user)
{
    struct names *n = user;
    size_t left = sizeof(n->text) - n->at - sizeof(", ...");
    int bytes =
        snprintf(n->text + n->at, left, "%s%s", n->at ? ", " : "", sc->name);

    if ((size_t) bytes < left) {
        n->at += (size_t) bytes;
        return 0;
    }
    // What did not fit as a whole is left out.
    (void) snprintf(n->text + n->at, sizeof(", ..."), ", ...");
    return 1;
}

static int say_missing(struct store *s, const char *name, struct error *err)
{
    struct names n = {.text = ""};
    int rc = store_scheme_each(s, add_name, &n, err);

    if (rc < 0)
        return rc;
    if (n.at == 0)
        return error_set(err, -ENOENT,
                         "there is no scheme %s: none has been saved; "
                         "`pockctl plan --search --save NAME` finds one",
                         name);
    return error_set(err, -ENOENT, "there is no scheme %s: those saved are %s",
                     name, n.text);
}

int store_scheme_get(struct store *s, const char *name,
                     struct store_scheme *out, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q, "SELECT name, model, json, made_ms FROM schemes WHERE name = ?",
        err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    rc = store_sql_step(s, q, "read the scheme", err);
    if (rc == 1)
        read_row(out, q);
    store_sql_done(q);
    return rc == 0 ? say_missing(s, name, err) : rc < 0 ? rc : 0;
}

int store_scheme_remove(struct store *s, const char *name, struct error *err)
{
    struct store_scheme old;
    sqlite3_stmt *q;
    int rc = store_scheme_get(s, name, &old, err);

    if (rc < 0 ||
        (rc = store_sql(s, &q, "DELETE FROM schemes WHERE name = ?", err)) < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    return store_sql_run(s, q, "remove the scheme", err);
}

int store_scheme_each(struct store *s, store_scheme_fn fn, void *user,
                      struct error *err)
{
    struct store_scheme sc;
    sqlite3_stmt *q;
    int stop = 0;
    int rc = store_sql(
        s, &q, "SELECT name, model, json, made_ms FROM schemes ORDER BY name",
        err);

    if (rc < 0)
        return rc;
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "read the schemes", err)) == 1) {
        read_row(&sc, q);
        stop = fn(&sc, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}
