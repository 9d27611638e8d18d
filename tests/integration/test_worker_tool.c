// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The real tool worker on a tiny model: what it says about files.
 */

#include "engine/base/memfile.h"
#include "tests/integration/worker_fixture.h"
#include "tests/support/tinyfile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int adapter_fd; // a trained one, as GGUF

static int train_adapter(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;

    fixture_start(&f, WORKER_KIND_TRAIN);
    worker_msg_init(&m, WORKER_MSG_train_start);
    m.train_start.req = 1;
    (void) snprintf(m.train_start.recipe, sizeof(m.train_start.recipe),
                    "rank=4 alpha=12 targets=q,v,down epochs=1 length=96");
    m.train_start.model_fd = fixture_open_model();
    m.train_start.records_fd = fixture_records(1, 24);
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    fixture_wait(&f, &m, WORKER_MSG_result);
    adapter_fd = worker_fd_take(&m.result.file_fd);
    worker_msg_finish(&m);
    fixture_finish(&f);
    return 0;
}

static int close_adapter(void **state)
{
    return close(adapter_fd);
}

static void describes_a_model(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;

    fixture_start(&f, WORKER_KIND_TOOL);
    worker_msg_init(&m, WORKER_MSG_inspect_model);
    m.inspect_model.req = 1;
    m.inspect_model.model_fd = fixture_open_model();
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    // While the file is hashed, and at its end.
    do {
        fixture_wait(&f, &m, WORKER_MSG_tool_progress);
        assert_true(m.tool_progress.done <= m.tool_progress.total);
    } while (m.tool_progress.done < m.tool_progress.total);
    fixture_wait(&f, &m, WORKER_MSG_model_info);
    assert_string_equal(m.model_info.arch, "llama");
    assert_int_equal(m.model_info.n_vocab, TINYFILE_VOCAB);
    assert_int_equal(m.model_info.context, TINYFILE_CONTEXT);
    assert_int_equal(m.model_info.n_blocks, 2);
    assert_true(m.model_info.has_chat);
    assert_true(m.model_info.params > 1000 && m.model_info.bytes > 4000);
    assert_true(m.model_info.types[0] != 0);
    fixture_finish(&f);
}

static void one_bad_file_does_not_end_it(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;

    fixture_start(&f, WORKER_KIND_TOOL);
    worker_msg_init(&m, WORKER_MSG_inspect_model);
    m.inspect_model.req = 1;
    assert_int_equal(memfile_from_bytes(&m.inspect_model.model_fd, "junk",
                                        "GGUF is not enough", 18),
                     0);
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    fixture_wait(&f, &m, WORKER_MSG_error);
    (void) fprintf(stderr, "# %s\n", m.error.msg);
    assert_string_equal(m.error.name, "BAD_MODEL");
    assert_int_equal(m.error.severity, WORKER_SEVERITY_PERMANENT);

    worker_msg_init(&m, WORKER_MSG_inspect_model);
    m.inspect_model.req = 2;
    m.inspect_model.model_fd = fixture_open_model();
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    fixture_wait(&f, &m, WORKER_MSG_model_info);
    fixture_finish(&f);
}

static void check_adapter(struct worker_fixture *f, int file_fd, int config_fd,
                          struct worker_msg *answer)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_check_adapter);
    m.check_adapter.req = 7;
    m.check_adapter.model_fd = fixture_open_model();
    m.check_adapter.adapter_fd = dup(file_fd);
    m.check_adapter.config_fd = config_fd < 0 ? -1 : dup(config_fd);
    fixture_send(f, &m);
    worker_msg_finish(&m);
    fixture_wait(f, answer, WORKER_MSG_adapter_info);
    assert_int_equal(answer->adapter_info.rank, 4);
    assert_true(answer->adapter_info.alpha == 12);
    assert_string_equal(answer->adapter_info.targets, "q,v,down");
    assert_int_equal(answer->adapter_info.n_blocks, 2);
    assert_true(answer->adapter_info.params > 0);
}

static void convert(struct worker_fixture *f, const char *to, int file_fd,
                    int config_fd, struct worker_msg *answer)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_convert_adapter);
    m.convert_adapter.req = 8;
    (void) snprintf(m.convert_adapter.to, sizeof(m.convert_adapter.to), "%s",
                    to);
    m.convert_adapter.model_fd = fixture_open_model();
    m.convert_adapter.adapter_fd = dup(file_fd);
    m.convert_adapter.config_fd = config_fd < 0 ? -1 : dup(config_fd);
    fixture_send(f, &m);
    worker_msg_finish(&m);
    fixture_wait(f, answer, WORKER_MSG_converted);
}

static void an_adapter_survives_the_way_to_peft_and_back(void **state)
{
    struct worker_fixture f;
    struct worker_msg peft, gguf, info;
    size_t a, b;

    fixture_start(&f, WORKER_KIND_TOOL);
    check_adapter(&f, adapter_fd, -1, &info);
    assert_string_equal(info.adapter_info.format, "gguf");
    convert(&f, "peft", adapter_fd, -1, &peft);
    assert_true(peft.converted.config_fd >= 0);
    check_adapter(&f, peft.converted.file_fd, peft.converted.config_fd, &info);
    assert_string_equal(info.adapter_info.format, "peft");
    convert(&f, "gguf", peft.converted.file_fd, peft.converted.config_fd,
            &gguf);
    assert_int_equal(gguf.converted.config_fd, -1);

    void *before = fixture_read(adapter_fd, &a);
    void *after = fixture_read(gguf.converted.file_fd, &b);
    assert_int_equal(a, b);
    assert_memory_equal(before, after, a);
    free(before);
    free(after);
    worker_msg_finish(&peft);
    worker_msg_finish(&gguf);
    fixture_finish(&f);
}

static void an_adapter_of_another_shape_is_refused(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    size_t bytes;

    char *data = fixture_read(adapter_fd, &bytes);
    fixture_start(&f, WORKER_KIND_TOOL);
    worker_msg_init(&m, WORKER_MSG_check_adapter);
    m.check_adapter.req = 1;
    m.check_adapter.model_fd = fixture_open_model();
    assert_int_equal(memfile_from_bytes(&m.check_adapter.adapter_fd, "cut",
                                        data, bytes / 2),
                     0);
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    fixture_wait(&f, &m, WORKER_MSG_error);
    (void) fprintf(stderr, "# %s\n", m.error.msg);
    assert_string_equal(m.error.name, "BAD_ADAPTER");
    fixture_finish(&f);
    free(data);
}

static void send_tokenize(struct worker_fixture *f, uint64_t req, int records)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_tokenize);
    m.tokenize.req = req;
    m.tokenize.model_fd = fixture_open_model();
    m.tokenize.records_fd = records;
    fixture_send(f, &m);
    worker_msg_finish(&m);
}

static void counts_tokens(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    size_t bytes;

    fixture_start(&f, WORKER_KIND_TOOL);
    send_tokenize(&f, 1, fixture_record(WORKER_RECORD_TEXT, "Bees", NULL));
    fixture_wait(&f, &m, WORKER_MSG_tokens);
    assert_int_equal(m.tokens.records, 1);
    assert_in_range(m.tokens.tokens, 3, 4);
    const size_t n = (size_t) m.tokens.tokens;
    uint8_t *ids = fixture_read(m.tokens.file_fd, &bytes);
    assert_int_equal(bytes, 4 * (1 + n));
    assert_int_equal(ids[0], n);
    worker_msg_finish(&m);

    // Each text of a pair by itself.
    send_tokenize(&f, 2, fixture_record(WORKER_RECORD_PAIR, "Bees", "Bees"));
    fixture_wait(&f, &m, WORKER_MSG_tokens);
    assert_int_equal(m.tokens.tokens, 2 * n);
    uint8_t *both = fixture_read(m.tokens.file_fd, &bytes);
    assert_int_equal(bytes, 2 * 4 * (1 + n));
    assert_memory_equal(both, ids, 4 * (1 + n));
    assert_memory_equal(both + 4 * (1 + n), ids, 4 * (1 + n));
    free(ids);
    free(both);
    worker_msg_finish(&m);
    fixture_finish(&f);
}

static void expect_error(struct worker_fixture *f, const char *name,
                         const char *words)
{
    struct worker_msg m;

    fixture_wait(f, &m, WORKER_MSG_error);
    assert_string_equal(m.error.name, name);
    if (!strstr(m.error.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", m.error.msg, words);
    worker_msg_finish(&m);
}

static void what_is_no_input_is_named_and_the_next_request_works(void **state)
{
    struct worker_fixture f;
    struct worker_msg m;
    int open_fd;

    fixture_start(&f, WORKER_KIND_TOOL);
    assert_int_equal(memfile_create(&open_fd, "open"), 0);
    send_tokenize(&f, 1, open_fd);
    expect_error(&f, "BAD_RECORDS", "seal");
    worker_msg_init(&m, WORKER_MSG_score);
    m.score.req = 2;
    m.score.records_fd = fixture_record(WORKER_RECORD_TEXT, "Bees", NULL);
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    expect_error(&f, "BAD_REQUEST", "score is not for a tool worker");
    worker_msg_init(&m, WORKER_MSG_convert_adapter);
    m.convert_adapter.req = 3;
    (void) snprintf(m.convert_adapter.to, sizeof(m.convert_adapter.to), "zip");
    m.convert_adapter.model_fd = fixture_open_model();
    m.convert_adapter.adapter_fd = fixture_open_model();
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    expect_error(&f, "BAD_REQUEST", "zip");
    send_tokenize(&f, 4, fixture_record(WORKER_RECORD_TEXT, "Bees", NULL));
    fixture_wait(&f, &m, WORKER_MSG_tokens);
    worker_msg_finish(&m);
    fixture_finish(&f);
}

// What a socket unit with Accept=yes does: the first connection becomes the
// standard input of a new worker. Returns its pid.
static pid_t start_unit(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    assert_true(strlen(path) < sizeof(a.sun_path));
    memcpy(a.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 1), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int client = accept(fd, NULL, NULL);
        if (client >= 0 && dup2(client, STDIN_FILENO) == STDIN_FILENO)
            (void) execl(fixture_program(), "pock-worker", (char *) NULL);
        _exit(127);
    }
    (void) close(fd);
    return pid;
}

static void works_behind_a_socket_unit(void **state)
{
    char dir[] = "/tmp/pock-test-unit-XXXXXX", path[64];
    struct worker_fixture f;
    struct worker_msg m;
    int status;

    assert_non_null(mkdtemp(dir));
    (void) snprintf(path, sizeof(path), "%s/worker.sock", dir);
    pid_t pid = start_unit(path);
    fixture_connect(&f, WORKER_KIND_TOOL, path);
    worker_msg_init(&m, WORKER_MSG_inspect_model);
    m.inspect_model.req = 1;
    m.inspect_model.model_fd = fixture_open_model();
    fixture_send(&f, &m);
    worker_msg_finish(&m);
    fixture_wait(&f, &m, WORKER_MSG_model_info);
    assert_int_equal(worker_link_pid(f.link), pid);
    worker_link_stop(f.link, "USER");
    fixture_wait_exit(&f);
    assert_true(f.exit.is_clean);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fixture_finish(&f);
    (void) unlink(path);
    (void) rmdir(dir);
}

int main(int argc, char **argv)
{
    fixture_args(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_a_model),
        cmocka_unit_test(one_bad_file_does_not_end_it),
        cmocka_unit_test(an_adapter_survives_the_way_to_peft_and_back),
        cmocka_unit_test(an_adapter_of_another_shape_is_refused),
        cmocka_unit_test(counts_tokens),
        cmocka_unit_test(what_is_no_input_is_named_and_the_next_request_works),
        cmocka_unit_test(works_behind_a_socket_unit),
    };
    return cmocka_run_group_tests_name("worker/tool", tests, train_adapter,
                                       close_adapter);
}
