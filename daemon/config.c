// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum option_kind {
    OPTION_KIND_TEXT,
    OPTION_KIND_INT,
};

enum {
    CONFIG_FILE_BYTES = 64 << 10,
    CONFIG_NAME_BYTES = 64,
};

struct option_row {
    const char *name;
    enum option_kind kind;
    const char *env;
    const char *fallback;
    int64_t min;
    int64_t max;
    const char *meaning;
    size_t offset;
};

static const struct option_row rows[] = {
#define OPTION(field, kind, env, def, min, max, meaning) \
    {#field,  OPTION_KIND_##kind,                        \
     env,     def,                                       \
     min,     max,                                       \
     meaning, offsetof(struct config, field)},
#include "daemon/options.def"
#undef OPTION
};

static const size_t row_count = sizeof(rows) / sizeof(rows[0]);

static const struct option_row *find(const char *name)
{
    for (size_t i = 0; i < row_count; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

static int set_text(struct config *c, const struct option_row *row,
                    const char *value, struct error *err)
{
    char *at = (char *) c + row->offset;

    if (strlen(value) >= CONFIG_TEXT_BYTES)
        return error_set(err, -ENAMETOOLONG,
                         "option %s is longer than %d bytes", row->name,
                         CONFIG_TEXT_BYTES - 1);
    strcpy(at, value);
    return 0;
}

static int set_int(struct config *c, const struct option_row *row,
                   const char *value, struct error *err)
{
    char *end;

    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (errno || end == value || *end != '\0')
        return error_set(err, -EINVAL,
                         "option %s is %.64s, but must be a whole number",
                         row->name, value);
    if (n < row->min || n > row->max)
        return error_set(err, -ERANGE,
                         "option %s is %lld, but must be %lld to %lld",
                         row->name, n, (long long) row->min,
                         (long long) row->max);
    *(int64_t *) ((char *) c + row->offset) = n;
    return 0;
}

static int set(struct config *c, const struct option_row *row,
               const char *value, struct error *err)
{
    switch (row->kind) {
    case OPTION_KIND_TEXT:
        return set_text(c, row, value, err);
    case OPTION_KIND_INT:
        return set_int(c, row, value, err);
    }
    return -EINVAL;
}

static int apply_env(struct config *c, struct error *err)
{
    for (size_t i = 0; i < row_count; i++) {
        const char *value = rows[i].env ? getenv(rows[i].env) : NULL;
        if (!value || !*value)
            continue;
        int rc = set(c, &rows[i], value, err);
        if (rc < 0)
            return error_prefix(err, rc, "environment variable %s",
                                rows[i].env);
    }
    return 0;
}

int config_init(struct config *c, struct error *err)
{
    int rc = 0;

    memset(c, 0, sizeof(*c));
    policy_init(&c->policy);
    for (size_t i = 0; i < row_count && rc == 0; i++)
        rc = set(c, &rows[i], rows[i].fallback, err);
    return rc < 0 ? rc : apply_env(c, err);
}

// "log-level=debug" -> name log_level, value debug; value NULL without '='.
static int split(const char *arg, char name[CONFIG_NAME_BYTES],
                 const char **value)
{
    size_t n = strcspn(arg, "=");

    if (n >= CONFIG_NAME_BYTES)
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        name[i] = arg[i] == '-' ? '_' : arg[i];
    name[n] = '\0';
    *value = arg[n] == '=' ? arg + n + 1 : NULL;
    return 0;
}

static bool parse_flag(struct config *c, const char *arg)
{
    if (strcmp(arg, "--user") == 0)
        c->is_user = true;
    else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
        c->wants_help = true;
    else if (strcmp(arg, "--version") == 0 || strcmp(arg, "-V") == 0)
        c->wants_version = true;
    else
        return false;
    return true;
}

int config_parse_argv(struct config *c, int argc, const char *const *argv,
                      struct error *err)
{
    for (int i = 1; i < argc; i++) {
        char name[CONFIG_NAME_BYTES];
        const char *value = NULL;

        if (parse_flag(c, argv[i]))
            continue;
        if (strncmp(argv[i], "--", 2) != 0 ||
            split(argv[i] + 2, name, &value) < 0)
            return error_set(err, -EINVAL,
                             "unknown argument %.64s: see pockd --help",
                             argv[i]);
        const struct option_row *row = find(name);
        bool is_file = strcmp(name, "config") == 0;
        if (!row && !is_file)
            return error_set(err, -EINVAL,
                             "unknown option %.64s: see pockd --help", argv[i]);
        if (!value && i + 1 == argc)
            return error_set(err, -EINVAL, "option %.64s needs a value",
                             argv[i]);
        if (!value)
            value = argv[++i];
        if (is_file && strlen(value) < CONFIG_TEXT_BYTES) {
            strcpy(c->file, value);
            continue;
        }
        if (is_file)
            return error_set(err, -ENAMETOOLONG,
                             "option --config is longer than %d bytes",
                             CONFIG_TEXT_BYTES - 1);
        int rc = set(c, row, value, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static char *trim(char *s)
{
    s += strspn(s, " \t\r");
    size_t n = strlen(s);
    while (n > 0 && strchr(" \t\r", s[n - 1]))
        s[--n] = '\0';
    return s;
}

static int parse_line(struct config *c, char *line, struct error *err)
{
    line = trim(line);
    if (*line == '\0' || *line == '#' || *line == ';')
        return 0;
    char *eq = strchr(line, '=');
    if (!eq)
        return error_set(err, -EINVAL, "%.64s is not `key = value`", line);
    *eq = '\0';

    char *key = trim(line);
    char *value = trim(eq + 1);
    for (char *p = key; *p; p++)
        if (*p == '-')
            *p = '_';
    const struct option_row *row = find(key);
    if (row)
        return set(c, row, value, err);
    if (policy_find(key))
        return policy_set_text(&c->policy, key, value, err);
    return error_set(err, -ENOENT, "unknown key %.64s: see pockd.conf(5)", key);
}

int config_parse_text(struct config *c, const char *name, const char *text,
                      size_t bytes, struct error *err)
{
    char line[POLICY_TEXT_BYTES + CONFIG_NAME_BYTES];
    const char *end = text + bytes;

    for (unsigned number = 1; text < end; number++) {
        const char *nl = memchr(text, '\n', (size_t) (end - text));
        size_t n = (size_t) ((nl ? nl : end) - text);
        if (n >= sizeof(line))
            return error_set(err, -E2BIG, "%s line %u is longer than %zu bytes",
                             name, number, sizeof(line) - 1);
        if (memchr(text, '\0', n))
            return error_set(err, -EINVAL, "%s line %u holds a zero byte", name,
                             number);
        memcpy(line, text, n);
        line[n] = '\0';
        int rc = parse_line(c, line, err);
        if (rc < 0)
            return error_prefix(err, rc, "%s line %u", name, number);
        text += n + (nl ? 1 : 0);
    }
    return 0;
}

// 1 when the file was read, 0 when there is none.
static int load_file(struct config *c, const char *path, struct error *err)
{
    int rc = 0;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? 0
                               : error_set(err, -errno, "cannot read %s: %s",
                                           path, strerror(errno));
    text = malloc(CONFIG_FILE_BYTES + 1);
    ssize_t n = text ? read(fd, text, CONFIG_FILE_BYTES + 1) : -1;
    if (n < 0)
        rc = error_set(err, -EIO, "cannot read %s", path);
    else if (n > CONFIG_FILE_BYTES)
        rc = error_set(err, -E2BIG, "%s is larger than %d bytes", path,
                       CONFIG_FILE_BYTES);
    else
        rc = config_parse_text(c, path, text, (size_t) n, err);
    free(text);
    (void) close(fd);
    return rc < 0 ? rc : 1;
}

int config_load(struct config *c, int argc, const char *const *argv,
                const char *usual_file, struct error *err)
{
    int rc;

    if ((rc = config_init(c, err)) < 0 ||
        (rc = config_parse_argv(c, argc, argv, err)) < 0)
        return rc;
    bool is_named = c->file[0] != '\0';
    const char *file = is_named ? c->file : usual_file;
    if (file && (rc = load_file(c, file, err)) < 0)
        return rc;
    if (is_named && rc == 0)
        return error_set(err, -ENOENT, "cannot read %s: no such file", c->file);
    if ((rc = apply_env(c, err)) < 0 ||
        (rc = config_parse_argv(c, argc, argv, err)) < 0)
        return rc;
    const struct policy_row *a;
    const struct policy_row *b;
    rc = policy_check(&c->policy, &a, &b, err);
    return rc < 0 && file ? error_prefix(err, rc, "%s", file) : rc;
}

void config_print_help(void)
{
    printf("usage: pockd [--user] [--config FILE] [--OPTION VALUE]...\n\n"
           "  --user                 one person's own daemon, XDG paths\n"
           "  --config FILE          instead of the usual pockd.conf\n");
    for (size_t i = 0; i < row_count; i++) {
        char name[CONFIG_NAME_BYTES];
        snprintf(name, sizeof(name), "%s", rows[i].name);
        for (char *p = name; *p; p++)
            if (*p == '_')
                *p = '-';
        printf("  --%-20s %s%s%s\n", name, rows[i].meaning,
               rows[i].env ? "; environment: " : "",
               rows[i].env ? rows[i].env : "");
    }
    printf("\npockd.conf holds the same options as `key = value`, and these "
           "of the policy:\n");
    for (size_t i = 0; i < policy_row_count; i++) {
        const struct policy_row *row = &policy_rows[i];
        if (row->kind == POLICY_KIND_TEXT)
            printf("  %-22s %s\n", row->name, row->meaning);
        else
            printf("  %-22s %s (%g)\n", row->name, row->meaning, row->fallback);
    }
}
