// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A preloaded allocator that fails on demand
 *
 * With LD_PRELOAD every allocation of a program fails that a test asks for:
 * its own, and those of SQLite, libuv, msgpack and libc. What is asked for
 * lies in a small file that the test has mapped too (FAILMALLOC_FILE), so
 * that it can arm a daemon that runs already; FAILMALLOC_PROGRAM names the
 * program that is meant, for workers inherit the environment. With
 * FAILMALLOC_TRACE the stack of each failing call goes to stderr.
 */

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { FRAMES = 12 };

struct control {
    atomic_ullong left;    // calls until one fails; 0: none does
    atomic_ullong forever; // 1: and all that follow
    atomic_ullong fired;   // how many have failed
    atomic_ullong calls;   // in all
};

static struct control *control;
static atomic_bool is_tracing;

// The C library's own.
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t bytes);
extern void *__libc_memalign(size_t align, size_t bytes);

static void trace(void)
{
    void *frames[FRAMES];

    backtrace_symbols_fd(frames, backtrace(frames, FRAMES), STDERR_FILENO);
}

static bool fails(void)
{
    struct control *c = control;
    unsigned long long left;

    if (!c)
        return false;
    atomic_fetch_add(&c->calls, 1);
    left = atomic_load(&c->left);
    // 1 stays 1 for as long as all fail.
    do {
        if (left == 0)
            return false;
        if (left == 1 && atomic_load(&c->forever))
            break;
    } while (!atomic_compare_exchange_weak(&c->left, &left, left - 1));
    if (left != 1)
        return false;
    if (atomic_fetch_add(&c->fired, 1) == 0 && atomic_load(&is_tracing))
        trace();
    errno = ENOMEM;
    return true;
}

EXPORT void *malloc(size_t bytes)
{
    return fails() ? NULL : __libc_malloc(bytes);
}

EXPORT void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

EXPORT void *realloc(void *p, size_t bytes)
{
    return fails() ? NULL : __libc_realloc(p, bytes);
}

EXPORT void *aligned_alloc(size_t align, size_t bytes)
{
    return fails() ? NULL : __libc_memalign(align, bytes);
}

EXPORT int posix_memalign(void **out, size_t align, size_t bytes)
{
    void *p = fails() ? NULL : __libc_memalign(align, bytes);

    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

// Who gives up is named as well: libuv does, where it cannot go on.
EXPORT void abort(void)
{
    if (atomic_load(&is_tracing))
        trace();
    (void) signal(SIGABRT, SIG_DFL);
    (void) raise(SIGABRT);
    _exit(134);
}

static bool is_meant(void)
{
    const char *want = getenv("FAILMALLOC_PROGRAM");
    char path[512];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (!want || n <= 0)
        return false;
    path[n] = '\0';
    const char *slash = strrchr(path, '/');
    return slash && strcmp(slash + 1, want) == 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAILMALLOC_FILE");
    void *first[1];

    if (!path || !is_meant())
        return;
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *p =
        mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void) close(fd);
    // The first backtrace loads what it needs.
    if (getenv("FAILMALLOC_TRACE") && backtrace(first, 1) > 0)
        atomic_store(&is_tracing, true);
    if (p != MAP_FAILED)
        control = p;
}
