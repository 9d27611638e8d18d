// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The frame check: what it accepts, msgpack-c decodes to the same length; fed
 * in pieces it says the same; what it asks more of, no prefix is accepted of.
 * The first byte chooses the size of the pieces.
 */

#include "ipc/frame.h"

#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void decode(const uint8_t *data, size_t size, ptrdiff_t n)
{
    msgpack_unpacked u;
    size_t at = 0;

    msgpack_unpacked_init(&u);
    check(msgpack_unpack_next(&u, (const char *) data, size, &at) ==
          MSGPACK_UNPACK_SUCCESS);
    check(at == (size_t) n);
    msgpack_unpacked_destroy(&u);
}

static void feed(const uint8_t *data, size_t size, size_t step)
{
    struct frame_buffer b;
    const uint8_t *frame;
    size_t bytes, read = 0, taken = 0;
    int rc = 0;

    frame_buffer_init(&b, &frame_limits_full);
    while (read < size && rc >= 0) {
        uint8_t *to;
        size_t room;
        check(frame_buffer_space(&b, &to, &room) == 0);
        size_t n = size - read < step ? size - read : step;
        n = n < room ? n : room;
        memcpy(to, data + read, n);
        frame_buffer_commit(&b, n);
        read += n;
        while ((rc = frame_buffer_next(&b, &frame, &bytes)) == 1) {
            check(memcmp(frame, data + taken, bytes) == 0);
            check(frame_check(data + taken, size - taken, &frame_limits_full) ==
                  (ptrdiff_t) bytes);
            taken += bytes;
        }
    }
    if (rc < 0)
        check(frame_check(data + taken, size - taken, &frame_limits_full) ==
              rc);
    frame_buffer_finish(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const size_t step = 1 + data[0];
    data++;
    size--;

    ptrdiff_t n = frame_check(data, size, &frame_limits_full);
    check(n <= (ptrdiff_t) size);
    if (n > 0) {
        decode(data, size, n);
        check(frame_check(data, (size_t) n - 1, &frame_limits_full) ==
              FRAME_MORE);
    }
    ptrdiff_t hello = frame_check(data, size, &frame_limits_hello);
    if (hello > 0)
        check(hello == n);
    feed(data, size, step);
    return 0;
}
