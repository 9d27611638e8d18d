// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/importer.h"
#include "clients/pockctl/out_time.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEEN_MAX = 16 };

struct seen {
    size_t count;
    struct {
        uint64_t line;
        enum import_kind kind;
        char stream[80];
        int64_t time_ms;
        uint8_t uid[IMPORT_UID_BYTES];
        char text[200];
        char completion[200];
        size_t messages;
    } records[SEEN_MAX];
    size_t bad;
    uint64_t bad_lines[SEEN_MAX];
    char reasons[SEEN_MAX][256];
    int stop_at; // give this back at the first record
};

static int on_record(void *user, const struct import_record *r)
{
    struct seen *s = user;

    assert_true(s->count < SEEN_MAX);
    s->records[s->count].line = r->line;
    s->records[s->count].kind = r->kind;
    s->records[s->count].time_ms = r->has_time ? r->time_ms : -1;
    s->records[s->count].messages = r->message_count;
    memcpy(s->records[s->count].uid, r->uid, IMPORT_UID_BYTES);
    snprintf(s->records[s->count].stream, 80, "%s", r->stream);
    snprintf(s->records[s->count].text, 200, "%.*s",
             r->text_bytes < 199 ? (int) r->text_bytes : 199,
             r->text ? r->text : "");
    snprintf(s->records[s->count].completion, 200, "%s",
             r->completion ? r->completion : "");
    s->count++;
    return s->stop_at;
}

static void on_bad(void *user, uint64_t line, const char *reason)
{
    struct seen *s = user;

    assert_true(s->bad < SEEN_MAX);
    s->bad_lines[s->bad] = line;
    snprintf(s->reasons[s->bad++], 256, "%s", reason);
}

static int read_bytes(struct seen *s, enum import_format format,
                      const char *text, size_t bytes)
{
    struct import_params params = {.stream = "notes",
                                   .on_record = on_record,
                                   .on_bad = on_bad,
                                   .user = s};
    FILE *f = fmemopen((void *) (uintptr_t) text, bytes, "r");

    assert_non_null(f);
    int rc = import_read(f, format, &params);
    fclose(f);
    return rc;
}

static void read_text(struct seen *s, enum import_format format,
                      const char *text)
{
    int stop_at = s->stop_at;

    memset(s, 0, sizeof(*s));
    s->stop_at = stop_at;
    assert_int_equal(read_bytes(s, format, text, strlen(text)), stop_at);
}

static void check_bad(const char *line, const char *reason)
{
    struct seen s = {0};

    read_text(&s, IMPORT_JSONL, line);
    assert_int_equal(s.count, 0);
    assert_int_equal(s.bad, 1);
    if (!strstr(s.reasons[0], reason))
        fail_msg("%.60s: %s", line, s.reasons[0]);
}

static void reads_the_three_kinds_of_lines(void **state)
{
    struct seen s = {0};

    read_text(&s, IMPORT_JSONL,
              "{\"date\": \"2025-03-01\", \"text\": \"Bees.\"}\n"
              "\n"
              "{\"prompt\": \"Open?\", \"completion\": \"Until one.\", "
              "\"time\": 1740787200}\n"
              "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
              "{\"role\": \"assistant\", \"content\": \"b\"}], \"x\": [1]}");
    assert_int_equal(s.bad, 0);
    assert_int_equal(s.count, 3);
    assert_int_equal(s.records[0].kind, IMPORT_TEXT);
    assert_int_equal(s.records[0].time_ms, INT64_C(1740787200000));
    assert_string_equal(s.records[0].text, "Bees.");
    assert_int_equal(s.records[1].kind, IMPORT_PAIR);
    assert_int_equal(s.records[1].line, 3);
    assert_int_equal(s.records[1].time_ms, INT64_C(1740787200000));
    assert_string_equal(s.records[1].completion, "Until one.");
    assert_int_equal(s.records[2].kind, IMPORT_CHAT);
    assert_int_equal(s.records[2].messages, 2);
    assert_int_equal(s.records[2].time_ms, -1);
}

static void names_what_is_wrong_with_a_line(void **state)
{
    check_bad("not json", "");
    check_bad("{\"text\": \"a\"} x", "");
    check_bad("[1]", "must hold an object");
    check_bad("{}", "no \"text\"");
    check_bad("{\"text\": 5}", "must be a string");
    check_bad("{\"text\": \"\"}", "is empty");
    check_bad("{\"text\": \"a\", \"prompt\": \"b\"}", "more than one");
    check_bad("{\"prompt\": \"a\"}", "\"completion\" is missing");
    check_bad("{\"prompt\": \"a\", \"completion\": \"\"}", "is empty");
    check_bad("{\"text\": \"a\", \"date\": \"2025-13-01\"}", "\"2025-13-01\"");
    check_bad("{\"text\": \"a\", \"date\": true}", "\"date\" is");
    check_bad("{\"text\": \"a\", \"stream\": \"No!\"}", "\"stream\" must be");
    check_bad("{\"text\": \"a\", \"uid\": \"12\"}", "32 hexadecimal digits");
    check_bad("{\"text\": \"a\\u0000b\"}", "NUL byte");
    check_bad("{\"messages\": []}", "a list of messages");
    check_bad("{\"messages\": [{\"role\": \"me\", \"content\": \"a\"}]}",
              "message 1: \"role\"");
    check_bad("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
              "assistant");
    check_bad("{\"text\": \"\xff\xfe\"}", "");
    check_bad("{\"text\": \"a\", \"text\": \"b\"}", "");
}

static void goes_on_behind_a_bad_line(void **state)
{
    struct seen s = {0};

    read_text(&s, IMPORT_JSONL,
              "{\"text\": \"one\"}\nbroken\n{\"text\": \"two\"}\n");
    assert_int_equal(s.count, 2);
    assert_int_equal(s.bad, 1);
    assert_int_equal(s.bad_lines[0], 2);
    assert_int_equal(s.records[1].line, 3);
}

static void refuses_a_record_of_ten_megabytes_and_goes_on(void **state)
{
    enum { BYTES = 10 << 20 };
    char *text = malloc(BYTES + 64);
    struct seen s = {0};

    memset(text, 'a', BYTES);
    memcpy(text, "{\"text\": \"", 10);
    memcpy(text + BYTES, "\"}\n{\"text\": \"b\"}\n", 17);
    assert_int_equal(read_bytes(&s, IMPORT_JSONL, text, BYTES + 17), 0);
    assert_int_equal(s.bad, 1);
    assert_non_null(strstr(s.reasons[0], "10240 KiB"));
    assert_int_equal(s.count, 1);
    assert_int_equal(s.records[0].line, 2);
    free(text);
}

static void refuses_texts_over_the_limit_together(void **state)
{
    char *text = calloc(1, 600000);
    struct seen s = {0};

    strcpy(text, "{\"prompt\": \"");
    memset(text + strlen(text), 'p', 200000);
    strcat(text, "\", \"completion\": \"");
    memset(text + strlen(text), 'c', 100000);
    strcat(text, "\"}");
    read_text(&s, IMPORT_JSONL, text);
    assert_int_equal(s.count, 0);
    assert_int_equal(s.bad, 1);
    assert_non_null(strstr(s.reasons[0], "256 KiB"));
    free(text);
}

static void gives_the_same_writing_the_same_uid(void **state)
{
    static const char line[] =
        "{\"text\": \"Bees.\", \"date\": \"2025-03-01\"}";
    struct seen a = {0};
    struct seen b = {0};

    read_text(&a, IMPORT_JSONL, line);
    read_text(&b, IMPORT_JSONL,
              "{ \"date\" : \"2025-03-01\", \"text\" : \"Bees.\", \"n\": 1}");
    assert_memory_equal(a.records[0].uid, b.records[0].uid, IMPORT_UID_BYTES);
    read_text(&b, IMPORT_JSONL,
              "{\"text\": \"Bees.\", \"date\": \"2025-03-02\"}");
    assert_memory_not_equal(a.records[0].uid, b.records[0].uid,
                            IMPORT_UID_BYTES);
    // Moving a word from prompt to completion makes another record.
    read_text(&a, IMPORT_JSONL, "{\"prompt\": \"ab\", \"completion\": \"c\"}");
    read_text(&b, IMPORT_JSONL, "{\"prompt\": \"a\", \"completion\": \"bc\"}");
    assert_memory_not_equal(a.records[0].uid, b.records[0].uid,
                            IMPORT_UID_BYTES);
}

static void takes_stream_and_uid_from_the_line(void **state)
{
    static const uint8_t uid[IMPORT_UID_BYTES] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                  8, 9, 10, 11, 12, 13, 14, 15};
    struct seen s = {0};

    read_text(&s, IMPORT_JSONL,
              "{\"text\": \"a\", \"stream\": \"mail\", \"uid\": "
              "\"000102030405060708090a0b0c0d0e0f\"}");
    assert_int_equal(s.count, 1);
    assert_string_equal(s.records[0].stream, "mail");
    assert_memory_equal(s.records[0].uid, uid, sizeof(uid));
}

static void reads_a_paragraph_of_text_as_a_record(void **state)
{
    struct seen s = {0};

    read_text(&s, IMPORT_TXT,
              "\xef\xbb\xbf"
              "one\r\ntwo\r\n\r\n \t\r\nthree\n");
    assert_int_equal(s.count, 2);
    assert_string_equal(s.records[0].text, "one\ntwo");
    assert_int_equal(s.records[0].line, 1);
    assert_string_equal(s.records[1].text, "three");
    assert_int_equal(s.records[1].line, 5);
    read_text(&s, IMPORT_TXT, "\n\n\n");
    assert_int_equal(s.count, 0);
    read_text(&s, IMPORT_TXT, "caf\xe9\n\nfine\n");
    assert_int_equal(s.count, 1);
    assert_int_equal(s.bad, 1);
    assert_non_null(strstr(s.reasons[0], "not UTF-8"));
}

static void reads_a_section_of_markdown_as_a_record(void **state)
{
    struct seen s = {0};

    read_text(&s, IMPORT_MD,
              "intro\n\n"
              "# 2025-03-01\n\nBees.\n\n"
              "## Bread\n\nRye.\n\n```\n# not a heading\n```\n\n"
              "# About\nMe.\n"
              "# Empty\n\n"
              "# 2025-03-02 Sunday\nFrost.\n");
    assert_int_equal(s.bad, 0);
    assert_int_equal(s.count, 5);
    assert_string_equal(s.records[0].text, "intro");
    assert_int_equal(s.records[0].time_ms, -1);
    assert_string_equal(s.records[1].text, "Bees.");
    assert_int_equal(s.records[1].time_ms, INT64_C(1740787200000));
    assert_string_equal(s.records[2].text,
                        "## Bread\n\nRye.\n\n```\n# not a heading\n```");
    assert_int_equal(s.records[2].time_ms, INT64_C(1740787200000));
    assert_string_equal(s.records[3].text, "# About\nMe.");
    assert_int_equal(s.records[3].time_ms, -1);
    assert_string_equal(s.records[4].text, "# 2025-03-02 Sunday\nFrost.");
    assert_int_equal(s.records[4].time_ms, INT64_C(1740873600000));
}

static void reads_the_date_of_a_front_matter(void **state)
{
    struct seen s = {0};

    read_text(&s, IMPORT_MD,
              "---\ntitle: x\ndate: \"2025-03-01\"\n---\n\n# Day\nBees.\n");
    assert_int_equal(s.count, 1);
    assert_string_equal(s.records[0].text, "# Day\nBees.");
    assert_int_equal(s.records[0].time_ms, INT64_C(1740787200000));
    // A front matter that never ends holds no record, and is no endless loop.
    read_text(&s, IMPORT_MD, "---\ntitle: x\n");
    assert_int_equal(s.count, 0);
}

static void stops_when_it_is_told_to(void **state)
{
    struct seen s = {.stop_at = 3};

    read_text(&s, IMPORT_JSONL, "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
    assert_int_equal(s.count, 1);
    read_text(&s, IMPORT_TXT, "a\n\nb\n");
    assert_int_equal(s.count, 1);
    read_text(&s, IMPORT_MD, "# a\nb\n# c\nd\n");
    assert_int_equal(s.count, 1);
}

static void survives_random_bytes(void **state)
{
    char noise[4096];
    unsigned seed = 1;

    for (int round = 0; round < 60; round++) {
        struct seen s = {0};
        for (size_t i = 0; i < sizeof(noise); i++) {
            seed = seed * 1103515245u + 12345u;
            noise[i] = (char) (seed >> 16);
        }
        // Few enough lines for the places in `seen`.
        for (size_t i = 0; i < sizeof(noise); i++)
            if (noise[i] == '\n')
                noise[i] = ' ';
        noise[1000] = '\n';
        noise[1001] = '\n';
        for (int format = IMPORT_JSONL; format <= IMPORT_MD; format++) {
            s = (struct seen){0};
            assert_int_equal(read_bytes(&s, (enum import_format) format, noise,
                                        sizeof(noise)),
                             0);
        }
    }
}

static void names_streams_after_files(void **state)
{
    static const char *const rows[][2] = {
        {"notebook.jsonl", "notebook"},  {"a/b/My Diary.md", "my-diary"},
        {"2025-03-01.md", "2025-03-01"}, {"--x--.txt", "x"},
        {"\xc3\xa9t\xc3\xa9.txt", "t"},  {"...", "import"},
        {"\xc3\xa9.txt", "import"},      {".notes", "notes"},
    };
    char out[IMPORT_STREAM_MAX + 1];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        import_stream_of_path(out, rows[i][0]);
        assert_string_equal(out, rows[i][1]);
        assert_true(import_stream_is_valid(out));
    }
    assert_false(import_stream_is_valid("A"));
    assert_false(import_stream_is_valid(""));
    assert_false(import_stream_is_valid(".a"));
    assert_false(import_stream_is_valid("a b"));
}

static void takes_a_date_from_the_name_of_a_file(void **state)
{
    int64_t ms;

    assert_true(import_time_of_path(&ms, "x/2025-03-01 Saturday.md"));
    assert_int_equal(ms, INT64_C(1740787200000));
    assert_false(import_time_of_path(&ms, "2025-02-30.md"));
    assert_false(import_time_of_path(&ms, "notes.md"));
    assert_false(import_time_of_path(&ms, "2025-03-011.md"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_three_kinds_of_lines),
        cmocka_unit_test(names_what_is_wrong_with_a_line),
        cmocka_unit_test(goes_on_behind_a_bad_line),
        cmocka_unit_test(refuses_a_record_of_ten_megabytes_and_goes_on),
        cmocka_unit_test(refuses_texts_over_the_limit_together),
        cmocka_unit_test(gives_the_same_writing_the_same_uid),
        cmocka_unit_test(takes_stream_and_uid_from_the_line),
        cmocka_unit_test(reads_a_paragraph_of_text_as_a_record),
        cmocka_unit_test(reads_a_section_of_markdown_as_a_record),
        cmocka_unit_test(reads_the_date_of_a_front_matter),
        cmocka_unit_test(stops_when_it_is_told_to),
        cmocka_unit_test(survives_random_bytes),
        cmocka_unit_test(names_streams_after_files),
        cmocka_unit_test(takes_a_date_from_the_name_of_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
