// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/kept.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "engine/base/error.h"
#include "engine/ir/op.h"

bool kept_equal(const struct kept *a, const struct kept *b)
{
    return a->how == b->how && a->targets == b->targets &&
           a->groups == b->groups && a->scale == b->scale && a->part == b->part;
}

// Linears of one number read one value. What attention puts out is read by its
// own gradient as well: keeping less beside it would be more.
enum { INPUT_OF_ATTENTION = 1 };

static int input_of(enum model_linear l)
{
    switch (l) {
    case MODEL_LINEAR_q:
    case MODEL_LINEAR_k:
    case MODEL_LINEAR_v:
        return 0;
    case MODEL_LINEAR_o:
        return INPUT_OF_ATTENTION;
    case MODEL_LINEAR_gate:
    case MODEL_LINEAR_up:
        return 2;
    case MODEL_LINEAR_down:
    case MODEL_LINEARS:
        break;
    }
    return 3;
}

// With an A that stays as it began no gradient reads the input.
static bool reads_input(const struct scheme_linear *l)
{
    return l->learn == LEARN_LORA || l->learn == LEARN_DORA ||
           l->learn == LEARN_DELTA;
}

static bool is_less(const struct kept *k, const struct scheme *s,
                    uint32_t block, int linear)
{
    return k->how != KEPT_WHOLE && k->targets >> linear & 1 &&
           input_of((enum model_linear) linear) != INPUT_OF_ATTENTION &&
           reads_input(&s->linears[block][linear]);
}

bool kept_is_less(enum model_linear *first, const struct kept *k,
                  const struct scheme *s, uint32_t block,
                  enum model_linear linear)
{
    const struct scheme_linear *l = s->linears[block];

    if (!is_less(k, s, block, linear))
        return false;
    int i = 0;
    while (input_of((enum model_linear) i) != input_of(linear) ||
           l[i].part != l[linear].part || !is_less(k, s, block, i))
        i++;
    *first = (enum model_linear) i;
    return true;
}

int64_t kept_columns(const struct scheme *s, const struct model_config *m,
                     uint32_t block, enum model_linear linear)
{
    int64_t ne[2];

    model_linear_shape(ne, m, linear);
    return op_part_columns(s->linears[block][linear].part, ne[1]);
}

// The most groups below those asked for that divide the columns.
static uint32_t fitting(int64_t columns, uint32_t groups)
{
    while (columns % groups != 0)
        groups--;
    return groups;
}

static int check_groups(const struct kept *k, const struct scheme *s,
                        const struct model_config *m, uint32_t block,
                        enum model_linear linear, struct error *err)
{
    const int64_t columns = kept_columns(s, m, block, linear);
    char name[MODEL_NAME_BYTES];

    if (k->how != KEPT_SUBTOKENS || columns % k->groups == 0)
        return 0;
    return error_set(err, -EINVAL,
                     "velora_groups is %u, which does not divide the %lld "
                     "inputs of %s that learn; %u does",
                     k->groups, (long long) columns,
                     model_linear_name(name, m, block, linear),
                     fitting(columns, k->groups));
}

int kept_check(const struct kept *k, const struct scheme *s,
               const struct model_config *m, struct error *err)
{
    uint32_t n = 0;
    int rc = 0;

    if (k->how == KEPT_WHOLE)
        return 0;
    if (k->how >= KEPT_KINDS || k->targets == 0 ||
        k->targets >= 1 << MODEL_LINEARS)
        return error_set(err, -EINVAL,
                         "what is kept of inputs is nothing that pockd knows");
    if (k->how == KEPT_SUBTOKENS &&
        (k->groups == 0 || !isfinite(k->scale) || !(k->scale > 0)))
        return error_set(err, -EINVAL,
                         "velora_groups and velora_scale must be above 0");
    if (k->how == KEPT_TOKENS && !(k->part > 0 && k->part < 1))
        return error_set(err, -EINVAL, "dw_tokens must be above 0, to 1");
    for (uint32_t i = 0; i < m->n_blocks; i++) {
        for (int l = 0; l < MODEL_LINEARS && rc == 0; l++) {
            if (!is_less(k, s, i, l))
                continue;
            n++;
            rc = check_groups(k, s, m, i, (enum model_linear) l, err);
        }
    }
    if (rc == 0 && n == 0)
        rc = error_set(err, -EINVAL,
                       "%s has nothing to do: none of act_targets learns an A "
                       "of LoRA or a whole weight (LoRA-FA and norms keep no "
                       "input of a linear, and attention keeps that of "
                       "attn_output anyway); leave it at %s",
                       k->how == KEPT_TOKENS ? "dw_tokens" : "act_compress",
                       k->how == KEPT_TOKENS ? "1" : "off");
    return rc;
}

uint32_t kept_tokens(const struct kept *k, uint32_t n_tokens)
{
    const double n = ceil((double) k->part * n_tokens);

    if (n >= n_tokens || n_tokens <= KEPT_TOKENS_MIN)
        return n_tokens;
    return n > KEPT_TOKENS_MIN ? (uint32_t) n : KEPT_TOKENS_MIN;
}

uint32_t kept_directions(struct kept_direction *out, uint32_t max,
                         const struct kept *k, const struct scheme *s,
                         const struct model_config *m)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < m->n_blocks && k->how == KEPT_SUBTOKENS; i++) {
        for (int l = 0; l < MODEL_LINEARS; l++) {
            enum model_linear first;
            if (!kept_is_less(&first, k, s, i, (enum model_linear) l) ||
                (int) first != l)
                continue;
            if (n < max) {
                char name[MODEL_NAME_BYTES];
                model_linear_name(name, m, i, first);
                (void) snprintf(out[n].name, sizeof(out[n].name),
                                "%.52s.subtoken", name);
                out[n].size =
                    (uint32_t) (kept_columns(s, m, i, first) / k->groups);
            }
            n++;
        }
    }
    return n;
}
