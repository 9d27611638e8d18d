// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/irparse.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/ir/infer.h"

/*
 * Invariants:
 * 1. at <= end <= the end of the text; `end` is that of the current line.
 * 2. number[k] is the value that the text calls %k, VALUE_NONE until defined.
 */
struct parse {
    struct graph *g;
    struct error *err;
    const char *at;
    const char *end;
    uint32_t line;
    value_id *number;
};

// The outputs on the left of a line: number and type, or `_`.
struct left {
    uint32_t number; // UINT32_MAX for `_`
    struct infer_type type;
};

static int refuse(const struct parse *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static int refuse(const struct parse *p, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return error_set(p->err, -EINVAL, "line %u: %s", p->line, text);
}

/*
 * Pieces of a line
 */

static void skip_blanks(struct parse *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t'))
        p->at++;
}

static bool accept(struct parse *p, char c)
{
    skip_blanks(p);
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' ||
           c == '+' || c == '/';
}

// Letters, digits and _.-+/ into `buf`.
static int parse_word(struct parse *p, char buf[IRPARSE_NAME_MAX + 1])
{
    size_t n = 0;
    skip_blanks(p);
    while (p->at < p->end && is_word(*p->at) && n < IRPARSE_NAME_MAX)
        buf[n++] = *p->at++;
    buf[n] = '\0';
    if (n == 0 || (p->at < p->end && is_word(*p->at)))
        return refuse(p, "expected a word of 1 to %d characters",
                      IRPARSE_NAME_MAX);
    return 0;
}

static int parse_integer(struct parse *p, int64_t *out, int64_t max)
{
    int64_t x = 0;
    const char *start;

    skip_blanks(p);
    for (start = p->at; p->at < p->end && *p->at >= '0' && *p->at <= '9';) {
        x = x * 10 + (*p->at++ - '0');
        if (x > max)
            return refuse(p, "number above %lld", (long long) max);
    }
    if (p->at == start)
        return refuse(p, "expected a number");
    *out = x;
    return 0;
}

static int parse_dims(struct parse *p, struct shape *s)
{
    int64_t count = 1;
    int rc;

    if (!accept(p, '['))
        return refuse(p, "expected [");
    do {
        if (s->rank == 4)
            return refuse(p, "more than 4 dimensions");
        if ((rc = parse_integer(p, &s->ne[s->rank], INT32_MAX)) < 0)
            return rc;
        if (s->ne[s->rank] == 0 ||
            __builtin_mul_overflow(count, s->ne[s->rank], &count) ||
            count > GRAPH_COUNT_MAX)
            return refuse(p, "dimensions must be 1 or more, and hold at most "
                             "2^40 values");
        s->rank++;
    } while (accept(p, ','));
    return accept(p, ']') ? 0 : refuse(p, "expected ]");
}

// f32[256,384]
static int parse_type(struct parse *p, struct infer_type *t)
{
    char word[IRPARSE_NAME_MAX + 1];
    int rc;

    memset(t, 0, sizeof(*t));
    if ((rc = parse_word(p, word)) < 0)
        return rc;
    for (t->dtype = 0; t->dtype < DTYPE_COUNT; t->dtype++)
        if (strcmp(dtype_infos[t->dtype].name, word) == 0)
            break;
    if (t->dtype == DTYPE_COUNT)
        return refuse(p, "there is no type %s", word);
    if ((rc = parse_dims(p, &t->shape)) < 0)
        return rc;
    if (t->shape.ne[t->shape.rank - 1] % dtype_infos[t->dtype].block != 0)
        return refuse(p, "rows of %s must be multiples of %u", word,
                      dtype_infos[t->dtype].block);
    return 0;
}

// @name or %number, of a value that is defined
static int parse_value(struct parse *p, value_id *out)
{
    char name[IRPARSE_NAME_MAX + 1];
    int64_t n = 0;
    int rc;

    if (accept(p, '@')) {
        if ((rc = parse_word(p, name)) < 0)
            return rc;
        *out = graph_find(p->g, name);
        return *out == VALUE_NONE ? refuse(p, "@%s is not defined", name) : 0;
    }
    if (!accept(p, '%'))
        return refuse(p, "expected @ or %%");
    if ((rc = parse_integer(p, &n, IRPARSE_VALUES_MAX - 1)) < 0)
        return rc;
    *out = p->number[n];
    return *out == VALUE_NONE ? refuse(p, "%%%u is not defined", (unsigned) n)
                              : 0;
}

/*
 * Lines
 */

static int parse_named(struct parse *p, enum value_kind kind)
{
    struct value v = {.kind = (uint8_t) kind, .producer = NODE_NONE};
    char name[IRPARSE_NAME_MAX + 1];
    struct infer_type t = {0};
    value_id id;
    int rc;

    if (!accept(p, '@'))
        return refuse(p, "expected @");
    if ((rc = parse_word(p, name)) < 0 || (rc = parse_type(p, &t)) < 0)
        return rc;
    if (graph_find(p->g, name) != VALUE_NONE)
        return refuse(p, "@%s is defined twice", name);
    v.dtype = t.dtype;
    v.shape = t.shape;
    v.name = arena_strdup(p->g->arena, name);
    return v.name ? graph_add_value(&id, p->g, &v) : -ENOMEM;
}

static int parse_output(struct parse *p)
{
    char name[IRPARSE_NAME_MAX + 1];
    value_id v;
    int rc;

    if (!accept(p, '@'))
        return refuse(p, "expected @");
    if ((rc = parse_word(p, name)) < 0 || (rc = parse_value(p, &v)) < 0)
        return rc;
    if (p->g->values[v].name || graph_find(p->g, name) != VALUE_NONE)
        return refuse(p, "@%s: the name or the value is taken", name);
    p->g->values[v].is_output = true;
    p->g->values[v].name = arena_strdup(p->g->arena, name);
    return p->g->values[v].name ? 0 : -ENOMEM;
}

static int parse_left(struct parse *p, struct left left[OP_OUTPUTS_MAX],
                      int *n_out)
{
    int64_t n = 0;
    int rc;

    *n_out = 0;
    do {
        if (*n_out == OP_OUTPUTS_MAX)
            return refuse(p, "more than %d outputs", OP_OUTPUTS_MAX);
        struct left *l = &left[(*n_out)++];
        l->number = UINT32_MAX;
        if (accept(p, '_'))
            continue;
        if (!accept(p, '%'))
            return refuse(p, "expected %% or _");
        if ((rc = parse_integer(p, &n, IRPARSE_VALUES_MAX - 1)) < 0 ||
            (rc = parse_type(p, &l->type)) < 0)
            return rc;
        l->number = (uint32_t) n;
    } while (accept(p, ','));
    return accept(p, '=') ? 0 : refuse(p, "expected =");
}

static int parse_attr(struct parse *p, struct op_attr *a)
{
    char name[IRPARSE_NAME_MAX + 1];
    char text[IRPARSE_NAME_MAX + 1];
    char *end;
    int rc;

    do {
        if ((rc = parse_word(p, name)) < 0)
            return rc;
        if (!accept(p, '='))
            return refuse(p, "expected = after %s", name);
        if ((rc = parse_word(p, text)) < 0)
            return rc;
        const double x = strtod(text, &end);
        int i = 0;
        while (i < op_attr_field_count &&
               strcmp(op_attr_fields[i].name, name) != 0)
            i++;
        if (i == op_attr_field_count)
            return refuse(p, "there is no attribute %s", name);
        if (*end != '\0' || !(x > -1e30 && x < 1e30) ||
            op_attr_set(a, &op_attr_fields[i], x) < 0)
            return refuse(p, "%s cannot be %s", name, text);
    } while (accept(p, ','));
    return accept(p, '}') ? 0 : refuse(p, "expected }");
}

static int parse_inputs(struct parse *p, value_id in[OP_INPUTS_MAX], int *n_in)
{
    int rc;

    *n_in = 0;
    do {
        if (*n_in == OP_INPUTS_MAX)
            return refuse(p, "more than %d inputs", OP_INPUTS_MAX);
        if ((rc = parse_value(p, &in[(*n_in)++])) < 0)
            return rc;
    } while (accept(p, ','));
    return 0;
}

// Gives the outputs of the last node the numbers that the text calls them by.
static int name_outputs(struct parse *p, const struct left *left, int n_left)
{
    struct node *n = &p->g->nodes[p->g->n_nodes - 1];

    if (n_left != n->n_out)
        return refuse(p, "%s has %d outputs", op_infos[n->op].name, n->n_out);
    for (int i = 0; i < n_left; i++) {
        const struct left *l = &left[i];
        if (l->number == UINT32_MAX) {
            n->out[i] = VALUE_NONE;
            continue;
        }
        const struct value *v = &p->g->values[n->out[i]];
        char text[128];
        if (v->dtype != l->type.dtype ||
            !shape_equal(&v->shape, &l->type.shape))
            return refuse(p, "output %d must be %s", i,
                          infer_describe(text, sizeof(text), v->dtype,
                                         &v->shape));
        if (p->number[l->number] != VALUE_NONE)
            return refuse(p, "%%%u is defined twice", l->number);
        p->number[l->number] = n->out[i];
    }
    return 0;
}

static int parse_node(struct parse *p)
{
    struct left left[OP_OUTPUTS_MAX];
    struct op_attr attr = {0};
    value_id in[OP_INPUTS_MAX];
    char word[IRPARSE_NAME_MAX + 1];
    int n_left;
    int n_in;
    enum op op;
    node_id id;
    int rc;

    if ((rc = parse_left(p, left, &n_left)) < 0 ||
        (rc = parse_word(p, word)) < 0)
        return rc;
    if (op_from_name(&op, word, strlen(word)) < 0)
        return refuse(p, "there is no operator %s", word);
    if ((rc = parse_inputs(p, in, &n_in)) < 0 ||
        (accept(p, '{') && (rc = parse_attr(p, &attr)) < 0))
        return rc;

    struct error err = {0};
    rc = graph_add_node(&id, p->g, op, &attr, in, n_in, &err);
    if (rc == -EINVAL)
        return refuse(p, "%s", err.text);
    if (rc < 0)
        return rc;
    for (skip_blanks(p); p->at < p->end; skip_blanks(p)) {
        if ((rc = parse_word(p, word)) < 0)
            return rc;
        if (strcmp(word, "backward") == 0)
            p->g->nodes[id].is_backward = true;
        else if (strcmp(word, "recompute") == 0)
            p->g->nodes[id].is_recomputed = true;
        else
            return refuse(p, "unexpected %s", word);
    }
    return name_outputs(p, left, n_left);
}

static int parse_declaration(struct parse *p)
{
    static const char *const kinds[] = {"input", "weight", "state"};
    char word[IRPARSE_NAME_MAX + 1];
    int rc;

    if ((rc = parse_word(p, word)) < 0)
        return rc;
    if (strcmp(word, "output") == 0)
        return parse_output(p);
    for (int i = 0; i < 3; i++)
        if (strcmp(word, kinds[i]) == 0)
            return parse_named(p, (enum value_kind)(VALUE_INPUT + i));
    return refuse(p, "unexpected %s", word);
}

static int parse_line(struct parse *p)
{
    skip_blanks(p);
    if (p->at == p->end || *p->at == '#')
        return 0;
    const bool is_node = *p->at == '%' || *p->at == '_';
    int rc = is_node ? parse_node(p) : parse_declaration(p);
    if (rc < 0)
        return rc;
    skip_blanks(p);
    return p->at < p->end ? refuse(p, "unexpected text at the end") : 0;
}

int irparse_graph(struct graph **out, const char *text, size_t bytes,
                  struct arena *a, struct error *err)
{
    struct parse p = {.err = err, .at = text};
    const char *const end = bytes > 0 ? text + bytes : text;
    int rc;

    if (bytes > IRPARSE_BYTES_MAX)
        return error_set(err, -EINVAL, "text of %zu bytes; at most %d", bytes,
                         IRPARSE_BYTES_MAX);
    p.number = arena_calloc(a, IRPARSE_VALUES_MAX, sizeof(*p.number));
    if (!p.number)
        return -ENOMEM;
    memset(p.number, 0xff, IRPARSE_VALUES_MAX * sizeof(*p.number));
    if ((rc = graph_create(&p.g, a)) < 0)
        return rc;
    for (const char *line = text; line < end; line = p.end + 1) {
        p.at = line;
        p.end = memchr(line, '\n', (size_t) (end - line));
        if (!p.end)
            p.end = end;
        p.line++;
        if ((rc = parse_line(&p)) < 0)
            return rc;
        if (p.end == end)
            break;
    }
    *out = p.g;
    return 0;
}
