// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Redaction of records
 *
 * What the policy says is to be masked in the texts of a record, or kept out
 * with all of it, before anything of it reaches the store or its log. Of a
 * record only its texts change: who said them, and in which order, stays.
 */

#include "daemon/policy.h"
#include "ipc/redact.h"
#include "ipc/rpc_record.h"

enum { REDACTION_STREAMS_MAX = 32 };

// Modes of one stream, where they differ; REDACT_MODES: they do not.
struct redaction_stream {
    char name[RPC_RECORD_NAME_MAX + 1];
    uint8_t modes[REDACT_CLASSES];
};

struct redaction {
    struct redact rules;
    size_t n_streams;
    struct redaction_stream streams[REDACTION_STREAMS_MAX];
    // Since redaction_reset()
    struct redact_counts counts;
    int64_t redacted; // all of counts
    int64_t dropped;
    // Texts of the newest record
    struct str text;
    struct codec_bytes contents[RPC_RECORD_MESSAGES_MAX];
};

// From the keys redact and redact_streams. -EINVAL: they are no such thing.
int redaction_init(struct redaction *r, const struct policy *policy,
                   struct error *err);
void redaction_finish(struct redaction *r);
void redaction_reset(struct redaction *r);

// For policy.set: may this be the value of the key? Other keys: yes.
int redaction_check(const char *key, const char *text, struct error *err);

// The record as it may be stored; its texts live until the next call. 1: it is
// not to be stored. -E2BIG when it has become too long.
int redaction_apply(struct redaction *r, struct rpc_record *out,
                    const struct rpc_record *in, struct error *err);
