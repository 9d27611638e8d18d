// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Backend contract
 *
 * A backend owns a device, its memory, and a kernel for each operator that it
 * supports. A program is a flat list of instructions over three kinds of
 * storage: one arena (inputs, outputs and temporaries), weights (read-only,
 * borrowed from the mapped model) and states (adapter, optimizer, caches:
 * they live longer than a program and are shared between programs).
 *
 * The plain C kernels of engine/cpu define what every instruction computes.
 * Results must not depend on the number of threads; on one device and driver,
 * same input bytes give same output bytes.
 *
 * All calls come from one thread.
 */

#include "engine/ir/op.h"
#include "engine/tensor/dtype.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct device;   // defined by each backend
struct buffer;   // defined by each backend
struct prepared; // defined by each backend that has prepare()

enum region {
    REGION_NONE,   // an optional operand that is absent
    REGION_ARENA,  // offset from the arena's start
    REGION_WEIGHT, // slot: index into program weights
    REGION_STATE,  // slot: index into program states
};

// One tensor as an instruction sees it: contiguous, row-major, ne[0] the
// outermost dimension. Missing dimensions are 1 and stand in front.
struct operand {
    uint8_t region; // enum region
    uint8_t dtype;  // enum dtype
    uint8_t rank;
    uint32_t slot;
    uint64_t offset; // bytes, a multiple of 64 in the arena
    int64_t ne[4];
};

struct instr {
    uint8_t op; // enum op
    uint8_t n_in;
    uint8_t n_out;
    // Runs even when `stop` is raised: it ends what the instruction before it
    // began, and is short.
    bool is_tail;
    // How it runs here, see struct backend_kernel. Threads never change what
    // comes out; kernels may, in the last digits.
    uint8_t kernel;   // 0: the best one of the device
    uint16_t threads; // at most; 0: all of the device
    struct op_attr attr;
    struct operand in[OP_INPUTS_MAX];
    // An output that no one reads has REGION_NONE and need not be computed.
    struct operand out[OP_OUTPUTS_MAX];
    // Space in the arena of the size that backend->scratch_bytes() asked for;
    // its contents do not survive the instruction.
    struct operand scratch;
};

// Where the storage of a program is. Offsets are bytes into the buffers.
struct binding {
    struct buffer *buffer;
    size_t offset;
};

struct bindings {
    struct buffer *arena;
    const struct binding *weights; // one for each weight of the program
    const struct binding *states;  // one for each state of the program
    struct prepared *prepared;     // what prepare() made of them; or NULL
};

struct device_params {
    uint32_t threads; // 0: as many as the process may use
    // CPU: "c", "avx2", ...; Vulkan: "cpu", a number or a part of the device's
    // name. NULL: the best there is.
    const char *tier;
    // Raised by another thread or a signal handler: run() returns soon.
    const atomic_bool *stop;
    // An enum manners that another thread changes; NULL: nobody uses it.
    const atomic_int *manners;
    // The longest time at one piece that others wait for; 0: as it chooses.
    uint32_t slice_us;
    // A file in which a driver may keep what it compiled; borrowed until close.
    bool has_cache;
    int cache_fd;
};

enum { BACKEND_KERNELS_MAX = 12 };

// Who else uses the device, by which it leaves more or less to them.
enum manners {
    MANNERS_UNUSED, // nobody: its display is off, or its owner away
    MANNERS_IDLE,   // someone may come back at any time
    MANNERS_ACTIVE, // someone works with it
};

// A kernel of this name of a device that is no CPU: the CPU does it, in the
// device's memory.
#define BACKEND_KERNEL_HOST "cpu"

// A way in which a device computes an operator.
struct backend_kernel {
    const char *name; // "avx2"
    uint8_t number;   // of instr.kernel
    // It is better or worse by an instruction's very shape: what was timed at
    // others says nothing of it.
    bool is_by_shape;
};

struct backend {
    const char *name;

    int (*open)(struct device **out, const struct device_params *params,
                struct error *err);
    void (*close)(struct device *dev);
    // One line for people: "cpu avx2, 2 threads".
    const char *(*describe)(const struct device *dev);
    // What times that were measured on it are true of, printable: "cpu NAME:
    // c, avx2". Threads are not part of it.
    const char *(*identify)(const struct device *dev);
    // Something that its owner should know of how it was opened, or "". NULL:
    // there never is.
    const char *(*notice)(const struct device *dev);
    uint32_t (*threads)(const struct device *dev);
    // Bytes of its own memory that were in use at most, the weights' copy and
    // what programs need. NULL: it has none but the host's.
    uint64_t (*peak_bytes)(const struct device *dev);
    // Those of one operator, plainest first and the best one last; how many:
    // none of one that the device does not have.
    uint32_t (*kernels)(struct backend_kernel out[BACKEND_KERNELS_MAX],
                        const struct device *dev, enum op op);

    // Zeroed memory; -ENOMEM when the device has no more.
    int (*buffer_create)(struct buffer **out, struct device *dev, size_t bytes);
    // Read-only view of host memory, which is borrowed until destroy. A
    // backend that cannot map it copies it.
    int (*buffer_import)(struct buffer **out, struct device *dev,
                         const void *data, size_t bytes);
    void (*buffer_destroy)(struct buffer *buf); // accepts NULL
    int (*buffer_write)(struct buffer *buf, size_t offset, const void *data,
                        size_t bytes);
    int (*buffer_read)(struct buffer *buf, size_t offset, void *data,
                       size_t bytes);

    // Zeroed memory of the host from where buffer_write() need not copy: what
    // is written from there stays as it is until the next run() has ended.
    // NULL: there is none, any memory does as well. The call may be NULL.
    void *(*host_alloc)(struct device *dev, size_t bytes);
    void (*host_free)(struct device *dev, void *data);

    // Can this instruction run here? Asked at compile time with shapes,
    // dtypes and attributes filled in, offsets not.
    bool (*supports)(const struct device *dev, const struct instr *in);
    // Is the kernel that it names one to choose for this instruction? Those
    // that would need more scratch than scratch_bytes() says without a name are
    // not. NULL: all of kernels() are.
    bool (*offers)(const struct device *dev, const struct instr *in);
    // Bytes of scratch that the instruction needs in the arena.
    size_t (*scratch_bytes)(const struct device *dev, const struct instr *in);

    // Instructions that may run beside one, if they do not meet in memory:
    // plans of the arena keep them apart where there is room. 0: they run in
    // turn.
    uint32_t beside;

    // Makes a program ready for run() with these bindings, which stay as they
    // are until release(); `instrs` is borrowed. NULL: nothing to be done. With
    // it, run() without bindings.prepared works too, and is slow.
    int (*prepare)(struct prepared **out, struct device *dev,
                   const struct instr *instrs, uint32_t count,
                   const struct bindings *b, struct error *err);
    void (*release)(struct prepared *p); // accepts NULL

    // What it costs to go from the device to its host's kernels, or back.
    // NULL: it has none.
    uint64_t (*switch_ns)(const struct device *dev);

    // Run instrs[0..count), of those that were prepared, in order and return
    // the number that ran completely: fewer only when `stop` was raised, before
    // one that is no tail. A negative errno means the device failed and its
    // memory is undefined.
    int (*run)(struct device *dev, const struct instr *instrs, uint32_t count,
               const struct bindings *b);
    // As run() without bindings.prepared, but each instruction waits for the
    // one before it; ns: how long each took by the device's own clock. -ENOTSUP
    // when it has none, also for a count of 0. NULL: the host's clock is as
    // good.
    int (*time)(struct device *dev, const struct instr *instrs, uint32_t count,
                const struct bindings *b, uint64_t *ns);
};

extern const struct backend cpu_backend;
#ifdef POCK_VULKAN
extern const struct backend vulkan_backend;
#endif
