// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/cmdline.h"

#include "engine/base/str.h"
#include "engine/base/suggest.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct flag_info flag_table[FLAG_COUNT] = {
#define FLAG(id, name, letter, argument, scope, help) \
    [FLAG_##id] = {name, letter, argument, scope, help},
#include "clients/pockctl/flags.def"
#undef FLAG
};

static bool same_word(const char *a, const char *b, size_t bytes)
{
    return strlen(b) == bytes && memcmp(a, b, bytes) == 0;
}

const struct command *command_find(char *const *words, int count, int *used)
{
    for (size_t i = 0; i < command_count; i++) {
        const char *p = command_table[i].words;
        int n = 0;
        for (; *p && n < count; n++) {
            size_t bytes = strcspn(p, " ");
            if (!same_word(p, words[n], bytes))
                break;
            p += bytes + strspn(p + bytes, " ");
        }
        if (*p == '\0') {
            *used = n;
            return &command_table[i];
        }
    }
    return NULL;
}

static int find_flag(const char *name, size_t bytes)
{
    for (int i = 0; i < FLAG_COUNT; i++)
        if (same_word(name, flag_table[i].name, bytes))
            return i;
    return -1;
}

static int find_letter(char letter)
{
    for (int i = 0; i < FLAG_COUNT; i++)
        if (flag_table[i].letter != 0 && flag_table[i].letter == letter)
            return i;
    return -1;
}

// Where the parser stands: argv[0 .. kept) are the words and arguments so far.
struct cursor {
    int argc;
    char **argv;
    int next;
    int kept;
};

static int unknown_option(const char *name, size_t bytes, struct error *err)
{
    struct suggest s;

    suggest_init(&s, name, bytes);
    for (int i = 0; i < FLAG_COUNT; i++)
        suggest_consider(&s, flag_table[i].name, strlen(flag_table[i].name));
    if (s.best)
        return error_set(err, -EINVAL,
                         "there is no option --%.*s: did you mean --%.*s?",
                         (int) bytes, name, (int) s.best_bytes, s.best);
    return error_set(err, -EINVAL,
                     "there is no option --%.*s: see `pockctl help`",
                     (int) bytes, name);
}

static int set_flag(struct cmdline *line, struct cursor *at, int flag,
                    const char *value, struct error *err)
{
    const struct flag_info *f = &flag_table[flag];

    if (!f->argument && value)
        return error_set(err, -EINVAL, "option --%s takes no value", f->name);
    if (f->argument && !value) {
        if (at->next >= at->argc)
            return error_set(err, -EINVAL, "option --%s needs a value: --%s %s",
                             f->name, f->name, f->argument);
        value = at->argv[at->next++];
    }
    line->given[flag] = true;
    line->values[flag] = value;
    return 0;
}

static int parse_long(struct cmdline *line, struct cursor *at, const char *text,
                      struct error *err)
{
    const char *equals = strchr(text, '=');
    size_t bytes = equals ? (size_t) (equals - text) : strlen(text);
    int flag = find_flag(text, bytes);

    if (flag < 0)
        return unknown_option(text, bytes, err);
    return set_flag(line, at, flag, equals ? equals + 1 : NULL, err);
}

// "-qf" is -q -f, and "-n5" is -n 5.
static int parse_letters(struct cmdline *line, struct cursor *at,
                         const char *text, struct error *err)
{
    int rc;

    for (; *text; text++) {
        int flag = find_letter(*text);
        if (flag < 0)
            return error_set(err, -EINVAL,
                             "there is no option -%c: see `pockctl help`",
                             *text);
        bool rest = flag_table[flag].argument && text[1];
        if ((rc = set_flag(line, at, flag, rest ? text + 1 : NULL, err)) < 0)
            return rc;
        if (rest)
            return 0;
    }
    return 0;
}

static bool is_verbatim(const struct cursor *at)
{
    int used;
    const struct command *c = command_find(at->argv, at->kept, &used);

    return c && c->args_max == ARGS_VERBATIM && at->kept > used;
}

static void keep_rest(struct cursor *at)
{
    while (at->next < at->argc)
        at->argv[at->kept++] = at->argv[at->next++];
}

static int split_flags(struct cmdline *line, struct cursor *at,
                       struct error *err)
{
    int rc;

    while (at->next < at->argc) {
        char *word = at->argv[at->next++];
        if (strcmp(word, "--") == 0) {
            keep_rest(at);
        } else if (strncmp(word, "--", 2) == 0) {
            if ((rc = parse_long(line, at, word + 2, err)) < 0)
                return rc;
        } else if (word[0] == '-' && word[1] != '\0') {
            if ((rc = parse_letters(line, at, word + 1, err)) < 0)
                return rc;
        } else {
            at->argv[at->kept++] = word;
            if (is_verbatim(at))
                keep_rest(at);
        }
    }
    return 0;
}

// "" where a command is of one word.
static const char *second_word(const struct command *c)
{
    const char *blank = strchr(c->words, ' ');

    return blank ? blank + 1 : "";
}

static bool is_of_group(const struct command *c, const char *group)
{
    return *second_word(c) &&
           same_word(c->words, group, strcspn(c->words, " "));
}

// "data improt": of its group, what could have been meant.
static int unknown_second(char *const *words, struct error *err)
{
    struct suggest s;

    suggest_init(&s, words[1], strlen(words[1]));
    for (size_t i = 0; i < command_count; i++) {
        const char *word = second_word(&command_table[i]);
        if (is_of_group(&command_table[i], words[0]))
            suggest_consider(&s, word, strlen(word));
    }
    if (s.best)
        return error_set(err, -EINVAL,
                         "there is no command \"%s %s\": did you mean \"%s "
                         "%.*s\"?",
                         words[0], words[1], words[0], (int) s.best_bytes,
                         s.best);
    return error_set(err, -EINVAL,
                     "there is no command \"%s %s\": see `pockctl help %s`",
                     words[0], words[1], words[0]);
}

// "data" alone: what may follow. "list" alone: what may stand before it.
static int list_words(const char *word, bool is_group, struct error *err)
{
    struct str list = {0};

    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];
        if (is_group ? is_of_group(c, word) : strcmp(second_word(c), word) == 0)
            str_printf(&list, "%s%s", list.bytes > 0 ? ", " : "",
                       is_group ? second_word(c) : c->words);
    }
    const char *text = str_finish(&list) == 0 && list.data ? list.data : "";
    const int rc =
        *text == '\0' ? 0
        : is_group
            ? error_set(err, -EINVAL,
                        "\"%s\" needs a second word, one of %s: see `pockctl "
                        "help %s`",
                        word, text, word)
            : error_set(err, -EINVAL,
                        "there is no command \"%s\": did you mean %s?", word,
                        text);
    str_free(&list);
    return rc;
}

static int unknown_command(char *const *words, int count, struct error *err)
{
    const char *first = words[0];
    struct suggest s;

    suggest_init(&s, first, strlen(first));
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];
        if (is_of_group(c, first))
            return count > 1 ? unknown_second(words, err)
                             : list_words(first, true, err);
        suggest_consider(&s, c->words, strcspn(c->words, " "));
    }
    int rc = list_words(first, false, err);
    if (rc < 0)
        return rc;
    if (s.best)
        return error_set(err, -EINVAL,
                         "there is no command \"%s\": did you mean \"%.*s\"?",
                         first, (int) s.best_bytes, s.best);
    return error_set(err, -EINVAL,
                     "there is no command \"%s\": see `pockctl help`", first);
}

static int check_command(const struct cmdline *line, struct error *err)
{
    const struct command *c = line->command;

    if (line->given[FLAG_HELP] || line->given[FLAG_VERSION])
        return 0;
    for (int i = 0; i < FLAG_COUNT; i++)
        if (line->given[i] && flag_table[i].scope == FLAG_COMMAND &&
            !(c->flags & FLAG_BIT(i)))
            return error_set(err, -EINVAL,
                             "option --%s does not belong to \"%s\": see "
                             "`pockctl help %s`",
                             flag_table[i].name, c->words, c->words);
    if (line->arg_count < c->args_min)
        return error_set(err, -EINVAL, "\"%s\" needs %s: see `pockctl help %s`",
                         c->words, c->arguments, c->words);
    if (line->arg_count > c->args_max)
        return error_set(err, -EINVAL,
                         "\"%s\" is one argument too many for \"%s\"%s",
                         line->args[c->args_max], c->words,
                         strcmp(c->words, "gen") == 0
                             ? ": put the prompt in quotes"
                             : "");
    return 0;
}

int cmdline_parse(struct cmdline *out, int argc, char **argv, struct error *err)
{
    struct cmdline line = {0};
    struct cursor at = {.argc = argc, .argv = argv, .next = 1};
    int used = 0;
    int rc;

    // argv[0] is overwritten from the left by what is kept.
    if ((rc = split_flags(&line, &at, err)) < 0)
        return rc;
    if (at.kept > 0) {
        line.command = command_find(argv, at.kept, &used);
        if (!line.command && !line.given[FLAG_HELP])
            return unknown_command(argv, at.kept, err);
    }
    line.args = argv + used;
    line.arg_count = at.kept - used;
    if (line.command && (rc = check_command(&line, err)) < 0)
        return rc;
    *out = line;
    return 0;
}

int cmdline_int(int64_t *out, const char *what, const char *text, int64_t min,
                int64_t max, struct error *err)
{
    char *end;

    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno || v < min || v > max)
        return error_set(err, -EINVAL,
                         "%s is \"%s\", but must be a whole number from %lld "
                         "to %lld",
                         what, text, (long long) min, (long long) max);
    *out = v;
    return 0;
}

int cmdline_float(double *out, const char *what, const char *text, double min,
                  double max, struct error *err)
{
    char *end;

    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v) || v < min || v > max)
        return error_set(err, -EINVAL,
                         "%s is \"%s\", but must be a number from %g to %g",
                         what, text, min, max);
    *out = v;
    return 0;
}
