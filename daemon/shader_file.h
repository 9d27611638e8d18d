// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// Where a GPU's driver keeps what it compiled, from one worker to the next.

#include "daemon/paths.h"

enum { SHADER_FILE_BYTES = PATHS_BYTES + 32 };

// One file for each device that is asked for by name. The worker writes it, and
// checks it: pockd never looks into it.
void shader_file_path(char out[SHADER_FILE_BYTES], const struct paths *p,
                      const char *device);
