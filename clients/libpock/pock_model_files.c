// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Which files a model consists of, by what lies at a path. The daemon checks
 * what is in them.
 */

#include "clients/libpock/pock_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 48 }; // that pockd takes

struct pock_model_files {
    size_t count;
    struct {
        char *name;
        int fd;
    } files[FILES_MAX];
};

size_t pock_model_files_count(const struct pock_model_files *f)
{
    return f->count;
}

const char *pock_model_files_name(const struct pock_model_files *f, size_t i)
{
    return f->files[i].name;
}

int pock_model_files_fd(const struct pock_model_files *f, size_t i)
{
    return f->files[i].fd;
}

void pock_model_files_close(struct pock_model_files *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->count; i++) {
        close(f->files[i].fd);
        free(f->files[i].name);
    }
    free(f);
}

static int cannot(struct pock_error *err, const char *path, int rc)
{
    return pock_error_set(err,
                          rc == -EACCES ? POCK_ERROR_DENIED
                                        : POCK_ERROR_NOT_FOUND,
                          rc, "cannot add the model %s: %s: check the path",
                          path, strerror(-rc));
}

static bool ends_in(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);

    return n > m && strcmp(name + n - m, end) == 0;
}

static int add(struct pock_model_files *f, int dir, const char *name,
               struct pock_error *err)
{
    if (f->count == FILES_MAX)
        return pock_error_set(err, POCK_ERROR_TOO_LARGE, -E2BIG,
                              "the model has more than %d files", FILES_MAX);
    // Not waiting for a writer of a FIFO that somebody left there.
    const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return cannot(err, name, -errno);
    char *copy = strdup(name);
    if (!copy) {
        close(fd);
        return pock_error_from_rc(err, -ENOMEM, "model.add");
    }
    f->files[f->count].name = copy;
    f->files[f->count++].fd = fd;
    return 0;
}

/*
 * Parts: NAME-00002-of-00005.gguf
 */

static bool take_number(unsigned *out, const char *digits)
{
    unsigned n = 0;

    for (int i = 0; i < 5; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        n = 10 * n + (unsigned) (digits[i] - '0');
    }
    *out = n;
    return true;
}

// How many parts there are and where their number stands; 0: it is no part.
static unsigned parts_of(const char *name, size_t *at)
{
    static const size_t tail = sizeof("-00001-of-00001.gguf") - 1;
    const size_t n = strlen(name);
    unsigned part, parts;

    if (n <= tail || !ends_in(name, ".gguf"))
        return 0;
    const char *p = name + n - tail;
    if (p[0] != '-' || !take_number(&part, p + 1) ||
        strncmp(p + 6, "-of-", 4) != 0 || !take_number(&parts, p + 10))
        return 0;
    *at = (size_t) (p - name);
    return parts;
}

static int add_parts(struct pock_model_files *f, int dir, const char *name,
                     unsigned parts, size_t at, struct pock_error *err)
{
    char part[NAME_MAX + 1];
    int rc = 0;

    for (unsigned i = 1; i <= parts && rc == 0; i++) {
        snprintf(part, sizeof(part), "%.*s-%05u-of-%05u.gguf", (int) at, name,
                 i, parts);
        rc = add(f, dir, part, err);
    }
    return rc;
}

static int add_gguf(struct pock_model_files *f, int dir, const char *name,
                    struct pock_error *err)
{
    size_t at = 0;
    const unsigned parts = parts_of(name, &at);

    return parts > 1 ? add_parts(f, dir, name, parts, at, err)
                     : add(f, dir, name, err);
}

/*
 * Directories
 */

static bool is_wanted(const char *name)
{
    static const char *const names[] = {
        "config.json",           "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja",
        "model.safetensors",     "model.safetensors.index.json",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return strncmp(name, "model-", 6) == 0 && ends_in(name, ".safetensors");
}

static bool is_there(int dir, const char *name)
{
    return faccessat(dir, name, F_OK, 0) == 0;
}

// The GGUF file, or the first part, that a directory has, if it has one.
static int find_gguf(char out[NAME_MAX + 1], DIR *d, const char *path,
                     struct pock_error *err)
{
    int found = 0;

    out[0] = '\0';
    rewinddir(d);
    for (struct dirent *e; (e = readdir(d));) {
        size_t at;
        if (!ends_in(e->d_name, ".gguf"))
            continue;
        if (parts_of(e->d_name, &at) > 1 &&
            strncmp(e->d_name + at, "-00001-", 7) != 0)
            continue;
        snprintf(out, NAME_MAX + 1, "%s", e->d_name);
        found++;
    }
    if (found == 1)
        return 0;
    return pock_error_set(
        err, POCK_ERROR_UNSUPPORTED, -EINVAL,
        found > 1 ? "%s has several GGUF files: name one of them"
                  : "%s is no model: it has neither config.json with "
                    "model.safetensors, nor a GGUF file",
        path);
}

static int add_directory(struct pock_model_files *f, DIR *d, const char *path,
                         struct pock_error *err)
{
    char name[NAME_MAX + 1];
    const int dir = dirfd(d);
    int rc = 0;

    if (!is_there(dir, "config.json")) {
        if (is_there(dir, "adapter_config.json"))
            return pock_error_set(err, POCK_ERROR_UNSUPPORTED, -EINVAL,
                                  "%s is an adapter, not a model: import it "
                                  "with adapter.import",
                                  path);
        rc = find_gguf(name, d, path, err);
        return rc < 0 ? rc : add_gguf(f, dir, name, err);
    }
    for (struct dirent *e; (e = readdir(d)) && rc == 0;)
        if (is_wanted(e->d_name))
            rc = add(f, dir, e->d_name, err);
    return rc;
}

static int add_path(struct pock_model_files *f, const char *path,
                    struct pock_error *err)
{
    const char *slash = strrchr(path, '/');
    char parent[4096];
    int rc;

    DIR *d = opendir(path);
    if (d) {
        rc = add_directory(f, d, path, err);
        closedir(d);
        return rc;
    }
    if (errno != ENOTDIR)
        return cannot(err, path, -errno);
    if (ends_in(path, ".safetensors"))
        return pock_error_set(err, POCK_ERROR_UNSUPPORTED, -EINVAL,
                              "%s is not the whole model: give the directory "
                              "that also has config.json and tokenizer.json",
                              path);
    snprintf(parent, sizeof(parent), "%.*s",
             slash ? (int) (slash - path + 1) : 1, slash ? path : ".");
    const int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return cannot(err, path, -errno);
    rc = add_gguf(f, dir, slash ? slash + 1 : path, err);
    close(dir);
    return rc;
}

int pock_model_files_open(struct pock_model_files **out, const char *path,
                          struct pock_error *err)
{
    struct pock_model_files *f = calloc(1, sizeof(*f));

    if (!f)
        return pock_error_from_rc(err, -ENOMEM, "model.add");
    int rc = add_path(f, path, err);
    if (rc < 0)
        pock_model_files_close(f);
    else
        *out = f;
    return rc;
}

int pock_model_files_send(struct pock *p, const struct pock_model_files *f,
                          struct pock_error *err)
{
    struct pock_send_options how = {.has_fd = true};
    struct pock_request *r;
    int rc = 0;

    for (size_t i = 0; i < f->count && rc == 0; i++) {
        if ((rc = pock_request_create(&r, p, "model.file")) < 0)
            return pock_error_from_rc(err, rc, "model.file");
        pock_set_str(r, "name", f->files[i].name);
        how.fd = f->files[i].fd;
        rc = pock_call_with(r, &how, NULL, err);
    }
    return rc;
}
