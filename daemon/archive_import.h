// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Taking an archive (database thread)
 *
 * What is there already stays, so that taking one again, or after a crash,
 * changes nothing: records are known by their uid, versions by their number
 * and bytes, jobs by adapter and time. Ids stay as they were where they are
 * free. Lines go in a transaction a piece; what cannot be taken is counted and
 * told.
 */

#include "daemon/archive.h"
#include "storage/store.h"

enum { ARCHIVE_REMARKS_MAX = 16 };

struct archive_result {
    uint64_t found[ARCHIVE_KIND_COUNT]; // lines, or files
    uint64_t taken[ARCHIVE_KIND_COUNT]; // of them, those that were new
    uint64_t refused[ARCHIVE_KIND_COUNT];
    uint32_t n_remarks;
    char remarks[ARCHIVE_REMARKS_MAX][STORE_TEXT_SIZE]; // why, each once
};

struct archive_import;

// The reader must have come to its end; it is borrowed, and sorted here.
int archive_import_create(struct archive_import **out, struct archive_reader *r,
                          struct error *err);
void archive_import_destroy(struct archive_import *x);
// 1: there is more; 0: all is taken. Not inside a transaction.
int archive_import_step(struct archive_import *x, struct store *s,
                        struct error *err);
const struct archive_result *archive_import_result(
    const struct archive_import *x);

// For tests: lines of one kind, in the open transaction.
int archive_import_lines(struct archive_import *x, struct store *s,
                         enum archive_kind kind, const char *text, size_t bytes,
                         struct error *err);
