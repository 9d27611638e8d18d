// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * pock-agent: the owner's session, seen from pockd
 *
 * One per session. It tells the owner of apps that wait (a notification with
 * two answers), and opens a door for apps in sandboxes: a socket in the
 * session's runtime directory. Who comes through it is looked at here, where a
 * sandbox can be looked into, and then handed over to pockd.
 *
 * Three parts that one loop polls: the bus, the link to pockd, the door. The
 * agent goes on without any of them; pockd is tried again and again. When the
 * bus goes, so does the session, and the agent with it.
 */

#include <pock/pock.h>

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    AGENT_QUESTIONS_MAX = 64,
    AGENT_NAME_SIZE = 72,
    AGENT_PATH_SIZE = 108, // of a socket
    AGENT_WORDS_SIZE = 32,
};

// An app that the owner is asked about.
struct agent_question {
    char app[AGENT_NAME_SIZE];
    char wants[AGENT_WORDS_SIZE]; // "train generate"
    uint32_t id;                  // of its notification; 0: none yet
    bool is_asking;               // Notify is under way
    bool is_waiting;              // seen in the list that is being read
};

struct sd_bus;

struct agent {
    char daemon_path[AGENT_PATH_SIZE];
    char door_path[AGENT_PATH_SIZE]; // "": there is none
    struct sd_bus *bus;
    bool is_over; // the session has ended
    struct pock *pock;
    int64_t retry_ms; // monotonic: when to try pockd again
    int64_t wait_ms;  // how long to wait the next time
    int door;         // -1: closed
    struct agent_question questions[AGENT_QUESTIONS_MAX];
    int count;
};

int64_t agent_now_ms(void);
void agent_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// agent_bus.c
int agent_bus_open(struct agent *a);
void agent_bus_close(struct agent *a);
short agent_bus_poll(struct agent *a, int *fd, int *timeout_ms);
void agent_bus_run(struct agent *a);
// Show a notification for the question, or take it away.
void agent_bus_ask(struct agent *a, struct agent_question *q);
void agent_bus_forget(struct agent *a, struct agent_question *q);

// agent_link.c
void agent_link_try(struct agent *a);
void agent_link_run(struct agent *a);
void agent_link_close(struct agent *a);
// What the owner answered.
void agent_link_answer(struct agent *a, const struct agent_question *q,
                       bool is_allowed);
// Hands over an accepted connection; `app` NULL: in no sandbox. Takes `fd`.
void agent_link_attest(struct agent *a, int fd, const char *app);

// agent_door.c
int agent_door_open(struct agent *a);
void agent_door_run(struct agent *a);
void agent_door_close(struct agent *a);
