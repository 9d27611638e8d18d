// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/importer.h"

#include "clients/pockctl/import_reader.h"
#include "clients/pockctl/out_time.h"
#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pock/pock.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const format_names[] =
    {[IMPORT_JSONL] = "jsonl", [IMPORT_TXT] = "txt", [IMPORT_MD] = "md"};

static const char *const kind_names[] =
    {[IMPORT_TEXT] = "text", [IMPORT_PAIR] = "pair", [IMPORT_CHAT] = "chat"};

const char *import_kind_name(enum import_kind kind)
{
    return kind_names[kind];
}

int import_format_parse(enum import_format *out, const char *name)
{
    for (int i = IMPORT_JSONL; i <= IMPORT_MD; i++) {
        if (strcasecmp(name, format_names[i]) == 0) {
            *out = (enum import_format) i;
            return 0;
        }
    }
    return -EINVAL;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

int import_format_of_path(enum import_format *out, const char *path)
{
    const char *dot = strrchr(base_name(path), '.');

    if (!dot)
        return -EINVAL;
    if (strcasecmp(dot, ".ndjson") == 0 || strcasecmp(dot, ".json") == 0)
        dot = ".jsonl";
    else if (strcasecmp(dot, ".markdown") == 0)
        dot = ".md";
    else if (strcasecmp(dot, ".text") == 0)
        dot = ".txt";
    return import_format_parse(out, dot + 1);
}

void import_stream_of_path(char out[IMPORT_STREAM_MAX + 1], const char *path)
{
    const char *name = base_name(path);
    const char *dot = strrchr(name, '.');
    size_t bytes = dot && dot != name ? (size_t) (dot - name) : strlen(name);
    size_t n = 0;

    for (size_t i = 0; i < bytes && n < IMPORT_STREAM_MAX; i++) {
        unsigned char c = (unsigned char) name[i];
        if (c < 0x80 && (isalnum(c) || (n > 0 && (c == '_' || c == '.'))))
            out[n++] = (char) tolower(c);
        else if (n > 0 && out[n - 1] != '-')
            out[n++] = '-';
    }
    while (n > 0 && out[n - 1] == '-')
        n--;
    out[n] = '\0';
    if (n == 0)
        memcpy(out, "import", sizeof("import"));
}

bool import_stream_is_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return n > 0 && n <= IMPORT_STREAM_MAX && name[n] == '\0' &&
           isalnum((unsigned char) name[0]);
}

bool import_time_of_path(int64_t *out_ms, const char *path)
{
    const char *name = base_name(path);
    int64_t ms;

    if (strnlen(name, 10) < 10 || isdigit((unsigned char) name[10]) ||
        out_time_parse_iso(&ms, name, 10, false) < 0)
        return false;
    *out_ms = ms;
    return true;
}

void import_bad(const struct import_params *params, uint64_t line,
                const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    params->on_bad(params->user, line, text);
}

static int line_reserve(struct import_lines *l, size_t bytes)
{
    if (bytes <= l->size)
        return 0;
    size_t size = l->size ? l->size * 2 : 4096;
    char *p = fault_realloc(l->data, size);
    if (!p)
        return -ENOMEM;
    l->data = p;
    l->size = size;
    return 0;
}

static void strip_end(struct import_lines *l)
{
    if (l->bytes > 0 && l->data[l->bytes - 1] == '\r')
        l->bytes--;
    l->data[l->bytes] = '\0';
    if (l->number == 1 && l->bytes >= 3 && !memcmp(l->data, "\xef\xbb\xbf", 3))
        memmove(l->data, l->data + 3, (l->bytes -= 3) + 1);
}

int import_lines_next(struct import_lines *l)
{
    size_t n = 0;
    int rc;
    int c;

    while ((c = getc_unlocked(l->file)) != EOF && c != '\n') {
        if (n < l->limit) {
            if ((rc = line_reserve(l, n + 2)) < 0)
                return rc;
            l->data[n] = (char) c;
        }
        n++;
    }
    if (c == EOF && ferror(l->file))
        return errno ? -errno : -EIO;
    if (c == EOF && n == 0)
        return 0;
    l->number++;
    l->bytes = n;
    if (n > l->limit)
        return -E2BIG;
    if ((rc = line_reserve(l, 1)) < 0)
        return rc;
    strip_end(l);
    return 1;
}

void import_lines_free(struct import_lines *l)
{
    free(l->data);
}

int import_read(FILE *file, enum import_format format,
                const struct import_params *params)
{
    // JSON may spell a character in six bytes.
    struct import_lines lines = {.file = file, .limit = 6 * IMPORT_RECORD_MAX};
    int rc = -EINVAL;

    switch (format) {
    case IMPORT_JSONL:
        rc = import_read_jsonl(&lines, params);
        break;
    case IMPORT_TXT:
        rc = import_read_txt(&lines, params);
        break;
    case IMPORT_MD:
        rc = import_read_md(&lines, params);
        break;
    }
    import_lines_free(&lines);
    return rc;
}

static void hash_string(struct hash_state *h, const char *data, size_t bytes)
{
    uint8_t length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t) ((uint64_t) bytes >> 8 * i);
    hash_update(h, length, sizeof(length));
    if (bytes > 0)
        hash_update(h, data, bytes);
}

// Every string goes in with its length, so that no two records share a hash by
// moving a border. `has_own_time`: times that were guessed do not count.
static void make_uid(struct import_record *r, bool has_own_time)
{
    static const char domain[] = "pockd import 1";
    struct hash_state h;
    uint8_t digest[HASH_BYTES];
    char time[OUT_TIME_BYTES] = "";

    if (has_own_time)
        snprintf(time, sizeof(time), "%" PRId64, r->time_ms);
    hash_init(&h);
    hash_string(&h, domain, sizeof(domain) - 1);
    hash_string(&h, r->stream, strlen(r->stream));
    hash_string(&h, time, strlen(time));
    hash_string(&h, kind_names[r->kind], strlen(kind_names[r->kind]));
    hash_string(&h, r->text, r->text_bytes);
    hash_string(&h, r->completion, r->completion_bytes);
    // Records of other kinds keep the uids that they always had.
    if (r->feedback)
        hash_string(&h, r->feedback == POCK_ACCEPTED ? "+" : "-", 1);
    for (size_t i = 0; i < r->message_count; i++) {
        hash_string(&h, r->messages[i].role, strlen(r->messages[i].role));
        hash_string(&h, r->messages[i].content, r->messages[i].bytes);
    }
    hash_final(&h, digest);
    memcpy(r->uid, digest, IMPORT_UID_BYTES);
}

static bool check_string(const struct import_params *params,
                         const struct import_record *r, const char *what,
                         const char *data, size_t bytes)
{
    if (!utf8_is_valid(data, bytes)) {
        import_bad(params, r->line,
                   "%s is not UTF-8: convert the file, with iconv for example",
                   what);
        return false;
    }
    if (bytes > 0 && memchr(data, '\0', bytes)) {
        import_bad(params, r->line, "%s holds a NUL byte", what);
        return false;
    }
    return true;
}

static bool check_not_empty(const struct import_params *params,
                            const struct import_record *r, const char *what,
                            size_t bytes)
{
    if (bytes > 0)
        return true;
    import_bad(params, r->line, "%s is empty", what);
    return false;
}

// Against overflow: a sum of sizes of things that are in memory fits.
static size_t all_bytes(const struct import_record *r)
{
    size_t bytes = r->text_bytes + r->completion_bytes;

    for (size_t i = 0; i < r->message_count; i++)
        bytes += r->messages[i].bytes;
    return bytes;
}

static bool check_size(const struct import_params *params,
                       const struct import_record *r)
{
    char size[OUT_TIME_BYTES];

    if (all_bytes(r) <= IMPORT_RECORD_MAX)
        return true;
    out_bytes_format(size, (int64_t) all_bytes(r));
    import_bad(params, r->line,
               "the record has %s, but may have at most %d KiB: split it", size,
               IMPORT_RECORD_MAX >> 10);
    return false;
}

static bool check_messages(const struct import_params *params,
                           const struct import_record *r)
{
    for (size_t i = 0; i < r->message_count; i++) {
        const struct import_message *m = &r->messages[i];
        if (!check_not_empty(params, r, "a message", m->bytes) ||
            !check_string(params, r, "a message", m->content, m->bytes))
            return false;
    }
    return true;
}

static bool check_record(const struct import_params *params,
                         const struct import_record *r)
{
    if (!check_size(params, r))
        return false;
    switch (r->kind) {
    case IMPORT_TEXT:
        return check_not_empty(params, r, "the text", r->text_bytes) &&
               check_string(params, r, "the text", r->text, r->text_bytes);
    case IMPORT_PAIR:
        return check_not_empty(params, r, "the completion",
                               r->completion_bytes) &&
               check_string(params, r, "the prompt", r->text, r->text_bytes) &&
               check_string(params, r, "the completion", r->completion,
                            r->completion_bytes);
    case IMPORT_CHAT:
        return check_messages(params, r);
    }
    return false;
}

int import_emit(const struct import_params *params, struct import_record *r)
{
    static const uint8_t none[IMPORT_UID_BYTES];
    bool has_own_time = r->has_time;

    if (!r->stream || params->force_stream)
        r->stream = params->stream;
    if (!r->has_time && params->has_time) {
        r->has_time = true;
        r->time_ms = params->time_ms;
    }
    if (!check_record(params, r))
        return 0;
    if (memcmp(r->uid, none, sizeof(none)) == 0)
        make_uid(r, has_own_time);
    return params->on_record(params->user, r);
}
