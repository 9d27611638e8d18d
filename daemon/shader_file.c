// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/shader_file.h"

#include <stdint.h>
#include <stdio.h>

#include "engine/base/hash.h"

#include <string.h>

void shader_file_path(char out[SHADER_FILE_BYTES], const struct paths *p,
                      const char *device)
{
    uint8_t h[HASH_BYTES];

    hash_bytes(h, device, strlen(device));
    (void) snprintf(out, SHADER_FILE_BYTES, "%s/shaders-%02x%02x%02x%02x.cache",
                    p->state, h[0], h[1], h[2], h[3]);
}
