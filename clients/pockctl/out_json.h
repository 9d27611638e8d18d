// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * JSON
 *
 * Every answer of the daemon as one line of JSON. Maps, lists, strings and
 * numbers stay what they are, bytes become hexadecimal digits, times stay
 * milliseconds. Whole answers begin with "schema", which grows when a key
 * changes its meaning; new keys do not change it.
 */

#include "engine/base/str.h"

#include <pock/pock.h>
#include <stdio.h>

enum { OUT_JSON_SCHEMA = 1 };

void out_json_value(struct str *s, const struct pock_value *v);
// The shortest decimal that reads back as the same number.
void out_json_float(struct str *s, double v);

// One line: {"schema":1, ...the entries of `map`}. 0 or -ENOMEM.
int out_json_print(FILE *f, const struct pock_value *map);
