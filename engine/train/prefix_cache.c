// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants
 * 1. The file is its header and `end` - HEADER_BYTES bytes of whole entries;
 *    what a killed process left behind is cut off when it is opened.
 * 2. A damaged entry of the right size is written again in its own place. Of
 *    two entries with one key the later one counts.
 * 3. `slots` is at most half full, and a power of two.
 */

#include "engine/train/prefix_cache.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/base/mapfile.h"
#include "engine/base/seal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 64,
    ENTRY_BYTES = 64, // before the rows
    CHECKED_BYTES = 48,
    CHECK_BYTES = 16,
    OWNER_AT = 16,
    KEY_AT = 16,
    ROWS_MAX = 1 << 20,
    SLOTS_MIN = 64,
};

static const char MAGIC[8] = "pockpfx1";
static const char SEALED_MAGIC[8] = "pockpfx2";
static const char MARK[4] = "PFXE";

struct slot {
    uint8_t key[PREFIX_KEY_BYTES];
    uint64_t offset; // of the entry; 0: the slot is free
    uint32_t rows;
    bool is_damaged;
};

struct prefix_cache {
    struct prefix_cache_params params;
    uint8_t key[SEAL_KEY_BYTES]; // where params.key is set
    size_t row_bytes;
    uint64_t end;
    struct slot *slots;
    size_t n_slots, n_used;
    void *room; // an entry on its way to the file
    size_t room_bytes;
    struct prefix_cache_stats stats;
    char notice[256];
    bool has_notice, was_noticed;
};

/*
 * Bytes
 */

static void put_u32(uint8_t *out, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t) (x >> 8 * i);
}

static uint32_t get_u32(const uint8_t *in)
{
    uint32_t x = 0;

    for (int i = 0; i < 4; i++)
        x |= (uint32_t) in[i] << 8 * i;
    return x;
}

static int write_at(int fd, const void *data, size_t bytes, uint64_t offset)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t n = fault_hit(FAULT_WRITE)
                              ? (errno = ENOSPC, -1)
                              : pwrite(fd, (const char *) data + done,
                                       bytes - done, (off_t) (offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t) n;
    }
    return 0;
}

static void check_of(uint8_t out[CHECK_BYTES], const uint8_t *head,
                     const void *rows, size_t bytes)
{
    struct hash_state h;
    uint8_t digest[HASH_BYTES];

    hash_init(&h);
    hash_update(&h, head, CHECKED_BYTES);
    if (bytes > 0)
        hash_update(&h, rows, bytes);
    hash_final(&h, digest);
    memcpy(out, digest, CHECK_BYTES);
}

/*
 * Sealing
 */

static const char *magic_of(const struct prefix_cache *c)
{
    return c->params.key ? SEALED_MAGIC : MAGIC;
}

// A key or an owner as the file names it.
static void name_of(uint8_t out[PREFIX_KEY_BYTES], const struct prefix_cache *c,
                    const uint8_t key[PREFIX_KEY_BYTES])
{
    if (c->params.key)
        seal_digest(out, PREFIX_KEY_BYTES, c->key, key, PREFIX_KEY_BYTES);
    else
        memcpy(out, key, PREFIX_KEY_BYTES);
}

// The same states may be written twice: the random half differs.
static void nonce_of(uint8_t out[SEAL_NONCE_BYTES], const uint8_t *head)
{
    memcpy(out, head + KEY_AT, 16);
    memcpy(out + 16, head + 8, 8);
}

static void close_entry(const struct prefix_cache *c, uint8_t *head,
                        size_t bytes)
{
    uint8_t nonce[SEAL_NONCE_BYTES];

    if (!c->params.key) {
        check_of(head + CHECKED_BYTES, head, head + ENTRY_BYTES, bytes);
        return;
    }
    seal_random(head + 8, 8);
    nonce_of(nonce, head);
    seal_close_at(head + ENTRY_BYTES, bytes, head + CHECKED_BYTES, c->key,
                  nonce, head, CHECKED_BYTES);
}

static bool open_entry(const struct prefix_cache *c, const uint8_t *head,
                       void *rows, size_t bytes)
{
    uint8_t nonce[SEAL_NONCE_BYTES];
    uint8_t check[CHECK_BYTES];

    if (c->params.key) {
        nonce_of(nonce, head);
        return seal_open_at(rows, bytes, head + CHECKED_BYTES, c->key, nonce,
                            head, CHECKED_BYTES);
    }
    check_of(check, head, rows, bytes);
    return memcmp(check, head + CHECKED_BYTES, sizeof check) == 0;
}

static void notice(struct prefix_cache *c, const char *text)
{
    if (c->has_notice || c->was_noticed)
        return;
    (void) snprintf(c->notice, sizeof c->notice, "%s", text);
    c->has_notice = true;
}

/*
 * Index
 */

// The key's slot, or the free one where it belongs.
static struct slot *find(const struct prefix_cache *c, const uint8_t *key)
{
    size_t at;

    // A key is a hash already.
    memcpy(&at, key, sizeof at);
    for (;; at++) {
        struct slot *s = &c->slots[at & (c->n_slots - 1)];
        if (s->offset == 0 || memcmp(s->key, key, PREFIX_KEY_BYTES) == 0)
            return s;
    }
}

static int grow(struct prefix_cache *c)
{
    const struct prefix_cache old = *c;
    const size_t n = c->n_slots ? 2 * c->n_slots : SLOTS_MIN;
    struct slot *slots = fault_calloc(n, sizeof *slots);

    if (!slots)
        return -ENOMEM;
    c->slots = slots;
    c->n_slots = n;
    for (size_t i = 0; i < old.n_slots; i++)
        if (old.slots[i].offset != 0)
            *find(c, old.slots[i].key) = old.slots[i];
    free(old.slots);
    return 0;
}

static int insert(struct prefix_cache *c, const uint8_t *key, uint64_t offset,
                  uint32_t rows)
{
    if (2 * (c->n_used + 1) > c->n_slots) {
        int rc = grow(c);
        if (rc < 0)
            return rc;
    }
    struct slot *s = find(c, key);
    c->n_used += s->offset == 0;
    *s = (struct slot){.offset = offset, .rows = rows};
    memcpy(s->key, key, PREFIX_KEY_BYTES);
    return 0;
}

/*
 * Opening
 */

static void make_header(uint8_t out[HEADER_BYTES], const struct prefix_cache *c)
{
    memset(out, 0, HEADER_BYTES);
    memcpy(out, magic_of(c), sizeof MAGIC);
    put_u32(out + 8, c->params.width);
    put_u32(out + 12, c->params.values);
    name_of(out + OWNER_AT, c, c->params.owner);
    check_of(out + CHECKED_BYTES, out, NULL, 0);
}

static int start_over(struct prefix_cache *c)
{
    uint8_t header[HEADER_BYTES];

    make_header(header, c);
    if (ftruncate(c->params.fd, 0) < 0)
        return -errno;
    c->end = HEADER_BYTES;
    return write_at(c->params.fd, header, sizeof header, 0);
}

static bool is_entry(const uint8_t *head, const struct prefix_cache *c,
                     uint64_t offset, uint64_t bytes)
{
    const uint64_t rows = get_u32(head + 4);
    const uint64_t left = bytes - offset - ENTRY_BYTES;

    return memcmp(head, MARK, sizeof MARK) == 0 &&
           (c->params.key ||
            (get_u32(head + 8) == 0 && get_u32(head + 12) == 0)) &&
           rows > 0 && rows <= ROWS_MAX && rows <= left / c->row_bytes;
}

// Whole entries from the start; what follows them is cut off.
static int read_index(struct prefix_cache *c, uint64_t bytes)
{
    const uint64_t limit =
        bytes < c->params.bytes_max ? bytes : c->params.bytes_max;
    uint8_t head[ENTRY_BYTES];
    int rc;

    c->end = HEADER_BYTES;
    while (c->end + ENTRY_BYTES <= limit) {
        rc = file_read_at(c->params.fd, head, sizeof head, c->end);
        if (rc < 0 || !is_entry(head, c, c->end, limit))
            break;
        const uint32_t rows = get_u32(head + 4);
        if ((rc = insert(c, head + KEY_AT, c->end, rows)) < 0)
            return rc;
        c->end += ENTRY_BYTES + rows * (uint64_t) c->row_bytes;
    }
    if (c->end == bytes)
        return 0;
    // A policy that allows less is no damage.
    if (bytes <= c->params.bytes_max)
        notice(c, "the prefix cache was damaged: its end is dropped and "
                  "computed again");
    return ftruncate(c->params.fd, (off_t) c->end) < 0 ? -errno : 0;
}

static int load(struct prefix_cache *c)
{
    uint8_t want[HEADER_BYTES];
    uint8_t header[HEADER_BYTES];
    uint8_t check[CHECK_BYTES];
    struct stat st;

    if (fstat(c->params.fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || c->params.bytes_max < HEADER_BYTES)
        return -EINVAL;
    if (st.st_size == 0)
        return start_over(c);
    make_header(want, c);
    if (file_read_at(c->params.fd, header, sizeof header, 0) == 0) {
        if (memcmp(header, want, sizeof want) == 0)
            return read_index(c, (uint64_t) st.st_size);
        check_of(check, header, NULL, 0);
        if (memcmp(header, magic_of(c), sizeof MAGIC) == 0 &&
            memcmp(check, header + CHECKED_BYTES, sizeof check) == 0) {
            notice(c, "the prefix cache was made by another model or scheme: "
                      "it is computed again");
            return start_over(c);
        }
    }
    notice(c, "the prefix cache was damaged: it is computed again");
    return start_over(c);
}

int prefix_cache_open(struct prefix_cache **out,
                      const struct prefix_cache_params *params,
                      struct error *err)
{
    struct prefix_cache *c = fault_calloc(1, sizeof *c);
    int rc = -ENOMEM;

    assert(params->values > PREFIX_VALUES_OFF &&
           params->values < PREFIX_VALUES_COUNT && params->width > 0);
    if (!c)
        goto error;
    c->params = *params;
    if (params->key && (rc = seal_init()) < 0)
        goto error;
    if (params->key)
        memcpy(c->key, params->key, sizeof c->key);
    c->row_bytes = prefix_values_row_bytes(params->values, params->width);
    if ((rc = grow(c)) < 0 || (rc = load(c)) < 0)
        goto error;
    *out = c;
    return 0;

error:
    prefix_cache_close(c);
    return error_set(err, rc,
                     "the prefix cache cannot be used: %s: every epoch "
                     "computes the whole model",
                     rc == -EINVAL ? "it is no file, or has no room"
                                   : strerror(-rc));
}

void prefix_cache_close(struct prefix_cache *c)
{
    if (!c)
        return;
    seal_wipe(c->key, sizeof c->key);
    free(c->slots);
    free(c->room);
    free(c);
}

/*
 * Entries
 */

static int reserve(struct prefix_cache *c, size_t bytes)
{
    if (bytes <= c->room_bytes)
        return 0;
    void *room = fault_realloc(c->room, bytes);
    if (!room)
        return -ENOMEM;
    c->room = room;
    c->room_bytes = bytes;
    return 0;
}

static bool read_entry(struct prefix_cache *c, const struct slot *s, void *data)
{
    const size_t bytes = s->rows * c->row_bytes;
    uint8_t head[ENTRY_BYTES];

    if (file_read_at(c->params.fd, head, sizeof head, s->offset) < 0 ||
        file_read_at(c->params.fd, data, bytes, s->offset + ENTRY_BYTES) < 0)
        return false;
    return open_entry(c, head, data, bytes) &&
           memcmp(head + KEY_AT, s->key, PREFIX_KEY_BYTES) == 0;
}

bool prefix_cache_get(struct prefix_cache *c,
                      const uint8_t key[PREFIX_KEY_BYTES], uint32_t rows,
                      void *data)
{
    uint8_t name[PREFIX_KEY_BYTES];

    name_of(name, c, key);
    struct slot *s = find(c, name);
    bool is_found = s->offset != 0 && s->rows == rows && !s->is_damaged;

    if (is_found && !read_entry(c, s, data)) {
        is_found = false;
        s->is_damaged = true;
        c->stats.damaged++;
        notice(c, "entries of the prefix cache were damaged: they are computed "
                  "again");
    }
    c->stats.hits += is_found;
    c->stats.misses += !is_found;
    return is_found;
}

void prefix_cache_put(struct prefix_cache *c,
                      const uint8_t key[PREFIX_KEY_BYTES], uint32_t rows,
                      const void *data)
{
    const size_t bytes = rows * c->row_bytes;
    uint8_t name[PREFIX_KEY_BYTES];
    name_of(name, c, key);
    struct slot *s = find(c, name);
    const bool is_new = s->offset == 0 || s->rows != rows;
    const uint64_t at = is_new ? c->end : s->offset;
    uint8_t *head;
    int rc;

    assert(rows > 0 && rows <= ROWS_MAX);
    if (!is_new && !s->is_damaged)
        return;
    if (is_new && (c->stats.is_full ||
                   bytes + ENTRY_BYTES > c->params.bytes_max - c->end)) {
        c->stats.is_full = true;
        return;
    }
    if (reserve(c, bytes + ENTRY_BYTES) < 0)
        return;
    head = c->room;
    memset(head, 0, ENTRY_BYTES);
    memcpy(head, MARK, sizeof MARK);
    put_u32(head + 4, rows);
    memcpy(head + KEY_AT, name, PREFIX_KEY_BYTES);
    memcpy(head + ENTRY_BYTES, data, bytes);
    close_entry(c, head, bytes);
    rc = write_at(c->params.fd, head, bytes + ENTRY_BYTES, at);
    if (rc == 0 && (rc = insert(c, name, at, rows)) == 0) {
        c->end += is_new ? bytes + ENTRY_BYTES : 0;
        return;
    }
    // The disk is full, or memory: what is there stays of use.
    c->stats.is_full = true;
    if (is_new)
        (void) !ftruncate(c->params.fd, (off_t) c->end);
}

void prefix_cache_stats(struct prefix_cache_stats *out,
                        const struct prefix_cache *c)
{
    *out = c->stats;
    out->entries = c->n_used;
    out->bytes = c->end;
}

const char *prefix_cache_notice(struct prefix_cache *c)
{
    if (!c->has_notice)
        return NULL;
    c->has_notice = false;
    c->was_noticed = true;
    return c->notice;
}
