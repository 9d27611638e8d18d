// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A text that every pre-tokenizer cuts: the pieces are the text again, and
 * cutting one that stands alone does not fail.
 */

#include "engine/tokenizer/pretokenize.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct pretokenizer *pre;

    for (unsigned i = 0; (pre = pretokenizer_at(i)); i++) {
        struct pretokenize p, alone;
        size_t n, sum = 0;
        pretokenize_start(&p, pre, (const char *) data, size);
        while ((n = pretokenize_next(&p)) > 0) {
            if (n > size - sum)
                abort();
            pretokenize_start(&alone, pre, (const char *) data + sum, n);
            if (pretokenize_next(&alone) == 0)
                abort();
            sum += n;
        }
        if (sum != size)
            abort();
    }
    return 0;
}
