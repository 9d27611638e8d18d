// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants of the walk:
 * 1. `seen` objects have been passed and `due` more are promised by headers;
 *    their sum never exceeds the limit, so a header that promises too much is
 *    refused when it is seen, and no decoder is led to reserve more.
 * 2. left[i] is what the i-th open container still lacks; it is never 0
 *    between two steps.
 * 3. at + skip never exceeds the byte limit.
 */

#include "ipc/frame.h"

#include "engine/base/fault.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 64 << 10 };

const struct frame_limits frame_limits_hello = {
    .depth = FRAME_DEPTH,
    .objects = FRAME_HELLO_OBJECTS_MAX,
    .bytes = FRAME_HELLO_BYTES_MAX,
    .string_bytes = FRAME_HELLO_BYTES_MAX,
};

const struct frame_limits frame_limits_full = {
    .depth = FRAME_DEPTH,
    .objects = FRAME_OBJECTS_MAX,
    .bytes = FRAME_BYTES_MAX,
    .string_bytes = FRAME_STRING_BYTES_MAX,
};

struct header {
    uint64_t children;
    uint64_t body;  // bytes behind the header that are not objects
    uint64_t text;  // as body, for what the string limit applies to
    uint32_t bytes; // of the header itself
    bool is_container;
};

// The bytes 0xc0 to 0xdf: how many bytes of length follow, how many bytes of
// body come in any case, and what the length counts.
enum form_kind { FORM_PLAIN, FORM_TEXT, FORM_ARRAY, FORM_MAP, FORM_NEVER };

static const struct {
    uint8_t length_bytes;
    uint8_t body;
    uint8_t kind;
} forms[32] = {
    {0, 0, FORM_PLAIN},                                        // nil
    {0, 0, FORM_NEVER},                                        // 0xc1
    {0, 0, FORM_PLAIN}, {0, 0, FORM_PLAIN},                    // bool
    {1, 0, FORM_TEXT},  {2, 0, FORM_TEXT},  {4, 0, FORM_TEXT}, // bin
    {1, 1, FORM_TEXT},  {2, 1, FORM_TEXT},  {4, 1, FORM_TEXT}, // ext
    {0, 4, FORM_PLAIN}, {0, 8, FORM_PLAIN},                    // float
    {0, 1, FORM_PLAIN}, {0, 2, FORM_PLAIN},                    // uint
    {0, 4, FORM_PLAIN}, {0, 8, FORM_PLAIN},                    //
    {0, 1, FORM_PLAIN}, {0, 2, FORM_PLAIN},                    // int
    {0, 4, FORM_PLAIN}, {0, 8, FORM_PLAIN},                    //
    {0, 2, FORM_TEXT},  {0, 3, FORM_TEXT},  {0, 5, FORM_TEXT}, // fixext
    {0, 9, FORM_TEXT},  {0, 17, FORM_TEXT},                    //
    {1, 0, FORM_TEXT},  {2, 0, FORM_TEXT},  {4, 0, FORM_TEXT}, // str
    {2, 0, FORM_ARRAY}, {4, 0, FORM_ARRAY},                    //
    {2, 0, FORM_MAP},   {4, 0, FORM_MAP},                      //
};

static uint64_t read_be(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

static void set_container(struct header *h, uint64_t entries, bool is_map)
{
    h->is_container = true;
    h->children = is_map ? 2 * entries : entries;
}

// 1 when `h` is filled, else FRAME_MORE or FRAME_MALFORMED. `left` is not 0.
static int parse_header(struct header *h, const uint8_t *p, size_t left)
{
    const uint8_t c = p[0];

    *h = (struct header){.bytes = 1};
    if (c < 0x80 || c >= 0xe0) // small ints
        return 1;
    if (c < 0xa0) { // 0x8n map, 0x9n array
        set_container(h, c & 15u, c < 0x90);
        return 1;
    }
    if (c < 0xc0) { // short str
        h->body = h->text = c & 31u;
        return 1;
    }

    const unsigned n = forms[c - 0xc0].length_bytes;
    const enum form_kind kind = forms[c - 0xc0].kind;
    if (kind == FORM_NEVER)
        return FRAME_MALFORMED;
    if (left - 1 < n)
        return FRAME_MORE;
    const uint64_t length = read_be(p + 1, n);
    h->bytes += n;
    if (kind == FORM_ARRAY || kind == FORM_MAP) {
        set_container(h, length, kind == FORM_MAP);
        return 1;
    }
    h->body = length + forms[c - 0xc0].body;
    if (kind == FORM_TEXT)
        h->text = h->body;
    return 1;
}

// Which limit a header breaks, or 0. Only container headers and bodies count.
static ptrdiff_t check_header(const struct frame_scan *s,
                              const struct header *h,
                              const struct frame_limits *limits)
{
    if (h->children > limits->objects ||
        s->seen + (uint64_t) s->due + h->children > limits->objects)
        return FRAME_TOO_MANY;
    if (h->text > limits->string_bytes)
        return FRAME_STRING_TOO_LONG;
    if (h->bytes + h->body > limits->bytes - s->at)
        return FRAME_TOO_LONG;
    if (h->is_container && s->depth == limits->depth)
        return FRAME_TOO_DEEP;
    return 0;
}

static void pass_header(struct frame_scan *s, const struct header *h)
{
    s->at += h->bytes;
    s->skip = (size_t) h->body;
    s->seen++;
    s->due += (uint32_t) h->children - 1;
    if (s->depth > 0)
        s->left[s->depth - 1]--;
    if (h->is_container)
        s->left[s->depth++] = (uint32_t) h->children;
    while (s->depth > 0 && s->left[s->depth - 1] == 0)
        s->depth--;
}

ptrdiff_t frame_scan(struct frame_scan *s, const uint8_t *buf, size_t bytes,
                     const struct frame_limits *limits)
{
    assert(limits->depth <= FRAME_DEPTH_MAX && limits->objects >= 1);
    assert(limits->bytes <= PTRDIFF_MAX && s->at <= bytes);

    if (!s->is_open) {
        s->is_open = 1;
        s->due = 1;
    }
    for (;;) {
        size_t step = s->skip < bytes - s->at ? s->skip : bytes - s->at;
        s->at += step;
        s->skip -= step;
        if (s->skip > 0)
            return FRAME_MORE;
        if (s->due == 0)
            return (ptrdiff_t) s->at;

        struct header h;
        int rc = s->at < bytes ? parse_header(&h, buf + s->at, bytes - s->at)
                               : FRAME_MORE;
        if (rc == FRAME_MORE && s->at >= limits->bytes)
            return FRAME_TOO_LONG; // not even one more header fits
        if (rc != 1)
            return rc;
        ptrdiff_t broken = check_header(s, &h, limits);
        if (broken < 0)
            return broken;
        pass_header(s, &h);
    }
}

ptrdiff_t frame_check(const uint8_t *buf, size_t bytes,
                      const struct frame_limits *limits)
{
    struct frame_scan s = {0};

    return frame_scan(&s, buf, bytes, limits);
}

const char *frame_status_text(ptrdiff_t status)
{
    switch (status) {
    case FRAME_MORE:
        return "the frame is incomplete";
    case FRAME_MALFORMED:
        return "the bytes are not msgpack";
    case FRAME_TOO_DEEP:
        return "the frame is nested too deeply";
    case FRAME_TOO_LONG:
        return "the frame is too long";
    case FRAME_TOO_MANY:
        return "the frame has too many objects";
    case FRAME_STRING_TOO_LONG:
        return "a string in the frame is too long";
    default:
        return "the frame is complete";
    }
}

void frame_buffer_init(struct frame_buffer *b,
                       const struct frame_limits *limits)
{
    *b = (struct frame_buffer){.limits = *limits};
}

void frame_buffer_finish(struct frame_buffer *b)
{
    free(b->data);
    *b = (struct frame_buffer){.limits = b->limits};
}

// Memory is given back once a large frame has passed, so that an idle
// connection costs little.
static void shrink(struct frame_buffer *b)
{
    if (b->end > 0 || b->size <= READ_BYTES)
        return;
    free(b->data);
    b->data = NULL;
    b->size = 0;
}

int frame_buffer_space(struct frame_buffer *b, uint8_t **p, size_t *bytes)
{
    if (b->start > 0) {
        b->end -= b->start;
        memmove(b->data, b->data + b->start, b->end);
        b->start = 0;
        shrink(b);
    }
    // frame_buffer_next() refuses a frame over the limit; whoever reads on
    // without asking it would gather without end.
    if (b->end > b->limits.bytes + READ_BYTES)
        return -ENOBUFS;
    if (b->size - b->end < READ_BYTES / 4 || !b->data) {
        size_t size = b->size ? b->size * 2 : READ_BYTES / 4;
        uint8_t *data = fault_realloc(b->data, size);
        if (!data)
            return -ENOMEM;
        b->data = data;
        b->size = size;
    }
    *p = b->data + b->end;
    *bytes = b->size - b->end < READ_BYTES ? b->size - b->end : READ_BYTES;
    return 0;
}

void frame_buffer_commit(struct frame_buffer *b, size_t bytes)
{
    assert(bytes <= b->size - b->end);
    b->end += bytes;
}

int frame_buffer_next(struct frame_buffer *b, const uint8_t **frame,
                      size_t *bytes)
{
    if (b->end == b->start)
        return 0;

    const uint8_t *p = b->data + b->start;
    ptrdiff_t n = frame_scan(&b->scan, p, b->end - b->start, &b->limits);
    if (n <= 0)
        return (int) n;
    *frame = p;
    *bytes = (size_t) n;
    b->start += (size_t) n;
    b->scan = (struct frame_scan){0};
    return 1;
}

int frame_buffer_is_partial(const struct frame_buffer *b)
{
    return b->end > b->start;
}
