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
                   value_id hyper, float rate)
{
    // No attribute says the same as 1.
    const struct op_attr attr = {.alpha = rate == 1 ? 0 : rate};
    const value_id in[] = {param, companion(b, param, "m"),
                           companion(b, param, "v"), grad, hyper};
    builder_apply(b, NULL, OP_adamw, &attr, in, 5);
}

int optim_apply(struct graph *g, const struct optim_params *params,
                struct error *err)
{
    const struct shape s = shape1(ADAMW_HYPERS);
    const enum optim_mode mode = params->mode;
    struct builder b = {.g = g, .err = err, .is_backward = true};
    value_id hyper = VALUE_NONE;
    value_id sum;

    if (mode == OPTIM_UPDATE || mode == OPTIM_FINISH)
        hyper = builder_input(&b, "hyper", DTYPE_f32, &s);
    for (uint32_t i = 0; i < params->n; i++) {
        const value_id value = params->values[i];
        const value_id grad = params->grads[i];
        const float rate = params->rates ? params->rates[i] : 1;
        switch (mode) {
        case OPTIM_OUTPUT:
            output(&b, value, grad);
            break;
        case OPTIM_ACCUMULATE:
            accumulate(&b, value, grad);
            break;
        case OPTIM_UPDATE:
            update(&b, value, grad, hyper, rate);
            break;
        case OPTIM_FINISH:
            sum = accumulate(&b, value, grad);
            update(&b, value, sum, hyper, rate);
            builder_unary(&b, OP_zero, NULL, sum);
            break;
        }
    }
    return b.rc;
}
