// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Models split into several GGUF files
 *
 * Each file holds some tensors, and says which part of how many it is
 * (split.no, split.count) and how many tensors there are in all
 * (split.tensors.count). The first holds the metadata. A set that loads is
 * complete: every part is there once, and every tensor is in one of them.
 */

#include <stddef.h>
#include <stdint.h>

struct error;
struct gguf;
struct gguf_set;
struct gguf_tensor;

enum { GGUF_SET_PARTS_MAX = 512 };

// From files in any order, borrowed until destroy; a whole model is a set of
// one. Every refusal names the part.
int gguf_set_create(struct gguf_set **out, struct gguf *const *files,
                    uint32_t n_files, struct error *err);
void gguf_set_destroy(struct gguf_set *s); // accepts NULL

// The file with the metadata.
const struct gguf *gguf_set_first(const struct gguf_set *s);
uint32_t gguf_set_n_tensors(const struct gguf_set *s);
const struct gguf_tensor *gguf_set_tensor_at(const struct gguf_set *s,
                                             uint32_t i);
