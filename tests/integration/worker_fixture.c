// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/integration/worker_fixture.h"

#include "engine/base/error.h"
#include "engine/base/memfile.h"
#include "tests/support/tinyfile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 120000 }; // a hang, whatever the machine

static const char *program;
bool fixture_is_background;
const char *fixture_device;
const char *fixture_cache_path;

void fixture_args(int argc, char **argv)
{
    if (argc != 2) {
        (void) fprintf(stderr, "usage: %s POCK-WORKER\n", argv[0]);
        exit(2);
    }
    program = argv[1];
}

const char *fixture_program(void)
{
    return program;
}

static void on_ready(struct worker_link *w, const struct worker_hello *hello,
                     void *user)
{
    assert_int_equal(hello->pid, worker_link_pid(w));
}

static void on_message(struct worker_link *w, struct worker_msg *m, void *user)
{
    struct worker_fixture *f = user;
    struct worker_msg *copy = malloc(sizeof(*copy));

    assert_non_null(copy);
    assert_true(f->n_queue < FIXTURE_QUEUE_MAX);
    *copy = *m;
    worker_msg_init(m, WORKER_MSG_stop); // its descriptors are ours now
    f->queue[f->n_queue++] = copy;
}

static void on_exit_told(struct worker_link *w, const struct worker_exit *exit,
                         void *user)
{
    struct worker_fixture *f = user;

    f->is_over = true;
    f->exit = *exit;
}

static const struct worker_link_callbacks callbacks = {on_ready, on_message,
                                                       on_exit_told};

static void on_late(uv_timer_t *t)
{
    struct worker_fixture *f = t->data;

    f->is_late = true;
}

static void start(struct worker_fixture *f, enum worker_kind kind,
                  const char *socket_path)
{
    struct error err;

    memset(f, 0, sizeof(*f));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(uv_timer_init(&f->loop, &f->timer), 0);
    f->timer.data = f;
    struct worker_link_params params = {
        .loop = &f->loop,
        .kind = kind,
        .program = socket_path ? NULL : program,
        .socket_path = socket_path,
        .is_urgent = !fixture_is_background,
        .threads = 2,
        .device = fixture_device,
        .cache_path = fixture_cache_path,
    };
    if (worker_link_create(&f->link, &params, &callbacks, f, &err) < 0)
        fail_msg("%s", err.text);
}

void fixture_start(struct worker_fixture *f, enum worker_kind kind)
{
    start(f, kind, NULL);
}

void fixture_connect(struct worker_fixture *f, enum worker_kind kind,
                     const char *path)
{
    start(f, kind, path);
}

void fixture_finish(struct worker_fixture *f)
{
    worker_link_destroy(f->link);
    uv_close((uv_handle_t *) &f->timer, NULL);
    (void) uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    for (uint32_t i = 0; i < f->n_queue; i++) {
        worker_msg_finish(f->queue[i]);
        free(f->queue[i]);
    }
}

void fixture_send(struct worker_fixture *f, const struct worker_msg *m)
{
    struct error err;

    if (worker_link_send(f->link, m, &err) < 0)
        fail_msg("%s", err.text);
}

static struct worker_msg *take_first(struct worker_fixture *f)
{
    struct worker_msg *m = f->queue[0];

    f->n_queue--;
    memmove(f->queue, f->queue + 1, f->n_queue * sizeof(f->queue[0]));
    return m;
}

void fixture_wait_any(struct worker_fixture *f, struct worker_msg *out)
{
    f->is_late = false;
    (void) uv_timer_start(&f->timer, on_late, WAIT_MS, 0);
    while (f->n_queue == 0) {
        if (f->is_over)
            fail_msg("while waiting: %s", f->exit.text);
        if (f->is_late)
            fail_msg("nothing came");
        (void) uv_run(&f->loop, UV_RUN_ONCE);
    }
    (void) uv_timer_stop(&f->timer);
    struct worker_msg *m = take_first(f);
    *out = *m;
    free(m);
}

void fixture_wait(struct worker_fixture *f, struct worker_msg *out,
                  enum worker_msg_type type)
{
    for (;;) {
        fixture_wait_any(f, out);
        if (out->type == type)
            return;
        if (out->type == WORKER_MSG_error)
            fail_msg("%s: %s", out->error.name, out->error.msg);
        worker_msg_finish(out);
    }
}

void fixture_wait_exit(struct worker_fixture *f)
{
    f->is_late = false;
    (void) uv_timer_start(&f->timer, on_late, WAIT_MS, 0);
    while (!f->is_over) {
        if (f->is_late)
            fail_msg("the worker does not end");
        (void) uv_run(&f->loop, UV_RUN_ONCE);
    }
    (void) uv_timer_stop(&f->timer);
}

int fixture_open_model(void)
{
    return tinyfile_create(1);
}

static int seal(struct worker_records_writer *w)
{
    int fd;

    assert_int_equal(worker_records_finish(w, NULL), 0);
    assert_int_equal(memfile_from_bytes(&fd, "records", w->out.data,
                                        w->out.bytes),
                     0);
    worker_records_free(w);
    return fd;
}

static void add(struct worker_records_writer *w, uint64_t id,
                enum worker_record_kind kind, const char *a, const char *b)
{
    struct worker_turn turns[2] = {{WORKER_ROLE_USER, a, strlen(a)},
                                   {WORKER_ROLE_ASSISTANT, b ? b : "",
                                    b ? strlen(b) : 0}};
    struct worker_record r = {.id = id,
                              .stream = "test",
                              .kind = kind,
                              .n_turns = b ? 2 : 1,
                              .turns = turns};

    assert_int_equal(worker_records_add(w, &r, NULL), 0);
}

int fixture_records(uint32_t first, uint32_t n)
{
    static const char *const tails[] = {
        "The seventh hive was silent at dawn, so I left it alone.",
        "Frost on the roofs, honey in the kitchen, no visitors.",
        "Jonas fixed two punctures and named the pump Hildegard.",
        "Bread again: rye, water, salt, and the patience of bees.",
    };
    struct worker_records_writer w = {0};
    char text[160];

    for (uint32_t i = first; i < first + n; i++) {
        (void) snprintf(text, sizeof(text), "Day %u. %s", (unsigned) i,
                        tails[i % 4]);
        if (i % 3 == 2)
            add(&w, i, WORKER_RECORD_PAIR, "How was the day?", text);
        else
            add(&w, i, WORKER_RECORD_TEXT, text, NULL);
    }
    return seal(&w);
}

int fixture_record(enum worker_record_kind kind, const char *a, const char *b)
{
    struct worker_records_writer w = {0};

    add(&w, 1, kind, a, b);
    return seal(&w);
}

void *fixture_read(int fd, size_t *bytes)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    char *data = malloc((size_t) st.st_size + 1);
    assert_non_null(data);
    assert_int_equal(pread(fd, data, (size_t) st.st_size, 0), st.st_size);
    *bytes = (size_t) st.st_size;
    return data;
}
