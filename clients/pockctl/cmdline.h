// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Command line of pockctl
 *
 * Turns argv into a command, its options and its arguments, by the tables
 * commands.def and flags.def. Options may stand before, between and after the
 * words of a command and its arguments, as --name VALUE, --name=VALUE or -n
 * VALUE; "--" ends them. Nothing is printed here: a mistake comes back as a
 * sentence.
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flag {
#define FLAG(id, name, letter, argument, scope, help) FLAG_##id,
#include "clients/pockctl/flags.def"
#undef FLAG
    FLAG_COUNT
};

// Bits of `flags` below. Global options need none; they come first.
#define FLAG_BIT(flag) \
    ((flag) < FLAG_WATCH ? 0 : UINT64_C(1) << ((flag) -FLAG_WATCH))
_Static_assert(FLAG_COUNT - FLAG_WATCH <= 64, "flags of commands must fit");

enum flag_scope {
    FLAG_COMMAND,
    FLAG_GLOBAL,
};

struct flag_info {
    const char *name;
    char letter; // 0: no short form
    const char *argument;
    enum flag_scope scope;
    const char *help;
};

struct ctl;

enum {
    ARGS_MANY = 1 << 20,
    ARGS_VERBATIM, // as many, and not looked into for options
};

struct command {
    const char *words;
    const char *arguments;
    int args_min;
    int args_max;
    uint64_t flags; // FLAG_BIT()s
    const char *help;
    int (*run)(struct ctl *c); // returns the exit status
};

struct cmdline {
    const struct command *command; // NULL when only global options were given
    const char *values[FLAG_COUNT];
    bool given[FLAG_COUNT];
    char **args; // point into argv
    int arg_count;
};

extern const struct flag_info flag_table[FLAG_COUNT];
extern const struct command command_table[];
extern const size_t command_count;

// `argv` is reordered; the result borrows its strings. -EINVAL on a mistake.
int cmdline_parse(struct cmdline *out, int argc, char **argv,
                  struct error *err);

// The command whose words are the first of `words`, and how many they are.
const struct command *command_find(char *const *words, int count, int *used);

// A whole decimal number within the bounds: -EINVAL with a sentence otherwise.
int cmdline_int(int64_t *out, const char *what, const char *text, int64_t min,
                int64_t max, struct error *err);
int cmdline_float(double *out, const char *what, const char *text, double min,
                  double max, struct error *err);
