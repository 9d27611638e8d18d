// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Adapters in and out (loop thread)
 *
 * Export writes a version into the client's descriptor, as it is (GGUF) or
 * converted by a tool worker (PEFT). Import copies the client's file into the
 * store first, so that nobody changes it any more, has a worker check it
 * against the base model, and only then makes a version of it.
 */

#include "daemon/request.h"
#include "ipc/worker_proto.h"
#include "storage/store_adapter.h"
#include "storage/store_merge.h"

struct dbcall;
struct pockd;

// Both take the request.
void adapter_export(struct pockd *p, struct request *r);
void adapter_import(struct pockd *p, struct request *r);

// Of handle_adapter.c, for both.
void adapter_encode_version(struct encoder *e, const struct store_version *v);
// A map, of store_merge_each(); `user` is the encoder.
int adapter_put_part(const struct store_part *p, void *user);
// By the parameter `adapter`.
int adapter_find(struct store *s, const msgpack_object *params,
                 struct store_adapter *a, struct error *err);
// And its `version`, or the active one; it may be retired.
int adapter_find_version(struct store *s, struct dbcall *c,
                         struct store_adapter *a, struct store_version *v,
                         struct error *err);

// Of adapter_combine.c: the sum of up to six versions, as a worker is asked for
// it.
void adapter_fill_merge(struct worker_merge *m, uint32_t rank, int model_fd,
                        const int *part_fds, const struct store_part *parts,
                        size_t count);
// Closes what it was asked with, and the worker's file; -1: there is none.
void adapter_close_merge(int model_fd, const int *part_fds, size_t count,
                         int file_fd);
