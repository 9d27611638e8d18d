// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A store in a directory of its own, for one test.
 */

#include "engine/base/hash.h"
#include "storage/blob.h"
#include "storage/store.h"
#include "storage/store_adapter.h"
#include "storage/store_model.h"
#include "storage/store_record.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW INT64_C(1740787200000)

static char dir[256];
static struct store *store;
static struct store_report report;
static struct error err;

// Fails the test with the sentence.
#define OK(call)                                          \
    do {                                                  \
        int rc_ = (call);                                 \
        if (rc_ != 0)                                     \
            fail_msg("%s: %d: %s", #call, rc_, err.text); \
    } while (0)

#define assert_says(words)                                           \
    do {                                                             \
        if (!strstr(err.text, words))                                \
            fail_msg("\"%s\" does not say \"%s\"", err.text, words); \
    } while (0)

static inline void make_dir(void)
{
    const char *tmp = getenv("TMPDIR");

    // Syncing is what takes the time of these tests: memory does it at once.
    if (!tmp)
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void) snprintf(dir, sizeof(dir), "%s/pockd-test-XXXXXX", tmp);
    assert_non_null(mkdtemp(dir));
}

static inline int on_entry(const char *path, const struct stat *st, int type,
                           struct FTW *ftw)
{
    return remove(path);
}

static inline void remove_dir(void)
{
    assert_int_equal(nftw(dir, on_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

// Is this text in any file of the store?
static inline bool in_files(const char *text)
{
    char command[600];

    (void) snprintf(command, sizeof(command), "grep -rqaF -e '%s' '%s'", text,
                    dir);
    return system(command) == 0;
}

static inline int open_store(void)
{
    return store_open(&store, &(struct store_params){.dir = dir, .now_ms = NOW},
                      &report, &err);
}

static inline void reopen(void)
{
    store_close(store);
    store = NULL;
    OK(open_store());
}

static inline int setup(void **state)
{
    make_dir();
    OK(open_store());
    return 0;
}

static inline int teardown(void **state)
{
    store_close(store);
    store = NULL;
    remove_dir();
    return 0;
}

static inline int64_t add_model(const char *name)
{
    struct store_model m = {.bytes = 100, .added_ms = NOW};
    int64_t id;

    (void) snprintf(m.name, sizeof(m.name), "%s", name);
    (void) snprintf(m.path, sizeof(m.path), "/models/%s.gguf", name);
    hash_bytes(m.sha256, name, strlen(name));
    OK(store_model_add(store, &m, &id, &err));
    return id;
}

static inline struct store_record record_of(int64_t stream, uint32_t number,
                                            const char *text)
{
    struct store_record r = {
        .stream_id = stream,
        .kind = 1,
        .time_ms = NOW + number * 1000,
        .added_ms = NOW,
        .bytes = (int64_t) strlen(text),
        .body = text,
        .body_bytes = strlen(text),
    };

    (void) snprintf((char *) r.uid, sizeof(r.uid), "uid%012u", number);
    return r;
}

static inline int64_t add_record(const char *stream, uint32_t number,
                                 const char *text)
{
    int64_t stream_id, id;
    bool is_new;

    OK(store_stream_make(store, STORE_APP_HOST, stream, NOW, &stream_id, &err));
    struct store_record r = record_of(stream_id, number, text);
    OK(store_record_put(store, &r, &id, &is_new, &err));
    assert_true(is_new);
    return id;
}

// A file with this content in adapters/, and a version of it.
static inline uint32_t add_version(int64_t adapter, const char *content,
                                   uint32_t parent, enum store_gate gate)
{
    char path[300];
    struct store_version v;
    uint32_t number;
    uint64_t bytes;

    (void) snprintf(path, sizeof(path), "%s/candidate", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void) fputs(content, f);
    (void) fclose(f);
    int fd = open(path, O_RDONLY);
    store_version_init(&v);
    OK(store_blob_put_fd(store, fd, 1 << 20, v.sha256, &bytes, &err));
    close(fd);
    (void) unlink(path);
    v.adapter_id = adapter;
    v.bytes = (int64_t) bytes;
    v.parent = parent;
    v.gate = gate;
    v.created_ms = NOW;
    OK(store_version_add(store, &v, &number, &err));
    return number;
}
