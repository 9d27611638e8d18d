// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Textual form of a graph
 *
 *     input @tokens i32[256]
 *     weight @token_embd.weight q8_0[8192,384]
 *     state @blk.0.attn_q.weight.lora_a f32[8,384]
 *     %6 f32[256,384] = embed @tokens, @token_embd.weight
 *     %7 f32[256,384], %8 f32[256] = rmsnorm %6, @norm {eps=1e-05}
 *     %9 f32[256,384], _ = rmsnorm %7, @norm {eps=1e-05} backward
 *     output @loss %7
 *
 * Named values come first, in the order of their numbers; a value that a node
 * defines is called by its number. An output that nobody uses is `_`. Fields
 * of struct op_attr that are zero are left out. irparse.h reads it back.
 */

#include "engine/ir/graph.h"

#include <stdio.h>

struct str;

void irprint_value(struct str *s, const struct graph *g, value_id v);
void irprint_node(struct str *s, const struct graph *g, node_id id);
void irprint_graph(struct str *s, const struct graph *g);
// To a stream, for developers; failures of the stream are ignored.
void irprint_dump(FILE *f, const struct graph *g);
