// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/train/checkpoint.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const uint8_t *data, size_t size)
{
    struct checkpoint c;
    struct error err;
    void *again;
    size_t n;

    if (checkpoint_decode(&c, data, size, &err) < 0)
        return;
    // What decodes has one form only.
    if (checkpoint_encode(&again, &n, &c) == 0) {
        if (n != size || memcmp(again, data, n) != 0)
            abort();
        free(again);
    }
    checkpoint_finish(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode(data, size);
    if (size < HASH_BYTES)
        return 0;
    // No fuzzer guesses a checksum: mend it, to get past it.
    uint8_t *mended = malloc(size);
    if (!mended)
        return 0;
    memcpy(mended, data, size);
    hash_bytes(mended + size - HASH_BYTES, mended, size - HASH_BYTES);
    decode(mended, size);
    free(mended);
    return 0;
}
