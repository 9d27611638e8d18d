// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#define F(id)    FLAG_BIT(FLAG_##id)
#define MANY     ARGS_MANY
#define VERBATIM ARGS_VERBATIM

const struct command command_table[] = {
#define COMMAND(function, words, arguments, min, max, flags, help) \
    {words, arguments, min, max, flags, help, cmd_##function},
#include "clients/pockctl/commands.def"
#undef COMMAND
};

const size_t command_count = sizeof(command_table) / sizeof(command_table[0]);
