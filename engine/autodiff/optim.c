// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/autodiff/optim.h"

#include <stdio.h>

#include "engine/ir/builder.h"

enum { NAME_BYTES = 96 };

// State NAME.SUFFIX of the parameter's shape.
static value_id companion(struct builder *b, value_id param, const char *suffix)
{
    const struct shape s = b->g->values[param].shape;
    char name[NAME_BYTES];

    (void) snprintf(name, sizeof(name), "%s.%s", b->g->values[param].name,
                    suffix);
    return builder_state(b, name, &s);
}

static void output(struct builder *b, value_id param, value_id grad)
{
    char name[NAME_BYTES];
    (void) snprintf(name, sizeof(name), "grad.%s", b->g->values[param].name);
    builder_output(b, grad, name);
}

static value_id accumulate(struct builder *b, value_id param, value_id grad)
{
    return builder_binary(b, OP_accumulate, NULL, companion(b, param, "g"),
                          grad);
}

static void update(struct builder *b, value_id param, value_id grad,
                   value_id hyper)
{
    const value_id in[] = {param, companion(b, param, "m"),
                           companion(b, param, "v"), grad, hyper};
    builder_apply(b, NULL, OP_adamw, NULL, in, 5);
}

int optim_apply(struct graph *g, enum optim_mode mode, const value_id *params,
                const value_id *grads, uint32_t n, struct error *err)
{
    const struct shape s = shape1(ADAMW_HYPERS);
    struct builder b = {.g = g, .err = err, .is_backward = true};
    value_id hyper = VALUE_NONE;
    value_id sum;

    if (mode == OPTIM_UPDATE || mode == OPTIM_FINISH)
        hyper = builder_input(&b, "hyper", DTYPE_f32, &s);
    for (uint32_t i = 0; i < n; i++) {
        switch (mode) {
        case OPTIM_OUTPUT:
            output(&b, params[i], grads[i]);
            break;
        case OPTIM_ACCUMULATE:
            accumulate(&b, params[i], grads[i]);
            break;
        case OPTIM_UPDATE:
            update(&b, params[i], grads[i], hyper);
            break;
        case OPTIM_FINISH:
            sum = accumulate(&b, params[i], grads[i]);
            update(&b, params[i], sum, hyper);
            builder_unary(&b, OP_zero, NULL, sum);
            break;
        }
    }
    return b.rc;
}
