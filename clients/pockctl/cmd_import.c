// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/out_json.h"
#include "clients/pockctl/put_queue.h"
#include "engine/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

// One file's import, and the sums over all files.
struct import {
    struct ctl *ctl;
    struct put_queue *queue; // NULL: a dry run
    struct out_table *table;
    struct str json;
    const char *path;
    char stream[IMPORT_STREAM_MAX + 1];
    int64_t after_ms;
    int64_t before_ms;
    int status;       // to end with at once
    uint64_t read;    // records of this file
    uint64_t skipped; // by --since and --until
    uint64_t bad;     // of this file
    uint64_t bad_all;
    uint64_t records_all;
    uint64_t added_all;
    uint64_t dropped_all;
    uint64_t redacted[REDACT_CLASSES]; // of all files
};

static void on_bad(void *user, uint64_t line, const char *reason)
{
    struct import *im = user;

    im->bad++;
    (void) ctl_fail(im->ctl, CTL_FAILED, "%s:%" PRIu64 ": %s", im->path, line,
                    reason);
}

static int on_record(void *user, const struct import_record *r)
{
    struct import *im = user;

    if ((im->after_ms && r->time_ms < im->after_ms) ||
        (im->before_ms && r->time_ms >= im->before_ms)) {
        im->skipped++;
        return 0;
    }
    if (r->time_ms < 0) {
        on_bad(im, r->line, "its date is before 1970");
        return 0;
    }
    im->read++;
    if (im->queue)
        im->status = put_queue_add(im->queue, r);
    // Any number but 0 ends the reading; im->status says what it was.
    return im->status == CTL_OK ? 0 : 1;
}

static int choose_format(struct import *im, enum import_format *out)
{
    const char *name = im->ctl->line.values[FLAG_FORMAT];

    if (name && import_format_parse(out, name) == 0)
        return CTL_OK;
    if (name)
        return ctl_fail(im->ctl, CTL_USAGE,
                        "--format is \"%s\", but must be jsonl, txt or md",
                        name);
    if (import_format_of_path(out, im->path) == 0)
        return CTL_OK;
    return ctl_fail(im->ctl, CTL_USAGE,
                    "cannot tell the format of %s by its name: give --format "
                    "jsonl, txt or md",
                    im->path);
}

static int choose_stream(struct import *im)
{
    const char *name = im->ctl->line.values[FLAG_STREAM];

    if (!name && strcmp(im->path, "-") == 0)
        return ctl_fail(im->ctl, CTL_USAGE,
                        "standard input has no name to call the stream by: "
                        "give --stream NAME");
    if (!name) {
        import_stream_of_path(im->stream, im->path);
        return CTL_OK;
    }
    if (!import_stream_is_valid(name))
        return ctl_fail(im->ctl, CTL_USAGE,
                        "\"%s\" is no name for a stream: use 1 to 64 "
                        "lower-case letters, digits, \".\", \"_\" and \"-\", "
                        "with a letter or digit first",
                        name);
    snprintf(im->stream, sizeof(im->stream), "%s", name);
    return CTL_OK;
}

// When the writing has no date: the file's name may have one, else its last
// change is the best guess.
static int64_t guess_time(const char *path, FILE *f)
{
    struct stat st;
    int64_t ms;

    if (import_time_of_path(&ms, path))
        return ms;
    if (fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode))
        return (int64_t) st.st_mtim.tv_sec * 1000;
    return clock_unix_ms();
}

static void report_file(struct import *im, const struct put_counts *n)
{
    uint64_t known = n->records - n->added - n->dropped;

    im->dropped_all += n->dropped;
    for (int k = 0; k < REDACT_CLASSES; k++)
        im->redacted[k] += n->redacted[k];
    im->bad_all += im->bad;
    im->records_all += n->records;
    im->added_all += n->added;
    if (im->ctl->json) {
        str_puts(&im->json, im->json.bytes ? "," : "");
        str_puts(&im->json, "{\"file\":");
        str_json(&im->json, im->path, strlen(im->path));
        str_printf(&im->json,
                   ",\"stream\":\"%s\",\"records\":%" PRIu64 ",\"new\":%" PRIu64
                   ",\"known\":%" PRIu64 ",\"skipped\":%" PRIu64
                   ",\"bad\":%" PRIu64 "}",
                   im->stream, n->records, n->added, known, im->skipped,
                   im->bad);
        return;
    }
    out_table_text(im->table, im->path);
    out_table_text(im->table, im->stream);
    out_table_cell(im->table, "%" PRIu64, n->records);
    out_table_cell(im->table, "%" PRIu64, n->added);
    out_table_cell(im->table, "%" PRIu64, known);
    out_table_cell(im->table, "%" PRIu64, im->skipped);
    out_table_cell(im->table, "%" PRIu64, im->bad);
    out_table_style(im->table, im->bad ? TERM_WARN : TERM_PLAIN);
}

static int read_stream(struct import *im, FILE *f, enum import_format format)
{
    struct import_params params = {
        .stream = im->stream,
        .force_stream = im->ctl->line.given[FLAG_STREAM],
        .has_time = true,
        .time_ms = guess_time(im->path, f),
        .on_record = on_record,
        .on_bad = on_bad,
        .user = im,
    };
    int rc = import_read(f, format, &params);

    if (rc < 0)
        return ctl_fail_errno(im->ctl, rc, im->path);
    if (im->status == CTL_OK && im->queue)
        im->status = put_queue_flush(im->queue);
    return im->status;
}

static int import_file(struct import *im, const char *path)
{
    struct put_counts counts;
    enum import_format format;
    int status;

    im->path = path;
    im->read = im->skipped = im->bad = 0;
    if ((status = choose_format(im, &format)) != CTL_OK ||
        (status = choose_stream(im)) != CTL_OK)
        return status;
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!f)
        return ctl_fail_errno(im->ctl, -errno, path);
    status = read_stream(im, f, format);
    if (f != stdin)
        fclose(f);
    counts = (struct put_counts){.records = im->read, .added = im->read};
    if (im->queue)
        counts = put_queue_take_counts(im->queue);
    report_file(im, &counts);
    return status;
}

// ,"redacted":{"card":2},"dropped":1
static void json_redacted(struct str *s, const struct import *im)
{
    const char *comma = "";

    str_puts(s, ",\"redacted\":{");
    for (int k = 0; k < REDACT_CLASSES; k++) {
        if (im->redacted[k] == 0)
            continue;
        str_printf(s, "%s\"%s\":%" PRIu64, comma,
                   redact_class_name((enum redact_class) k), im->redacted[k]);
        comma = ",";
    }
    str_printf(s, "},\"dropped\":%" PRIu64, im->dropped_all);
}

static void tell_redacted(const struct import *im)
{
    struct str s = {.limit = 0};

    for (int k = 0; k < REDACT_CLASSES; k++)
        if (im->redacted[k])
            str_printf(&s, "%s%" PRIu64 " %s", s.bytes ? ", " : "",
                       im->redacted[k],
                       redact_class_name((enum redact_class) k));
    if (s.data)
        ctl_remark(im->ctl, "masked before it was stored: %s", s.data);
    if (im->dropped_all > 0)
        ctl_remark(im->ctl,
                   "%" PRIu64 " records were not stored, as the policy says "
                   "(redact)",
                   im->dropped_all);
    str_free(&s);
}

static int print_report(struct import *im)
{
    struct str redacted = {.limit = 0};

    if (im->ctl->json) {
        json_redacted(&redacted, im);
        if (str_finish(&im->json) < 0 || str_finish(&redacted) < 0) {
            str_free(&redacted);
            return ctl_no_memory(im->ctl);
        }
        printf("{\"schema\":%d,\"files\":[%s],\"records\":%" PRIu64
               ",\"new\":%" PRIu64 ",\"bad\":%" PRIu64 "%s,\"dry_run\":%s}\n",
               OUT_JSON_SCHEMA, im->json.data ? im->json.data : "",
               im->records_all, im->added_all, im->bad_all, redacted.data,
               im->queue ? "false" : "true");
        str_free(&redacted);
        return CTL_OK;
    }
    if (im->ctl->quiet)
        return CTL_OK;
    int rc = out_table_print(im->table, &im->ctl->out, im->ctl->header);
    tell_redacted(im);
    if (!im->queue)
        ctl_remark(im->ctl, "a dry run: nothing was handed in");
    return rc < 0 ? ctl_no_memory(im->ctl) : CTL_OK;
}

static int import_files(struct import *im)
{
    struct ctl *c = im->ctl;
    int status = CTL_OK;
    int failed = CTL_OK;

    for (int i = 0; i < c->line.arg_count; i++) {
        status = import_file(im, c->line.args[i]);
        if (status != CTL_OK)
            failed = status;
        // A file that is not there does not keep the others out; a daemon that
        // is not there does.
        if (status != CTL_OK && (im->status != CTL_OK || status == CTL_USAGE))
            break;
    }
    status = print_report(im);
    if (failed != CTL_OK)
        return failed;
    return status == CTL_OK && im->bad_all > 0 ? CTL_FAILED : status;
}

int cmd_data_import(struct ctl *c)
{
    static const struct out_column columns[] = {
        {"FILE", false, true},    {"STREAM", false, false},
        {"RECORDS", true, false}, {"NEW", true, false},
        {"KNOWN", true, false},   {"SKIPPED", true, false},
        {"BAD", true, false},
    };
    struct import im = {.ctl = c};
    struct put_params params = {.ctl = c,
                                .on_refused = on_bad,
                                .user = &im,
                                .print_ids = c->quiet};
    int status;

    if ((status = ctl_bounds(c, &im.after_ms, &im.before_ms)) != CTL_OK)
        return status;
    if (!c->line.given[FLAG_DRY_RUN] && (status = ctl_connect(c)) != CTL_OK)
        return status;
    if (out_table_create(&im.table, columns, 7) < 0 ||
        (c->pock && put_queue_create(&im.queue, &params) < 0))
        status = ctl_no_memory(c);
    else
        status = import_files(&im);
    // The queue's batches wait for answers: the connection goes first.
    pock_destroy(c->pock);
    c->pock = NULL;
    put_queue_destroy(im.queue);
    out_table_destroy(im.table);
    str_free(&im.json);
    return status;
}
