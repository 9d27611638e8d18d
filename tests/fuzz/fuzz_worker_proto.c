// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Packets from the other end: one byte for who sent it and how many
 * descriptors came with it, then the packet. What is accepted must encode
 * again, and to something that is accepted.
 */

#include "ipc/worker_proto.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[WORKER_PACKET_MAX];
    static struct worker_msg m, again;
    // Numbers only: nothing here looks behind them.
    static const int fds[WORKER_FDS_MAX + 1] = {900, 901, 902, 903, 904,
                                                905, 906, 907, 908};
    int fds_out[WORKER_FDS_MAX];
    uint32_t n_out;
    size_t bytes;

    if (size == 0)
        return 0;
    enum worker_side sender = (enum worker_side)(1 + (data[0] & 1));
    uint32_t n_fds = (data[0] >> 1) % (WORKER_FDS_MAX + 2);
    if (worker_msg_decode(&m, data + 1, size - 1, fds, n_fds, sender, NULL) < 0)
        return 0;
    if (worker_msg_encode(buf, sizeof(buf), &bytes, fds_out, &n_out, &m, NULL) <
        0)
        abort();
    if (n_out != n_fds ||
        worker_msg_decode(&again, buf, bytes, fds_out, n_out, sender, NULL) < 0)
        abort();
    return 0;
}
