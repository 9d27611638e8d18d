// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Inside of the importer: what the readers of the formats share.
 */

#include "clients/pockctl/importer.h"

struct import_lines {
    FILE *file;
    char *data;
    size_t bytes; // of the line, without its end
    size_t size;
    size_t limit;
    uint64_t number; // of the line, from 1
};

// 1: `lines` holds the next line, NUL-terminated; 0: end of file; -E2BIG: the
// line was longer than `limit`, `bytes` says how long, and it was skipped;
// otherwise a failure of reading or memory.
int import_lines_next(struct import_lines *lines);
void import_lines_free(struct import_lines *lines);

// Complete and check a record, then give it to on_record. What is wrong with it
// goes to on_bad, and 0 is returned.
int import_emit(const struct import_params *params, struct import_record *r);
void import_bad(const struct import_params *params, uint64_t line,
                const char *fmt, ...) __attribute__((format(printf, 3, 4)));

int import_read_jsonl(struct import_lines *lines,
                      const struct import_params *params);
int import_read_txt(struct import_lines *lines,
                    const struct import_params *params);
int import_read_md(struct import_lines *lines,
                   const struct import_params *params);
