// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Configuration
 *
 * One struct with a field for each row of options.def, and the policy that
 * pockd.conf asks for. Strength: command line, then environment, then file,
 * then the default. Unknown keys and values out of range are errors that name
 * the line; nothing is guessed.
 */

#include "daemon/policy.h"
#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONFIG_TEXT_BYTES = 512,
};

struct config {
    bool is_user; // --user: one person's own daemon, XDG paths
    bool wants_help;
    bool wants_version;
    char file[CONFIG_TEXT_BYTES]; // --config; empty: the usual place
#define OPTION_TEXT(field)                               char field[CONFIG_TEXT_BYTES];
#define OPTION_INT(field)                                int64_t field;
#define OPTION(field, kind, env, def, min, max, meaning) OPTION_##kind(field)
#include "daemon/options.def"
#undef OPTION
#undef OPTION_TEXT
#undef OPTION_INT
    struct policy policy;
};

// The defaults, then the environment.
int config_init(struct config *c, struct error *err);
// Command line; it is read twice, because it may name the file.
int config_parse_argv(struct config *c, int argc, const char *const *argv,
                      struct error *err);
// The text of pockd.conf: `key = value` lines, # comments. `name` is for
// messages. Keys already set by the environment are overwritten, so the caller
// applies environment and command line again afterwards (config_load does).
int config_parse_text(struct config *c, const char *name, const char *text,
                      size_t bytes, struct error *err);
// All of it in the right order. A missing `usual_file` is not an error; a
// missing --config FILE is.
int config_load(struct config *c, int argc, const char *const *argv,
                const char *usual_file, struct error *err);

// The text that --help prints, and the table of pockd.conf(5).
void config_print_help(void);
