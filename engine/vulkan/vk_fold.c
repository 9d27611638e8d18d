// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_fold.h"

#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_noise.h"
#include "engine/vulkan/vk_operands.h"
#include "engine/vulkan/vk_prepare.h"
#include "engine/vulkan/vk_product.h"

#include <string.h>

enum { LOOK_AHEAD = 6 };

// What lies in other regions or slots never meets.
static bool meets(const struct operand *a, const struct operand *b)
{
    if (a->region == REGION_NONE || a->region != b->region)
        return false;
    if (a->region != REGION_ARENA && a->slot != b->slot)
        return false;
    return a->offset < b->offset + vk_operand_bytes(b) &&
           b->offset < a->offset + vk_operand_bytes(a);
}

static bool is_same(const struct operand *a, const struct operand *b)
{
    return a->region == b->region && a->slot == b->slot &&
           a->offset == b->offset && memcmp(a->ne, b->ne, sizeof(a->ne)) == 0;
}

static bool writes(const struct instr *in, const struct operand *o)
{
    for (int i = 0; i < in->n_out; i++)
        if (meets(&in->out[i], o))
            return true;
    return meets(&in->scratch, o);
}

static bool reads(const struct instr *in, const struct operand *o)
{
    for (int i = 0; i < in->n_in; i++)
        if (meets(&in->in[i], o))
            return true;
    return false;
}

static bool writes_an_input(const struct instr *in, const struct instr *of)
{
    for (int i = 0; i < of->n_in; i++)
        if (of->in[i].region != REGION_WEIGHT && writes(in, &of->in[i]))
            return true;
    return false;
}

// Does `later` add to what `first` gives, in its place, and is that all that
// happens to it?
static bool is_sum_of(const struct instr *first, const struct instr *later)
{
    return later->op == OP_matmul && later->n_in == 3 &&
           is_same(&first->out[0], &later->in[2]) &&
           is_same(&first->out[0], &later->out[0]);
}

static bool uses(const struct instr *in, const struct operand *o)
{
    return reads(in, o) || writes(in, o);
}

// When `later` runs, what `first` reads must still be there, but for what it
// adds to, which y may lie upon.
static bool keeps_inputs(const struct instr *later, const struct instr *first)
{
    if (reads(later, &first->scratch) || meets(&later->out[0], &first->scratch))
        return false;
    for (int i = 0; i < first->n_in; i++) {
        const struct operand *o = &first->in[i];
        if (o->region == REGION_WEIGHT)
            continue;
        if (meets(&later->scratch, o))
            return false;
        if (meets(&later->out[0], o) && (i != 2 || !is_same(&later->out[0], o)))
            return false;
    }
    return true;
}

static bool is_on_device(const struct instr *in)
{
    return in->kernel != VK_KERNEL_CPU && vk_kernel_of((enum op) in->op);
}

// The instruction that adds to what `i` gives, or `count`.
static uint32_t partner_of(const struct instr *instrs, uint32_t i,
                           uint32_t count)
{
    const struct instr *first = &instrs[i];

    for (uint32_t j = i + 1; j < count && j <= i + LOOK_AHEAD; j++) {
        const struct instr *in = &instrs[j];
        if (!is_on_device(in) || in->is_tail != first->is_tail)
            return count;
        if (is_sum_of(first, in))
            return keeps_inputs(in, first) ? j : count;
        if (writes_an_input(in, first) || uses(in, &first->out[0]) ||
            uses(in, &first->scratch))
            return count;
    }
    return count;
}

// Does nobody read `o` from instruction i on until something else lies there?
static bool is_over(const struct operand *o, const struct instr *instrs,
                    uint32_t i, uint32_t count)
{
    for (; i < count; i++) {
        if (reads(&instrs[i], o))
            return false;
        if (writes(&instrs[i], o))
            return true;
    }
    return true;
}

// Does `in` read the noise of `first` where it can make it, and only there?
static bool takes_noise(const struct device *dev, const struct instr *in,
                        const struct instr *first)
{
    const struct operand *noise = &first->out[0];

    if (!is_on_device(in) || in->is_tail != first->is_tail ||
        !vk_noise_folds(dev, first, in) || !is_same(&in->in[1], noise) ||
        meets(&in->in[0], noise) || meets(&in->in[2], noise))
        return false;
    // A sum is added where what learns lies.
    return first->op == OP_perturb || is_same(&in->in[0], &first->in[0]);
}

// The instruction in which the noise that `i` makes is used up, or `count`.
static uint32_t user_of(const struct device *dev, const struct instr *instrs,
                        uint32_t i, uint32_t count)
{
    const struct instr *first = &instrs[i];
    const struct operand *noise = &first->out[0];

    for (uint32_t j = i + 1; j < count; j++) {
        const struct instr *in = &instrs[j];
        if (reads(in, noise))
            return takes_noise(dev, in, first) &&
                           is_over(noise, instrs, j + 1, count)
                       ? j
                       : count;
        if (writes(in, noise) || writes_an_input(in, first))
            return count;
    }
    return count;
}

static void fold(uint32_t *folds, uint32_t i, uint32_t j)
{
    folds[i] = VK_FOLD_SKIP;
    folds[j] = 1 + i;
}

void vk_fold_find(uint32_t *folds, struct device *dev,
                  const struct instr *instrs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const enum op op = (enum op) instrs[i].op;
        if (folds[i] || !is_on_device(&instrs[i]))
            continue;
        if (op == OP_perturb || op == OP_noise_sum) {
            const uint32_t j = user_of(dev, instrs, i, count);
            if (j < count)
                fold(folds, i, j);
        }
        if (op == OP_matmul) {
            const uint32_t j = partner_of(instrs, i, count);
            if (j < count && vk_product_folds(dev, &instrs[i], &instrs[j]))
                fold(folds, i, j);
        }
    }
}
