// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/irprint.h"

#include <stdlib.h>

#include "engine/base/str.h"
#include "engine/ir/infer.h"

void irprint_value(struct str *s, const struct graph *g, value_id v)
{
    if (v == VALUE_NONE)
        str_puts(s, "_");
    else if (v >= g->n_values)
        str_printf(s, "%%%u?", v); // only the verifier's reports see this
    else if (g->values[v].kind == VALUE_TEMP)
        str_printf(s, "%%%u", v);
    else
        str_printf(s, "@%s", g->values[v].name ? g->values[v].name : "?");
}

static void print_type(struct str *s, const struct value *v)
{
    char text[128];
    str_puts(s, infer_describe(text, sizeof(text), v->dtype, &v->shape));
}

// The shortest decimal that reads back as the same float.
static void print_float(struct str *s, float x)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        (void) snprintf(text, sizeof(text), "%.*g", digits, (double) x);
        if (strtof(text, NULL) == x)
            break;
    }
    str_puts(s, text);
}

static void print_attr(struct str *s, const struct op_attr *a)
{
    const char *before = " {";

    for (int i = 0; i < op_attr_field_count; i++) {
        const struct op_attr_field *f = &op_attr_fields[i];
        const double x = op_attr_get(a, f);
        if (x == 0)
            continue;
        str_printf(s, "%s%s=", before, f->name);
        if (f->kind == ATTR_F32)
            print_float(s, (float) x);
        else
            str_printf(s, "%.0f", x);
        before = ", ";
    }
    if (*before == ',')
        str_putc(s, '}');
}

void irprint_node(struct str *s, const struct graph *g, node_id id)
{
    const struct node *n = &g->nodes[id];

    for (int i = 0; i < n->n_out; i++) {
        str_puts(s, i ? ", " : "");
        irprint_value(s, g, n->out[i]);
        if (n->out[i] < g->n_values) {
            str_putc(s, ' ');
            print_type(s, &g->values[n->out[i]]);
        }
    }
    str_printf(s, " = %s ", op_infos[n->op].name);
    for (int i = 0; i < n->n_in; i++) {
        str_puts(s, i ? ", " : "");
        irprint_value(s, g, n->in[i]);
    }
    print_attr(s, &n->attr);
    str_puts(s, n->is_recomputed ? " recompute" : "");
    str_puts(s, n->is_backward ? " backward\n" : "\n");
}

void irprint_graph(struct str *s, const struct graph *g)
{
    static const char *const kinds[] = {"", "input", "weight", "state"};

    for (value_id i = 0; i < g->n_values; i++) {
        const struct value *v = &g->values[i];
        if (v->kind == VALUE_TEMP)
            continue;
        str_printf(s, "%s @%s ", kinds[v->kind], v->name);
        print_type(s, v);
        str_putc(s, '\n');
    }
    for (node_id i = 0; i < g->n_nodes; i++)
        if (!g->nodes[i].is_dead)
            irprint_node(s, g, i);
    for (value_id i = 0; i < g->n_values; i++)
        if (g->values[i].is_output) {
            str_printf(s, "output @%s ", g->values[i].name);
            irprint_value(s, g, i);
            str_putc(s, '\n');
        }
}

void irprint_dump(FILE *f, const struct graph *g)
{
    struct str s = {.limit = 64u << 20};

    irprint_graph(&s, g);
    if (str_finish(&s) == 0)
        (void) fwrite(s.data, 1, s.bytes, f);
    str_free(&s);
}
