// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Frames
 *
 * A frame is one msgpack object; there is no length prefix. The check walks
 * over headers without allocating and knows, before a decoder sees the bytes,
 * that the object is complete and inside the limits. It goes on where it
 * stopped, so that a peer who sends byte by byte costs no more than another.
 *
 * A frame_buffer gathers what a socket gives and yields complete frames.
 */

#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_DEPTH_MAX = 32, // what frame_limits.depth may be at most
    FRAME_BYTES_MAX = 1 << 20,
    FRAME_STRING_BYTES_MAX = 256 << 10,
    FRAME_RECORD_BYTES_MAX = 256 << 10,
    FRAME_OBJECTS_MAX = 65536,
    FRAME_DEPTH = 16,
    FRAME_HELLO_BYTES_MAX = 4 << 10,
    FRAME_HELLO_OBJECTS_MAX = 32,
};

enum frame_status {
    FRAME_MORE = 0,             // fine so far, incomplete
    FRAME_MALFORMED = -1,       // the byte 0xc1, which no object starts with
    FRAME_TOO_DEEP = -2,        // containers inside each other
    FRAME_TOO_LONG = -3,        // bytes of the frame
    FRAME_TOO_MANY = -4,        // objects, promised ones included
    FRAME_STRING_TOO_LONG = -5, // bytes of one str, bin or ext
};

struct frame_limits {
    uint32_t depth;      // containers inside each other
    uint32_t objects;    // everything counted, containers included
    size_t bytes;        // of the whole frame
    size_t string_bytes; // of one str, bin or ext
};

// Before a hello was accepted, and after it.
extern const struct frame_limits frame_limits_hello;
extern const struct frame_limits frame_limits_full;

// A walk over the first object of a growing buffer. Starts zeroed.
struct frame_scan {
    size_t at;      // bytes walked over
    size_t skip;    // bytes of a string's body still to pass
    uint32_t seen;  // objects passed
    uint32_t due;   // objects promised by headers, not passed yet
    uint32_t depth; // containers open
    uint32_t left[FRAME_DEPTH_MAX]; // what each of them still lacks
    uint8_t is_open;                // the first header was seen
};

// Go on in buf[0..bytes), which begins at the object's first byte and holds at
// least what it held before. The object's length when it is complete, else a
// frame_status. After a negative one the scan is not to be used again.
ptrdiff_t frame_scan(struct frame_scan *s, const uint8_t *buf, size_t bytes,
                     const struct frame_limits *limits);

// The same for a buffer that is all there.
ptrdiff_t frame_check(const uint8_t *buf, size_t bytes,
                      const struct frame_limits *limits);

// "a frame of more than 16 levels" and so on, for an error sentence.
const char *frame_status_text(ptrdiff_t status);

struct frame_buffer {
    struct frame_limits limits;
    // All that follow are private.
    uint8_t *data;
    size_t start; // of the frame that is being gathered
    size_t end;
    size_t size;
    struct frame_scan scan;
};

void frame_buffer_init(struct frame_buffer *b,
                       const struct frame_limits *limits);
void frame_buffer_finish(struct frame_buffer *b);

// Room to read into: *p and *bytes (at least 1; up to 64 KiB). Invalidates
// frames yielded before. -ENOMEM; -ENOBUFS when more than a frame's limit lies
// there unasked for.
int frame_buffer_space(struct frame_buffer *b, uint8_t **p, size_t *bytes);
// So many bytes were read into it.
void frame_buffer_commit(struct frame_buffer *b, size_t bytes);

// 1 and the next complete frame, which stays valid until the next
// frame_buffer_space(); 0 when more bytes are needed; else a negative
// frame_status: the stream cannot be followed any more.
int frame_buffer_next(struct frame_buffer *b, const uint8_t **frame,
                      size_t *bytes);
// A frame has begun and is not complete (the 30 s timer runs).
int frame_buffer_is_partial(const struct frame_buffer *b);
