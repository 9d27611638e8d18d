// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Importer
 *
 * Reads files of the owner's writing into records, one by one, in bounded
 * memory. A record that cannot be used is reported with its line and reason,
 * and reading goes on behind it.
 *
 *   jsonl  an object a line: text, or prompt and completion, or messages (each
 *          with role and content); date or time; stream; uid. Other fields are
 *          ignored.
 *   txt    a record a paragraph; blank lines part paragraphs.
 *   md     a record a section: a heading and what follows it. A date in a
 *          heading holds for the sections below it; a heading that is only a
 *          date is left out of the text. A front matter's date holds for all.
 *
 * A date that starts the file's name ("2025-03-01.md") holds where the file
 * says nothing else. The uid is a hash of stream, date and contents: the same
 * writing always has the same one, so that importing twice adds nothing.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    IMPORT_UID_BYTES = 16,
    // What pockd takes: see PROTOCOL.md.
    IMPORT_RECORD_MAX = 256 << 10, // bytes of all texts of a record
    IMPORT_MESSAGES_MAX = 256,
    IMPORT_STREAM_MAX = 64,
};

enum import_format {
    IMPORT_JSONL,
    IMPORT_TXT,
    IMPORT_MD,
};

enum import_kind {
    IMPORT_TEXT,
    IMPORT_PAIR,
    IMPORT_CHAT,
};

struct import_message {
    const char *role;
    const char *content;
    size_t bytes;
};

// Borrowed strings: valid during the callback. All are checked UTF-8.
struct import_record {
    uint64_t line; // where it starts, from 1
    enum import_kind kind;
    const char *stream;
    bool has_time;
    int64_t time_ms;
    uint8_t uid[IMPORT_UID_BYTES];
    const char *text; // TEXT: the text. PAIR: the prompt
    size_t text_bytes;
    const char *completion; // PAIR
    size_t completion_bytes;
    int feedback; // PAIR that was shown: POCK_ACCEPTED, POCK_REJECTED; or 0
    const struct import_message *messages; // CHAT
    size_t message_count;
};

struct import_params {
    const char *stream; // for records that name none
    bool force_stream;  // and for those that do
    bool has_time;      // for records without a date
    int64_t time_ms;
    // Other than 0 ends the import with that value.
    int (*on_record)(void *user, const struct import_record *r);
    void (*on_bad)(void *user, uint64_t line, const char *reason);
    void *user;
};

// 0 at the end of the file, what on_record returned, or a negative errno for
// reading or memory.
int import_read(FILE *file, enum import_format format,
                const struct import_params *params);

// By name ("jsonl", "txt", "md") or by a path's ending; -EINVAL.
int import_format_parse(enum import_format *out, const char *name);
int import_format_of_path(enum import_format *out, const char *path);
// "notes/My Diary.md" gives "my-diary"; never empty.
void import_stream_of_path(char out[IMPORT_STREAM_MAX + 1], const char *path);
// 1 to 64 lower-case letters, digits, ".", "_" and "-", the first one a letter
// or digit.
bool import_stream_is_valid(const char *name);
// The date that starts a file's name, or false.
bool import_time_of_path(int64_t *out_ms, const char *path);
const char *import_kind_name(enum import_kind kind);
