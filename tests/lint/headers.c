/*
 * SPDX-FileCopyrightText: the pockd authors
 * SPDX-License-Identifier: Apache-2.0
 *
 * The public header alone, as a program of somebody else includes it: compiled
 * as C99 -pedantic and as C++, with nothing in front of it.
 */
#include <pock/pock.h>

/* NULL comes with the header: it names size_t, so <stddef.h> is its own. */
int main(void)
{
    struct pock_error err;
    struct pock_record record = {0};
    struct pock *p = NULL;

    record.stream = "notes";
    record.text = "Bees are back.";
    if (pock_connect(&p, "/nonexistent", &err) == 0) {
        pock_put(p, &record, POCK_PUT_CREATE_STREAM, NULL, &err);
        pock_destroy(p);
        return 1;
    }
    return err.code == POCK_ERROR_NOT_READY ? 0 : 1;
}
