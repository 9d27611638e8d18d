// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/redaction.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct policy policy;
static struct redaction redaction;
static struct error err;

static int start(void **state)
{
    (void) state;
    policy_init(&policy);
    return 0;
}

static int end(void **state)
{
    (void) state;
    redaction_finish(&redaction);
    return 0;
}

static void use(const char *redact, const char *streams)
{
    snprintf(policy.redact, sizeof(policy.redact), "%s", redact);
    snprintf(policy.redact_streams, sizeof(policy.redact_streams), "%s",
             streams);
    assert_int_equal(redaction_init(&redaction, &policy, &err), 0);
}

static struct codec_bytes bytes(const char *text)
{
    return (struct codec_bytes){text, strlen(text)};
}

static struct rpc_record text_record(const char *stream, const char *text)
{
    return (struct rpc_record){.kind = RPC_RECORD_KIND_TEXT,
                               .stream = bytes(stream),
                               .text = bytes(text),
                               .bytes = strlen(text)};
}

static void assert_bytes(struct codec_bytes b, const char *text)
{
    assert_int_equal(b.bytes, strlen(text));
    assert_memory_equal(b.data, text, b.bytes);
}

static void masks_everything_by_default(void **state)
{
    struct rpc_record out, in = text_record("notes", "to a@example.org");

    (void) state;
    use("", "");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), 0);
    assert_bytes(out.text, "to <EMAIL>");
    assert_int_equal(out.bytes, 10);
    assert_int_equal(redaction.redacted, 1);
}

static void keeps_pairs_apart(void **state)
{
    struct rpc_record out, in = {.kind = RPC_RECORD_KIND_PAIR,
                                 .stream = bytes("notes"),
                                 .prompt = bytes("a@example.org?"),
                                 .completion = bytes("b@example.org!")};

    (void) state;
    use("", "");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), 0);
    assert_bytes(out.prompt, "<EMAIL>?");
    assert_bytes(out.completion, "<EMAIL>!");
    in.prompt = bytes("Who?");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), 0);
    assert_bytes(out.prompt, "Who?");
    assert_bytes(out.completion, "<EMAIL>!");
    in.prompt = bytes("");
    in.completion = bytes("Nobody.");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), 0);
    assert_bytes(out.prompt, "");
    assert_bytes(out.completion, "Nobody.");
}

static void a_stream_may_have_modes_of_its_own(void **state)
{
    struct rpc_record out, in;

    (void) state;
    use("mask,email=off", "mail=off,mail:email=mask,log:ip=drop");
    in = text_record("notes", "a@example.org 203.0.113.9");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), 0);
    assert_bytes(out.text, "a@example.org <IP>");
    in.stream = bytes("mail");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), 0);
    assert_bytes(out.text, "<EMAIL> 203.0.113.9");
    in.stream = bytes("log");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), 1);
    assert_int_equal(redaction.dropped, 1);
    in.stream = bytes("logs");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), 0);
    assert_int_equal(redaction.redacted, 3);
}

static void a_dropped_record_counts_for_nothing_else(void **state)
{
    struct rpc_record out,
        in = text_record("notes", "a@example.org 203.0.113.9");

    (void) state;
    use("mask,ip=drop", "");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), 1);
    assert_int_equal(redaction.redacted, 0);
    in.is_secret = true;
    in.text = bytes("plain");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), 1);
    assert_int_equal(redaction.dropped, 2);
}

static void refuses_what_masks_make_too_long(void **state)
{
    static const char one[] = "code 1234\n";
    const size_t n = RPC_RECORD_BYTES_MAX / (sizeof(one) - 1);
    char *text = malloc(n * (sizeof(one) - 1) + 1);

    (void) state;
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * (sizeof(one) - 1), one, sizeof(one));
    struct rpc_record out, in = text_record("notes", text);
    use("", "");
    assert_int_equal(redaction_apply(&redaction, &out, &in, &err), -E2BIG);
    assert_non_null(strstr(err.text, "split it"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(masks_everything_by_default, start,
                                        end),
        cmocka_unit_test_setup_teardown(keeps_pairs_apart, start, end),
        cmocka_unit_test_setup_teardown(a_stream_may_have_modes_of_its_own,
                                        start, end),
        cmocka_unit_test_setup_teardown(
            a_dropped_record_counts_for_nothing_else, start, end),
        cmocka_unit_test_setup_teardown(refuses_what_masks_make_too_long, start,
                                        end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
