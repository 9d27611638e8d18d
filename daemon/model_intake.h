// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Models on their way in (loop and database thread)
 *
 * A file that pockd can read where it lies stays there. Any other, which a
 * client opened, becomes pockd's own: shared on disk or copied. Several files
 * are made into one by a tool worker. In each case a tool worker then looks
 * whether it is a model that can be used, and hashes it; only then is it
 * registered.
 */

#include "daemon/fileset.h"
#include "ipc/encoder.h"
#include "ipc/worker_proto.h"
#include "storage/store_model.h"

struct request;

void model_encode(struct encoder *e, const struct store_model *m);
void model_encode_types(struct encoder *e, const struct worker_weight_type *t,
                        uint32_t n);
// An item of kind progress, where somebody listens.
void model_tell_progress(struct request *r, const char *what, uint64_t done,
                         uint64_t total);
// The files of the request's connection; NULL, and it has failed, when there
// are none.
struct fileset *model_take_files(struct filesets *fs, struct request *r);
