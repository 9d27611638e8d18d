// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_internal.h"

static int create(struct pock_request **r, struct pock *p, const char *method,
                  const char *adapter, int64_t version, struct pock_error *err)
{
    int rc = pock_request_create(r, p, method);

    if (rc < 0)
        return pock_error_from_rc(err, rc, method);
    pock_set_str(*r, "adapter", adapter);
    if (version > 0)
        pock_set_int(*r, "version", version);
    return 0;
}

int pock_adapter_list(struct pock *p, struct pock_reply **out,
                      struct pock_error *err)
{
    return pock_call_plain(p, "adapter.list", NULL, NULL, out, err);
}

int pock_adapter_show(struct pock *p, const char *adapter, int64_t version,
                      struct pock_reply **out, struct pock_error *err)
{
    struct pock_request *r;
    int rc = create(&r, p, "adapter.show", adapter, version, err);

    return rc < 0 ? rc : pock_call(r, 0, out, err);
}

int pock_adapter_activate(struct pock *p, const char *adapter, int64_t version,
                          bool force, struct pock_reply **out,
                          struct pock_error *err)
{
    struct pock_request *r;
    int rc = create(&r, p, "adapter.activate", adapter, version, err);

    if (rc < 0)
        return rc;
    if (force)
        pock_set_bool(r, "force", true);
    return pock_call(r, 0, out, err);
}

int pock_adapter_rollback(struct pock *p, const char *adapter,
                          struct pock_reply **out, struct pock_error *err)
{
    return pock_call_plain(p, "adapter.rollback", "adapter", adapter, out, err);
}

int pock_adapter_export(struct pock *p, const char *adapter, int64_t version,
                        const char *format, int fd, struct pock_reply **out,
                        struct pock_error *err)
{
    struct pock_send_options how = {.has_fd = true};
    struct pock_request *r;
    int rc = create(&r, p, "adapter.export", adapter, version, err);

    if (rc < 0)
        return rc;
    how.fd = fd;
    pock_set_str(r, "format", format);
    return pock_call_with(r, &how, out, err);
}

int pock_adapter_import(struct pock *p, const char *adapter, const char *format,
                        const char *config, int fd, struct pock_reply **out,
                        struct pock_error *err)
{
    struct pock_send_options how = {.has_fd = true};
    struct pock_request *r;
    int rc = create(&r, p, "adapter.import", adapter, 0, err);

    if (rc < 0)
        return rc;
    how.fd = fd;
    pock_set_str(r, "format", format);
    pock_set_str(r, "config", config);
    return pock_call_with(r, &how, out, err);
}

int pock_adapter_delete(struct pock *p, const char *adapter, int64_t version,
                        struct pock_reply **out, struct pock_error *err)
{
    struct pock_request *r;
    int rc = create(&r, p, "adapter.delete", adapter, version, err);

    return rc < 0 ? rc : pock_call(r, 0, out, err);
}
