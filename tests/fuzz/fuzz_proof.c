// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any text as a proof. One that is refused gets a sentence.
 */

#include "clients/pockctl/proof.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct proof p;

    if (proof_check(&p, (const char *) data, size, &err) == 0) {
        if (strlen(p.sha256) >= HASH_HEX || strlen(p.adapter) >= 72)
            abort();
    } else if (err.text[0] == '\0') {
        abort();
    }
    return 0;
}
