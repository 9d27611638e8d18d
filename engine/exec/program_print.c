// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/exec/program.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/base/arena.h"
#include "engine/base/fault.h"
#include "engine/base/str.h"
#include "engine/exec/lower.h"
#include "engine/ir/infer.h"

static void print_operand(struct str *s, const struct program *p,
                          const struct operand *o)
{
    char type[96];
    struct shape shape = {.rank = o->rank};

    for (int i = 0; i < o->rank; i++)
        shape.ne[i] = o->ne[4 - o->rank + i];
    switch ((enum region) o->region) {
    case REGION_NONE:
        str_puts(s, "_");
        return;
    case REGION_ARENA:
        str_printf(s, "+%llu", (unsigned long long) o->offset);
        break;
    case REGION_WEIGHT:
        str_printf(s, "@%s", p->weights[o->slot].name);
        break;
    case REGION_STATE:
        str_printf(s, "@%s", p->states[o->slot].name);
        break;
    }
    str_printf(s, " %s", infer_describe(type, sizeof(type), o->dtype, &shape));
}

static void print_instr(struct str *s, const struct program *p, uint32_t i)
{
    const struct instr *in = &p->instrs[i];

    str_printf(s, "%5u  %-16s ", i, op_infos[in->op].name);
    for (int k = 0; k < in->n_in; k++) {
        str_puts(s, k ? ", " : "");
        print_operand(s, p, &in->in[k]);
    }
    str_puts(s, " -> ");
    for (int k = 0; k < in->n_out; k++) {
        str_puts(s, k ? ", " : "");
        print_operand(s, p, &in->out[k]);
    }
    if (in->scratch.region != REGION_NONE)
        str_printf(s, "  scratch +%llu",
                   (unsigned long long) in->scratch.offset);
    str_putc(s, '\n');
}

static void print_slots(struct str *s, const char *title,
                        const struct program_slot *slots, uint32_t n)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += slots[i].bytes;
    str_printf(s, "%s: %u, %zu bytes\n", title, n, bytes);
}

static int compare_pieces(const void *a, const void *b)
{
    const struct program_piece *x = *(const struct program_piece *const *) a;
    const struct program_piece *y = *(const struct program_piece *const *) b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

// By offset, then by time: pieces of one offset follow each other in time.
static void print_map(struct str *s, const struct program *p)
{
    const struct program_piece **order =
        fault_calloc(p->n_pieces + 1u, sizeof(struct program_piece *));
    if (!order) {
        s->rc = -ENOMEM;
        return;
    }
    for (uint32_t i = 0; i < p->n_pieces; i++)
        order[i] = &p->pieces[i];
    qsort(order, p->n_pieces, sizeof(struct program_piece *), compare_pieces);

    str_puts(s, "\narena map\n      offset       bytes  first   last  value\n");
    for (uint32_t i = 0; i < p->n_pieces; i++) {
        const struct program_piece *x = order[i];
        str_printf(s, "%12zu%12zu%7u%7u  %s\n", x->offset, x->bytes, x->first,
                   x->last, x->name);
    }
    free(order);
}

// How many nodes of each operator the model makes, each pass leaves, and run.
static void print_ops(struct str *s, const struct program *p)
{
    uint32_t run[OP_COUNT] = {0};
    const uint32_t *before = NULL;

    for (uint32_t i = 0; i < p->n_instrs; i++)
        run[p->instrs[i].op]++;
    for (int i = PASS_COUNT; i-- > 0;)
        before = p->passes[i].name ? p->passes[i].before : before;
    str_puts(s, "operator          model");
    for (int i = 0; i < PASS_COUNT; i++)
        if (p->passes[i].name)
            str_printf(s, "%7s", p->passes[i].name);
    str_puts(s, "    run\n");
    for (int op = 0; op < OP_COUNT; op++) {
        const uint32_t first = before ? before[op] : run[op];
        uint32_t any = first | run[op];
        for (int i = 0; i < PASS_COUNT; i++)
            any |= p->passes[i].after[op];
        if (!any)
            continue;
        str_printf(s, "%-16s%7u", op_infos[op].name, first);
        for (int i = 0; i < PASS_COUNT; i++)
            if (p->passes[i].name)
                str_printf(s, "%7u", p->passes[i].after[op]);
        str_printf(s, "%7u\n", run[op]);
    }
}

int program_print(char **out, const struct program *p)
{
    struct str s = {.limit = 256u << 20};
    int rc;

    for (int i = 0; i < PASS_COUNT; i++)
        if (p->passes[i].name)
            str_printf(&s, "pass %-8s %5u changes, %5u nodes, %7.3f ms\n",
                       p->passes[i].name, p->passes[i].changes,
                       p->passes[i].n_nodes, (double) p->passes[i].ns * 1e-6);
    print_ops(&s, p);
    print_slots(&s, "weights", p->weights, p->n_weights);
    print_slots(&s, "states", p->states, p->n_states);
    str_printf(&s, "arena: %zu bytes, live at most %zu\n", p->arena_bytes,
               p->live_bytes);
    str_printf(&s, "work: %.3f GFLOP, of that %.3f made again by %u nodes",
               (double) p->costs.flops * 1e-9,
               (double) p->costs.flops_extra * 1e-9, p->costs.n_recomputed);
    if (p->costs.kept_bytes)
        str_printf(&s, "; %zu bytes without", p->costs.kept_bytes);
    str_putc(&s, '\n');
    for (uint32_t i = 0; i < p->n_ios; i++) {
        str_printf(&s, "%s %s ", p->ios[i].is_output ? "output" : "input",
                   p->ios[i].name);
        print_operand(&s, p, &p->ios[i].operand);
        str_putc(&s, '\n');
    }
    str_printf(&s, "\n%u instructions\n", p->n_instrs);
    for (uint32_t i = 0; i < p->n_instrs; i++)
        print_instr(&s, p, i);
    print_map(&s, p);

    if ((rc = str_finish(&s)) < 0)
        str_free(&s);
    else
        *out = s.data;
    return rc;
}
