// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes as a file to import, the first one choosing the format: what comes
 * out is a record that pockd takes, and what does not gets a reason.
 */

#include "clients/pockctl/importer.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static int on_record(void *user, const struct import_record *r)
{
    static const uint8_t none[IMPORT_UID_BYTES];
    size_t bytes = r->text_bytes + r->completion_bytes;

    check(r->line > 0 && r->has_time);
    check(import_stream_is_valid(r->stream));
    check(memcmp(r->uid, none, sizeof(none)) != 0);
    check(r->text_bytes == 0 || utf8_is_valid(r->text, r->text_bytes));
    check(r->kind != IMPORT_TEXT || r->text_bytes > 0);
    check(r->kind != IMPORT_PAIR || r->completion_bytes > 0);
    check(r->kind != IMPORT_CHAT || r->message_count > 0);
    for (size_t i = 0; i < r->message_count; i++) {
        check(strlen(r->messages[i].content) == r->messages[i].bytes);
        bytes += r->messages[i].bytes;
    }
    check(bytes <= IMPORT_RECORD_MAX);
    return 0;
}

static void on_bad(void *user, uint64_t line, const char *reason)
{
    check(line > 0 && reason[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct import_params params = {.stream = "fuzz",
                                   .has_time = true,
                                   .on_record = on_record,
                                   .on_bad = on_bad};
    if (size < 2)
        return 0;
    FILE *f = fmemopen((void *) (uintptr_t) (data + 1), size - 1, "r");
    if (!f)
        return 0;
    check(import_read(f, (enum import_format)(data[0] % 3), &params) == 0);
    fclose(f);
    return 0;
}
