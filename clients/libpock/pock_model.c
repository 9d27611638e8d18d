// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int pock_model_add(struct pock *p, const char *path, const char *name,
                   struct pock_reply **out, struct pock_error *err)
{
    struct pock_send_options how = {.has_fd = true};
    struct pock_request *r;
    int rc;

    how.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (how.fd < 0) {
        rc = -errno;
        return pock_error_set(err,
                              rc == -EACCES ? POCK_ERROR_DENIED
                                            : POCK_ERROR_NOT_FOUND,
                              rc, "cannot add the model %s: %s: check the path",
                              path, strerror(-rc));
    }
    if ((rc = pock_request_create(&r, p, "model.add")) < 0) {
        pock_error_from_rc(err, rc, "model.add");
    } else {
        pock_set_str(r, "path", path);
        pock_set_str(r, "name", name);
        rc = pock_call_with(r, &how, out, err);
    }
    close(how.fd);
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
