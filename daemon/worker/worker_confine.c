// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * System calls
 */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__arm__)
#define ARCH AUDIT_ARCH_ARM
#endif

#ifdef ARCH

#define LOAD(field) \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define REFUSE       RETURN(SECCOMP_RET_ERRNO | EPERM)
#define DENY(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), REFUSE
// To this process alone: its number is in the low half of the first argument.
#define SELF(number)                                                    \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 4), LOAD(args[0]), \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, self, 1, 0), REFUSE,        \
        RETURN(SECCOMP_RET_ALLOW)

// Typing into the terminal that pockd was started from.
#define DENY_IOCTL(request)                                              \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4), LOAD(args[1]), \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (request), 0, 1), REFUSE, LOAD(nr)

static void confine_calls(void)
{
#ifndef WORKER_MAY_TRACE
    const uint32_t self = (uint32_t) getpid();
#endif
    struct sock_filter list[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
        REFUSE,
        LOAD(nr),
#ifdef __x86_64__
        // The same calls under other numbers (x32).
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
        REFUSE,
#endif
        DENY(SYS_socket),
        DENY(SYS_connect),
        DENY(SYS_bind),
        DENY(SYS_execve),
        DENY(SYS_execveat),
#ifndef WORKER_MAY_TRACE
        DENY(SYS_ptrace),
        DENY(SYS_process_vm_readv),
        SELF(SYS_kill),
        SELF(SYS_tgkill),
#endif
#ifdef __GLIBC__ // elsewhere raise() is made of it
        DENY(SYS_tkill),
#endif
        DENY(SYS_process_vm_writev),
        DENY(SYS_rt_sigqueueinfo),
        DENY(SYS_rt_tgsigqueueinfo),
        DENY(SYS_unshare),
        DENY(SYS_setns),
        DENY(SYS_mount),
        DENY(SYS_bpf),
        DENY(SYS_keyctl),
        DENY(SYS_add_key),
        DENY(SYS_request_key),
        DENY(SYS_perf_event_open),
        DENY(SYS_userfaultfd),
        DENY_IOCTL(TIOCSTI),
        DENY_IOCTL(TIOCLINUX),
        DENY(424), // pidfd_send_signal
        DENY(425), // io_uring_setup: makes sockets and opens files too
        DENY(434), // pidfd_open
        DENY(438), // pidfd_getfd
        RETURN(SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {
        .len = sizeof(list) / sizeof(list[0]),
        .filter = list,
    };

    // Not the brakes on speculation that older kernels put on with a filter:
    // they are against programs that read their own memory by it.
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) < 0)
        (void) prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

#else

static void confine_calls(void)
{
}

#endif

/*
 * Files
 */

// Of <linux/landlock.h>, which older systems lack; the numbers are the same on
// all machines.
enum {
    CREATE_RULESET = 444,
    ADD_RULE = 445,
    RESTRICT_SELF = 446,
    RULE_PATH_BENEATH = 1,
    FS_WRITE_FILE = 1 << 1,
    FS_REMOVE_DIR = 1 << 4, // and all that make or take away, up to MAKE_SYM
    FS_MAKE_SYM = 1 << 12,
    FS_CHANGES = 2 * FS_MAKE_SYM - FS_REMOVE_DIR,
};

struct path_beneath {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

// A profile of the tests is written when the process ends.
extern void __gcov_dump(void) __attribute__((weak));

static bool is_device(const char *name)
{
    static const char *const begins[] = {"dri",      "nvidia", "kfd",
                                         "mali",     "kgsl",   "udmabuf",
                                         "dma_heap", "null",   "zero"};

    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
        if (strncmp(name, begins[i], strlen(begins[i])) == 0)
            return true;
    return false;
}

static void allow_devices(int rules)
{
    DIR *d = opendir("/dev");

    for (struct dirent *e; d && (e = readdir(d));) {
        struct path_beneath rule = {.allowed = FS_WRITE_FILE};
        if (!is_device(e->d_name))
            continue;
        rule.fd = openat(dirfd(d), e->d_name, O_PATH | O_CLOEXEC);
        if (rule.fd < 0)
            continue;
        (void) syscall(ADD_RULE, rules, RULE_PATH_BENEATH, &rule, 0);
        (void) close(rule.fd);
    }
    if (d)
        (void) closedir(d);
}

// Devices of a GPU are written to; all else that a worker writes was opened for
// it.
static void confine_files(void)
{
    const uint64_t handled = FS_WRITE_FILE | FS_CHANGES;

    if (__gcov_dump)
        return;
    const int rules =
        (int) syscall(CREATE_RULESET, &handled, sizeof(handled), 0);
    if (rules < 0)
        return;
    allow_devices(rules);
    (void) syscall(RESTRICT_SELF, rules, 0);
    (void) close(rules);
}

void worker_confine(void)
{
    (void) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    confine_files();
    confine_calls();
}
