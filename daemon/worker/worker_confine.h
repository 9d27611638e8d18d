// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What a worker cannot do, even when a model's file has taken it over: make a
 * socket (of a network, or of a bus that starts programs), start a program,
 * look into or end another process, or write a file that it was not handed
 * open. For those that pockd starts itself; the units of the system service
 * say more. Whatever the kernel cannot do is left out.
 */

// Sanitizers look into their own process at its end, as a debugger does.
#if defined(__SANITIZE_ADDRESS__)
#define WORKER_MAY_TRACE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define WORKER_MAY_TRACE 1
#endif
#endif

// Before threads are made. Cannot be undone.
void worker_confine(void);
