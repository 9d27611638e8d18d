// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/out_json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SETTINGS_MAX = 64,
    FILE_BYTES_MAX = 256 << 10,
};

static void add_plain(struct str *s, const struct pock_value *v)
{
    if (pock_kind(v) == POCK_KIND_STR)
        str_puts(s, pock_as_str(v, ""));
    else
        out_json_value(s, v);
}

static void add_value(struct out_table *t, const struct pock_value *v)
{
    struct str s = {0};

    add_plain(&s, v);
    out_table_text(t, str_finish(&s) == 0 && s.data ? s.data : "");
    str_free(&s);
}

static int print_policy(struct ctl *c, const struct pock_value *policy)
{
    static const struct out_column columns[] = {
        {"KEY", false, false},
        {"VALUE", false, false},
        {"DEFAULT", false, false},
        {"MEANING", false, OUT_WRAPS},
    };
    struct out_table *t;

    if (out_table_create(&t, columns, 4) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(policy); i++) {
        const struct pock_value *k = pock_at(policy, i);
        out_table_text(t, pock_get_str(k, "key", "?"));
        add_value(t, pock_get(k, "value"));
        out_table_style(t, TERM_BOLD);
        add_value(t, pock_get(k, "default"));
        out_table_text(t, pock_get_str(k, "doc", ""));
    }
    return ctl_table(c, t);
}

static int show_policy(struct ctl *c, const struct pock_value *v)
{
    const struct pock_value *policy = pock_get(v, "policy");

    if (c->json)
        return ctl_json(c, v);
    if (!c->quiet)
        return print_policy(c, policy);
    for (size_t i = 0; i < pock_count(policy); i++)
        printf("%s\n", pock_get_str(pock_at(policy, i), "key", "?"));
    return CTL_OK;
}

static int get_policy(struct ctl *c, const char *const *keys, size_t count,
                      struct pock_reply **out)
{
    struct pock_request *r;
    int status;

    if ((status = ctl_request(c, &r, "policy.get")) != CTL_OK)
        return status;
    if (count > 0) {
        pock_open_list(r, "keys");
        for (size_t i = 0; i < count; i++)
            pock_set_str(r, NULL, keys[i]);
        pock_close(r);
    }
    return ctl_send(c, r, NULL, out);
}

int cmd_policy_get(struct ctl *c)
{
    struct pock_reply *reply;
    int status;

    if (c->line.arg_count > SETTINGS_MAX)
        return ctl_fail(c, CTL_USAGE, "at most %d keys can be asked for",
                        SETTINGS_MAX);
    if ((status = get_policy(c, (const char *const *) c->line.args,
                             (size_t) c->line.arg_count, &reply)) != CTL_OK)
        return status;
    status = show_policy(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}

/*
 * policy set
 */

struct change {
    char *key;
    char *value; // "": back to the default
};

static int put_bool(struct ctl *c, struct pock_request *r,
                    const struct change *ch)
{
    static const char *const yes[] = {"true", "yes", "on"};
    static const char *const no[] = {"false", "no", "off"};

    for (size_t i = 0; i < 3; i++) {
        if (strcmp(ch->value, yes[i]) != 0 && strcmp(ch->value, no[i]) != 0)
            continue;
        pock_set_bool(r, ch->key, strcmp(ch->value, yes[i]) == 0);
        return CTL_OK;
    }
    return ctl_fail(c, CTL_USAGE, "%s is \"%s\", but must be true or false",
                    ch->key, ch->value);
}

// The value as the type that the daemon says the setting has.
static int put_change(struct ctl *c, struct pock_request *r,
                      const struct change *ch, const char *type)
{
    struct error err;
    int64_t whole;
    double number;

    if (!*ch->value) {
        pock_set_nil(r, ch->key);
        return CTL_OK;
    }
    if (strcmp(type, "bool") == 0)
        return put_bool(c, r, ch);
    if (strcmp(type, "int") == 0) {
        if (cmdline_int(&whole, ch->key, ch->value, INT64_MIN, INT64_MAX,
                        &err) < 0)
            return ctl_fail(c, CTL_USAGE,
                            "%s is \"%s\", but must be a whole "
                            "number",
                            ch->key, ch->value);
        pock_set_int(r, ch->key, whole);
    } else if (strcmp(type, "float") == 0) {
        if (cmdline_float(&number, ch->key, ch->value, -INFINITY, INFINITY,
                          &err) < 0)
            return ctl_fail(c, CTL_USAGE, "%s is \"%s\", but must be a number",
                            ch->key, ch->value);
        pock_set_float(r, ch->key, number);
    } else {
        pock_set_str(r, ch->key, ch->value);
    }
    return CTL_OK;
}

static int set_policy(struct ctl *c, const struct change *changes, size_t count,
                      struct pock_reply **out)
{
    const char *keys[SETTINGS_MAX];
    struct pock_reply *known;
    struct pock_request *r;
    int status;

    for (size_t i = 0; i < count; i++)
        keys[i] = changes[i].key;
    if ((status = get_policy(c, keys, count, &known)) != CTL_OK)
        return status;
    const struct pock_value *policy = pock_get(pock_result(known), "policy");
    if ((status = ctl_request(c, &r, "policy.set")) == CTL_OK) {
        pock_open_map(r, "values");
        for (size_t i = 0; i < count && status == CTL_OK; i++) {
            const char *type = "str";
            for (size_t k = 0; k < pock_count(policy); k++)
                if (strcmp(pock_get_str(pock_at(policy, k), "key", ""),
                           keys[i]) == 0)
                    type = pock_get_str(pock_at(policy, k), "type", "str");
            status = put_change(c, r, &changes[i], type);
        }
        pock_close(r);
        if (status == CTL_OK)
            status = ctl_send(c, r, NULL, out);
        else
            pock_request_destroy(r);
    }
    pock_reply_destroy(known);
    return status;
}

int cmd_policy_set(struct ctl *c)
{
    struct change changes[SETTINGS_MAX];
    struct pock_reply *reply;
    int status;

    if (c->line.arg_count > SETTINGS_MAX)
        return ctl_fail(c, CTL_USAGE,
                        "at most %d settings can be changed at "
                        "once",
                        SETTINGS_MAX);
    for (int i = 0; i < c->line.arg_count; i++) {
        char *equals = strchr(c->line.args[i], '=');
        if (!equals || equals == c->line.args[i])
            return ctl_fail(c, CTL_USAGE,
                            "\"%s\" is not of the form KEY=VALUE (KEY= goes "
                            "back to the default)",
                            c->line.args[i]);
        *equals = '\0';
        changes[i] = (struct change){c->line.args[i], equals + 1};
    }
    if ((status = set_policy(c, changes, (size_t) c->line.arg_count, &reply)) !=
        CTL_OK)
        return status;
    status = show_policy(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}

/*
 * policy edit
 */

static int write_file(struct ctl *c, int fd, const struct pock_value *policy)
{
    struct str s = {0};

    str_puts(&s, "# The policy of pockd. Nothing after the = means the "
                 "default.\n");
    for (size_t i = 0; i < pock_count(policy); i++) {
        const struct pock_value *k = pock_at(policy, i);
        str_printf(&s, "\n# %s (default: ", pock_get_str(k, "doc", ""));
        add_plain(&s, pock_get(k, "default"));
        str_printf(&s, ")\n%s = ", pock_get_str(k, "key", "?"));
        add_plain(&s, pock_get(k, "value"));
        str_putc(&s, '\n');
    }
    int rc = str_finish(&s);
    if (rc == 0 && write(fd, s.data, s.bytes) != (ssize_t) s.bytes)
        rc = errno ? -errno : -EIO;
    str_free(&s);
    return rc < 0 ? ctl_fail_errno(c, rc, "cannot write the policy to edit")
                  : CTL_OK;
}

static int run_editor(struct ctl *c, const char *path)
{
    const char *editor = getenv("VISUAL");
    char *command;
    int state;

    if (!editor || !*editor)
        editor = getenv("EDITOR");
    if (!editor || !*editor)
        editor = access("/usr/bin/sensible-editor", X_OK) == 0
                     ? "sensible-editor"
                     : "vi";
    // EDITOR may hold options, so a shell takes it apart; the path is ours.
    if (asprintf(&command, "%s '%s'", editor, path) < 0)
        return ctl_no_memory(c);
    state = system(command); // NOLINT(cert-env33-c): the user's own editor
    free(command);
    if (state == 0)
        return CTL_OK;
    return ctl_fail(c, CTL_FAILED,
                    "the editor \"%s\" failed: nothing was changed: set EDITOR",
                    editor);
}

static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r", text[n - 1]))
        text[--n] = '\0';
    return text;
}

// The lines that say something else than `policy` does.
static int find_changes(struct ctl *c, char *text,
                        const struct pock_value *policy, struct change *changes,
                        size_t *count)
{
    char *line;

    while ((line = strsep(&text, "\n"))) {
        char *equals = strchr(line, '=');
        line = trim(line);
        if (!*line || *line == '#')
            continue;
        if (!equals)
            return ctl_fail(c, CTL_USAGE,
                            "\"%s\" is not of the form KEY = "
                            "VALUE: nothing was changed",
                            line);
        *equals = '\0';
        struct change ch = {trim(line), trim(equals + 1)};
        struct str old = {0};
        bool is_known = false;
        for (size_t i = 0; i < pock_count(policy); i++) {
            const struct pock_value *k = pock_at(policy, i);
            if (strcmp(pock_get_str(k, "key", ""), ch.key) != 0)
                continue;
            is_known = true;
            add_plain(&old, pock_get(k, "value"));
        }
        if (!is_known || strcmp(old.data ? old.data : "", ch.value) != 0) {
            if (*count == SETTINGS_MAX) {
                str_free(&old);
                return ctl_fail(c, CTL_USAGE, "there are too many changes");
            }
            changes[(*count)++] = ch;
        }
        str_free(&old);
    }
    return CTL_OK;
}

static int apply_file(struct ctl *c, const char *path,
                      const struct pock_value *policy)
{
    struct change changes[SETTINGS_MAX];
    struct pock_reply *reply;
    struct str text = {0};
    size_t count = 0;
    int status;

    FILE *f = fopen(path, "re");
    if (!f)
        return ctl_fail_errno(c, -errno, path);
    status = ctl_read_all(c, f, path, FILE_BYTES_MAX, &text);
    fclose(f);
    if (status == CTL_OK)
        status = find_changes(c, text.data, policy, changes, &count);
    if (status == CTL_OK && count == 0) {
        ctl_remark(c, "nothing was changed");
    } else if (status == CTL_OK &&
               (status = set_policy(c, changes, count, &reply)) == CTL_OK) {
        status = show_policy(c, pock_result(reply));
        pock_reply_destroy(reply);
    }
    str_free(&text);
    return status;
}

int cmd_policy_edit(struct ctl *c)
{
    char path[] = "/tmp/pockctl-policy-XXXXXX";
    struct pock_reply *reply;
    int status;

    if ((status = get_policy(c, NULL, 0, &reply)) != CTL_OK)
        return status;
    int fd = mkstemp(path);
    if (fd < 0) {
        pock_reply_destroy(reply);
        return ctl_fail_errno(c, -errno, path);
    }
    const struct pock_value *policy = pock_get(pock_result(reply), "policy");
    status = write_file(c, fd, policy);
    close(fd);
    if (status == CTL_OK && (status = run_editor(c, path)) == CTL_OK)
        status = apply_file(c, path, policy);
    (void) unlink(path);
    pock_reply_destroy(reply);
    return status;
}
