// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The model that a request is about (database thread)
 */

#include "storage/store_model.h"

struct dbcall;
struct error;

// The model of this name, or the default one and its name where there is none;
// *fd is open for reading then. NO_MODEL where there is no default.
int model_pick(char name[STORE_NAME_SIZE], int *fd, struct store *s,
               struct dbcall *c, struct error *err);

// The model's file, open for reading, or a negative errno and a sentence.
int model_open(const struct store_model *m, struct error *err);
