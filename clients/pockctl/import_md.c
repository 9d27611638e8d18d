// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/import_reader.h"
#include "clients/pockctl/out_time.h"
#include "engine/base/str.h"

#include <errno.h>
#include <string.h>

enum { DATE_BYTES = 10 };

struct section {
    const struct import_params *params;
    struct str text;
    uint64_t line; // where it starts; 0 while it is empty
    bool has_body; // more than a heading
    bool has_time;
    int64_t time_ms;
    int date_level; // of the heading whose date holds; 0: of the whole file
    char fence;     // '`' or '~' inside of a code block
    bool file_has_time;
    int64_t file_time_ms;
};

static int emit(struct section *s)
{
    int rc = 0;

    if (s->text.rc == -ENOMEM)
        return -ENOMEM;
    while (s->text.bytes > 0 && s->text.data[s->text.bytes - 1] == '\n')
        s->text.bytes--;
    struct import_record r = {
        .line = s->line,
        .kind = IMPORT_TEXT,
        .text = s->text.data,
        .text_bytes = s->text.bytes,
        .has_time = s->has_time,
        .time_ms = s->time_ms,
    };
    if (s->has_body)
        rc = import_emit(s->params, &r);
    str_clear(&s->text);
    s->line = 0;
    s->has_body = false;
    return rc;
}

// 1 to 6 for "# ..." to "###### ...", otherwise 0.
static int heading_level(const struct import_lines *l)
{
    size_t n = strspn(l->data, "#");

    if (n < 1 || n > 6 || (l->data[n] != ' ' && l->data[n] != '\t'))
        return 0;
    return (int) n;
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

// A date at the start of a heading; *is_all when nothing follows it.
static bool heading_date(const char *text, int64_t *ms, bool *is_all)
{
    size_t bytes = strcspn(text, " \t#");

    if (bytes < DATE_BYTES ||
        out_time_parse_iso(ms, text, DATE_BYTES, false) < 0)
        return false;
    const char *rest = text + DATE_BYTES;
    rest += strspn(rest, " \t#:,-");
    *is_all = *rest == '\0';
    return true;
}

static int start_section(struct section *s, const struct import_lines *l,
                         int level)
{
    const char *text = skip_blanks(l->data + level);
    bool is_all = false;
    int64_t ms;
    int rc;

    if ((rc = emit(s)) != 0)
        return rc;
    if (heading_date(text, &ms, &is_all)) {
        s->has_time = true;
        s->time_ms = ms;
        s->date_level = level;
    } else if (level <= s->date_level) {
        s->has_time = s->file_has_time;
        s->time_ms = s->file_time_ms;
        s->date_level = 0;
    }
    s->line = l->number;
    if (!is_all) {
        str_append(&s->text, l->data, l->bytes);
        str_putc(&s->text, '\n');
    }
    return 0;
}

static void add_line(struct section *s, const struct import_lines *l)
{
    const char *p = skip_blanks(l->data);
    bool is_fence = strncmp(p, "```", 3) == 0 || strncmp(p, "~~~", 3) == 0;

    if (is_fence && (s->fence == 0 || s->fence == *p))
        s->fence = s->fence ? 0 : *p;
    // Blank lines above the first word are no part of the text.
    if (*p == '\0' && s->text.bytes == 0)
        return;
    if (s->line == 0)
        s->line = l->number;
    if (*p)
        s->has_body = true;
    str_append(&s->text, l->data, l->bytes);
    str_putc(&s->text, '\n');
}

// "---", then lines up to the next "---" or "...". Only the date is of use.
static int read_front_matter(struct section *s, struct import_lines *l)
{
    int rc;

    while ((rc = import_lines_next(l)) > 0) {
        if (strcmp(l->data, "---") == 0 || strcmp(l->data, "...") == 0)
            return 1;
        if (strncmp(l->data, "date:", 5) != 0)
            continue;
        const char *p = l->data + 5 + strspn(l->data + 5, " \t\"'");
        size_t bytes = strcspn(p, "\"'#");
        while (bytes > 0 && p[bytes - 1] == ' ')
            bytes--;
        if (out_time_parse_iso(&s->time_ms, p, bytes, false) == 0) {
            s->file_has_time = s->has_time = true;
            s->file_time_ms = s->time_ms;
        }
    }
    return rc;
}

static int read_all(struct section *s, struct import_lines *l)
{
    int rc;

    while ((rc = import_lines_next(l)) != 0) {
        if (rc == -E2BIG) {
            import_bad(
                s->params, l->number,
                "the line has %zu KiB, but a record may have at most 256 "
                "KiB: split it",
                l->bytes >> 10);
            continue;
        }
        if (rc < 0)
            return rc;
        if (l->number == 1 && strcmp(l->data, "---") == 0) {
            if ((rc = read_front_matter(s, l)) < 0)
                return rc;
            continue;
        }
        int level = s->fence ? 0 : heading_level(l);
        if (level == 0)
            add_line(s, l);
        else if ((rc = start_section(s, l, level)) != 0)
            return rc;
    }
    return emit(s);
}

int import_read_md(struct import_lines *lines,
                   const struct import_params *params)
{
    struct section s = {.params = params,
                        .text = {.limit = 16 * IMPORT_RECORD_MAX}};
    int rc = read_all(&s, lines);

    str_free(&s.text);
    return rc;
}
