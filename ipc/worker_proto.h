// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Worker protocol
 *
 * Typed messages between pockd and pock-worker, and their bytes: one msgpack
 * map a packet of a SOCK_SEQPACKET socket, with file descriptors beside it.
 * worker_proto.def is the list, WORKER.md the meaning. No I/O happens here.
 *
 * The two programs come from one build, so decoding is strict: a message with
 * an unknown, missing, repeated or out-of-range field is refused. Only hello
 * tolerates unknown fields, so that two versions can name each other.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

enum {
    WORKER_PROTO = 1,
    WORKER_PACKET_MAX = 64 << 10, // bytes
    WORKER_FDS_MAX = 8,           // descriptors beside one packet
    WORKER_METRICS_MAX = 8,
    WORKER_PLAN_GROUPS_MAX = 16,
    WORKER_PLAN_STEPS_MAX = 16,
    WORKER_TYPES_MAX = 16,
    WORKER_SPECIALS_MAX = 8,
    WORKER_DEVICES_MAX = 12,
    WORKER_RECORDS_MAX = 1 << 20,
    WORKER_HASH_BYTES = 32,
};

// Largest file a worker may hand back: checkpoint, adapter, token ids.
#define WORKER_FILE_BYTES_MAX ((uint64_t) 1 << 30)

enum worker_kind {
    WORKER_KIND_TRAIN,
    WORKER_KIND_SERVE,
    WORKER_KIND_TOOL,
};

// What an error means for a retry (SERVICE: outcomes of a job).
enum worker_severity {
    WORKER_SEVERITY_TRANSIENT, // may work later: memory, disk, a bug of today
    WORKER_SEVERITY_PERMANENT, // the same input fails again
    WORKER_SEVERITY_POISON,    // as permanent, and record_first.. name why
};

enum worker_side {
    WORKER_SIDE_DAEMON = 1,
    WORKER_SIDE_WORKER = 2,
    WORKER_SIDE_BOTH = 3,
};

// UTF-8 that may hold NUL.
struct worker_text {
    uint32_t bytes;
    char data[4096];
};

// One struct for each block of the table: struct worker_train_start, ...
// Lists come as `n_<field>` and an array.
#define ITEM(name)       struct worker_##name {
#define MSG(name, w, by) struct worker_##name {
#define END(name) \
    }             \
    ;
#define FIELD(name, type, field, limit) WORKER_C_##type(field, limit)
#define LIST(name, item, field, limit) \
    uint32_t n_##field;                \
    struct worker_##item field[limit];
#define WORKER_C_U32(field, limit)  uint32_t field;
#define WORKER_C_U64(field, limit)  uint64_t field;
#define WORKER_C_F64(field, limit)  double field;
#define WORKER_C_BOOL(field, limit) bool field;
#define WORKER_C_STR(field, limit)  char field[limit];
#define WORKER_C_TEXT(field, limit) struct worker_text field;
#define WORKER_C_HASH(field, limit) uint8_t field[WORKER_HASH_BYTES];
#define WORKER_C_FD(field, limit)   int field;
#include "ipc/worker_proto.def"
#undef ITEM
#undef MSG
#undef END
#undef FIELD
#undef LIST
#undef WORKER_C_U32
#undef WORKER_C_U64
#undef WORKER_C_F64
#undef WORKER_C_BOOL
#undef WORKER_C_STR
#undef WORKER_C_TEXT
#undef WORKER_C_HASH
#undef WORKER_C_FD

enum worker_msg_type {
#define ITEM(name)
#define MSG(name, w, by) WORKER_MSG_##name,
#define END(name)
#define FIELD(name, type, field, limit)
#define LIST(name, item, field, limit)
#include "ipc/worker_proto.def"
#undef MSG
    WORKER_MSG_COUNT
};

struct worker_msg {
    enum worker_msg_type type;
    union {
#define MSG(name, w, by) struct worker_##name name;
#include "ipc/worker_proto.def"
#undef ITEM
#undef MSG
#undef END
#undef FIELD
#undef LIST
    };
};

// An empty message: numbers zero, strings empty, descriptors -1.
void worker_msg_init(struct worker_msg *m, enum worker_msg_type type);
// Closes the descriptors that are still in it. NULL is fine.
void worker_msg_finish(struct worker_msg *m);

// The wire name ("train.start") and who may send it.
const char *worker_msg_name(enum worker_msg_type type);
enum worker_side worker_msg_sender(enum worker_msg_type type);

// Write the packet to buf (at most `size` bytes, WORKER_PACKET_MAX always
// suffices) and list the descriptors to pass beside it, which stay the
// caller's. -EINVAL when a field breaks its limit.
int worker_msg_encode(uint8_t *buf, size_t size, size_t *bytes,
                      int fds[WORKER_FDS_MAX], uint32_t *n_fds,
                      const struct worker_msg *m, struct error *err);

// `sender` is the other end. On success `out` takes the descriptors (finish
// it); on failure they stay the caller's to close. -EPROTO for bytes that are
// not a message that `sender` may send.
int worker_msg_decode(struct worker_msg *out, const uint8_t *buf, size_t bytes,
                      const int *fds, uint32_t n_fds, enum worker_side sender,
                      struct error *err);

// Take a descriptor out of a message: returns *fd and leaves -1 behind.
static inline int worker_fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
