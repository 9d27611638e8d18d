// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/str.h"
#include "engine/ir/infer.h"
#include "engine/ir/irprint.h"

struct verify {
    const struct graph *g;
    struct str *report;
    struct error *err;
    uint32_t n_faults;
    bool *defined; // by value
    bool *updated; // by value: a newer version exists
};

static void fault(struct verify *v, node_id n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void fault(struct verify *v, node_id n, const char *fmt, ...)
{
    char text[256];
    char where[64] = "graph";
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n != NODE_NONE)
        (void) snprintf(where, sizeof(where), "node %u (%s)", n,
                        v->g->nodes[n].op < OP_COUNT
                            ? op_infos[v->g->nodes[n].op].name
                            : "?");
    if (v->n_faults++ == 0)
        (void) error_set(v->err, -EINVAL, "%s: %s", where, text);
    if (v->report)
        str_printf(v->report, "%s: %s\n", where, text);
}

static bool may_be_quantised(enum op op, int in)
{
    if (op == OP_matmul_lora)
        return in >= 1 && in <= 3;
    return in == 1 && (op == OP_matmul || op == OP_matmul_delta ||
                       op == OP_embed || op == OP_xent || op == OP_row_ratio);
}

static void check_value(struct verify *v, value_id id)
{
    const struct value *x = &v->g->values[id];
    // States of bf16 are an adapter's halves, inputs of f16 hidden states:
    // nothing updates them.
    const bool is_plain = x->dtype == DTYPE_f32 || x->dtype == DTYPE_i32 ||
                          (x->dtype == DTYPE_bf16 && x->kind == VALUE_STATE) ||
                          (x->dtype == DTYPE_f16 && x->kind == VALUE_INPUT);

    if (x->kind != VALUE_TEMP && !x->name)
        fault(v, NODE_NONE, "value %u has no name", id);
    if (x->is_output && !x->name)
        fault(v, NODE_NONE, "output %%%u has no name", id);
    if (x->dtype >= DTYPE_COUNT || x->shape.rank < 1 || x->shape.rank > 4) {
        fault(v, NODE_NONE, "value %u has no type", id);
        return;
    }
    for (int i = 0; i < x->shape.rank; i++)
        if (x->shape.ne[i] < 1)
            fault(v, NODE_NONE, "value %u has a dimension of %lld", id,
                  (long long) x->shape.ne[i]);
    if (!is_plain && x->kind != VALUE_WEIGHT)
        fault(v, NODE_NONE, "value %u is %s, which only weights may be", id,
              dtype_infos[x->dtype].name);
    v->defined[id] = x->kind != VALUE_TEMP;
}

static void check_inputs(struct verify *v, node_id id)
{
    const struct graph *g = v->g;
    const struct node *n = &g->nodes[id];

    for (int i = 0; i < n->n_in; i++) {
        if (n->in[i] >= g->n_values) {
            fault(v, id, "input %d is no value", i);
            continue;
        }
        const uint8_t dtype = g->values[n->in[i]].dtype;
        if (!v->defined[n->in[i]])
            fault(v, id, "input %d, %%%u, is not defined yet", i, n->in[i]);
        if (v->updated[n->in[i]])
            fault(v, id, "input %d, %%%u, was updated before", i, n->in[i]);
        if (dtype != DTYPE_f32 && dtype != DTYPE_i32 &&
            !may_be_quantised((enum op) n->op, i))
            fault(v, id, "input %d may not be %s", i, dtype_infos[dtype].name);
    }
}

static void check_types(struct verify *v, node_id id)
{
    const struct graph *g = v->g;
    const struct node *n = &g->nodes[id];
    const struct value *in[OP_INPUTS_MAX] = {NULL};
    struct infer_type types[OP_OUTPUTS_MAX];
    struct error err = {0};

    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] < g->n_values)
            in[i] = &g->values[n->in[i]];
    if (infer_node(types, (enum op) n->op, &n->attr, in, n->n_in, &err) < 0) {
        fault(v, id, "%s", err.text);
        return;
    }
    for (int i = 0; i < n->n_out; i++) {
        if (n->out[i] >= g->n_values)
            continue;
        const struct value *x = &g->values[n->out[i]];
        if (x->dtype != types[i].dtype ||
            !shape_equal(&x->shape, &types[i].shape))
            fault(v, id, "output %d has another type than its rule says", i);
    }
}

static void check_outputs(struct verify *v, node_id id)
{
    const struct graph *g = v->g;
    const struct node *n = &g->nodes[id];

    for (int i = 0; i < n->n_out; i++) {
        const int in = op_updates((enum op) n->op, i);
        if (n->out[i] != VALUE_NONE) {
            if (n->out[i] >= g->n_values) {
                fault(v, id, "output %d is no value", i);
                continue;
            }
            const struct value *x = &g->values[n->out[i]];
            if (x->producer != id || x->output != i || v->defined[n->out[i]])
                fault(v, id, "output %d, %%%u, is defined elsewhere", i,
                      n->out[i]);
            v->defined[n->out[i]] = true;
        }
        if (in < 0 || n->in[in] >= g->n_values)
            continue;
        if (g->values[graph_storage(g, n->in[in])].kind != VALUE_STATE)
            fault(v, id, "updates input %d, which is not state", in);
        v->updated[n->in[in]] = true;
    }
}

static void check_node(struct verify *v, node_id id)
{
    const struct node *n = &v->g->nodes[id];

    if (n->is_dead)
        return;
    if (n->op >= OP_COUNT || n->n_in > OP_INPUTS_MAX ||
        n->n_out != op_infos[n->op].n_out) {
        fault(v, id, "is no operator");
        return;
    }
    check_inputs(v, id);
    check_types(v, id);
    check_outputs(v, id);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static int check_names(struct verify *v)
{
    const struct graph *g = v->g;
    uint32_t n = 0;

    const char **names = fault_calloc(g->n_values + 1u, sizeof(*names));
    if (!names)
        return -ENOMEM;
    for (value_id i = 0; i < g->n_values; i++)
        if (g->values[i].name)
            names[n++] = g->values[i].name;
    qsort(names, n, sizeof(*names), compare_names);
    for (uint32_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            fault(v, NODE_NONE, "the name %s is used twice", names[i]);
    free(names);
    return 0;
}

int verify_graph(const struct graph *g, struct str *report, struct error *err)
{
    struct verify v = {.g = g, .report = report, .err = err};
    int rc = -ENOMEM;

    v.defined = fault_calloc(g->n_values + 1u, sizeof(bool));
    v.updated = fault_calloc(g->n_values + 1u, sizeof(bool));
    if (!v.defined || !v.updated)
        goto out;
    for (value_id i = 0; i < g->n_values; i++)
        check_value(&v, i);
    for (node_id i = 0; i < g->n_nodes; i++)
        check_node(&v, i);
    for (value_id i = 0; i < g->n_values; i++)
        if (g->values[i].is_output && !v.defined[i])
            fault(&v, NODE_NONE, "output @%s is not defined",
                  g->values[i].name ? g->values[i].name : "?");
    if ((rc = check_names(&v)) < 0)
        goto out;
    if (v.n_faults > 0) {
        rc = -EINVAL;
        if (report)
            irprint_graph(report, g);
    }

out:
    free(v.defined);
    free(v.updated);
    return rc;
}
