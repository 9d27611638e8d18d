// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Doctor
 *
 * One function for each row of doctor.def looks at one thing and fills in a
 * finding. What they look at is gathered once.
 */

#include "clients/pockctl/ctl.h"

#include <stdio.h>

enum level {
    LEVEL_OK,
    LEVEL_NOTE, // worth knowing, nothing to do
    LEVEL_WARN,
    LEVEL_FAIL,
};

struct finding {
    enum level level;
    char seen[768];
    char fix[256]; // "" when there is nothing to do
};

// What the checks look at; NULL where the daemon could not be asked.
struct patient {
    struct ctl *ctl;
    struct pock_error no_daemon;
    const struct pock_value *info;
    const struct pock_value *status;
    const struct pock_value *why;
    const struct pock_value *models;
    const struct pock_value *times;
    const struct pock_value *devices;
    const struct pock_value *key;
    const struct pock_value *check; // of the store
};

#define SEEN(f, ...) snprintf((f)->seen, sizeof((f)->seen), __VA_ARGS__)
#define FIX(f, ...)  snprintf((f)->fix, sizeof((f)->fix), __VA_ARGS__)

#define CHECK(function, title) \
    void check_##function(const struct patient *p, struct finding *f);
#include "clients/pockctl/doctor.def"
#undef CHECK

// The daemon did not say.
void doctor_unknown(struct finding *f);
// What a program prints, without its last newline; -1 when it could not be run,
// else its exit status. NULL for `out`: nobody reads it.
int doctor_capture(char *out, size_t bytes, const char *const argv[]);
