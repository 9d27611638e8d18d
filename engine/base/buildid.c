// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/buildid.h"

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct text {
    char *out;
    size_t size;
    size_t used;
};

static void put_hex(struct text *t, const unsigned char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes && t->used + 3 <= t->size; i++)
        t->used += (size_t) snprintf(t->out + t->used, t->size - t->used,
                                     "%02x", data[i]);
}

static size_t round_up(size_t x)
{
    return (x + 3) & ~(size_t) 3;
}

static void read_notes(struct text *t, const unsigned char *at, size_t left)
{
    ElfW(Nhdr) n;

    while (t->used == 0 && left >= sizeof(n)) {
        memcpy(&n, at, sizeof(n));
        const size_t name = round_up(n.n_namesz);
        const size_t all = sizeof(n) + name + round_up(n.n_descsz);
        if (all > left)
            return;
        if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 &&
            memcmp(at + sizeof(n), "GNU", 4) == 0)
            put_hex(t, at + sizeof(n) + name, n.n_descsz);
        at += all;
        left -= all;
    }
}

// The first object is the program itself: stop after it.
static int on_object(struct dl_phdr_info *info, size_t bytes, void *user)
{
    (void) bytes;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_NOTE)
            read_notes(user,
                       (const unsigned char *) (uintptr_t) (info->dlpi_addr +
                                                            p->p_vaddr),
                       p->p_memsz);
    }
    return 1;
}

void buildid_get(char *out, size_t size)
{
    struct text t = {out, size, 0};

    (void) dl_iterate_phdr(on_object, &t);
    if (t.used == 0)
        (void) snprintf(out, size, "version %s", POCK_VERSION);
}
