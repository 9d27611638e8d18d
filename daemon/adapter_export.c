// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/adapter_transfer.h"
#include "daemon/dbcall.h"
#include "daemon/fdio.h"
#include "daemon/tools.h"
#include "engine/base/hash.h"
#include "storage/blob.h"
#include "storage/store_model.h"

enum format {
    FORMAT_GGUF,
    FORMAT_PEFT_WEIGHTS,
    FORMAT_PEFT_CONFIG,
    FORMAT_MERGED,
    FORMAT_LORA_SVD,
    FORMAT_JOURNAL,
    FORMAT_COUNT
};

static const struct {
    const char *name;
    const char *to; // what a worker makes of the stored file
} formats[FORMAT_COUNT] = {
    [FORMAT_GGUF] = {"gguf", "gguf"},
    [FORMAT_PEFT_WEIGHTS] = {"peft-weights", "peft"},
    [FORMAT_PEFT_CONFIG] = {"peft-config", "peft"},
    [FORMAT_MERGED] = {"merged", "merged"},
    [FORMAT_LORA_SVD] = {"lora-svd", "lora-svd"},
    [FORMAT_JOURNAL] = {"journal", "journal"},
};

struct exporting {
    struct pockd *p;
    struct request *r;
    enum format format;
    uint32_t rank;   // LORA_SVD
    double left_out; // LORA_SVD
    char type[16];   // MERGED
    char base[STORE_PATH_SIZE];
    char chat[STORE_CHAT_SIZE];
    char ollama[2048];
    struct store_version version;
    int model_fd;
    int file_fd; // what is written out
};

static void free_exporting(void *data)
{
    struct exporting *x = data;

    if (x->model_fd >= 0)
        (void) close(x->model_fd);
    if (x->file_fd >= 0)
        (void) close(x->file_fd);
    free(x);
}

static int find_version(struct exporting *x, struct store *s, struct dbcall *c,
                        struct store_adapter *a, struct error *err)
{
    int rc = adapter_find_version(s, c, a, &x->version, err);

    if (rc < 0)
        return rc;
    if (x->version.state == STORE_VERSION_RETIRED) {
        c->code = RPC_ERROR_ERASED;
        return error_set(err, -ENOENT, "version %lld of %s is retired: %.200s",
                         (long long) x->version.version, a->name,
                         x->version.reason);
    }
    return 0;
}

static int open_model(struct exporting *x, struct store *s, int64_t id,
                      struct error *err)
{
    struct store_model m;
    int rc = store_model_get_id(s, id, &m, err);

    if (rc < 0)
        return rc;
    memcpy(x->base, m.path, sizeof(x->base));
    memcpy(x->chat, m.chat_set, sizeof(x->chat));
    x->model_fd = open(m.path, O_RDONLY | O_CLOEXEC);
    return x->model_fd < 0
               ? error_set(err, -errno, "cannot open the model %s at %.300s",
                           m.name, m.path)
               : 0;
}

// Write the file and say what was written.
static int write_out(struct exporting *x, struct dbcall *c, struct error *err)
{
    uint8_t digest[HASH_BYTES];
    char hex[HASH_HEX];
    uint64_t bytes = 0;
    int rc = fdio_copy(request_fd(c->r), x->file_fd, &bytes, err);

    if (rc < 0 || (rc = hash_fd(digest, x->file_fd)) < 0)
        return rc;
    hash_to_hex(hex, digest);
    encoder_put_int(&c->out, "version", x->version.version);
    encoder_put_int(&c->out, "bytes", (int64_t) bytes);
    encoder_put_cstr(&c->out, "sha256", hex);
    if (x->format == FORMAT_LORA_SVD)
        encoder_put_float(&c->out, "left_out", x->left_out);
    encoder_put_cstr(&c->out, "base", x->base);
    if (x->ollama[0])
        encoder_put_cstr(&c->out, "ollama", x->ollama);
    return 0;
}

static int run_write(struct store *s, struct dbcall *c, struct error *err)
{
    return write_out(c->data, c, err);
}

static int run_open(struct store *s, struct dbcall *c, struct error *err)
{
    struct exporting *x = c->data;
    struct store_adapter a;
    int rc;

    if ((rc = fdio_check_writable(request_fd(c->r), err)) < 0 ||
        (rc = find_version(x, s, c, &a, err)) < 0)
        return rc;
    rc =
        store_blob_open(s, x->version.sha256, (uint64_t) x->version.bytes, err);
    if (rc < 0)
        return rc;
    x->file_fd = rc;
    return open_model(x, s, a.model_id, err);
}

static void on_converted(void *arg, int rc, struct worker_msg *m,
                         const struct error *err)
{
    struct exporting *x = arg;
    struct request *r = x->r;
    int *fd = NULL;

    if (rc == 0 && m->type == WORKER_MSG_converted)
        fd = x->format == FORMAT_PEFT_CONFIG ? &m->converted.config_fd
                                             : &m->converted.file_fd;
    if (rc < 0 || !fd || *fd < 0) {
        free_exporting(x);
        tools_fail(r, rc, err);
        return;
    }
    x->left_out = m->converted.left_out;
    memcpy(x->ollama, m->converted.ollama, sizeof(x->ollama));
    // That a plain GGUF can be made of it is all that was asked: the owner
    // gets the file that is stored.
    if (x->format != FORMAT_GGUF) {
        (void) close(x->file_fd);
        x->file_fd = worker_fd_take(fd);
    }
    dbcall_start(x->p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_write,
                                         .data = x,
                                         .free_data = free_exporting});
}

static void after_open(struct dbcall *c)
{
    struct exporting *x = c->data;
    struct worker_msg m;

    x->r = dbcall_take(c);
    worker_msg_init(&m, WORKER_MSG_convert_adapter);
    m.convert_adapter.req = 1;
    m.convert_adapter.rank = x->rank;
    memcpy(m.convert_adapter.type, x->type, sizeof(x->type));
    memcpy(m.convert_adapter.chat, x->chat, sizeof(x->chat));
    (void) snprintf(m.convert_adapter.to, sizeof(m.convert_adapter.to), "%s",
                    formats[x->format].to);
    m.convert_adapter.model_fd = x->model_fd;
    m.convert_adapter.adapter_fd = x->file_fd;
    (void) tools_call(x->p->tools, x->r, &m, on_converted, x, free_exporting);
}

void adapter_export(struct pockd *p, struct request *r)
{
    struct codec_bytes name = codec_str(request_params(r), "format");
    struct exporting *x = calloc(1, sizeof(*x));
    struct error err;
    int format = 0;

    if (!x) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    while (name.data && format < FORMAT_COUNT &&
           !codec_bytes_equal(name, formats[format].name))
        format++;
    if (format == FORMAT_COUNT) {
        free(x);
        request_fail(r, RPC_ERROR_BAD_PARAMS,
                     "format must be gguf, peft-weights, peft-config, merged, "
                     "lora-svd or journal");
        return;
    }
    x->p = p;
    x->format = (enum format) format;
    x->rank = (uint32_t) codec_int(request_params(r), "rank", 8);
    x->model_fd = x->file_fd = -1;
    if (codec_get_cstr(request_params(r), "type", x->type, sizeof(x->type),
                       &err) == -EINVAL ||
        (x->type[0] && x->format != FORMAT_MERGED)) {
        free_exporting(x);
        request_fail(r, RPC_ERROR_BAD_PARAMS,
                     "type goes with format merged, and has a name as q8_0");
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_open,
                                         .after = after_open,
                                         .data = x,
                                         .free_data = free_exporting});
}
