// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Training and the store (database thread)
 *
 * The two ends of a run: everything a worker needs, gathered into descriptors;
 * and the adapter it made, checked against the gate and turned into a version.
 */

#include "daemon/paths.h"
#include "daemon/policy.h"
#include "engine/base/sign.h"
#include "ipc/worker_proto.h"
#include "storage/store_job.h"

struct train_input {
    int model_fd;
    int records_fd;
    int probe_fd;      // -1: no probe could be read; probe_text says why
    int parent_fd;     // -1: from the base model
    int checkpoint_fd; // -1: from the beginning
    int prefix_fd;     // -1: no states are kept
    uint64_t prefix_bytes;
    uint8_t prefix_key[32]; // the worker seals them itself
    int times_fd;           // -1: nobody measured kernels
    char chat[32];          // the owner's word on the model's chat format
    uint32_t parent;        // version; 0: the base model
    int64_t *ids;           // of the records, in the file's order
    size_t count;
    // What of the records is wanted: all but `skip`, or only `only`; sorted,
    // and the caller's until the gathering is over.
    const int64_t *skip;
    size_t n_skip;
    const int64_t *only; // NULL: all
    size_t n_only;
    char probe_text[STORE_TEXT_SIZE];
};

struct train_output {
    uint32_t version;
    bool is_active;
    bool is_lost; // records it was made of were erased meanwhile
    char reason[STORE_TEXT_SIZE];
};

void train_input_init(struct train_input *in);
void train_input_finish(struct train_input *in);

// -ENODATA: there are no records. -ENOENT: the model's file is gone.
int train_input_gather(struct train_input *in, struct store *s,
                       const struct store_job *job, const struct paths *paths,
                       const struct policy *policy, struct error *err);

// The model and the records only. -ENODATA as above.
int train_input_gather_records(struct train_input *in, struct store *s,
                               const struct store_job *job, struct error *err);

// One transaction: version, lineage, the manifest that `key` signs, and the
// switch when the gate is passed.
// The adapter's file is durable before it.
int train_output_store(struct train_output *out, struct store *s,
                       const struct store_job *job,
                       const struct train_input *in,
                       const struct worker_result *result,
                       const struct policy *policy, const struct sign_key *key,
                       struct error *err);

// Records that the adapter's last run saw and did not train on, such as those
// held out.
int64_t train_known_records(struct store *s, int64_t adapter_id);

// "ckpt/job-17.ckpt", from the store's directory
void train_checkpoint_name(char out[64], int64_t job);
