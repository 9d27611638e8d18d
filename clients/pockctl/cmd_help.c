// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/out_json.h"

#include <string.h>

enum { LINE_COLUMNS = 76 };

static const struct out_column columns[] = {{NULL, false, false},
                                            {NULL, false, false},
                                            {NULL, false, OUT_WRAPS}};

static void add_flag(struct out_table *t, const struct flag_info *f)
{
    char letter[4] = "";

    if (f->letter)
        snprintf(letter, sizeof(letter), "-%c,", f->letter);
    out_table_cell(t, "  %s", letter);
    out_table_cell(t, "--%s%s%s", f->name, f->argument ? " " : "",
                   f->argument ? f->argument : "");
    out_table_text(t, f->help);
}

static int print_flags(struct ctl *c, uint64_t flags, bool is_global)
{
    struct out_table *t;

    if (out_table_create(&t, columns, 3) < 0)
        return ctl_no_memory(c);
    for (int i = 0; i < FLAG_COUNT; i++) {
        bool has = flag_table[i].scope == FLAG_GLOBAL
                       ? is_global
                       : (flags & FLAG_BIT(i)) != 0;
        if (has)
            add_flag(t, &flag_table[i]);
    }
    return ctl_table(c, t);
}

static void print_title(struct ctl *c, const char *title)
{
    printf("\n%s%s%s\n", term_on(&c->out, TERM_BOLD), title,
           term_off(&c->out, TERM_BOLD));
}

static int help_command(struct ctl *c, const struct command *cmd)
{
    int status = CTL_OK;

    printf("pockctl %s%s%s%s\n\n%s\n", cmd->words, *cmd->arguments ? " " : "",
           cmd->arguments, cmd->flags ? " [OPTION...]" : "", cmd->help);
    if (cmd->flags) {
        print_title(c, "Options");
        status = print_flags(c, cmd->flags, false);
    }
    printf("\nOptions of every command: `pockctl help`. Examples: `man "
           "pockctl`.\n");
    return status;
}

static int list_commands(struct ctl *c, const char *group)
{
    static const struct out_column two[] = {{NULL, false, false},
                                            {NULL, false, OUT_WRAPS}};
    size_t bytes = group ? strlen(group) : 0;
    struct out_table *t;

    if (out_table_create(&t, two, 2) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < command_count; i++) {
        const struct command *cmd = &command_table[i];
        if (group && (strncmp(cmd->words, group, bytes) != 0 ||
                      cmd->words[bytes] != ' '))
            continue;
        out_table_cell(t, "  %s%s%s", cmd->words, *cmd->arguments ? " " : "",
                       cmd->arguments);
        out_table_text(t, cmd->help);
    }
    if (out_table_rows(t) > 0)
        return ctl_table(c, t);
    out_table_destroy(t);
    return ctl_fail(c, CTL_USAGE,
                    "there is no command \"%s\": see `pockctl "
                    "help`",
                    group);
}

static void print_purpose(void)
{
    printf("pockctl COMMAND [ARGUMENT...] [OPTION...]\n\n"
           "Asks and tells pockd, which teaches the local language model its "
           "owner's words\nwhile nobody needs the machine.\n");
}

static void print_first_day(struct ctl *c)
{
    print_title(c, "A first day");
    printf("  pockctl model add model.gguf\n"
           "  pockctl data import notebook.jsonl letters.md\n"
           "  pockctl why\n"
           "  pockctl gen \"What do I need for the bread?\"\n\n");
}

static bool has_same_first(const char *a, const char *b)
{
    const size_t bytes = strcspn(a, " ");

    return strcspn(b, " ") == bytes && memcmp(a, b, bytes) == 0;
}

int ctl_overview(struct ctl *c)
{
    int column = 0;

    print_purpose();
    print_first_day(c);
    printf("%sCommands%s", term_on(&c->out, TERM_BOLD),
           term_off(&c->out, TERM_BOLD));
    for (size_t i = 0; i < command_count; i++) {
        const char *words = command_table[i].words;
        const int bytes = (int) strcspn(words, " ");
        const bool is_group = words[bytes] == ' ';
        if (i > 0 && has_same_first(words, command_table[i - 1].words))
            continue;
        const int width = bytes + (is_group ? 6 : 2);
        if (column == 0 || column + width > LINE_COLUMNS) {
            printf("\n ");
            column = 1;
        }
        printf(" %.*s%s%s", bytes, words, is_group ? " ..." : "",
               i + 1 < command_count ? "," : "");
        column += width;
    }
    printf("\n\n`pockctl help` tells what each does, `pockctl help COMMAND` "
           "more.\n");
    return CTL_OK;
}

static int help_all(struct ctl *c)
{
    int status;

    print_purpose();
    print_title(c, "Commands");
    if ((status = list_commands(c, NULL)) != CTL_OK)
        return status;
    print_title(c, "Options of every command");
    if ((status = print_flags(c, 0, true)) != CTL_OK)
        return status;
    print_first_day(c);
    printf("`pockctl help COMMAND` tells more, `man pockctl` everything.\n");
    return CTL_OK;
}

int cmd_help(struct ctl *c)
{
    const struct command *cmd;
    int used;

    if (c->line.arg_count == 0)
        return help_all(c);
    cmd = command_find(c->line.args, c->line.arg_count, &used);
    if (cmd && used == c->line.arg_count)
        return help_command(c, cmd);
    return list_commands(c, c->line.args[0]);
}

int cmd_version(struct ctl *c)
{
    struct pock_error err = {0};
    struct pock_reply *reply = NULL;
    const char *daemon = "not running";

    if (ctl_try_connect(c, &err) == 0 &&
        pock_server_info(c->pock, &reply, &err) == 0)
        daemon = pock_get_str(pock_result(reply), "version", "?");
    if (c->json) {
        bool running = reply != NULL;
        printf("{\"schema\":%d,\"pockctl\":\"%s\",\"libpock\":\"%s\","
               "\"pockd\":%s%s%s}\n",
               OUT_JSON_SCHEMA, POCK_VERSION, pock_version(),
               running ? "\"" : "", running ? daemon : "null",
               running ? "\"" : "");
    } else if (c->quiet) {
        printf("%s\n", POCK_VERSION);
    } else {
        printf("pockctl %s\nlibpock %s\npockd   %s\n", POCK_VERSION,
               pock_version(), daemon);
    }
    pock_reply_destroy(reply);
    return CTL_OK;
}
