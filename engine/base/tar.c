// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/tar.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SIZE_MAX_OCTAL UINT64_C(077777777777) // eleven digits

// Fields of a header by their place.
enum {
    AT_NAME = 0,
    AT_MODE = 100,
    AT_UID = 108,
    AT_GID = 116,
    AT_SIZE = 124,
    AT_TIME = 136,
    AT_SUM = 148,
    AT_TYPE = 156,
    AT_LINK = 157,
    AT_MAGIC = 257, // "ustar", NUL, "00"
    AT_PREFIX = 345,
    NAME_BYTES = 100,
    SUM_BYTES = 8,
};

size_t tar_padding(uint64_t bytes)
{
    return (size_t) ((TAR_BLOCK - bytes % TAR_BLOCK) % TAR_BLOCK);
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool tar_name_is_valid(const char *name)
{
    size_t part = 0; // where the part at hand begins
    size_t i = 0;

    for (;; i++) {
        if (name[i] != '/' && name[i] != '\0') {
            if (!is_name_char(name[i]))
                return false;
            continue;
        }
        const size_t n = i - part;
        if (n == 0 || (n == 1 && name[part] == '.') ||
            (n == 2 && name[part] == '.' && name[part + 1] == '.'))
            return false;
        if (name[i] == '\0')
            return i < TAR_NAME_SIZE;
        part = i + 1;
    }
}

// The sum of all bytes, those of the sum itself taken as blanks.
static unsigned sum_of(const uint8_t block[TAR_BLOCK])
{
    unsigned sum = SUM_BYTES * ' ';

    for (size_t i = 0; i < TAR_BLOCK; i++)
        if (i < AT_SUM || i >= AT_SUM + SUM_BYTES)
            sum += block[i];
    return sum;
}

static void put_octal(uint8_t *to, int digits, uint64_t value)
{
    char text[32];

    (void) snprintf(text, sizeof(text), "%0*llo", digits,
                    (unsigned long long) value);
    memcpy(to, text, (size_t) digits);
}

int tar_encode(uint8_t block[TAR_BLOCK], const char *name, uint64_t bytes,
               int64_t time_s)
{
    if (!tar_name_is_valid(name) || bytes > SIZE_MAX_OCTAL)
        return -EINVAL;
    memset(block, 0, TAR_BLOCK);
    memcpy(block + AT_NAME, name, strlen(name));
    put_octal(block + AT_MODE, 7, 0600);
    put_octal(block + AT_UID, 7, 0);
    put_octal(block + AT_GID, 7, 0);
    put_octal(block + AT_SIZE, 11, bytes);
    put_octal(block + AT_TIME, 11,
              time_s > 0 ? (uint64_t) time_s & SIZE_MAX_OCTAL : 0);
    block[AT_TYPE] = '0';
    memcpy(block + AT_MAGIC, "ustar\00000", 8);
    put_octal(block + AT_SUM, 6, sum_of(block));
    block[AT_SUM + 7] = ' ';
    return 0;
}

// Octal digits, then blanks or zeros. False for anything else.
static bool get_octal(uint64_t *out, const uint8_t *from, size_t bytes)
{
    uint64_t v = 0;
    size_t i = 0;

    while (i < bytes && from[i] == ' ')
        i++;
    const size_t first = i;
    for (; i < bytes && from[i] >= '0' && from[i] <= '7'; i++)
        v = v << 3 | (uint64_t) (from[i] - '0');
    if (i == first || i - first > 20)
        return false;
    for (; i < bytes; i++)
        if (from[i] != ' ' && from[i] != '\0')
            return false;
    *out = v;
    return true;
}

static bool is_zero(const uint8_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (from[i] != 0)
            return false;
    return true;
}

int tar_decode(struct tar_entry *out, const uint8_t block[TAR_BLOCK],
               struct error *err)
{
    struct tar_entry e = {0};
    uint64_t sum = 0;

    if (is_zero(block, TAR_BLOCK)) {
        *out = (struct tar_entry){.is_end = true};
        return 0;
    }
    if (memcmp(block + AT_MAGIC, "ustar", 5) != 0)
        return error_set(err, -EBADMSG, "this is no tar archive");
    if (!get_octal(&sum, block + AT_SUM, SUM_BYTES) || sum != sum_of(block))
        return error_set(err, -EBADMSG, "a header of the archive is damaged");
    memcpy(e.name, block + AT_NAME, NAME_BYTES);
    if (!is_zero(block + AT_PREFIX, TAR_BLOCK - AT_PREFIX - 12) ||
        !tar_name_is_valid(e.name))
        return error_set(err, -EBADMSG,
                         "the archive has a member whose name is not allowed");
    if ((block[AT_TYPE] != '0' && block[AT_TYPE] != '\0') ||
        !is_zero(block + AT_LINK, NAME_BYTES))
        return error_set(err, -EBADMSG,
                         "the archive's member %s is no plain file", e.name);
    if (!get_octal(&e.bytes, block + AT_SIZE, 12))
        return error_set(err, -EBADMSG, "the archive's member %s has no size",
                         e.name);
    *out = e;
    return 0;
}
