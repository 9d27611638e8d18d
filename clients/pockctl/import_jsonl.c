// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/import_reader.h"
#include "clients/pockctl/out_time.h"
#include "engine/base/arena.h"
#include "engine/base/hash.h"
#include "engine/base/json.h"

#include <errno.h>
#include <math.h>
#include <pock/pock.h>
#include <string.h>

// What one line may need as a tree: the text itself and an object a value.
enum { TREE_LIMIT = 64 << 20 };

static const char *const time_keys[] = {"date", "time", "timestamp"};

// Seconds before the year 5138, milliseconds after March 1973: no overlap that
// anybody's diary would meet.
static int64_t number_to_ms(double v)
{
    return (int64_t) (fabs(v) < 1e11 ? v * 1000 : v);
}

static int read_time(struct import_record *r, const struct json *object,
                     struct error *err)
{
    for (size_t i = 0; i < sizeof(time_keys) / sizeof(time_keys[0]); i++) {
        const struct json *v = json_get(object, time_keys[i]);
        if (!v || v->type == JSON_NULL)
            continue;
        r->has_time = true;
        if (v->type == JSON_NUMBER && fabs(v->number) < 1e15) {
            r->time_ms = number_to_ms(v->number);
            return 0;
        }
        if (v->type == JSON_STRING &&
            out_time_parse_iso(&r->time_ms, v->text, v->bytes, false) == 0)
            return 0;
        return error_set(err, -EINVAL,
                         "\"%s\" is %s%.40s%s: give 2025-12-31, "
                         "2025-12-31T18:00:00Z or seconds since 1970",
                         time_keys[i], v->type == JSON_STRING ? "\"" : "",
                         v->type == JSON_STRING ? v->text
                                                : json_type_name(v->type),
                         v->type == JSON_STRING ? "\"" : "");
    }
    return 0;
}

static int read_stream(struct import_record *r, const struct json *object,
                       struct error *err)
{
    const struct json *v = json_get(object, "stream");

    if (!v || v->type == JSON_NULL)
        return 0;
    r->stream = json_get_text(object, "stream");
    if (!r->stream || !import_stream_is_valid(r->stream))
        return error_set(err, -EINVAL,
                         "\"stream\" must be a name of lower-case letters, "
                         "digits, \".\", \"_\" and \"-\"");
    return 0;
}

static int read_uid(struct import_record *r, const struct json *object,
                    struct error *err)
{
    const char *text = json_get_text(object, "uid");
    size_t i = 0;

    if (!json_get(object, "uid"))
        return 0;
    for (; text && i < 2 * IMPORT_UID_BYTES && text[i]; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *d = strchr(digits, text[i]);
        if (!d)
            break;
        r->uid[i / 2] = (uint8_t) (r->uid[i / 2] << 4 | (d - digits));
    }
    if (i == 2 * IMPORT_UID_BYTES && text[i] == '\0')
        return 0;
    return error_set(err, -EINVAL, "\"uid\" must be 32 hexadecimal digits");
}

static int get_string(const char **text, size_t *bytes,
                      const struct json *object, const char *key,
                      struct error *err)
{
    const struct json *v = json_get(object, key);

    if (!v)
        return error_set(err, -EINVAL, "\"%s\" is missing", key);
    if (v->type != JSON_STRING)
        return error_set(err, -EINVAL, "\"%s\" must be a string, but is %s",
                         key, json_type_name(v->type));
    *text = v->text;
    *bytes = v->bytes;
    return 0;
}

static bool is_role(const char *role)
{
    return strcmp(role, "system") == 0 || strcmp(role, "user") == 0 ||
           strcmp(role, "assistant") == 0;
}

static int read_messages(struct import_record *r, struct arena *a,
                         const struct json *list, struct error *err)
{
    bool is_answer = false;
    size_t n = 0;
    int rc;

    if (list->type != JSON_ARRAY || list->count == 0)
        return error_set(err, -EINVAL,
                         "\"messages\" must be a list of messages");
    if (list->count > IMPORT_MESSAGES_MAX)
        return error_set(err, -EINVAL,
                         "there are %u messages, but at most %d may be in one "
                         "record: split it",
                         list->count, IMPORT_MESSAGES_MAX);
    struct import_message *m = arena_calloc(a, list->count, sizeof(*m));
    if (!m)
        return -ENOMEM;
    for (const struct json *v = list->first; v; v = v->next, n++) {
        m[n].role = json_get_text(v, "role");
        if (!m[n].role || !is_role(m[n].role))
            return error_set(err, -EINVAL,
                             "message %zu: \"role\" must be system, user or "
                             "assistant",
                             n + 1);
        if ((rc = get_string(&m[n].content, &m[n].bytes, v, "content", err)))
            return error_prefix(err, rc, "message %zu", n + 1);
        is_answer = strcmp(m[n].role, "assistant") == 0;
    }
    if (!is_answer)
        return error_set(err, -EINVAL,
                         "the last message is not the assistant's, so there is "
                         "no answer to learn");
    r->kind = IMPORT_CHAT;
    r->messages = m;
    r->message_count = n;
    return 0;
}

static int read_feedback(struct import_record *r, const struct json *object,
                         struct error *err)
{
    const struct json *accepted = json_get(object, "accepted");

    if (!accepted)
        return 0;
    if (accepted->type != JSON_BOOL)
        return error_set(err, -EINVAL,
                         "\"accepted\" is neither true nor false");
    r->feedback = accepted->boolean ? POCK_ACCEPTED : POCK_REJECTED;
    return 0;
}

static int read_contents(struct import_record *r, struct arena *a,
                         const struct json *object, struct error *err)
{
    const struct json *messages = json_get(object, "messages");
    bool has_text = json_get(object, "text");
    bool has_pair =
        json_get(object, "prompt") || json_get(object, "completion");
    int rc;

    if (has_text + has_pair + (messages != NULL) > 1)
        return error_set(err, -EINVAL,
                         "it holds more than one of text, prompt and messages");
    if (messages)
        return read_messages(r, a, messages, err);
    if (has_text) {
        r->kind = IMPORT_TEXT;
        return get_string(&r->text, &r->text_bytes, object, "text", err);
    }
    if (!has_pair)
        return error_set(
            err, -EINVAL,
            "it has no \"text\", no \"prompt\" and \"completion\", "
            "and no \"messages\"");
    r->kind = IMPORT_PAIR;
    if ((rc = read_feedback(r, object, err)) < 0)
        return rc;
    if ((rc = get_string(&r->text, &r->text_bytes, object, "prompt", err)) < 0)
        return rc;
    return get_string(&r->completion, &r->completion_bytes, object,
                      "completion", err);
}

static int read_object(struct import_record *r, struct arena *a,
                       const struct json *object, struct error *err)
{
    int rc;

    if (object->type != JSON_OBJECT)
        return error_set(err, -EINVAL, "a line must hold an object, not %s",
                         json_type_name(object->type));
    if ((rc = read_time(r, object, err)) < 0 ||
        (rc = read_stream(r, object, err)) < 0 ||
        (rc = read_uid(r, object, err)) < 0)
        return rc;
    return read_contents(r, a, object, err);
}

static int read_line(const struct import_lines *l,
                     const struct import_params *params)
{
    struct import_record r = {.line = l->number};
    struct error err = {0};
    const struct json *object;
    struct arena *a = NULL;
    int rc;

    if ((rc = arena_create(&a, TREE_LIMIT)) < 0)
        return rc;
    if ((rc = json_parse(&object, a, l->data, l->bytes, &err)) == 0)
        rc = read_object(&r, a, object, &err);
    if (rc == 0) {
        rc = import_emit(params, &r);
    } else if (err.text[0]) {
        import_bad(params, l->number, "%s", err.text);
        rc = 0;
    }
    arena_destroy(a);
    return rc;
}

int import_read_jsonl(struct import_lines *lines,
                      const struct import_params *params)
{
    int rc;

    while ((rc = import_lines_next(lines)) != 0) {
        if (rc == -E2BIG) {
            import_bad(params, lines->number,
                       "the line has %zu KiB, but a record may have at most "
                       "%d KiB: split it",
                       lines->bytes >> 10, IMPORT_RECORD_MAX >> 10);
            continue;
        }
        if (rc < 0)
            return rc;
        if (strspn(lines->data, " \t") == lines->bytes)
            continue;
        if ((rc = read_line(lines, params)) != 0)
            return rc;
    }
    return 0;
}
