// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A records file: two bytes for the count, then the payload; the header around
 * them is made right, so that the fuzzer need not find a hash. With a count of
 * 0xffff the bytes are a whole file instead. Every byte of what is accepted is
 * touched.
 */

#include "engine/base/hash.h"
#include "ipc/worker_records.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(const struct worker_records *r)
{
    volatile unsigned sum = 0;

    for (uint32_t i = 0; i < worker_records_count(r); i++) {
        const struct worker_record *x = worker_records_get(r, i);
        sum += (unsigned) strlen(x->stream);
        for (uint32_t k = 0; k < x->n_turns; k++)
            for (size_t j = 0; j < x->turns[k].bytes; j++)
                sum += (unsigned char) x->turns[k].text[j];
    }
    (void) sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct worker_records *r;

    if (size < 2)
        return 0;
    uint32_t count = data[0] | (uint32_t) data[1] << 8;
    data += 2;
    size -= 2;
    size_t bytes = count == 0xffff ? size : size + WORKER_RECORDS_HEADER;
    uint8_t *file = calloc(1, bytes + 1);
    if (!file)
        return 0;
    if (count == 0xffff) {
        memcpy(file, data, size);
    } else {
        memcpy(file, "pockrec1", 8);
        memcpy(file + 8, &count, 4);
        memcpy(file + 16, &(uint64_t){size}, 8);
        hash_bytes(file + 24, data, size);
        memcpy(file + WORKER_RECORDS_HEADER, data, size);
    }
    if (worker_records_open(&r, file, bytes, NULL) == 0) {
        touch(r);
        worker_records_destroy(r);
    }
    free(file);
    return 0;
}
