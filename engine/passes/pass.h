// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Passes
 *
 * A pass rewrites the graph and returns how many changes it made, or a
 * negative errno. Nodes stay in a valid order of execution.
 * The graph is verified before the first pass and after each, in every build:
 * it costs a fraction of a compile, and a wrong program would train a wrong
 * adapter. POCK_DUMP=NAME prints the graph on standard error after that pass,
 * POCK_DUMP=build before the first, POCK_DUMP=all after each; in every build
 * too, for it shows names and shapes, never what someone wrote.
 */

#include "engine/ir/graph.h"

struct error;

enum pass {
#define PASS(name) PASS_##name,
#include "engine/passes/passes.def"
#undef PASS
    PASS_COUNT
};

#define PASS(name) int pass_##name(struct graph *g);
#include "engine/passes/passes.def"
#undef PASS

struct pass_stats {
    const char *name;
    uint32_t changes;
    uint32_t n_nodes;          // alive after it
    uint32_t before[OP_COUNT]; // of them, by operator
    uint32_t after[OP_COUNT];
    uint64_t ns;
};

// All of them, in order, but for those whose bit 1 << PASS_name is in `off`
// (for tests). `stats` may be NULL; a pass that is off leaves its row as it is.
int passes_run(struct graph *g, uint32_t off,
               struct pass_stats stats[PASS_COUNT], struct error *err);
const char *pass_name(enum pass pass);
// One, by name: how many changes it made; -ENOENT when there is none.
int pass_run_named(struct graph *g, const char *name, struct error *err);

/*
 * Helpers of passes.
 */
uint32_t pass_count_nodes(const struct graph *g);
void pass_count_ops(uint32_t counts[OP_COUNT], const struct graph *g);
// How often each value is read by living nodes; outputs count once more. In
// the graph's arena; NULL when memory is out.
uint32_t *pass_count_uses(const struct graph *g);
// Every reader of `from` reads `to`, which also takes over its name if it is
// an output. False, and nothing done, when both are known by name.
bool pass_replace(struct graph *g, value_id from, value_id to);
// The matmul that makes `v` for one reader alone, and not for the host; NULL
// when it is something else.
struct node *pass_private_matmul(const struct graph *g, value_id v,
                                 const uint32_t *uses);
// Would node `from` read something else if it stood at `to`, behind it?
bool pass_is_updated_between(const struct graph *g, node_id from, node_id to);
