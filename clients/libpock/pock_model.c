// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_internal.h"

#include <stdbool.h>

static int request_add(struct pock *p, const char *path, const char *name,
                       const struct pock_model_files *f,
                       struct pock_reply **out, struct pock_error *err)
{
    const bool is_one = pock_model_files_count(f) == 1;
    struct pock_send_options how = {.has_fd = is_one};
    struct pock_request *r;
    int rc = is_one ? 0 : pock_model_files_send(p, f, err);

    if (rc < 0)
        return rc;
    if ((rc = pock_request_create(&r, p, "model.add")) < 0)
        return pock_error_from_rc(err, rc, "model.add");
    pock_set_str(r, "path", path);
    pock_set_str(r, "name", name);
    if (is_one)
        how.fd = pock_model_files_fd(f, 0);
    else
        pock_set_bool(r, "files", true);
    return pock_call_with(r, &how, out, err);
}

int pock_model_add(struct pock *p, const char *path, const char *name,
                   struct pock_reply **out, struct pock_error *err)
{
    struct pock_model_files *f;
    int rc = pock_model_files_open(&f, path, err);

    if (rc < 0)
        return rc;
    rc = request_add(p, path, name, f, out, err);
    pock_model_files_close(f);
    return rc;
}

int pock_model_list(struct pock *p, struct pock_reply **out,
                    struct pock_error *err)
{
    return pock_call_plain(p, "model.list", NULL, NULL, out, err);
}

int pock_model_show(struct pock *p, const char *name, struct pock_reply **out,
                    struct pock_error *err)
{
    return pock_call_plain(p, "model.show", "model", name, out, err);
}

int pock_model_remove(struct pock *p, const char *name, struct pock_error *err)
{
    return pock_call_plain(p, "model.remove", "model", name, NULL, err);
}
