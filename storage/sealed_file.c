// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/sealed_file.h"

#include "engine/base/fault.h"
#include "engine/base/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "pockseal"

enum { VERSION = 1, NONCE_AT = 24, PREFIX_BYTES = 16 };

struct piece {
    uint8_t ad[SEALED_HEADER_BYTES + SEALED_NAME_SIZE];
    size_t ad_bytes;
    uint8_t nonce[SEAL_NONCE_BYTES];
};

static void put_le(uint8_t *out, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t) (x >> 8 * i);
}

static uint64_t get_le(const uint8_t *in, int bytes)
{
    uint64_t x = 0;

    for (int i = 0; i < bytes; i++)
        x |= (uint64_t) in[i] << 8 * i;
    return x;
}

static uint64_t pieces_of(uint64_t bytes)
{
    const uint64_t n = (bytes + SEALED_PIECE_BYTES - 1) / SEALED_PIECE_BYTES;

    return n ? n : 1;
}

uint64_t sealed_file_bytes(uint64_t bytes)
{
    return SEALED_HEADER_BYTES + bytes + pieces_of(bytes) * SEAL_TAG_BYTES;
}

static void piece_init(struct piece *p,
                       const uint8_t header[SEALED_HEADER_BYTES],
                       const char *name)
{
    const size_t n = strnlen(name, SEALED_NAME_SIZE);

    memcpy(p->ad, header, SEALED_HEADER_BYTES);
    memcpy(p->ad + SEALED_HEADER_BYTES, name, n);
    p->ad_bytes = SEALED_HEADER_BYTES + n;
    memcpy(p->nonce, header + NONCE_AT, PREFIX_BYTES);
}

static void piece_at(struct piece *p, uint64_t number)
{
    put_le(p->nonce + PREFIX_BYTES, number, 8);
}

bool sealed_file_is(int fd)
{
    uint8_t magic[8];

    return file_read_at(fd, magic, sizeof(magic), 0) == 0 &&
           memcmp(magic, MAGIC, sizeof(magic)) == 0;
}

static int failed(struct error *err, int rc, const char *what)
{
    return rc == -ENOSPC
               ? error_set(err, rc,
                           "cannot %s a file of the store: no space left: free "
                           "some and try again",
                           what)
               : error_set(err, rc, "cannot %s a file of the store: %s", what,
                           rc == -ENODATA ? "it became shorter"
                                          : strerror(-rc));
}

int sealed_file_write(int to, int from, uint64_t bytes_max,
                      const uint8_t key[SEAL_KEY_BYTES], const char *name,
                      struct error *err)
{
    uint8_t header[SEALED_HEADER_BYTES] = {0};
    struct piece p;
    struct stat st;

    if (fstat(from, &st) < 0)
        return failed(err, -errno, "read");
    const uint64_t bytes = (uint64_t) st.st_size;
    if (bytes > bytes_max)
        return error_set(err, -E2BIG,
                         "the file is larger than %" PRIu64
                         " bytes, which is the limit",
                         bytes_max);
    memcpy(header, MAGIC, 8);
    put_le(header + 8, VERSION, 4);
    put_le(header + 12, SEALED_PIECE_BYTES, 4);
    put_le(header + 16, bytes, 8);
    seal_random(header + NONCE_AT, PREFIX_BYTES);
    piece_init(&p, header, name);
    uint8_t *buf = fault_malloc(SEALED_PIECE_BYTES + SEAL_TAG_BYTES);
    int rc = buf ? file_write_all(to, header, sizeof(header)) : -ENOMEM;
    for (uint64_t i = 0, at = 0; rc == 0 && i < pieces_of(bytes); i++) {
        const size_t n = bytes - at < SEALED_PIECE_BYTES
                             ? (size_t) (bytes - at)
                             : (size_t) SEALED_PIECE_BYTES;
        if ((rc = file_read_at(from, buf, n, at)) < 0)
            break;
        piece_at(&p, i);
        seal_close_at(buf, n, buf + n, key, p.nonce, p.ad, p.ad_bytes);
        rc = file_write_all(to, buf, n + SEAL_TAG_BYTES);
        at += n;
    }
    free(buf);
    return rc < 0 ? failed(err, rc, "write") : 0;
}

static int damaged(struct error *err, const char *why)
{
    return error_set(err, -EUCLEAN, "a file of the store was damaged: %s", why);
}

static int check_header(const uint8_t header[SEALED_HEADER_BYTES], int fd,
                        uint64_t bytes_max, uint64_t *bytes, struct error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return failed(err, -errno, "read");
    *bytes = get_le(header + 16, 8);
    if (memcmp(header, MAGIC, 8) != 0 || get_le(header + 8, 4) != VERSION ||
        get_le(header + 12, 4) != SEALED_PIECE_BYTES)
        return damaged(err, "it has no header");
    if (*bytes > bytes_max)
        return error_set(err, -E2BIG,
                         "a file of the store is larger than %" PRIu64 " bytes",
                         bytes_max);
    return sealed_file_bytes(*bytes) == (uint64_t) st.st_size
               ? 0
               : damaged(err, "it has another size than its header says");
}

// Straight into the mapping.
static int open_pieces(uint8_t *out, uint64_t bytes, int from,
                       const uint8_t key[SEAL_KEY_BYTES], struct piece *p)
{
    uint64_t offset = SEALED_HEADER_BYTES;
    uint8_t tag[SEAL_TAG_BYTES];
    int rc;

    for (uint64_t i = 0, at = 0; i < pieces_of(bytes); i++) {
        const size_t n = bytes - at < SEALED_PIECE_BYTES
                             ? (size_t) (bytes - at)
                             : (size_t) SEALED_PIECE_BYTES;
        if ((rc = file_read_at(from, out + at, n, offset)) < 0 ||
            (rc = file_read_at(from, tag, sizeof(tag), offset + n)) < 0)
            return rc;
        piece_at(p, i);
        if (!seal_open_at(out + at, n, tag, key, p->nonce, p->ad, p->ad_bytes))
            return -EUCLEAN;
        at += n;
        offset += n + SEAL_TAG_BYTES;
    }
    return 0;
}

static int fill(int memfd, uint64_t bytes, int from,
                const uint8_t key[SEAL_KEY_BYTES], struct piece *p)
{
    const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    uint8_t none = 0;
    uint8_t *map = &none;

    if (ftruncate(memfd, (off_t) bytes) < 0)
        return -errno;
    if (bytes > 0)
        map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (map == MAP_FAILED)
        return -errno;
    int rc = open_pieces(map, bytes, from, key, p);
    if (bytes > 0)
        (void) munmap(map, bytes);
    return rc == 0 && fcntl(memfd, F_ADD_SEALS, seals) < 0 ? -errno : rc;
}

int sealed_file_read(int from, uint64_t bytes_max,
                     const uint8_t key[SEAL_KEY_BYTES], const char *name,
                     struct error *err)
{
    uint8_t header[SEALED_HEADER_BYTES];
    struct piece p;
    uint64_t bytes = 0;
    int rc = file_read_at(from, header, sizeof(header), 0);

    if (rc == -ENODATA)
        return damaged(err, "it is too short");
    if (rc < 0)
        return failed(err, rc, "read");
    if ((rc = check_header(header, from, bytes_max, &bytes, err)) < 0)
        return rc;
    piece_init(&p, header, name);
    const int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    rc = fd < 0 ? -errno : fill(fd, bytes, from, key, &p);
    if (rc == 0)
        return fd;
    if (fd >= 0)
        (void) close(fd);
    return rc == -EUCLEAN ? damaged(err, "its content is not what was sealed")
                          : failed(err, rc, "open");
}
