// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A database file with wrong bytes, through all that a start reads of it, and
 * then some of what requests do. An input is a list of patches to a store that
 * is made here, with its log or without: a byte of flags, then offset (3
 * bytes), length (1) and bytes of each. What cannot be read is refused with a
 * sentence, or moved aside whole: the bytes that were there are still there.
 */

#include "engine/base/memfile.h"
#include "storage/blob.h"
#include "storage/store.h"
#include "storage/store_adapter.h"
#include "storage/store_event.h"
#include "storage/store_job.h"
#include "storage/store_lineage.h"
#include "storage/store_metric.h"
#include "storage/store_model.h"
#include "storage/store_policy.h"
#include "storage/store_record.h"
#include "storage/store_remerge.h"
#include "storage/store_scheme.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    IN_LOG = 1,    // the newest records are in data.db-wal
    UNCLEAN = 2,   // and pockd was killed: a start checks
    PATCH_LOG = 4, // patches go into the log
    PATCHES_MAX = 64,
    RECORDS = 40,
};

#define NOW INT64_C(1740787200000)

struct image {
    uint8_t *data;
    size_t bytes;
};

// As they were left by a store that was closed, and by one that was killed.
static struct image closed_db, killed_db, killed_log;
static char dir[128];

static void check(bool holds, const char *what)
{
    if (!holds) {
        (void) fprintf(stderr, "fuzz_database: %s\n", what);
        abort();
    }
}

static void path_of(char out[256], const char *name)
{
    (void) snprintf(out, 256, "%s/%s", dir, name);
}

static struct image load(const char *name)
{
    struct image i = {0};
    char path[256];
    struct stat st;

    path_of(path, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd >= 0 && fstat(fd, &st) == 0, path);
    i.bytes = (size_t) st.st_size;
    i.data = malloc(i.bytes + 1);
    check(i.data && read(fd, i.data, i.bytes) == st.st_size, path);
    (void) close(fd);
    return i;
}

static void save(const char *name, const struct image *i)
{
    char path[256];

    path_of(path, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(fd >= 0 && write(fd, i->data, i->bytes) == (ssize_t) i->bytes, path);
    (void) close(fd);
}

static int on_entry(const char *path, const struct stat *st, int type,
                    struct FTW *ftw)
{
    return remove(path);
}

static void empty_dir(void)
{
    (void) nftw(dir, on_entry, 8, FTW_DEPTH | FTW_PHYS);
    check(mkdir(dir, 0700) == 0, dir);
}

static struct store *open_store(struct store_report *r, struct error *err)
{
    struct store *s = NULL;
    const struct store_params params = {.dir = dir, .now_ms = NOW};

    return store_open(&s, &params, r, err) == 0 ? s : NULL;
}

static void put_records(struct store *s, int from, int to)
{
    struct error err;
    char text[64];
    int64_t stream, id;
    bool is_new;

    check(store_stream_make(s, "host", "notes", NOW, &stream, &err) == 0 ||
              store_stream_find(s, "host", "notes", &stream, &err) == 0,
          "stream");
    for (int i = from; i < to; i++) {
        struct store_record r = {.stream_id = stream,
                                 .kind = 1,
                                 .time_ms = NOW + i,
                                 .bytes = 1};
        memset(r.uid, i + 1, sizeof(r.uid));
        (void) snprintf(text, sizeof(text), "hive %d is quiet tonight", i);
        r.body = text;
        r.body_bytes = strlen(text);
        check(store_record_put(s, &r, &id, &is_new, &err) == 0, err.text);
    }
}

// Of what make_rows() adds; an erase remembers it.
static void make_merged(struct store *s, const struct store_version *of)
{
    static const char text[] = "not the sum of two";
    struct store_part parts[2] = {{.adapter = "default", .weight = 0.5},
                                  {.adapter = "default", .weight = 2}};
    struct store_version v;
    struct error err;
    uint32_t number;
    int fd;

    for (int i = 0; i < 2; i++) {
        parts[i].adapter_id = of->adapter_id;
        parts[i].version = 1;
        memcpy(parts[i].sha256, of->sha256, sizeof(of->sha256));
    }
    store_version_init(&v);
    v.adapter_id = of->adapter_id;
    v.bytes = (int64_t) sizeof(text);
    check(memfile_from_bytes(&fd, "adapter", text, sizeof(text)) == 0 &&
              store_blob_put_fd(s, fd, 1 << 20, v.sha256, NULL, &err) == 0,
          "no file");
    (void) close(fd);
    check(store_merge_add(s, &v, parts, 2, &number, &err) == 0, err.text);
}

static void make_rows(struct store *s)
{
    struct store_model m = {.name = "m", .path = "/m.gguf", .bytes = 1000};
    struct store_event e = {.time_ms = NOW, .kind = "started"};
    static const char text[] = "not an adapter, but a file";
    struct store_version v;
    struct store_job j;
    struct error err;
    uint32_t number;
    int64_t id, adapter;

    put_records(s, 0, RECORDS / 2);
    check(store_model_add(s, &m, &id, &err) == 0, err.text);
    check(store_adapter_add(s, "default", id, NOW, &adapter, &err) == 0,
          err.text);
    store_version_init(&v);
    v.adapter_id = adapter;
    v.bytes = (int64_t) sizeof(text);
    int fd;
    check(memfile_from_bytes(&fd, "adapter", text, sizeof(text)) == 0 &&
              store_blob_put_fd(s, fd, 1 << 20, v.sha256, NULL, &err) == 0,
          "no file");
    (void) close(fd);
    check(store_version_add(s, &v, &number, &err) == 0, err.text);
    const int64_t ids[] = {1, 2, 3};
    check(store_lineage_add(s, adapter, number, ids, 3, NULL, &err) == 0,
          err.text);
    make_merged(s, &v);
    store_job_init(&j);
    j.adapter_id = adapter;
    j.model_id = id;
    check(store_job_add(s, &j, &id, &err) == 0, err.text);
    check(store_event_add(s, &e, &id, &err) == 0, err.text);
    check(store_policy_set(s, "min_records", "7", NOW, &err) == 0, err.text);
}

static void cleanup(void)
{
    (void) nftw(dir, on_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void make_images(void)
{
    struct store_report r;
    struct error err = {0};

    (void) snprintf(dir, sizeof(dir), "%s/pockd-fuzz-XXXXXX",
                    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    check(mkdtemp(dir) != NULL, dir);
    (void) atexit(cleanup);
    struct store *s = open_store(&r, &err);
    check(s != NULL, err.text);
    make_rows(s);
    store_close(s);
    closed_db = load("data.db");
    s = open_store(&r, &err);
    check(s != NULL, err.text);
    put_records(s, RECORDS / 2, RECORDS);
    killed_db = load("data.db");
    killed_log = load("data.db-wal");
    store_close(s);
}

static void patch(struct image *i, const uint8_t *data, size_t size)
{
    for (int n = 0; n < PATCHES_MAX && size >= 5; n++) {
        const size_t at =
            (size_t) data[0] << 16 | (size_t) data[1] << 8 | (size_t) data[2];
        size_t bytes = data[3] % 32 + 1;
        if (bytes > size - 4)
            bytes = size - 4;
        for (size_t k = 0; k < bytes && i->bytes > 0; k++)
            i->data[(at + k) % i->bytes] = data[4 + k];
        data += 4 + bytes;
        size -= 4 + bytes;
    }
}

static struct image copy_of(const struct image *i)
{
    struct image copy = {malloc(i->bytes + 1), i->bytes};

    check(copy.data != NULL, "memory");
    memcpy(copy.data, i->data, i->bytes);
    return copy;
}

/*
 * What a start and the first requests read
 */

static int on_policy(const char *key, const char *value, void *user)
{
    *(size_t *) user += strlen(key) + strlen(value);
    return 0;
}

static int on_job(const struct store_job *j, void *user)
{
    *(size_t *) user += strlen(j->adapter) + strlen(j->recipe);
    return 0;
}

static int on_model(const struct store_model *m, void *user)
{
    *(size_t *) user += strlen(m->name) + strlen(m->path);
    return 0;
}

static int on_stream(const struct store_stream *st, void *user)
{
    *(size_t *) user += strlen(st->name);
    return 0;
}

static int on_version(const struct store_version *v, void *user)
{
    *(size_t *) user += v->version;
    return 0;
}

static int on_adapter(const struct store_adapter *a, void *user)
{
    *(size_t *) user += strlen(a->name);
    return 0;
}

static int on_event(const struct store_event *e, void *user)
{
    *(size_t *) user += strlen(e->kind) + strlen(e->text);
    return 0;
}

static int on_record(const struct store_record *r, void *user)
{
    const uint8_t *body = (const uint8_t *) r->body;

    for (size_t i = 0; i < r->body_bytes; i++)
        *(size_t *) user += body[i];
    return 0;
}

static int on_remerge(const struct store_remerge *m, void *user)
{
    *(size_t *) user += strlen(m->waits_for) + strlen(m->without) + m->n_parts;
    return 0;
}

static void told(int rc, const struct error *err)
{
    check(rc >= 0 || err->text[0] != '\0', "an error without a sentence");
}

static void use(struct store *s)
{
    struct store_filter all = {0};
    struct store_erased erased;
    struct store_adapter a;
    struct error err = {0};
    size_t sum = 0;
    int64_t n;

    told(store_policy_each(s, on_policy, &sum, &err), &err);
    told(store_job_recover(s, NULL, &err), &err);
    told(store_job_each_alive(s, on_job, &sum, &err), &err);
    told(store_model_each(s, on_model, &sum, &err), &err);
    told(store_record_count(s, NULL, on_stream, &sum, &err), &err);
    told(store_adapter_each(s, on_adapter, &sum, &err), &err);
    if (store_adapter_get(s, "default", &a, &err) == 0) {
        told(store_version_each(s, a.id, on_version, &sum, &err), &err);
        told(store_lineage_unseen(s, a.id, &all, &n, &err), &err);
    }
    told(store_event_each(s, 0, NULL, 0, 100, on_event, &sum, NULL, &err),
         &err);
    told(store_record_each(s, NULL, 0, 0, true, on_record, &sum, &err), &err);
    const int64_t id = 3;
    const struct store_filter one = {.ids = &id, .n_ids = 1};
    told(store_record_erase(s, &one, false, NOW, &erased, NULL, NULL, &err),
         &err);
    told(store_remerge_each(s, on_remerge, &sum, &err), &err);
    (void) store_check(s, true, &err);
}

// What was moved aside is what was there.
static void check_kept(const struct store_report *r, const struct image *was)
{
    char path[256], name[64];

    (void) snprintf(name, sizeof(name), "data.db.corrupt-%lld",
                    (long long) NOW);
    path_of(path, name);
    // Or a file that says so of an earlier start.
    if (strcmp(r->quarantine, path) != 0)
        return;
    struct image is = load(name);
    check(is.bytes >= was->bytes, "the damaged file became shorter");
    free(is.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_report r = {0};
    struct error err = {0};

    if (!closed_db.data)
        make_images();
    if (size < 1)
        return 0;
    const uint8_t flags = data[0];
    struct image db =
        copy_of(flags & (IN_LOG | UNCLEAN) ? &killed_db : &closed_db);
    struct image log = copy_of(&killed_log);
    patch(flags & PATCH_LOG && flags & IN_LOG ? &log : &db, data + 1, size - 1);
    empty_dir();
    save("data.db", &db);
    if (flags & IN_LOG)
        save("data.db-wal", &log);
    struct store *s = open_store(&r, &err);
    if (!s)
        check(err.text[0] != '\0', "refused without a sentence");
    if (s && r.is_degraded)
        check_kept(&r, &db);
    if (s)
        use(s);
    store_close(s);
    free(db.data);
    free(log.data);
    return 0;
}
