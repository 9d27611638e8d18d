// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/archive.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/fdio.h"

enum { PIECE = 64 << 10 };

static const char *const kind_names[] = {
#define X(sym, name) [ARCHIVE_##sym] = name,
    ARCHIVE_KINDS(X)
#undef X
};

const char *archive_kind_name(enum archive_kind kind)
{
    return kind_names[kind];
}

void archive_write_begin(struct archive_writer *w, int fd,
                         const struct sign_key *key, int64_t time_ms)
{
    *w = (struct archive_writer){.fd = fd, .key = key, .time_ms = time_ms};
    w->manifest.limit = ARCHIVE_MANIFEST_BYTES_MAX;
    w->lines.limit = ARCHIVE_LINES_BYTES_MAX;
}

void archive_write_finish(struct archive_writer *w)
{
    str_free(&w->manifest);
    str_free(&w->lines);
}

static int put(struct archive_writer *w, const void *data, size_t bytes,
               struct error *err)
{
    w->bytes += bytes;
    return fdio_write(w->fd, data, bytes, err);
}

static int put_header(struct archive_writer *w, const char *name,
                      uint64_t bytes, struct error *err)
{
    uint8_t block[TAR_BLOCK];

    if (tar_encode(block, name, bytes, w->time_ms / 1000) < 0)
        return error_set(err, -E2BIG, "%s does not fit into an archive", name);
    return put(w, block, sizeof(block), err);
}

static int put_padding(struct archive_writer *w, uint64_t bytes,
                       struct error *err)
{
    static const uint8_t zeros[TAR_BLOCK];

    return put(w, zeros, tar_padding(bytes), err);
}

static int remember(struct archive_writer *w, const char *name, uint64_t bytes,
                    const uint8_t digest[HASH_BYTES], struct error *err)
{
    char hex[HASH_HEX];

    if (++w->members > ARCHIVE_MEMBERS_MAX)
        return error_set(err, -E2BIG, "there is too much for one archive");
    hash_to_hex(hex, digest);
    str_printf(&w->manifest,
               "%s\n{\"name\":\"%s\",\"bytes\":%llu,\"sha256\":\"%s\"}",
               w->members > 1 ? "," : "", name, (unsigned long long) bytes,
               hex);
    int rc = str_finish(&w->manifest);
    return rc < 0 ? error_set(err, rc, "there is too much for one archive") : 0;
}

static int put_member(struct archive_writer *w, const char *name,
                      const void *data, size_t bytes, struct error *err)
{
    int rc;

    if ((rc = put_header(w, name, bytes, err)) < 0 ||
        (rc = put(w, data, bytes, err)) < 0)
        return rc;
    return put_padding(w, bytes, err);
}

int archive_write_member(struct archive_writer *w, const char *name,
                         const void *data, size_t bytes, struct error *err)
{
    uint8_t digest[HASH_BYTES];
    int rc = put_member(w, name, data, bytes, err);

    if (rc < 0)
        return rc;
    hash_bytes(digest, data, bytes);
    return remember(w, name, bytes, digest, err);
}

int archive_write_flush(struct archive_writer *w, struct error *err)
{
    char name[TAR_NAME_SIZE];

    if (w->lines.bytes == 0)
        return 0;
    (void) snprintf(name, sizeof(name), "%s/%06u.jsonl", kind_names[w->kind],
                    ++w->number);
    int rc = archive_write_member(w, name, w->lines.data, w->lines.bytes, err);
    str_clear(&w->lines);
    return rc;
}

int archive_write_line(struct archive_writer *w, enum archive_kind kind,
                       const struct str *line, struct error *err)
{
    int rc = str_finish(line);

    if (rc < 0)
        return error_set(err, rc, "a line is too long for an archive");
    if (kind != w->kind || w->lines.bytes + line->bytes > ARCHIVE_LINES_BYTES)
        rc = archive_write_flush(w, err);
    if (rc < 0)
        return rc;
    if (kind != w->kind) {
        w->kind = kind;
        w->number = 0;
    }
    w->counts[kind]++;
    str_append(&w->lines, line->data, line->bytes);
    rc = str_finish(&w->lines);
    return rc < 0 ? error_set(err, rc, "out of memory") : 0;
}

int archive_write_file(struct archive_writer *w, const char *name, int fd,
                       uint64_t bytes, struct error *err)
{
    uint8_t piece[PIECE], digest[HASH_BYTES];
    struct hash_state h;
    uint64_t at = 0;
    int rc = archive_write_flush(w, err);

    if (rc < 0 || (rc = put_header(w, name, bytes, err)) < 0)
        return rc;
    hash_init(&h);
    while (at < bytes) {
        const size_t want = bytes - at < PIECE ? (size_t) (bytes - at) : PIECE;
        ssize_t n = pread(fd, piece, want, (off_t) at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, n < 0 ? -errno : -EIO,
                             "cannot read an adapter's file");
        if ((rc = put(w, piece, (size_t) n, err)) < 0)
            return rc;
        hash_update(&h, piece, (size_t) n);
        at += (uint64_t) n;
    }
    hash_final(&h, digest);
    w->counts[ARCHIVE_FILES]++;
    if ((rc = put_padding(w, bytes, err)) < 0)
        return rc;
    return remember(w, name, bytes, digest, err);
}

int archive_write_end(struct archive_writer *w, struct error *err)
{
    static const uint8_t zeros[2 * TAR_BLOCK];
    struct str all = {.limit = ARCHIVE_MANIFEST_BYTES_MAX + 4096};
    uint8_t digest[HASH_BYTES], signature[SIGN_BYTES];
    char hex[HASH_HEX], sig[SIGN_HEX + 1];
    int rc = archive_write_flush(w, err);

    if (rc < 0)
        return rc;
    hash_to_hex(hex, w->key->public);
    str_printf(&all,
               "{\"pockd_archive\":1,\"created\":%lld,\"code\":\"pockd %s\","
               "\"key\":\"%s\",\"counts\":{",
               (long long) w->time_ms, POCK_VERSION, hex);
    for (int i = 0; i < ARCHIVE_KIND_COUNT; i++)
        str_printf(&all, "%s\"%s\":%llu", i ? "," : "", kind_names[i],
                   (unsigned long long) w->counts[i]);
    str_puts(&all, "},\"members\":[");
    str_append(&all, w->manifest.data, w->manifest.bytes);
    str_puts(&all, "]}\n");
    if ((rc = str_finish(&all)) < 0) {
        (void) error_set(err, rc, "there is too much for one archive");
        goto out;
    }
    hash_bytes(digest, all.data, all.bytes);
    sign_make(signature, w->key, ARCHIVE_WORD, digest);
    sign_to_hex(sig, signature);
    sig[SIGN_HEX - 1] = '\n';
    if ((rc = put_member(w, ARCHIVE_MANIFEST, all.data, all.bytes, err)) == 0 &&
        (rc = put_member(w, ARCHIVE_SIG, sig, SIGN_HEX, err)) == 0)
        rc = put(w, zeros, sizeof(zeros), err);

out:
    str_free(&all);
    return rc;
}
