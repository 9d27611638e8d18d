// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Filters (inside storage/)
 *
 * A store_filter as a condition on `records AS r`, with the parameters ?1 to
 * ?5, ?30 and ?31; a statement's own parameters begin at ?6. What a job learns
 * from is chosen here, by the grants as they are when it is read, and nowhere
 * else.
 */

#include "storage/store_record.h"

#include <sqlite3.h>

#define STORE_FILTER_SQL                                                     \
    " r.stream_id IN (SELECT id FROM streams WHERE (?1 IS NULL OR app = ?1)" \
    " AND (?2 IS NULL OR name IN (SELECT value FROM json_each(?2))))"        \
    " AND r.time_ms >= ?3 AND r.time_ms < ?4"                                \
    " AND (?5 IS NULL OR r.id IN (SELECT value FROM json_each(?5)))"         \
    " AND (?31 IS NULL OR r.added_ms < ?31)"                                 \
    " AND (?30 IS NULL OR EXISTS (SELECT 1 FROM streams gs LEFT JOIN apps g" \
    " ON g.name = gs.app WHERE gs.id = r.stream_id AND (gs.app = 'host'"     \
    " OR (g.state = 1 AND g.purposes & 1"                                    \
    " AND (g.expires_ms = 0 OR g.expires_ms > ?30)"                          \
    " AND (g.kinds = 0 OR g.kinds >> (CASE WHEN r.is_feedback THEN 3 ELSE"   \
    " r.kind - 1 END) & 1)"                                                  \
    " AND (g.streams = '' OR instr(' ' || g.streams || ' ',"                 \
    " ' ' || gs.name || ' ') > 0))))) "

// NULL is a filter that everything passes. -ENOMEM.
int store_filter_bind(sqlite3_stmt *q, const struct store_filter *f,
                      struct error *err);
// A list of names as JSON, for json_each(). NULL binds NULL.
int store_filter_bind_names(sqlite3_stmt *q, int i, const char *const *names,
                            size_t count, struct error *err);
