// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Making a job
 *
 * From the parameters of train.start, or from nothing for an automatic job, to
 * a row of the store: which adapter, which model, which records, which recipe.
 */

#include "daemon/policy.h"
#include "ipc/codec.h"
#include "ipc/rpc_error.h"
#include "storage/store_job.h"

struct train_job {
    struct store_job row;
    char adapter[STORE_NAME_SIZE];
    char model[STORE_NAME_SIZE]; // "": the adapter's, else the default
    bool is_plain;               // no streams, time or recipe was asked for
    enum rpc_error code; // of a failure of train_job_add(); NONE: by errno
};

// `params` may be NULL. -EINVAL.
int train_job_init(struct train_job *j, const msgpack_object *params,
                   const struct policy *policy, struct error *err);
// Database thread: the model and the recipe that the job would have.
int train_job_find(struct train_job *j, struct store *s, struct error *err);
// Database thread, in a transaction: makes the adapter when it is unknown.
int train_job_add(struct train_job *j, struct store *s, struct error *err);
