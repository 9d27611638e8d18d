// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_host.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"

#include <errno.h>
#include <stdlib.h>

// Devices and buffers of the CPU's backend are other structs of the same name:
// only passed on here.
struct vk_host {
    struct device *cpu;
};

struct view {
    struct buffer *buffer; // of the CPU's backend
    const struct buffer *of;
};

struct vk_host_views {
    struct device *cpu;
    struct bindings bindings;
    struct binding *slots; // weights, then states
    struct view *views;    // one for each buffer of the program
    uint32_t n_views;
};

int vk_host_create(struct vk_host **out, const struct device *dev,
                   struct error *err)
{
    const struct device_params params = {.stop = dev->stop};

    *out = NULL;
    if (!dev->local.is_mapped)
        return 0;
    struct vk_host *h = fault_calloc(1, sizeof(*h));
    if (!h)
        return error_set(err, -ENOMEM, "no memory for a device");
    const int rc = cpu_backend.open(&h->cpu, &params, err);
    if (rc < 0) {
        free(h);
        return rc;
    }
    *out = h;
    return 0;
}

void vk_host_destroy(struct vk_host *h)
{
    if (!h)
        return;
    cpu_backend.close(h->cpu);
    free(h);
}

bool vk_host_supports(const struct vk_host *h, const struct instr *in)
{
    return h && cpu_backend.supports(h->cpu, in);
}

size_t vk_host_scratch(const struct vk_host *h, const struct instr *in)
{
    return cpu_backend.scratch_bytes(h->cpu, in);
}

// The buffer as the CPU sees it, made when it is first met.
static int view_of(struct buffer **out, struct vk_host_views *v,
                   const struct buffer *buf)
{
    for (uint32_t i = 0; i < v->n_views; i++)
        if (v->views[i].of == buf) {
            *out = v->views[i].buffer;
            return 0;
        }
    const void *data = buf->import ? vk_import_data(buf) : buf->block.mapped;
    struct view *view = &v->views[v->n_views];
    const int rc =
        cpu_backend.buffer_import(&view->buffer, v->cpu, data, buf->bytes);
    if (rc < 0)
        return rc;
    view->of = buf;
    v->n_views++;
    *out = view->buffer;
    return 0;
}

static void count_slots(uint32_t n[2], const struct instr *in)
{
    for (int i = 0; i < in->n_in + in->n_out; i++) {
        const struct operand *o =
            i < in->n_in ? &in->in[i] : &in->out[i - in->n_in];
        if (o->region == REGION_WEIGHT && o->slot >= n[0])
            n[0] = o->slot + 1;
        if (o->region == REGION_STATE && o->slot >= n[1])
            n[1] = o->slot + 1;
    }
}

static int view_all(struct vk_host_views *v, const uint32_t n[2],
                    const struct bindings *b)
{
    int rc = view_of(&v->bindings.arena, v, b->arena);

    for (uint32_t i = 0; i < n[0] + n[1] && rc >= 0; i++) {
        const struct binding *from =
            i < n[0] ? &b->weights[i] : &b->states[i - n[0]];
        v->slots[i].offset = from->offset;
        if (from->buffer)
            rc = view_of(&v->slots[i].buffer, v, from->buffer);
    }
    return rc;
}

int vk_host_views_create(struct vk_host_views **out, struct vk_host *h,
                         const struct instr *instrs, uint32_t count,
                         const struct bindings *b)
{
    uint32_t n[2] = {0, 0};
    int rc = -ENOMEM;

    struct vk_host_views *v = fault_calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        count_slots(n, &instrs[i]);
    v->cpu = h->cpu;
    v->slots = fault_calloc(n[0] + n[1] + 1u, sizeof(*v->slots));
    v->views = fault_calloc(n[0] + n[1] + 1u, sizeof(*v->views));
    v->bindings.weights = v->slots;
    v->bindings.states = v->slots ? v->slots + n[0] : NULL;
    if (v->slots && v->views)
        rc = view_all(v, n, b);
    if (rc < 0) {
        vk_host_views_destroy(v);
        return rc;
    }
    *out = v;
    return 0;
}

void vk_host_views_destroy(struct vk_host_views *v)
{
    if (!v)
        return;
    for (uint32_t i = 0; i < v->n_views; i++)
        cpu_backend.buffer_destroy(v->views[i].buffer);
    free(v->views);
    free(v->slots);
    free(v);
}

int vk_host_run(struct vk_host_views *v, const struct instr *in)
{
    struct instr copy = *in;

    copy.kernel = 0;
    return cpu_backend.run(v->cpu, &copy, 1, &v->bindings);
}
