// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Build
 *
 * Which build of which program this is: what was measured with one is not true
 * of another.
 */

#include <stddef.h>

// The linker's number of the running program, in hexadecimal digits; the
// version where it has none.
void buildid_get(char *out, size_t size);
