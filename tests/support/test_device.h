// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The device that a test runs on
 *
 * POCK_TEST_DEVICE names it (engine/base/devname.h); without it, the CPU. So
 * one suite checks every backend.
 */

#include "engine/backend.h"

struct error;

// First in main(): a test whose device is not here, or lacks what training
// needs, is skipped, and says why.
void test_device_begin(void);
const char *test_device_name(void); // NULL: nobody named one
const struct backend *test_backend(void);
bool test_device_is_cpu(void);
// params->tier counts on the CPU alone.
int test_device_open(struct device **out, const struct device_params *params,
                     struct error *err);
