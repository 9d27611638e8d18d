// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include "clients/pockctl/out_json.h"
#include "engine/base/clock.h"
#include "ipc/rpc_error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_color(const struct ctl *c, enum term_color *out)
{
    const char *when = c->line.values[FLAG_COLOR];

    *out = TERM_COLOR_AUTO;
    if (!when || strcmp(when, "auto") == 0)
        return CTL_OK;
    if (strcmp(when, "always") == 0)
        *out = TERM_COLOR_ALWAYS;
    else if (strcmp(when, "never") == 0)
        *out = TERM_COLOR_NEVER;
    else
        return ctl_fail(c, CTL_USAGE,
                        "--color is \"%s\", but must be auto, always or never",
                        when);
    return CTL_OK;
}

int ctl_init(struct ctl *c, const struct cmdline *line)
{
    enum term_color color;
    double seconds = 0;
    int status;

    *c = (struct ctl){
        .line = *line,
        .out = {.file = stdout},
        .err = {.file = stderr},
        .json = line->given[FLAG_JSON],
        .quiet = line->given[FLAG_QUIET],
        .utc = line->given[FLAG_UTC],
        .header = !line->given[FLAG_NO_HEADER],
    };
    if ((status = read_color(c, &color)) != CTL_OK)
        return status;
    term_init(&c->out, stdout, color);
    term_init(&c->err, stderr, color);
    if ((status = ctl_float_flag(c, FLAG_TIMEOUT, 0.001, 86400, &seconds)))
        return status;
    c->timeout_ms = (int) (seconds * 1000);
    return CTL_OK;
}

int ctl_finish(struct ctl *c, int status)
{
    pock_destroy(c->pock);
    c->pock = NULL;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    return ctl_fail(c, status ? status : CTL_FAILED,
                    "cannot write the output: %s: the rest of it is lost",
                    strerror(errno));
}

static void print_error_json(const char *name, const char *text,
                             int64_t retry_ms)
{
    struct str s = {0};

    str_printf(&s, "{\"schema\":%d,\"error\":{\"name\":", OUT_JSON_SCHEMA);
    str_json(&s, name, strlen(name));
    str_puts(&s, ",\"msg\":");
    str_json(&s, text, strlen(text));
    if (retry_ms > 0)
        str_printf(&s, ",\"retry_ms\":%" PRId64, retry_ms);
    str_puts(&s, "}}");
    if (str_finish(&s) == 0)
        fprintf(stderr, "%s\n", s.data);
    str_free(&s);
}

static void print_error(const struct ctl *c, const char *name, const char *text,
                        int64_t retry_ms)
{
    struct str s = {0};

    // What was shown so far stands above the error.
    (void) fflush(stdout);
    if (c->json) {
        print_error_json(name ? name : "CLIENT", text, retry_ms);
        return;
    }
    term_text(&s, text, strlen(text), true);
    const char *shown = str_finish(&s) == 0 && s.data ? s.data : text;
    fprintf(stderr, "%spockctl:%s %s", term_on(&c->err, TERM_BAD),
            term_off(&c->err, TERM_BAD), shown);
    if (name)
        fprintf(stderr, " (%s)", name);
    fputc('\n', stderr);
    str_free(&s);
}

int ctl_fail(const struct ctl *c, int status, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    print_error(c, NULL, n < 0 ? "there is no memory left" : text, 0);
    if (n >= 0)
        free(text);
    return status;
}

int ctl_fail_errno(const struct ctl *c, int rc, const char *what)
{
    return ctl_fail(c, rc == -ENOENT ? CTL_NOT_FOUND : CTL_FAILED, "%s: %s",
                    what, strerror(-rc));
}

int ctl_no_memory(const struct ctl *c)
{
    return ctl_fail(c, CTL_FAILED, "there is no memory left");
}

int ctl_fail_pock(const struct ctl *c, const struct pock_error *err)
{
    print_error(c, err->name, err->text, err->retry_ms);
    return rpc_error_exit(err->code);
}

void ctl_remark(const struct ctl *c, const char *fmt, ...)
{
    va_list ap;

    if (c->quiet)
        return;
    (void) fflush(stdout);
    va_start(ap, fmt);
    (void) vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

int ctl_table(struct ctl *c, struct out_table *t)
{
    int rc = out_table_print(t, &c->out, c->header);

    out_table_destroy(t);
    return rc < 0 ? ctl_no_memory(c) : CTL_OK;
}

int ctl_json(struct ctl *c, const struct pock_value *map)
{
    return out_json_print(stdout, map) < 0 ? ctl_no_memory(c) : CTL_OK;
}

const char *ctl_time(const struct ctl *c, char buffer[OUT_TIME_BYTES],
                     int64_t ms)
{
    if (ms == 0)
        return "-";
    out_time_format(buffer, ms, c->utc);
    return buffer;
}

void ctl_since(const struct ctl *c, struct out_table *t, int64_t ms)
{
    char text[OUT_TIME_BYTES];

    if (!c->out.is_tty || ms == 0) {
        out_table_text(t, ctl_time(c, text, ms));
        return;
    }
    out_duration_format(text, clock_unix_ms() - ms);
    out_table_cell(t, "%s ago", text);
}

bool ctl_find_program(char *path, size_t bytes, const char *name,
                      const char *dir)
{
    char here[400];
    char beside[512];

    snprintf(path, bytes, POCK_LIBEXECDIR "/%s", name);
    if (access(path, X_OK) == 0)
        return true;
    ssize_t n = readlink("/proc/self/exe", here, sizeof(here) - 1);
    if (n <= 0)
        return false;
    here[n] = '\0';
    char *slash = strrchr(here, '/');
    if (slash)
        *slash = '\0';
    for (int i = 0; i < 2; i++) {
        snprintf(beside, sizeof(beside), "%s/%s%s/%s", here, i ? "../../" : "",
                 i ? dir : "", name);
        if (access(beside, X_OK) == 0) {
            snprintf(path, bytes, "%s", beside);
            return true;
        }
    }
    return false;
}

int ctl_confirm(struct ctl *c, const char *question)
{
    char answer[16] = "";

    if (c->line.given[FLAG_YES])
        return CTL_OK;
    if (!isatty(STDIN_FILENO))
        return ctl_fail(c, CTL_USAGE,
                        "nothing was changed: there is no terminal to ask on: "
                        "give --yes");
    (void) fflush(stdout);
    fprintf(stderr, "%s [y/N] ", question);
    if (fgets(answer, sizeof(answer), stdin) &&
        (answer[0] == 'y' || answer[0] == 'Y'))
        return CTL_OK;
    fputs("nothing was changed\n", stderr);
    return CTL_FAILED;
}

static int time_flag(struct ctl *c, enum flag flag, bool at_end, int64_t *out)
{
    struct error err;
    const char *text = c->line.values[flag];

    *out = 0;
    if (text && out_time_parse(out, text, clock_unix_ms(), at_end, &err) < 0)
        return ctl_fail(c, CTL_USAGE, "--%s: %s", flag_table[flag].name,
                        err.text);
    if (text && *out < 0)
        return ctl_fail(c, CTL_USAGE, "--%s: \"%s\" is before 1970",
                        flag_table[flag].name, text);
    return CTL_OK;
}

int ctl_bounds(struct ctl *c, int64_t *after, int64_t *before)
{
    int status;

    if ((status = time_flag(c, FLAG_SINCE, false, after)) ||
        (status = time_flag(c, FLAG_UNTIL, true, before)))
        return status;
    if (*before > 0)
        ++*before;
    return CTL_OK;
}

int ctl_int_flag(struct ctl *c, enum flag flag, int64_t min, int64_t max,
                 int64_t *out)
{
    struct error err;
    char what[40];

    if (!c->line.values[flag])
        return CTL_OK;
    snprintf(what, sizeof(what), "--%s", flag_table[flag].name);
    if (cmdline_int(out, what, c->line.values[flag], min, max, &err) < 0)
        return ctl_fail(c, CTL_USAGE, "%s", err.text);
    return CTL_OK;
}

int ctl_float_flag(struct ctl *c, enum flag flag, double min, double max,
                   double *out)
{
    struct error err;
    char what[40];

    if (!c->line.values[flag])
        return CTL_OK;
    snprintf(what, sizeof(what), "--%s", flag_table[flag].name);
    if (cmdline_float(out, what, c->line.values[flag], min, max, &err) < 0)
        return ctl_fail(c, CTL_USAGE, "%s", err.text);
    return CTL_OK;
}

int ctl_adapter_ref(struct ctl *c, const char *text, struct ctl_adapter *out)
{
    const char *colon = strrchr(text, ':');
    const char *number = colon ? colon + 1 : text;
    bool digits = *number && number[strspn(number, "0123456789")] == '\0';
    size_t name = colon ? (size_t) (colon - text) : strlen(text);

    *out = (struct ctl_adapter){.name = "default"};
    if (strcmp(text, "active") == 0)
        return CTL_OK;
    if ((colon && !digits) || name >= sizeof(out->name) || name == 0)
        return ctl_fail(c, CTL_USAGE,
                        "\"%s\" is no adapter: give a version as 2, a name as "
                        "default, or both as default:2",
                        text);
    if (colon || !digits) {
        memcpy(out->name, text, name);
        out->name[name] = '\0';
    }
    if (digits) {
        struct error err;
        if (cmdline_int(&out->version, "the version", number, 1, INT32_MAX,
                        &err) < 0)
            return ctl_fail(c, CTL_USAGE, "%s", err.text);
    }
    return CTL_OK;
}
