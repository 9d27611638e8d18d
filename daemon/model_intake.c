// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/model_intake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/fdio.h"
#include "daemon/handlers.h"
#include "daemon/model_keep.h"
#include "daemon/tools.h"
#include "engine/base/clock.h"
#include "engine/base/hash.h"

enum { KEPT_PATH_BYTES = PATHS_BYTES + 96 };

// A model on its way into the store: opened, kept, inspected by a worker,
// added.
struct adding {
    struct pockd *p;
    struct request *r;
    int fd;      // what will be registered
    int from_fd; // of the client, where it is copied
    bool wants_default;
    bool wants_copy;
    bool is_named; // the new file has its name
    char want_sha256[HASH_HEX];
    char type[8];
    char
        new_file[KEPT_PATH_BYTES]; // in tmp; "" when the file stays where it is
    const char *kept;
    char notice[512];
    struct fileset *files;
    struct model_keep *keep;
    struct store_model model;
};

static void free_adding(void *data)
{
    struct adding *a = data;

    if (a->new_file[0] && !a->is_named)
        (void) unlink(a->new_file);
    if (a->fd >= 0)
        (void) close(a->fd);
    if (a->from_fd >= 0)
        (void) close(a->from_fd);
    fileset_destroy(a->files);
    free(a);
}

// The request is the caller's to end.
static struct request *let_go(struct adding *a)
{
    struct request *r = a->r;

    request_set_user(r, NULL, NULL);
    free_adding(a);
    return r;
}

void model_tell_progress(struct request *r, const char *what, uint64_t done,
                         uint64_t total)
{
    if (!request_is_stream(r) || request_ended(r) != REQUEST_END_NONE)
        return;
    struct encoder *e = request_begin_item(r, "progress");
    encoder_put_cstr(e, "what", what);
    encoder_put_int(e, "done", (int64_t) done);
    encoder_put_int(e, "total", (int64_t) total);
    request_end_item(r);
}

struct fileset *model_take_files(struct filesets *fs, struct request *r)
{
    struct fileset *f = filesets_take(fs, request_session(r));

    if (!f)
        request_fail(r, RPC_ERROR_BAD_PARAMS,
                     "no files were given: send model.file for each first");
    return f;
}

/*
 * Parameters
 */

static bool is_name(const char *s)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    return s[0] && s[0] != '.' && strspn(s, allowed) == strlen(s) &&
           strcmp(s, "none") != 0;
}

// "-00001-of-00003", as the first of a split set ends.
static void drop_part(char *name)
{
    static const char form[] = "-#####-of-#####";
    const size_t n = strlen(name), m = sizeof(form) - 1;

    if (n <= m)
        return;
    for (size_t i = 0; i < m; i++) {
        const char c = name[n - m + i];
        if (form[i] == '#' ? c < '0' || c > '9' : c != form[i])
            return;
    }
    name[n - m] = '\0';
}

// The file's name without .gguf, with - for what a name cannot hold.
static void name_from_path(char out[STORE_NAME_SIZE], const char *path)
{
    static const char allowed[] = "._-";
    size_t end = strlen(path);

    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    snprintf(out, STORE_NAME_SIZE, "%.*s",
             (int) (end - begin < 64 ? end - begin : 64), path + begin);
    char *dot = strstr(out, ".gguf");
    if (dot && dot[5] == '\0')
        *dot = '\0';
    drop_part(out);
    for (char *p = out; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
              (*p >= '0' && *p <= '9') || strchr(allowed, *p)))
            *p = '-';
    if (out[0] == '.')
        out[0] = '-';
    if (!out[0])
        snprintf(out, STORE_NAME_SIZE, "model");
}

static int take_params(struct adding *a, struct request *r, struct error *err)
{
    const msgpack_object *params = request_params(r);
    int rc = codec_get_cstr(params, "path", a->model.path,
                            sizeof(a->model.path), err);

    if (rc < 0)
        return rc;
    if (a->model.path[0] != '/')
        return error_set(err, -EINVAL, "path %.200s is not absolute",
                         a->model.path);
    name_from_path(a->model.name, a->model.path);
    if (codec_get_cstr(params, "name", a->model.name, sizeof(a->model.name),
                       err) == -EINVAL ||
        codec_get_cstr(params, "sha256", a->want_sha256, sizeof(a->want_sha256),
                       err) == -EINVAL ||
        codec_get_cstr(params, "type", a->type, sizeof(a->type), err) ==
            -EINVAL ||
        codec_get_cstr(params, "chat_format", a->model.chat_set,
                       sizeof(a->model.chat_set), err) == -EINVAL)
        return -EINVAL;
    if (!is_name(a->model.name))
        return error_set(err, -EINVAL,
                         "model name %s: letters, digits, . _ - are allowed, "
                         "and no . first",
                         a->model.name);
    a->wants_default = codec_bool(params, "default", false);
    a->wants_copy = codec_bool(params, "copy", false);
    return 0;
}

/*
 * Opening
 */

// A file that nobody else knows of, until it has a name.
static int open_new(struct adding *a, struct error *err)
{
    (void) snprintf(a->new_file, sizeof(a->new_file), "%s/model.%llu.%p",
                    a->p->paths.tmp, (unsigned long long) request_session(a->r),
                    (void *) a);
    a->fd = open(a->new_file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (a->fd >= 0)
        return 0;
    a->new_file[0] = '\0';
    return error_set(err, -errno, "cannot write into the state directory: %s",
                     strerror(errno));
}

// Not blocking on a FIFO somebody left there.
static int open_own(const struct adding *a)
{
    return open(a->model.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

// Is what the client opened what pockd sees at that path?
static bool is_same_file(int fd, int own)
{
    struct stat a, b;

    return own >= 0 && fstat(fd, &a) == 0 && fstat(own, &b) == 0 &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int open_given(struct adding *a, struct error *err)
{
    struct stat st;
    int own = open_own(a);
    int rc;

    if (a->fd < 0 && own < 0)
        return error_set(err, -errno, "cannot open %.300s: %s", a->model.path,
                         strerror(errno));
    if (a->fd >= 0) {
        a->from_fd = a->fd;
        a->fd = -1;
    } else {
        a->from_fd = fcntl(own, F_DUPFD_CLOEXEC, 0);
    }
    const bool stays = !a->wants_copy && is_same_file(a->from_fd, own);
    if (stays)
        a->fd = own;
    else if (own >= 0)
        (void) close(own);
    if ((rc = fdio_check_readable(a->from_fd, INT64_MAX, err)) < 0)
        return error_prefix(err, rc, "cannot use %.300s", a->model.path);
    if (fstat(a->from_fd, &st) == 0)
        a->model.bytes = st.st_size;
    a->kept = "in place";
    return stays ? 0 : open_new(a, err);
}

static int run_open(struct store *s, struct dbcall *c, struct error *err)
{
    struct adding *a = c->data;
    int rc = 0;

    if (!a->files)
        return open_given(a, err);
    for (uint32_t i = 0; i < a->files->n && rc == 0; i++) {
        rc = fdio_check_readable(a->files->files[i].fd, INT64_MAX, err);
        if (rc < 0)
            (void) error_prefix(err, rc, "cannot use %.200s",
                                a->files->files[i].name);
    }
    a->kept = "converted";
    return rc < 0 ? rc : open_new(a, err);
}

/*
 * Registering
 */

static bool is_there(const struct store_model *m)
{
    struct stat st;

    return stat(m->path, &st) == 0 && st.st_size == m->bytes;
}

// Gives the new file the name of the model. May run twice.
static int name_file(struct adding *a, const char *name, struct error *err)
{
    if (!a->new_file[0] || a->is_named)
        return 0;
    int n = snprintf(a->model.path, sizeof(a->model.path), "%s/%s.gguf",
                     a->p->paths.models, name);
    if (n < 0 || rename(a->new_file, a->model.path) < 0)
        return error_set(err, -errno, "cannot name the copy: %s",
                         strerror(errno));
    a->is_named = true;
    return 0;
}

// The same bytes are known: their path is the newer one, unless there is a
// file already and a second would be made.
static int find_known(struct adding *a, struct store *s, bool *is_known,
                      struct error *err)
{
    struct store_model old;
    int rc = store_model_get_hash(s, a->model.sha256, &old, err);

    *is_known = rc == 0;
    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return rc;
    snprintf(a->model.name, sizeof(a->model.name), "%s", old.name);
    if (a->new_file[0] && !a->is_named && is_there(&old)) {
        a->kept = "in place";
        return 0;
    }
    if ((rc = name_file(a, old.name, err)) < 0)
        return rc;
    if (strcmp(old.path, a->model.path) != 0 &&
        (rc = store_model_set_path(s, old.id, a->model.path, err)) < 0)
        return rc;
    if (old.state != STORE_MODEL_READY)
        return store_model_set_state(s, old.id, STORE_MODEL_READY, err);
    return 0;
}

static int add_new(struct adding *a, struct store *s, struct error *err)
{
    struct store_model other;
    int64_t id;

    // Before a file of another model gets overwritten.
    if (store_model_get(s, a->model.name, &other, err) == 0)
        return error_set(err, -EEXIST,
                         "there is a model %s already: give another --name",
                         a->model.name);
    int rc = name_file(a, a->model.name, err);
    return rc < 0 ? rc : store_model_add(s, &a->model, &id, err);
}

static int run_add(struct store *s, struct dbcall *c, struct error *err)
{
    struct adding *a = c->data;
    struct store_model m;
    bool is_known = false;
    int rc;

    if ((rc = find_known(a, s, &is_known, err)) < 0)
        return rc;
    if (!is_known && (rc = add_new(a, s, err)) < 0)
        return rc;
    if (is_known && a->model.chat_set[0] &&
        (rc = store_model_set_chat(s, a->model.name, a->model.chat_set, err)) <
            0)
        return rc;
    if (a->wants_default &&
        (rc = store_model_set_default(s, a->model.name, err)) < 0)
        return rc;
    if ((rc = store_model_get(s, a->model.name, &m, err)) < 0)
        return rc;
    encoder_key(&c->out, "model");
    model_encode(&c->out, &m);
    encoder_put_bool(&c->out, "new", !is_known);
    encoder_put_cstr(&c->out, "kept", a->kept);
    if (a->notice[0])
        encoder_put_cstr(&c->out, "notice", a->notice);
    snprintf(c->text, sizeof(c->text), "model %s was added", m.name);
    c->number[0] = !is_known;
    return 0;
}

static void after_add(struct dbcall *c)
{
    if (c->number[0])
        events_emit(c->p, &(struct event_params){.kind = "model_added",
                                                 .text = c->text});
    // Whoever reads this answer may ask for training at once: the first model
    // is the default one before the facts were read again.
    if (c->number[0] && c->p->facts.models++ == 0)
        c->p->facts.has_default_model = true;
    facts_refresh(c->p);
}

/*
 * Looking into it
 */

static void take_info(struct store_model *m, const struct worker_model_info *i)
{
    memcpy(m->sha256, i->sha256, sizeof(m->sha256));
    m->bytes = (int64_t) i->bytes;
    m->state = STORE_MODEL_READY;
    m->added_ms = clock_unix_ms();
    snprintf(m->arch, sizeof(m->arch), "%s", i->arch);
    // "Q8_0:127 F32:17": the first is the type of most weights.
    snprintf(m->quant, sizeof(m->quant), "%.*s", (int) strcspn(i->types, " :,"),
             i->types);
    m->params = (int64_t) i->params;
    m->context = i->context;
    m->vocab = i->n_vocab;
    m->layers = i->n_blocks;
    m->width = i->width;
    snprintf(m->chat, sizeof(m->chat), "%s", i->chat);
}

static void on_inspected(void *arg, int rc, struct worker_msg *m,
                         const struct error *err)
{
    struct adding *a = arg;
    char hex[HASH_HEX];

    if (rc < 0 || m->type != WORKER_MSG_model_info) {
        tools_fail(let_go(a), rc, err);
        return;
    }
    take_info(&a->model, &m->model_info);
    hash_to_hex(hex, a->model.sha256);
    if (a->want_sha256[0] && strcmp(a->want_sha256, hex) != 0) {
        request_fail(a->r, RPC_ERROR_CONFLICT,
                     "%.300s is another file: its SHA-256 is %s, but %s was "
                     "expected",
                     a->model.path, hex, a->want_sha256);
        free_adding(a);
        return;
    }
    request_set_user(a->r, NULL, NULL);
    dbcall_start(a->p, a->r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_add,
                                         .after = after_add,
                                         .data = a,
                                         .free_data = free_adding});
}

static void on_hashing(void *arg, uint64_t done, uint64_t total)
{
    struct adding *a = arg;

    model_tell_progress(a->r, "hashing", done, total);
}

static void inspect(struct adding *a)
{
    const struct tools_extra extra = {.on_progress = on_hashing};
    struct error err = {0};
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_inspect_model);
    m.inspect_model.req = 1;
    m.inspect_model.model_fd = a->fd;
    memcpy(m.inspect_model.chat, a->model.chat_set,
           sizeof(m.inspect_model.chat));
    int rc = tools_run_with(a->p->tools, &m, &extra, on_inspected, a, &err);
    if (rc < 0)
        tools_fail(let_go(a), rc, &err);
}

/*
 * Keeping
 */

static void on_kept(void *arg, int rc, bool is_clone, const struct error *err)
{
    struct adding *a = arg;

    a->keep = NULL;
    if (rc == 0 && !a->files)
        a->kept = is_clone ? "cloned" : "copied";
    if (rc == 0 && a->p->is_stopping)
        rc = -ESHUTDOWN;
    if (rc < 0)
        request_fail_errno(let_go(a), rc, err);
    else
        inspect(a);
}

static void on_copying(void *arg, uint64_t done, uint64_t total)
{
    struct adding *a = arg;

    model_tell_progress(a->r, "copying", done, total);
}

static void on_converting(void *arg, uint64_t done, uint64_t total)
{
    struct adding *a = arg;

    model_tell_progress(a->r, "converting", done, total);
}

// With `bytes` 0 only: onto the disk.
static void keep(struct adding *a, uint64_t bytes)
{
    struct error err = {0};
    const struct model_keep_params params = {
        .to = a->fd,
        .from = a->from_fd,
        .bytes = bytes,
        .on_progress = on_copying,
        .on_done = on_kept,
        .arg = a,
    };
    int rc = model_keep_start(&a->keep, &a->p->loop, &params, &err);

    if (rc < 0)
        request_fail_errno(let_go(a), rc, &err);
}

static void on_converted(void *arg, int rc, struct worker_msg *m,
                         const struct error *err)
{
    struct adding *a = arg;

    if (rc < 0 || m->type != WORKER_MSG_model_converted) {
        tools_fail(let_go(a), rc, err);
        return;
    }
    // Why it is no base model comes from inspecting it, as an error.
    if (m->model_converted.skipped > 0)
        snprintf(a->notice, sizeof(a->notice),
                 "%u tensors have no place in a language model's file and were "
                 "left out",
                 m->model_converted.skipped);
    keep(a, 0);
}

static void convert(struct adding *a)
{
    const struct tools_extra extra = {
        .files = a->files,
        .on_progress = on_converting,
    };
    char name[STORE_NAME_SIZE];
    struct error err = {0};
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_convert_model);
    m.convert_model.req = 1;
    snprintf(m.convert_model.type, sizeof(m.convert_model.type), "%s",
             a->type[0] ? a->type : "keep");
    // What the file calls itself: not --name, by which the same model would be
    // another file.
    name_from_path(name, a->model.path);
    snprintf(m.convert_model.name, sizeof(m.convert_model.name), "%.64s", name);
    m.convert_model.out_fd = a->fd;
    int rc = tools_run_with(a->p->tools, &m, &extra, on_converted, a, &err);
    if (rc < 0)
        tools_fail(let_go(a), rc, &err);
}

// The client is gone, or has thought better of it.
static void on_cancel(struct request *r)
{
    struct adding *a = request_user(r);

    if (a->keep)
        model_keep_cancel(a->keep);
    else
        tools_cancel(a->p->tools, a);
}

static void after_open(struct dbcall *c)
{
    struct adding *a = c->data;

    a->r = dbcall_take(c);
    if (request_ended(a->r) != REQUEST_END_NONE) {
        request_fail(let_go(a), RPC_ERROR_CANCELLED, "it was cancelled");
        return;
    }
    request_set_user(a->r, a, on_cancel);
    if (a->files)
        convert(a);
    else if (a->new_file[0])
        keep(a, (uint64_t) a->model.bytes);
    else
        inspect(a);
}

void handle_model_add(struct pockd *p, struct request *r)
{
    struct adding *a = calloc(1, sizeof(*a));
    struct error err = {0};

    if (!a) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    a->p = p;
    a->r = r;
    a->fd = request_take_fd(r);
    a->from_fd = -1;
    if (take_params(a, r, &err) < 0) {
        free_adding(a);
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s", err.text);
        return;
    }
    if (codec_bool(request_params(r), "files", false) &&
        !(a->files = model_take_files(&p->filesets, r))) {
        free_adding(a);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_open,
                                         .after = after_open,
                                         .data = a,
                                         .free_data = free_adding});
}
