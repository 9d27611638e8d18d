// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_adamw.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    ADAMW_THREADS = 256,
    ADAMW_EACH = 2048,       // values that a workgroup updates
    ADAMW_ALONE = 128 << 10, // values whose squares each of them adds up
    ADAMW_PARTIALS = 256,    // sums of squares of larger tensors
};

// As the shader lays it out; see there.
struct adamw_tensor {
    VkDeviceAddress p, m, v, g, hyper, sums;
    uint32_t n;
    uint32_t each, part;
    uint32_t partials;
    float rate;
    uint32_t first, first_sum;
    uint32_t unused;
};

struct adamw_push {
    VkDeviceAddress table;
    uint32_t count;
    uint32_t base;
};

/*
 * A program's tensors that learn, in the order of its instructions: in memory
 * of the prepared program, so that one dispatch can do several.
 */
struct vk_adamw {
    struct vk_block block;
    uint32_t size, n;
    uint32_t groups, sum_groups; // of all so far
    struct adamw_tensor tensors[];
};

int vk_adamw_create(struct vk_adamw **out, struct device *dev, uint32_t n,
                    struct error *err)
{
    *out = NULL;
    if (n == 0)
        return 0;
    struct vk_adamw *t =
        fault_calloc(1, sizeof(*t) + n * sizeof(t->tensors[0]));
    if (!t)
        return error_set(err, -ENOMEM, "no memory for a program");
    t->size = n;
    const int rc =
        vk_block_create(&t->block, dev, n * sizeof(t->tensors[0]), &dev->local);
    if (rc < 0) {
        free(t);
        return error_set(err, rc, "no memory on %.60s for a table",
                         dev->traits.name);
    }
    *out = t;
    return 0;
}

int vk_adamw_write(struct vk_adamw *t, struct device *dev)
{
    return t ? vk_copy_in(dev, &t->block, 0, t->tensors,
                          t->n * sizeof(t->tensors[0]))
             : 0;
}

void vk_adamw_destroy(struct vk_adamw *t, struct device *dev)
{
    if (!t)
        return;
    // The table may still be on its way there.
    (void) vk_flush(dev);
    vk_block_destroy(&t->block, dev);
    free(t);
}

bool vk_adamw_join(struct vk_item *to, const struct vk_item *it)
{
    struct adamw_push push, other;

    if (to->op != OP_adamw || it->op != OP_adamw ||
        to->pipeline != it->pipeline)
        return false;
    memcpy(&push, to->push, sizeof(push));
    memcpy(&other, it->push, sizeof(other));
    if (push.table + push.count * sizeof(struct adamw_tensor) != other.table)
        return false;
    push.count += other.count;
    memcpy(to->push, &push, sizeof(push));
    // Its last line may be longer than its groups are; they end where the
    // others begin.
    vk_linear(to->groups, other.base - push.base +
                              (uint64_t) it->groups[0] * it->groups[1]);
    to->work += it->work;
    return true;
}

static void dispatch(struct vk_emit *e, uint32_t is_squares, uint32_t groups,
                     uint32_t base, double work)
{
    const struct vk_adamw *t = e->adamw;
    const struct adamw_tensor *last = &t->tensors[t->n - 1];
    const uint32_t specs[] = {ADAMW_THREADS, is_squares, last->g % 16 == 0};
    const struct adamw_push push = {
        .table = t->block.address + (t->n - 1) * sizeof(*last),
        .count = 1,
        .base = base,
    };
    struct vk_dispatch d = {
        .shader = VK_SHADER_adamw_f32,
        .specs = specs,
        .n_specs = 3,
        .push = &push,
        .push_bytes = sizeof(push),
        .work = work,
    };

    vk_linear(d.groups, groups);
    vk_dispatch(e, &d);
}

// Values of each partial sum of squares, by fours.
static uint32_t partial_of(uint32_t n)
{
    return vk_ceil(vk_ceil(n, ADAMW_PARTIALS), 4) * 4;
}

void vk_emit_adamw(struct vk_emit *e)
{
    struct vk_adamw *t = e->adamw;
    const float rate = e->in->attr.alpha;
    const uint32_t n = vk_values(e, &e->in->in[0]);
    // A value that is updated costs as much as eight whose squares are added.
    double work = 8.0 * n;

    if (e->rc < 0)
        return;
    assert(t && t->n < t->size);
    struct adamw_tensor *a = &t->tensors[t->n++];
    *a = (struct adamw_tensor){
        .p = vk_in(e, 0),
        .m = vk_in(e, 1),
        .v = vk_in(e, 2),
        .g = vk_in(e, 3),
        .hyper = vk_in(e, 4),
        .n = n,
        .each = ADAMW_EACH,
        .rate = rate != 0 ? rate : 1,
        .first = t->groups,
        .first_sum = t->sum_groups,
    };
    const uint32_t groups = vk_ceil(n, ADAMW_EACH);
    if (n > ADAMW_ALONE) {
        a->sums = vk_scratch(e);
        a->part = partial_of(n);
        a->partials = vk_ceil(n, a->part);
        dispatch(e, 1, a->partials, a->first_sum, n);
    } else {
        work += (double) n * groups;
    }
    dispatch(e, 0, groups, a->first, work);
    t->groups += groups;
    t->sum_groups += a->partials;
}

size_t vk_scratch_adamw(const struct device *dev, const struct instr *in)
{
    (void) dev;
    return vk_count(&in->in[0]) > ADAMW_ALONE ? ADAMW_PARTIALS * sizeof(float)
                                              : 0;
}
