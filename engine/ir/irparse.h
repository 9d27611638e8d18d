// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Reads the textual form of irprint.h
 *
 * For goldens and bug reports. The text need not be trusted: sizes and counts
 * are bounded, and every node is checked against its operator's rule. Values
 * get new numbers, in the order in which the text defines them. Lines that are
 * empty or start with # are skipped.
 */

#include "engine/ir/graph.h"

struct error;

enum {
    IRPARSE_BYTES_MAX = 4 << 20,
    IRPARSE_VALUES_MAX = 1 << 16, // numbers after %
    IRPARSE_NAME_MAX = 95,
};

// -EINVAL and a sentence with the line's number when the text is no graph.
int irparse_graph(struct graph **out, const char *text, size_t bytes,
                  struct arena *a, struct error *err);
