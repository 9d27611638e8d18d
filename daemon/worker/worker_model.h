// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Models that a tool worker looks into and converts
 */

#include "daemon/worker/worker_reply.h"

struct engine_model;

enum { WORKER_MODEL_FILES_MAX = 48 };

// Files of a model on their way into a conversion.
struct worker_model_files {
    struct {
        char name[256];
        int fd;
    } list[WORKER_MODEL_FILES_MAX];
    uint32_t n;
};

// Takes the descriptor.
int worker_model_file(struct worker_model_files *files, struct worker_file *q,
                      struct worker_failure *f);
// Uses the files up. Sends progress and the answer.
int worker_model_convert(struct worker_model_files *files,
                         const struct worker_convert_model *q,
                         struct worker_control *c, uint32_t threads,
                         struct worker_failure *f);
// Of the file; sends progress.
int worker_model_hash(struct engine_model *model, struct worker_control *c,
                      uint64_t req, struct error *err);
// Sends the answer.
int worker_model_detail(struct engine_model *m,
                        const struct worker_detail_model *q,
                        struct worker_control *c, struct worker_failure *f);
