// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEFT_CONFIG  "adapter_config.json"
#define PEFT_WEIGHTS "adapter_model.safetensors"

enum { CONFIG_BYTES_MAX = 64 << 10 };

/*
 * adapter export
 */

static int export_file(struct ctl *c, const struct ctl_adapter *ref,
                       const char *format, int64_t rank, const char *path,
                       struct pock_reply **out)
{
    struct ctl_call how = {.has_fd = true};
    struct ctl_output o;
    struct pock_request *r;
    struct pock_reply *reply = NULL;
    int status;

    if ((status = ctl_request(c, &r, "adapter.export")) != CTL_OK)
        return status;
    if ((status = ctl_output_open(c, path, &o)) != CTL_OK) {
        pock_request_destroy(r);
        return status;
    }
    pock_set_str(r, "adapter", ref->name);
    if (ref->version > 0)
        pock_set_int(r, "version", ref->version);
    pock_set_str(r, "format", format);
    if (rank > 0)
        pock_set_int(r, "rank", rank);
    pock_set_str(r, "type", c->line.values[FLAG_TYPE]);
    how.fd = o.fd;
    status = ctl_send(c, r, &how, &reply);
    status = ctl_output_close(c, &o, status);
    if (status == CTL_OK)
        *out = reply;
    else
        pock_reply_destroy(reply);
    return status;
}

static int tell_export(struct ctl *c, const struct pock_value *v,
                       const char *name, const char *path)
{
    char size[OUT_TIME_BYTES];

    if (c->json && strcmp(path, "-") != 0)
        return ctl_json(c, v);
    out_bytes_format(size, pock_get_int(v, "bytes", 0));
    if (strcmp(path, "-") != 0)
        printf("%s\n", path);
    ctl_remark(c, "%s:%" PRId64 ", %s, SHA-256 %s", name,
               pock_get_int(v, "version", 0), size,
               pock_get_str(v, "sha256", "?"));
    const double left_out = pock_get_float(v, "left_out", -1);
    if (left_out >= 0)
        ctl_remark(c,
                   "%.2f %% of what was learnt is left out: a higher --rank "
                   "keeps more",
                   100 * left_out);
    return CTL_OK;
}

// "mine.gguf" to "mine.Modelfile".
static void modelfile_path(char *out, size_t size, const char *path)
{
    size_t n = strlen(path);

    if (n > 5 && strcmp(path + n - 5, ".gguf") == 0)
        n -= 5;
    snprintf(out, size, "%.*s.Modelfile", (int) n, path);
}

// FROM and ADAPTER name files: what Ollama finds beside the Modelfile, and the
// base model where it lies.
static int write_modelfile(struct ctl *c, const struct pock_value *v,
                           bool is_merged, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *lines = pock_get_str(v, "ollama", NULL);
    char to[4096];

    modelfile_path(to, sizeof(to), path);
    FILE *f = fopen(to, "we");
    if (!f)
        return ctl_fail_errno(c, -errno, to);
    fprintf(f, "# ollama create NAME -f %s\n", to);
    if (is_merged)
        fprintf(f, "FROM ./%s\n", name);
    else
        fprintf(f, "FROM %s\nADAPTER ./%s\n", pock_get_str(v, "base", "?"),
                name);
    fputs(lines ? lines
                : "# No TEMPLATE: pockd does not know how this model holds "
                  "conversations.\n",
          f);
    if (fclose(f) != 0)
        return ctl_fail_errno(c, -errno, to);
    ctl_remark(c, "for Ollama: %s", to);
    return CTL_OK;
}

static int export_gguf(struct ctl *c, const struct ctl_adapter *ref,
                       const char *format, int64_t rank, const char *path)
{
    struct pock_reply *reply;
    int status = export_file(c, ref, format, rank, path, &reply);

    if (status != CTL_OK)
        return status;
    status = tell_export(c, pock_result(reply), ref->name, path);
    if (status == CTL_OK && c->line.given[FLAG_OLLAMA])
        status = write_modelfile(c, pock_result(reply),
                                 strcmp(format, "merged") == 0, path);
    pock_reply_destroy(reply);
    return status;
}

static int export_peft(struct ctl *c, const struct ctl_adapter *ref,
                       const char *path)
{
    char config[4096];
    char weights[4096];
    struct pock_reply *reply;
    int status;

    if (strcmp(path, "-") == 0 || strlen(path) > 4000)
        return ctl_fail(c, CTL_USAGE,
                        "a PEFT adapter is a directory: give "
                        "--output DIRECTORY");
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return ctl_fail_errno(c, -errno, path);
    snprintf(config, sizeof(config), "%s/" PEFT_CONFIG, path);
    snprintf(weights, sizeof(weights), "%s/" PEFT_WEIGHTS, path);
    if ((status = export_file(c, ref, "peft-config", 0, config, &reply)))
        return status;
    pock_reply_destroy(reply);
    if ((status = export_file(c, ref, "peft-weights", 0, weights, &reply)))
        return status;
    status = tell_export(c, pock_result(reply), ref->name, path);
    pock_reply_destroy(reply);
    return status;
}

// An export must not take two versions by halves, nor be named by a guess.
static int resolve_version(struct ctl *c, struct ctl_adapter *ref)
{
    struct pock_reply *reply;
    int status;

    if (ref->version > 0)
        return CTL_OK;
    if ((status = ctl_ask(c, "adapter.show", "adapter", ref->name, &reply)))
        return status;
    ref->version =
        pock_get_int(pock_get(pock_result(reply), "adapter"), "active", 0);
    pock_reply_destroy(reply);
    if (ref->version > 0)
        return CTL_OK;
    return ctl_fail(c, CTL_NOT_FOUND,
                    "no version of %s is active: name one: see `pockctl "
                    "adapter list`",
                    ref->name);
}

static const struct {
    const char *name;
    const char *ending; // of the file, or directory
} formats[] = {
    {"gguf", ".gguf"},
    {"peft", ""},
    {"merged", "-merged.gguf"},
    {"lora-svd", "-svd.gguf"},
};
enum { N_FORMATS = sizeof(formats) / sizeof(formats[0]) };
enum { PEFT = 1, MERGED = 2, SVD = 3 };

// Options that go with one format alone.
static int check_flags(struct ctl *c, int format, const char *path)
{
    if (c->line.values[FLAG_RANK] && format != SVD)
        return ctl_fail(c, CTL_USAGE,
                        "--rank goes with --format lora-svd alone");
    if (c->line.values[FLAG_TYPE] && format != MERGED)
        return ctl_fail(c, CTL_USAGE, "--type goes with --merged alone");
    if (c->line.given[FLAG_OLLAMA] &&
        (format == PEFT || (path && strcmp(path, "-") == 0)))
        return ctl_fail(c, CTL_USAGE,
                        "--ollama needs a GGUF file to name: give --output "
                        "FILE");
    return CTL_OK;
}

int cmd_adapter_export(struct ctl *c)
{
    const char *format = c->line.values[FLAG_FORMAT];
    const char *path = c->line.values[FLAG_OUTPUT];
    struct ctl_adapter ref;
    int64_t rank = 0;
    char name[128];
    int status;
    int i = 0;

    if (c->line.given[FLAG_MERGED] && format && strcmp(format, "merged") != 0)
        return ctl_fail(c, CTL_USAGE, "--merged and --format %s: choose one",
                        format);
    if (c->line.given[FLAG_MERGED])
        format = "merged";
    while (format && i < N_FORMATS && strcmp(format, formats[i].name) != 0)
        i++;
    if (i == N_FORMATS)
        return ctl_fail(c, CTL_USAGE,
                        "--format is \"%s\", but must be gguf, peft, merged "
                        "or lora-svd",
                        format);
    if ((status = check_flags(c, i, path)))
        return status;
    if ((status = ctl_int_flag(c, FLAG_RANK, 1, 256, &rank)))
        return status;
    if ((status =
             ctl_adapter_ref(c,
                             c->line.arg_count > 0 ? c->line.args[0] : "active",
                             &ref)) ||
        (status = resolve_version(c, &ref)))
        return status;
    snprintf(name, sizeof(name), "%s-%" PRId64 "%s", ref.name, ref.version,
             formats[i].ending);
    if (!path)
        path = name;
    status = i == PEFT ? export_peft(c, &ref, path)
                       : export_gguf(c, &ref, formats[i].name, rank, path);
    return status == CTL_OK && c->line.given[FLAG_MANIFEST]
               ? ctl_write_manifest(c, &ref, path)
               : status;
}

/*
 * adapter import
 */

struct source {
    const char *format;
    int fd;
    char *config; // of a PEFT adapter, else NULL
};

static int read_config(struct ctl *c, const char *path, char **out)
{
    char *text = malloc(CONFIG_BYTES_MAX + 1);
    FILE *f = fopen(path, "re");

    if (!text || !f) {
        int rc = text ? -errno : -ENOMEM;
        if (f)
            fclose(f);
        free(text);
        return ctl_fail_errno(c, rc, path);
    }
    size_t n = fread(text, 1, CONFIG_BYTES_MAX + 1, f);
    bool failed = ferror(f);
    fclose(f);
    if (failed || n > CONFIG_BYTES_MAX) {
        free(text);
        return ctl_fail(c, CTL_FAILED,
                        "cannot read %s: it must be a JSON file "
                        "of at most 64 KiB",
                        path);
    }
    text[n] = '\0';
    *out = text;
    return CTL_OK;
}

static int open_source(struct ctl *c, const char *path, struct source *s)
{
    char config[4096];
    char weights[4096];
    struct stat st;
    int status;

    *s = (struct source){.format = "gguf", .fd = -1};
    if (stat(path, &st) < 0)
        return ctl_fail_errno(c, -errno, path);
    snprintf(weights, sizeof(weights), "%s", path);
    if (S_ISDIR(st.st_mode)) {
        if (strlen(path) > 4000)
            return ctl_fail_errno(c, -ENAMETOOLONG, path);
        snprintf(config, sizeof(config), "%s/" PEFT_CONFIG, path);
        snprintf(weights, sizeof(weights), "%s/" PEFT_WEIGHTS, path);
        if ((status = read_config(c, config, &s->config)) != CTL_OK)
            return status;
        s->format = "peft-weights";
    }
    s->fd = open(weights, O_RDONLY | O_CLOEXEC);
    return s->fd < 0 ? ctl_fail_errno(c, -errno, weights) : CTL_OK;
}

static int tell_import(struct ctl *c, const struct pock_value *v)
{
    if (c->json)
        return ctl_json(c, v);
    printf("%s:%" PRId64 "\n", pock_get_str(v, "adapter", "?"),
           pock_get_int(pock_get(v, "version"), "version", 0));
    ctl_remark(c, "%s",
               pock_get_bool(v, "new", true)
                   ? "imported, not active: activate it with `pockctl adapter "
                     "activate --force`"
                   : "the same bytes were known already");
    return CTL_OK;
}

int cmd_adapter_import(struct ctl *c)
{
    const char *name = c->line.values[FLAG_NAME];
    struct ctl_call how = {.has_fd = true};
    struct pock_request *r;
    struct pock_reply *reply;
    struct source s;
    int status;

    if ((status = open_source(c, c->line.args[0], &s)) == CTL_OK &&
        (status = ctl_request(c, &r, "adapter.import")) == CTL_OK) {
        pock_set_str(r, "adapter", name ? name : "default");
        pock_set_str(r, "model", c->line.values[FLAG_MODEL]);
        pock_set_str(r, "format", s.format);
        pock_set_str(r, "config", s.config);
        how.fd = s.fd;
        status = ctl_send(c, r, &how, &reply);
        if (status == CTL_OK) {
            status = tell_import(c, pock_result(reply));
            pock_reply_destroy(reply);
        }
    }
    if (s.fd >= 0)
        close(s.fd);
    free(s.config);
    return status;
}
