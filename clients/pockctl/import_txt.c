// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/import_reader.h"
#include "engine/base/str.h"

#include <errno.h>
#include <string.h>

static bool is_blank(const struct import_lines *l)
{
    return strspn(l->data, " \t\f\v") == l->bytes;
}

static int emit(const struct import_params *params, struct str *paragraph,
                uint64_t line)
{
    if (paragraph->rc == -ENOMEM)
        return -ENOMEM;
    struct import_record r = {
        .line = line,
        .kind = IMPORT_TEXT,
        .text = paragraph->data,
        .text_bytes = paragraph->bytes,
    };
    int rc = paragraph->bytes > 0 ? import_emit(params, &r) : 0;
    str_clear(paragraph);
    return rc;
}

static int read_all(struct import_lines *lines,
                    const struct import_params *params, struct str *paragraph)
{
    uint64_t first = 1;
    int rc;

    while ((rc = import_lines_next(lines)) != 0) {
        if (rc == -E2BIG) {
            import_bad(
                params, lines->number,
                "the line has %zu KiB, but a record may have at most 256 "
                "KiB: split it",
                lines->bytes >> 10);
            str_clear(paragraph);
            continue;
        }
        if (rc < 0)
            return rc;
        if (is_blank(lines)) {
            if ((rc = emit(params, paragraph, first)) != 0)
                return rc;
            continue;
        }
        if (paragraph->bytes == 0)
            first = lines->number;
        else
            str_putc(paragraph, '\n');
        str_append(paragraph, lines->data, lines->bytes);
    }
    return emit(params, paragraph, first);
}

int import_read_txt(struct import_lines *lines,
                    const struct import_params *params)
{
    // Past this limit the paragraph keeps its start, which is too long already.
    struct str paragraph = {.limit = 16 * IMPORT_RECORD_MAX};
    int rc = read_all(lines, params, &paragraph);

    str_free(&paragraph);
    return rc;
}
