// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What opens the store: the first byte says whether the rest is a key file, a
 * tree of keys, or a sealed file. A tree that is taken gives the same bytes
 * when it is written again, whatever is taken out of it keeps it whole.
 */

#include "engine/base/memfile.h"
#include "storage/keyfile.h"
#include "storage/keytree.h"
#include "storage/sealed_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_key(const uint8_t *data, size_t size)
{
    uint8_t key[SEAL_KEY_BYTES];
    struct error err;

    if (keyfile_parse(key, data, size, &err) == 0 && size != 32 && size != 64 &&
        size != 65)
        abort();
}

static void check_tree(struct keytree *t)
{
    const size_t bytes = keytree_bytes(t);
    uint8_t *out = malloc(bytes + 1);
    int rc;

    if (!out)
        abort();
    keytree_save(out, t);
    struct keytree *again = bytes ? keytree_load(out, bytes, &rc) : NULL;
    if (bytes && (!again || keytree_nodes(again) != keytree_nodes(t)))
        abort();
    keytree_free(again);
    free(out);
}

// Two bytes for each leaf that is taken out, then the tree.
static void try_tree(const uint8_t *data, size_t size)
{
    const size_t leaves = size > 0 ? data[0] % 16 : 0;
    uint8_t key[SEAL_KEY_BYTES];
    int rc;

    if (size < 1 + 2 * leaves)
        return;
    struct keytree *t =
        keytree_load(data + 1 + 2 * leaves, size - 1 - 2 * leaves, &rc);
    if (!t)
        return;
    for (size_t i = 0; i < leaves; i++) {
        const uint32_t leaf = data[1 + 2 * i] | (uint32_t) data[2 + 2 * i] << 8;
        (void) keytree_key(key, t, leaf);
        if (keytree_remove(t, leaf) < 0 || keytree_key(key, t, leaf) == 0)
            abort();
        check_tree(t);
    }
    keytree_free(t);
}

static void try_file(const uint8_t *data, size_t size)
{
    static const uint8_t key[SEAL_KEY_BYTES] = {1};
    struct error err;
    int fd;

    if (memfile_create(&fd, "fuzz") < 0 ||
        write(fd, data, size) != (ssize_t) size)
        abort();
    const int out = sealed_file_read(fd, 1 << 20, key, "name", &err);
    if (out >= 0)
        (void) close(out);
    (void) close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (seal_init() < 0 || size < 1)
        return 0;
    if (data[0] == 'K')
        try_key(data + 1, size - 1);
    else if (data[0] == 'T')
        try_tree(data + 1, size - 1);
    else
        try_file(data + 1, size - 1);
    return 0;
}
