// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Records for a worker (database thread)
 *
 * Gathers records, of the store or of a request, into a sealed memfd in the
 * layout of ipc/worker_records.h.
 */

#include "engine/base/error.h"
#include "ipc/codec.h"
#include "ipc/worker_records.h"
#include "storage/store_record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct record_pack {
    struct worker_records_writer writer;
    int64_t *ids; // of the records, in order
    size_t count;
    size_t size;
    // Of the store's: sorted ids, borrowed. NULL `only`: all.
    const int64_t *only;
    size_t n_only;
    const int64_t *skip;
    size_t n_skip;
};

void record_pack_finish(struct record_pack *k);

int record_pack_text(struct record_pack *k, struct codec_bytes text,
                     struct error *err);
// completion.data NULL: a prompt that is to be answered.
int record_pack_pair(struct record_pack *k, struct codec_bytes prompt,
                     struct codec_bytes completion, struct error *err);
// An array of {role, content}.
int record_pack_chat(struct record_pack *k, const msgpack_object *messages,
                     struct error *err);
// Everything of the store that passes and is wanted, at most `limit` (0 = all)
// by id.
// `held_out`: only the tenth that is never trained on.
int record_pack_store(struct record_pack *k, struct store *s,
                      const struct store_filter *f, int64_t limit,
                      bool held_out, struct error *err);
// {"text": ...} a line: the probe of general text.
int record_pack_probe(struct record_pack *k, const char *path,
                      struct error *err);

// The sealed file, or a negative errno.
int record_pack_seal(struct record_pack *k, struct error *err);
