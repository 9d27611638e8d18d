// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * pockctl
 *
 * Asks and tells pockd. One row of commands.def is one command, in one function
 * cmd_*(); what they share is in ctl.h.
 */

#include "clients/pockctl/ctl.h"

#include <locale.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

static int run(struct ctl *c)
{
    if (c->line.given[FLAG_VERSION])
        return cmd_version(c);
    if (!c->line.command)
        return c->line.given[FLAG_HELP] ? cmd_help(c) : ctl_overview(c);
    if (c->line.given[FLAG_HELP]) {
        // "pockctl data list --help" is "pockctl help data list".
        int words = 1;
        for (const char *p = c->line.command->words; *p; p++)
            words += *p == ' ';
        c->line.args -= words;
        c->line.arg_count = words;
        return cmd_help(c);
    }
    return c->line.command->run(c);
}

int main(int argc, char **argv)
{
    struct cmdline line;
    struct error err;
    struct ctl c;
    int status;

    // It holds texts, too. Who it is must be seen by pockd, so no more than
    // this.
    (void) setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    // For the width of characters; numbers stay as programs expect them.
    (void) setlocale(LC_CTYPE, "");
    tzset();
    if (cmdline_parse(&line, argc, argv, &err) < 0) {
        fprintf(stderr, "pockctl: %s\n", err.text);
        return CTL_USAGE;
    }
    if ((status = ctl_init(&c, &line)) != CTL_OK)
        return status;
    return ctl_finish(&c, run(&c));
}
