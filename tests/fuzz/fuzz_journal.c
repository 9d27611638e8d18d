// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/train/journal.h"
#include "engine/train/recipe.h"

#include <stdlib.h>
#include <string.h>

// A journal of any bytes.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const uint8_t *data, size_t size)
{
    struct recipe r;
    struct journal j;
    struct error err;
    void *again;
    size_t n;

    if (journal_decode(&j, &r, data, size, &err) < 0)
        return;
    // Recipes have many forms, steps have one.
    if (journal_encode(&again, &n, &j, &r) == 0) {
        const size_t body = j.steps * journal_record_bytes(j.queries);
        if (n != size ||
            memcmp((char *) again + n - body, data + n - body, body) != 0)
            abort();
        free(again);
    }
    journal_finish(&j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t head = 32 + 3 * HASH_BYTES + RECIPE_TEXT_BYTES;

    decode(data, size);
    if (size < head + HASH_BYTES)
        return 0;
    // No fuzzer guesses a checksum: mend it, to get past it.
    uint8_t *mended = malloc(size);
    if (!mended)
        return 0;
    memcpy(mended, data, size);
    hash_bytes(mended + head, mended, head);
    decode(mended, size);
    free(mended);
    return 0;
}
