// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any text as $MEMORY_PRESSURE_WRITE, and as a descriptor's file of a GPU.
 */

#include "daemon/signals_gpu.h"
#include "daemon/signals_pressure.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char out[64];
    uint64_t client;
    uint64_t ns;
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    int n = signals_pressure_decode(out, sizeof(out), text);
    if (n > (int) sizeof(out) || (n >= 0 && strlen(text) % 4 != 0))
        abort();
    int rc = gpu_users_parse(&client, &ns, text);
    if (rc == 0 && !strstr(text, "drm-client-id:"))
        abort();
    free(text);
    return 0;
}
