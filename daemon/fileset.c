// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/fileset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/error.h"

static int check_name(const char *name, struct error *err)
{
    if (name[0] == '\0' || strlen(name) >= FILESET_NAME_BYTES ||
        strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(err, -EINVAL,
                         "\"%.200s\" is no name of a file in a directory",
                         name);
    return 0;
}

static struct fileset *find(const struct filesets *fs, uint64_t session,
                            uint32_t *count)
{
    struct fileset *found = NULL;

    *count = 0;
    for (struct fileset *f = fs->first; f; f = f->next, (*count)++)
        if (f->session == session)
            found = f;
    return found;
}

static int find_or_make(struct fileset **out, struct filesets *fs,
                        uint64_t session, struct error *err)
{
    uint32_t count;
    struct fileset *f = find(fs, session, &count);

    if (!f && count >= FILESETS_MAX)
        return error_set(err, -EBUSY,
                         "%d models are on their way already: try again soon",
                         FILESETS_MAX);
    if (!f) {
        if (!(f = calloc(1, sizeof(*f))))
            return error_set(err, -ENOMEM, "out of memory");
        f->session = session;
        f->next = fs->first;
        fs->first = f;
    }
    *out = f;
    return 0;
}

static int put(struct fileset *f, const char *name, int fd, struct error *err)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (strcmp(f->files[i].name, name) == 0)
            return error_set(err, -EEXIST, "the file %.200s is there already",
                             name);
    if (f->n == FILESET_FILES_MAX)
        return error_set(err, -E2BIG, "a model has at most %d files here",
                         FILESET_FILES_MAX);
    (void) snprintf(f->files[f->n].name, FILESET_NAME_BYTES, "%s", name);
    f->files[f->n++].fd = fd;
    return 0;
}

int filesets_put(struct filesets *fs, uint64_t session, const char *name,
                 int fd, uint32_t *count, struct error *err)
{
    struct fileset *f = NULL;
    int rc = check_name(name, err);

    if (rc == 0)
        rc = find_or_make(&f, fs, session, err);
    if (rc == 0)
        rc = put(f, name, fd, err);
    if (rc < 0) {
        (void) close(fd);
        return rc;
    }
    *count = f->n;
    return 0;
}

struct fileset *filesets_take(struct filesets *fs, uint64_t session)
{
    for (struct fileset **at = &fs->first; *at; at = &(*at)->next)
        if ((*at)->session == session) {
            struct fileset *f = *at;
            *at = f->next;
            f->next = NULL;
            return f;
        }
    return NULL;
}

void filesets_on_session_end(struct filesets *fs, uint64_t session)
{
    fileset_destroy(filesets_take(fs, session));
}

void filesets_finish(struct filesets *fs)
{
    while (fs->first)
        filesets_on_session_end(fs, fs->first->session);
}

void fileset_destroy(struct fileset *f)
{
    if (!f)
        return;
    for (uint32_t i = 0; i < f->n; i++)
        (void) close(f->files[i].fd);
    free(f);
}
