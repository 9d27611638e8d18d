// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants
 * 1. Nothing is allocated by a size that the archive says before that many
 *    bytes are known to be in the file and to be within our own limits.
 * 2. manifest.json is the last member but one, manifest.sig the last. Each
 *    other one is in its list, once, and nothing else is.
 */

#include "daemon/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/fault.h"
#include "engine/base/json.h"

enum {
    PIECE = 64 << 10,
    STEP_BYTES = 8 << 20,
    STEP_MEMBERS = 256,
    ARENA_BYTES = 96 << 20,
};

static int bad(struct error *err, const char *what)
{
    return error_set(err, -EBADMSG, "the archive is refused: %s", what);
}

static int bad_member(struct error *err, const char *name, const char *what)
{
    return error_set(err, -EBADMSG, "the archive is refused: its member %s %s",
                     name, what);
}

int archive_read_begin(struct archive_reader *r, int fd, struct error *err)
{
    struct stat st;

    *r = (struct archive_reader){.fd = fd};
    r->manifest.limit = ARCHIVE_MANIFEST_BYTES_MAX + 1;
    r->signature.limit = 4096;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
        return error_set(err, -EINVAL,
                         "an archive must be a regular file: save it to disk "
                         "first");
    r->file_bytes = (uint64_t) st.st_size;
    return 0;
}

void archive_read_finish(struct archive_reader *r)
{
    free(r->members);
    str_free(&r->manifest);
    str_free(&r->signature);
    *r = (struct archive_reader){.fd = -1};
}

static int read_at(struct archive_reader *r, void *to, size_t bytes,
                   struct error *err)
{
    size_t done = 0;

    if (r->file_bytes - r->at < bytes)
        return bad(err, "it ends in the middle");
    while (done < bytes) {
        ssize_t n = pread(r->fd, (char *) to + done, bytes - done,
                          (off_t) (r->at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, -errno, "cannot read the archive");
        if (n == 0)
            return bad(err, "it ends in the middle");
        done += (size_t) n;
    }
    r->at += bytes;
    return 0;
}

// By "records/" or "README.txt"; a directory that nobody knows is refused.
static int find_kind(enum archive_kind *kind, uint64_t *limit, const char *name)
{
    for (int i = 0; i < ARCHIVE_KIND_COUNT; i++) {
        const size_t n = strlen(archive_kind_name((enum archive_kind) i));
        if (strncmp(name, archive_kind_name((enum archive_kind) i), n) != 0)
            continue;
        if (name[n] != (i == ARCHIVE_README ? '.' : '/'))
            continue;
        *kind = (enum archive_kind) i;
        *limit = i == ARCHIVE_FILES ? ARCHIVE_FILE_BYTES_MAX
                                    : ARCHIVE_LINES_BYTES_MAX;
        return 0;
    }
    return -ENOENT;
}

static int add_member(struct archive_reader *r, const struct tar_entry *e,
                      struct error *err)
{
    struct archive_member *m;
    enum archive_kind kind = ARCHIVE_README;
    uint64_t limit = 0;

    if (r->manifest.bytes > 0)
        return bad_member(err, e->name, "comes after the manifest");
    if (find_kind(&kind, &limit, e->name) < 0)
        return bad_member(err, e->name, "is nothing that this pockd knows");
    if (e->bytes > limit)
        return bad_member(err, e->name, "is larger than such may be");
    if (r->count == ARCHIVE_MEMBERS_MAX)
        return bad(err, "it has too many members");
    if (r->count == r->size) {
        const size_t size = r->size ? 2 * r->size : 64;
        m = fault_realloc(r->members, size * sizeof(*m));
        if (!m)
            return error_set(err, -ENOMEM, "out of memory");
        r->members = m;
        r->size = size;
    }
    m = &r->members[r->count++];
    *m = (struct archive_member){.offset = r->at,
                                 .bytes = e->bytes,
                                 .kind = kind};
    memcpy(m->name, e->name, sizeof(m->name));
    return 0;
}

// Where the bytes of the member at hand go, beside its hash.
static struct str *kept(struct archive_reader *r)
{
    if (strcmp(r->name, ARCHIVE_MANIFEST) == 0)
        return &r->manifest;
    return strcmp(r->name, ARCHIVE_SIG) == 0 ? &r->signature : NULL;
}

static int begin_member(struct archive_reader *r, struct error *err)
{
    uint8_t block[TAR_BLOCK];
    struct tar_entry e;
    struct str *keep;
    int rc;

    if ((rc = read_at(r, block, sizeof(block), err)) < 0 ||
        (rc = tar_decode(&e, block, err)) < 0)
        return rc;
    if (e.is_end) {
        r->has_end = true;
        return 0;
    }
    if (e.bytes > r->file_bytes - r->at ||
        tar_padding(e.bytes) > r->file_bytes - r->at - e.bytes)
        return bad_member(err, e.name, "says that it is larger than the file");
    memcpy(r->name, e.name, sizeof(r->name));
    if (r->signature.bytes > 0)
        return bad_member(err, e.name, "comes after the signature");
    if ((keep = kept(r))) {
        if (keep->bytes > 0 || e.bytes == 0 || e.bytes >= keep->limit ||
            (keep == &r->signature && r->manifest.bytes == 0))
            return bad_member(err, e.name, "is too large, or out of place");
    } else if ((rc = add_member(r, &e, err)) < 0) {
        return rc;
    }
    r->is_inside = true;
    r->left = e.bytes;
    hash_init(&r->hash);
    return 0;
}

static int end_member(struct archive_reader *r, struct error *err)
{
    uint8_t padding[TAR_BLOCK];

    r->is_inside = false;
    if (!kept(r)) {
        hash_final(&r->hash, r->members[r->count - 1].sha256);
    }
    const size_t n = tar_padding(r->at);
    return n > 0 ? read_at(r, padding, n, err) : 0;
}

static int read_piece(struct archive_reader *r, struct error *err)
{
    uint8_t piece[PIECE];
    const size_t n = r->left < PIECE ? (size_t) r->left : PIECE;
    struct str *keep = kept(r);
    int rc;

    if (n > 0) {
        if ((rc = read_at(r, piece, n, err)) < 0)
            return rc;
        r->left -= n;
        if (keep)
            str_append(keep, piece, n);
        else
            hash_update(&r->hash, piece, n);
        if (keep && str_finish(keep) < 0)
            return error_set(err, -ENOMEM, "out of memory");
    }
    return r->left == 0 ? end_member(r, err) : 0;
}

/*
 * The manifest
 */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct archive_member *) a)->name,
                  ((const struct archive_member *) b)->name);
}

static int by_kind(const void *a, const void *b)
{
    const struct archive_member *x = a, *y = b;

    return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : by_name(a, b);
}

void archive_read_sort(struct archive_reader *r)
{
    if (r->count > 1)
        qsort(r->members, r->count, sizeof(r->members[0]), by_kind);
}

static int check_listed(struct archive_reader *r, const struct json *j,
                        struct error *err)
{
    const char *name = json_get_text(j, "name");
    const char *hex = json_get_text(j, "sha256");
    const struct json *bytes = json_get(j, "bytes");
    struct archive_member key = {0};
    uint8_t digest[HASH_BYTES];

    if (!name || strlen(name) >= sizeof(key.name) || !hex || !bytes ||
        bytes->type != JSON_NUMBER || !bytes->is_integer)
        return bad(err, "its manifest lists something that is no member");
    memcpy(key.name, name, strlen(name));
    struct archive_member *m =
        bsearch(&key, r->members, r->count, sizeof(key), by_name);
    if (!m)
        return bad_member(err, name, "is missing");
    if (bytes->integer < 0 || (uint64_t) bytes->integer != m->bytes ||
        hash_from_hex(digest, hex) < 0 ||
        memcmp(digest, m->sha256, sizeof(digest)) != 0)
        return bad_member(err, name, "is not as it was written");
    // As many are listed as there are: with none twice, each is.
    if (m->is_listed)
        return bad_member(err, name, "is listed twice");
    m->is_listed = true;
    return 0;
}

static int check_list(struct archive_reader *r, const struct json *list,
                      struct error *err)
{
    int rc = 0;

    if (!list || list->type != JSON_ARRAY || list->count != r->count)
        return bad(err, "its manifest lists other members");
    if (r->count > 1)
        qsort(r->members, r->count, sizeof(r->members[0]), by_name);
    for (size_t i = 1; i < r->count; i++)
        if (strcmp(r->members[i - 1].name, r->members[i].name) == 0)
            return bad_member(err, r->members[i].name, "is there twice");
    for (const struct json *j = list->first; j && rc == 0; j = j->next)
        rc = check_listed(r, j, err);
    return rc;
}

static int check_manifest(struct archive_reader *r, struct arena *a,
                          struct error *err)
{
    const struct json *j, *version, *created;
    int rc = json_parse(&j, a, r->manifest.data, r->manifest.bytes, err);

    if (rc < 0)
        return rc == -ENOMEM ? rc : bad(err, "its manifest is no JSON");
    version = json_get(j, "pockd_archive");
    created = json_get(j, "created");
    if (!version || version->type != JSON_NUMBER || !version->is_integer)
        return bad(err, "its manifest is not one of pockd");
    if (version->integer != 1)
        return error_set(err, -EPROTONOSUPPORT,
                         "the archive is of version %lld, this pockd reads "
                         "version 1: install a newer one",
                         (long long) version->integer);
    const char *key = json_get_text(j, "key");
    if (!key || hash_from_hex(r->signer, key) < 0)
        return bad(err, "its manifest names no key");
    if (created && created->type == JSON_NUMBER && created->is_integer)
        r->created_ms = created->integer;
    return check_list(r, json_get(j, "members"), err);
}

static int check_signature(struct archive_reader *r, struct error *err)
{
    uint8_t digest[HASH_BYTES], signature[SIGN_BYTES];

    if (r->signature.bytes > 0 &&
        r->signature.data[r->signature.bytes - 1] == '\n')
        r->signature.data[--r->signature.bytes] = '\0';
    hash_bytes(digest, r->manifest.data, r->manifest.bytes);
    if (sign_from_hex(signature, r->signature.data) < 0 ||
        !sign_check(r->signer, ARCHIVE_WORD, digest, signature))
        return bad(err, "its manifest is not as it was signed");
    return 0;
}

static int check_all(struct archive_reader *r, struct error *err)
{
    struct arena *a;
    int rc;

    if (r->manifest.bytes == 0 || r->signature.bytes == 0)
        return bad(err, "it has no signed manifest");
    if ((rc = arena_create(&a, ARENA_BYTES)) < 0)
        return error_set(err, rc, "out of memory");
    rc = check_manifest(r, a, err);
    arena_destroy(a);
    if (rc == 0)
        rc = check_signature(r, err);
    str_free(&r->manifest);
    return rc;
}

int archive_read_step(struct archive_reader *r, struct error *err)
{
    const uint64_t start = r->at;
    int rc = 0;

    for (int n = 0; rc == 0 && !r->has_end && r->at - start < STEP_BYTES &&
                    n < STEP_MEMBERS;
         n += !r->is_inside)
        rc = r->is_inside ? read_piece(r, err) : begin_member(r, err);
    if (rc < 0)
        return rc;
    return r->has_end ? check_all(r, err) : 1;
}
