// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Gates as a table: what `why` prints, and what a refused request shows.
 */

struct ctl;
struct pock_value;

int gate_table(struct ctl *c, const struct pock_value *gates);
