// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Archives (database thread)
 *
 * Everything that pockd holds of its owner as one plain tar file; what is in
 * it, clients/ARCHIVE.md says. Written in one go, read in two: first all of it
 * is looked at (names, sizes, hashes, signature), then it is taken.
 */

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/base/sign.h"
#include "engine/base/str.h"
#include "engine/base/tar.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARCHIVE_WORD     "archive" // of the signature
#define ARCHIVE_MANIFEST "manifest.json"
#define ARCHIVE_SIG      "manifest.sig"

enum {
    ARCHIVE_LINES_BYTES = 1 << 20,      // a member of lines is ended above
    ARCHIVE_LINES_BYTES_MAX = 16 << 20, // and read up to
    ARCHIVE_MANIFEST_BYTES_MAX = 16 << 20,
    ARCHIVE_MEMBERS_MAX = 65536,
};
#define ARCHIVE_FILE_BYTES_MAX (UINT64_C(1) << 30) // of an adapter

// Members lie in directories of these names, and are taken in this order.
#define ARCHIVE_KINDS(X)    \
    X(README, "README")     \
    X(MODELS, "models")     \
    X(STREAMS, "streams")   \
    X(RECORDS, "records")   \
    X(ADAPTERS, "adapters") \
    X(JOBS, "jobs")         \
    X(METRICS, "metrics")   \
    X(VERSIONS, "versions") \
    X(LINEAGE, "lineage")   \
    X(SCHEMES, "schemes")   \
    X(POLICY, "policy")     \
    X(AUDIT, "audit")       \
    X(FILES, "files")

enum archive_kind {
#define X(sym, name) ARCHIVE_##sym,
    ARCHIVE_KINDS(X)
#undef X
        ARCHIVE_KIND_COUNT
};

const char *archive_kind_name(enum archive_kind kind);

/*
 * Writing
 */

struct archive_writer {
    int fd;
    const struct sign_key *key;
    int64_t time_ms;
    uint64_t bytes; // written
    uint32_t members;
    struct str manifest; // the list of members so far
    struct str lines;    // of the member at hand
    enum archive_kind kind;
    uint32_t number;                     // of members of this kind
    uint64_t counts[ARCHIVE_KIND_COUNT]; // lines, or files
};

void archive_write_begin(struct archive_writer *w, int fd,
                         const struct sign_key *key, int64_t time_ms);
void archive_write_finish(struct archive_writer *w);
int archive_write_member(struct archive_writer *w, const char *name,
                         const void *data, size_t bytes, struct error *err);
// One line of JSON, with its line feed, into a member of this kind; kinds come
// one after the other. archive_write_flush() ends the last one.
int archive_write_line(struct archive_writer *w, enum archive_kind kind,
                       const struct str *line, struct error *err);
int archive_write_flush(struct archive_writer *w, struct error *err);
// An adapter's file: all of `fd`.
int archive_write_file(struct archive_writer *w, const char *name, int fd,
                       uint64_t bytes, struct error *err);
// Manifest, signature, end.
int archive_write_end(struct archive_writer *w, struct error *err);

/*
 * Reading
 */

struct archive_member {
    uint64_t offset; // of its content
    uint64_t bytes;
    uint8_t sha256[HASH_BYTES];
    enum archive_kind kind;
    bool is_listed; // in the manifest
    char name[TAR_NAME_SIZE];
};

struct archive_reader {
    int fd; // borrowed
    uint64_t file_bytes;
    uint64_t at;
    struct archive_member *members;
    size_t count;
    size_t size;
    // The member that is read.
    bool is_inside;
    uint64_t left;
    struct hash_state hash;
    char name[TAR_NAME_SIZE];
    struct str manifest;
    struct str signature;
    bool has_end;
    // Known at the end.
    uint8_t signer[SIGN_KEY_BYTES];
    int64_t created_ms;
};

// A regular file, read from its start. -EINVAL.
int archive_read_begin(struct archive_reader *r, int fd, struct error *err);
void archive_read_finish(struct archive_reader *r);
// Goes on for some milliseconds. 1: there is more. 0: all of it is as its
// signed manifest says; by whom is in `signer`. -EBADMSG: it is not.
int archive_read_step(struct archive_reader *r, struct error *err);
// Members by kind, then name.
void archive_read_sort(struct archive_reader *r);
