// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_model.h"

#include "storage/store_sql.h"

#include <errno.h>

#define COLUMNS                                                          \
    "SELECT id, name, path, sha256, bytes, state, is_default, added_ms," \
    " arch, quant, license, params, context, vocab, layers, width,"      \
    " chat, chat_set FROM models "

const char *store_model_state_name(enum store_model_state state)
{
    static const char *const names[] = {"ready", "missing", "changed"};

    return (unsigned) state < 3 ? names[state] : "missing";
}

static void read_row(struct store_model *m, sqlite3_stmt *q)
{
    *m = (struct store_model){.id = sqlite3_column_int64(q, 0)};
    store_sql_text(m->name, sizeof(m->name), q, 1);
    store_sql_text(m->path, sizeof(m->path), q, 2);
    store_sql_hash(m->sha256, q, 3);
    m->bytes = sqlite3_column_int64(q, 4);
    m->state = (enum store_model_state) sqlite3_column_int(q, 5);
    m->is_default = sqlite3_column_int(q, 6) != 0;
    m->added_ms = sqlite3_column_int64(q, 7);
    store_sql_text(m->arch, sizeof(m->arch), q, 8);
    store_sql_text(m->quant, sizeof(m->quant), q, 9);
    store_sql_text(m->license, sizeof(m->license), q, 10);
    m->params = sqlite3_column_int64(q, 11);
    m->context = sqlite3_column_int64(q, 12);
    m->vocab = sqlite3_column_int64(q, 13);
    m->layers = sqlite3_column_int64(q, 14);
    m->width = sqlite3_column_int64(q, 15);
    store_sql_text(m->chat, sizeof(m->chat), q, 16);
    store_sql_text(m->chat_set, sizeof(m->chat_set), q, 17);
}

int store_model_add(struct store *s, const struct store_model *m, int64_t *id,
                    struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "INSERT INTO models (name, path, sha256, bytes, state, added_ms, arch,"
        " quant, license, params, context, vocab, layers, width, chat, chat_set,"
        " is_default)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
        " NOT EXISTS (SELECT 1 FROM models))",
        err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, m->name);
    (void) store_sql_bind_text(q, 2, m->path);
    (void) store_sql_bind_hash(q, 3, m->sha256);
    (void) sqlite3_bind_int64(q, 4, m->bytes);
    (void) sqlite3_bind_int(q, 5, (int) m->state);
    (void) sqlite3_bind_int64(q, 6, m->added_ms);
    (void) store_sql_bind_text(q, 7, m->arch);
    (void) store_sql_bind_text(q, 8, m->quant);
    (void) store_sql_bind_text(q, 9, m->license);
    (void) sqlite3_bind_int64(q, 10, m->params);
    (void) sqlite3_bind_int64(q, 11, m->context);
    (void) sqlite3_bind_int64(q, 12, m->vocab);
    (void) sqlite3_bind_int64(q, 13, m->layers);
    (void) sqlite3_bind_int64(q, 14, m->width);
    (void) store_sql_bind_text(q, 15, m->chat);
    (void) store_sql_bind_text(q, 16, m->chat_set);
    rc = store_sql_run(s, q, "add the model", err);
    if (rc == -EEXIST)
        return error_set(err, rc,
                         "a model named %s, or the same file, is registered "
                         "already",
                         m->name);
    if (rc == 0)
        *id = sqlite3_last_insert_rowid(s->db);
    return rc;
}

// One row, or -ENOENT without a sentence.
static int get_one(struct store *s, sqlite3_stmt *q, struct store_model *out,
                   struct error *err)
{
    int rc = store_sql_step(s, q, "read the model", err);

    if (rc == 1)
        read_row(out, q);
    store_sql_done(q);
    return rc == 1 ? 0 : rc == 0 ? -ENOENT : rc;
}

int store_model_get(struct store *s, const char *name, struct store_model *out,
                    struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, COLUMNS "WHERE name = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    rc = get_one(s, q, out, err);
    return rc == -ENOENT ? error_set(err, rc, "no model is named %s", name)
                         : rc;
}

int store_model_get_id(struct store *s, int64_t id, struct store_model *out,
                       struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, COLUMNS "WHERE id = ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, id);
    rc = get_one(s, q, out, err);
    return rc == -ENOENT
               ? error_set(err, rc, "there is no model %lld", (long long) id)
               : rc;
}

int store_model_get_hash(struct store *s,
                         const uint8_t sha256[STORE_HASH_BYTES],
                         struct store_model *out, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, COLUMNS "WHERE sha256 = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_hash(q, 1, sha256);
    rc = get_one(s, q, out, err);
    return rc == -ENOENT ? error_set(err, rc, "no model has this hash") : rc;
}

int store_model_get_default(struct store *s, struct store_model *out,
                            struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, COLUMNS "WHERE is_default = 1", err);

    if (rc < 0)
        return rc;
    rc = get_one(s, q, out, err);
    return rc == -ENOENT ? error_set(err, rc,
                                     "no base model is registered: add one "
                                     "with `pockctl model add FILE`")
                         : rc;
}

int store_model_each(struct store *s, store_model_fn fn, void *user,
                     struct error *err)
{
    struct store_model m;
    sqlite3_stmt *q;
    int stop = 0;
    int rc = store_sql(s, &q, COLUMNS "ORDER BY name", err);

    if (rc < 0)
        return rc;
    while (stop == 0 && (rc = store_sql_step(s, q, "list models", err)) == 1) {
        read_row(&m, q);
        stop = fn(&m, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}

// Exactly one row must have changed.
static int changed_one(struct store *s, int rc, const char *name,
                       struct error *err)
{
    if (rc == 0 && sqlite3_changes(s->db) == 0)
        return error_set(err, -ENOENT, "no model is named %s", name);
    return rc;
}

int store_model_set_default(struct store *s, const char *name,
                            struct error *err)
{
    sqlite3_stmt *q;
    bool own;
    int rc = store_sql_enter(s, &own, err);

    if (rc < 0)
        return rc;
    // The index allows one default: the old one goes first.
    rc = store_sql_exec(s, "UPDATE models SET is_default = 0 WHERE is_default",
                        "change the default model", err);
    if (rc == 0)
        rc = store_sql(s, &q, "UPDATE models SET is_default = 1 WHERE name = ?",
                       err);
    if (rc == 0) {
        (void) store_sql_bind_text(q, 1, name);
        rc = store_sql_run(s, q, "change the default model", err);
        rc = changed_one(s, rc, name, err);
    }
    return store_sql_leave(s, own, rc, err);
}

int store_model_set_state(struct store *s, int64_t id,
                          enum store_model_state state, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "UPDATE models SET state = ? WHERE id = ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int(q, 1, (int) state);
    (void) sqlite3_bind_int64(q, 2, id);
    rc = store_sql_run(s, q, "change the model", err);
    return changed_one(s, rc, "so", err);
}

int store_model_set_chat(struct store *s, const char *name, const char *chat,
                         struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q, "UPDATE models SET chat_set = ? WHERE name = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, chat);
    (void) store_sql_bind_text(q, 2, name);
    rc = store_sql_run(s, q, "change the model", err);
    return changed_one(s, rc, name, err);
}

int store_model_set_path(struct store *s, int64_t id, const char *path,
                         struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "UPDATE models SET path = ? WHERE id = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, path);
    (void) sqlite3_bind_int64(q, 2, id);
    rc = store_sql_run(s, q, "change the model", err);
    return changed_one(s, rc, "so", err);
}

static int delete_row(struct store *s, const char *name, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "DELETE FROM models WHERE name = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    rc = store_sql_run(s, q, "remove the model", err);
    if (rc == -EBUSY)
        return error_set(err, rc,
                         "the model %s has adapters or jobs: delete those "
                         "first",
                         name);
    return changed_one(s, rc, name, err);
}

int store_model_remove(struct store *s, const char *name, struct error *err)
{
    bool own;
    int rc = store_sql_enter(s, &own, err);

    if (rc < 0)
        return rc;
    rc = delete_row(s, name, err);
    // The oldest one that is left takes the place of a default that went.
    if (rc == 0)
        rc = store_sql_exec(
            s,
            "UPDATE models SET is_default = 1 WHERE id = (SELECT min(id) FROM"
            " models) AND NOT EXISTS (SELECT 1 FROM models WHERE is_default)",
            "remove the model", err);
    return store_sql_leave(s, own, rc, err);
}
