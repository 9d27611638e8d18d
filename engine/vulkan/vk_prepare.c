// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_prepare.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/vulkan/vk_adamw.h"
#include "engine/vulkan/vk_fold.h"
#include "engine/vulkan/vk_host.h"
#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"
#include "engine/vulkan/vk_packs.h"
#include "engine/vulkan/vk_product.h"
#include "engine/vulkan/vk_waves.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * What instructions since the last wait have read and written: the next one
 * waits if it meets any of it in a way that counts.
 */
enum { SPANS_MAX = 512 };

struct vk_hazards {
    struct vk_span reads[SPANS_MAX];
    struct vk_span writes[SPANS_MAX];
    uint32_t n_reads;
    uint32_t n_writes;
};

static bool meets(const struct vk_span *spans, uint32_t n,
                  const struct vk_span *s)
{
    for (uint32_t i = 0; i < n; i++)
        if (spans[i].from < s->to && s->from < spans[i].to)
            return true;
    return false;
}

static const struct binding *slot_of(const struct bindings *b,
                                     const struct operand *o)
{
    return o->region == REGION_STATE ? &b->states[o->slot]
                                     : &b->weights[o->slot];
}

static VkDeviceAddress address_of(const struct bindings *b,
                                  const struct operand *o)
{
    if (o->region == REGION_NONE)
        return 0;
    if (o->region == REGION_ARENA)
        return b->arena->block.address + o->offset;
    const struct binding *s = slot_of(b, o);
    return s->buffer->block.address + s->offset + o->offset;
}

static bool span_of(struct vk_span *out, const struct bindings *b,
                    const struct operand *o)
{
    if (o->region == REGION_NONE || o->region == REGION_WEIGHT)
        return false;
    out->from = address_of(b, o);
    out->to = out->from + vk_operand_bytes(o);
    return true;
}

// What the other one would have made, and does not.
static bool is_unmade(const struct instr *fold, const struct operand *o)
{
    const struct operand *y = &fold->out[0];

    return (fold->op == OP_perturb || fold->op == OP_noise_sum) &&
           y->region == o->region && y->offset == o->offset;
}

void vk_spans_of(struct vk_spans *out, const struct instr *in,
                 const struct instr *fold, const struct bindings *b)
{
    memset(out, 0, sizeof(*out));
    for (int i = 0; i < in->n_in; i++)
        if (!fold || !is_unmade(fold, &in->in[i]))
            out->n_reads += span_of(&out->reads[out->n_reads], b, &in->in[i]);
    for (int i = 0; fold && i < fold->n_in; i++)
        out->n_reads += span_of(&out->reads[out->n_reads], b, &fold->in[i]);
    for (int i = 0; i < in->n_out; i++)
        out->n_writes += span_of(&out->writes[out->n_writes], b, &in->out[i]);
    out->n_writes += span_of(&out->writes[out->n_writes], b, &in->scratch);
    if (fold)
        out->n_writes +=
            span_of(&out->writes[out->n_writes], b, &fold->scratch);
}

static bool is_same_span(const struct vk_span *x, const struct vk_span *y)
{
    return x->from == y->from && x->to == y->to;
}

enum vk_order vk_spans_order(const struct vk_spans *x, const struct vk_spans *y)
{
    enum vk_order order = VK_ORDER_NONE;

    for (uint32_t i = 0; i < y->n_writes; i++)
        if (meets(x->writes, x->n_writes, &y->writes[i]) ||
            meets(x->reads, x->n_reads, &y->writes[i]))
            return VK_ORDER_ALL;
    for (uint32_t i = 0; i < x->n_writes; i++) {
        if (!meets(y->reads, y->n_reads, &x->writes[i]))
            continue;
        if (!is_same_span(&x->writes[i], &x->first_writes))
            return VK_ORDER_ALL;
        order = VK_ORDER_FIRST;
    }
    return order;
}

static void add(struct vk_span *spans, uint32_t *n, const struct vk_span *s)
{
    spans[(*n)++] = *s;
}

// Must an instruction that does this wait for those before it? Notes it.
static bool must_wait(struct vk_hazards *h, const struct vk_spans *s)
{
    // And what vk_touch() adds.
    bool waits = h->n_reads + VK_READS_MAX > SPANS_MAX ||
                 h->n_writes + VK_WRITES_MAX > SPANS_MAX;

    for (uint32_t i = 0; i < s->n_reads && !waits; i++)
        waits = meets(h->writes, h->n_writes, &s->reads[i]);
    for (uint32_t i = 0; i < s->n_writes && !waits; i++)
        waits = meets(h->writes, h->n_writes, &s->writes[i]) ||
                meets(h->reads, h->n_reads, &s->writes[i]);
    if (waits)
        h->n_reads = h->n_writes = 0;
    for (uint32_t i = 0; i < s->n_reads; i++)
        add(h->reads, &h->n_reads, &s->reads[i]);
    for (uint32_t i = 0; i < s->n_writes; i++)
        add(h->writes, &h->n_writes, &s->writes[i]);
    return waits;
}

void vk_touch(struct vk_emit *e, VkDeviceAddress at, size_t bytes,
              bool is_write)
{
    struct vk_hazards *h = e->hazards;
    struct vk_spans *mine = e->spans;
    const struct vk_span s = {at, at + bytes};

    if (meets(h->writes, h->n_writes, &s) ||
        (is_write && meets(h->reads, h->n_reads, &s))) {
        e->must_wait = true;
        h->n_reads = h->n_writes = 0;
        (void) must_wait(h, mine);
    }
    assert(mine->n_reads < VK_READS_MAX && mine->n_writes < VK_WRITES_MAX);
    if (is_write) {
        add(h->writes, &h->n_writes, &s);
        add(mine->writes, &mine->n_writes, &s);
        if (e->is_first)
            mine->first_writes = s;
    } else {
        add(h->reads, &h->n_reads, &s);
        add(mine->reads, &mine->n_reads, &s);
    }
}

// What was packed of values that `in` has written is of old ones.
static void forget_packs(struct vk_packs *packs, const struct instr *in,
                         const struct bindings *b)
{
    struct vk_span s;

    for (int i = 0; i < in->n_out; i++)
        if (span_of(&s, b, &in->out[i]))
            vk_packs_forget(packs, s.from, s.to);
    if (span_of(&s, b, &in->scratch))
        vk_packs_forget(packs, s.from, s.to);
}

static int fail(struct vk_emit *e, int rc)
{
    if (e->rc >= 0)
        e->rc = rc;
    return e->rc;
}

struct vk_weight vk_weight_of(struct vk_emit *e, int i)
{
    const struct operand *o = &e->in->in[i];
    struct vk_weight w = {(enum dtype) o->dtype, 0, 0, 0};

    if (e->rc < 0 || o->region == REGION_NONE)
        return w;
    if (o->region != REGION_WEIGHT) {
        w.data = address_of(e->bindings, o);
        return w;
    }
    const struct binding *s = slot_of(e->bindings, o);
    if (!s->buffer->import) {
        w.data = address_of(e->bindings, o);
        return w;
    }
    const int rc =
        vk_import_weight(&w, s->buffer, s->offset + o->offset, o, e->err);
    if (rc < 0)
        fail(e, rc);
    return w;
}

VkDeviceAddress vk_in(struct vk_emit *e, int i)
{
    return vk_weight_of(e, i).data;
}

VkDeviceAddress vk_out(struct vk_emit *e, int i)
{
    return address_of(e->bindings, &e->in->out[i]);
}

VkDeviceAddress vk_scratch(struct vk_emit *e)
{
    return address_of(e->bindings, &e->in->scratch);
}

void vk_linear(uint32_t groups[3], uint64_t n)
{
    groups[0] = n < 1024 ? (uint32_t) n : 1024;
    groups[1] = (uint32_t) ((n + 1023) / 1024);
    groups[2] = 1;
}

void vk_parallel(struct vk_emit *e)
{
    e->is_parallel = true;
}

static struct vk_item *add_item(struct vk_emit *e)
{
    struct vk_list *l = e->list;

    if (l->n == l->size) {
        const uint32_t size = l->size ? l->size * 2 : 256;
        struct vk_item *items =
            fault_realloc(l->items, size * sizeof(*l->items));
        if (!items) {
            fail(e, error_set(e->err, -ENOMEM, "no memory for a program"));
            return NULL;
        }
        l->items = items;
        l->size = size;
    }
    struct vk_item *item = &l->items[l->n++];
    memset(item, 0, sizeof(*item));
    return item;
}

void vk_dispatch(struct vk_emit *e, const struct vk_dispatch *d)
{
    // The first one of an instruction waits for what that meets, whatever its
    // function says, and the others for those before them.
    const bool waits = e->must_wait || (!e->is_first && !e->is_parallel);
    struct vk_pipeline *pipeline;

    e->is_parallel = false;
    if (e->rc < 0 || !d->groups[0] || !d->groups[1] || !d->groups[2])
        return;
    const int rc = vk_pipeline_get(&pipeline, e->dev, d->shader, d->specs,
                                   d->n_specs, e->err);
    if (rc < 0) {
        fail(e, rc);
        return;
    }
    struct vk_item *item = add_item(e);
    if (!item)
        return;
    item->pipeline = pipeline;
    item->instr = e->instr;
    item->op = e->in->op;
    memcpy(item->groups, d->groups, sizeof(item->groups));
    item->work = d->work > 0
                     ? d->work
                     : (double) d->groups[0] * d->groups[1] * d->groups[2];
    item->waits = waits;
    e->must_wait = false;
    e->is_first = false;
    item->push_bytes = (uint8_t) d->push_bytes;
    memcpy(item->push, d->push, d->push_bytes);
}

static bool is_of_cpu(const struct instr *in, const struct vk_kernel *k)
{
    return !k || in->kernel == VK_KERNEL_CPU;
}

// All before it is done when it runs, and it is when the next one does.
static void add_host_item(struct vk_emit *e, struct prepared *p,
                          const struct bindings *b)
{
    if (!vk_host_supports(e->dev->host, e->in)) {
        e->rc = error_set(e->err, -ENOTSUP, "%s does not run on %.60s",
                          op_infos[e->in->op].name, e->dev->traits.name);
        return;
    }
    if (!p->host)
        e->rc = vk_host_views_create(&p->host, e->dev->host, p->instrs,
                                     p->n_instrs, b);
    struct vk_item *item = e->rc >= 0 ? add_item(e) : NULL;
    if (!item)
        return;
    item->instr = e->instr;
    item->op = e->in->op;
    item->groups[0] = item->groups[1] = item->groups[2] = 1;
}

static void emit_one(struct vk_emit *e, struct prepared *p, uint32_t i,
                     uint32_t fold)
{
    const struct instr *in = &p->instrs[i];
    const struct vk_kernel *k = vk_kernel_of((enum op) in->op);

    p->first[i] = p->list.n;
    if (fold == VK_FOLD_SKIP)
        return;
    e->in = in;
    e->instr = i;
    e->fold = fold > 0 ? &p->instrs[fold - 1] : NULL;
    vk_spans_of(e->spans, in, e->fold, e->bindings);
    e->must_wait |= must_wait(e->hazards, e->spans);
    e->is_first = true;
    if (is_of_cpu(in, k)) {
        add_host_item(e, p, e->bindings);
    } else {
        e->is_parallel = false;
        k->emit(e);
    }
    forget_packs(e->packs, in, e->bindings);
}

static size_t packs_bytes(const struct prepared *p)
{
    size_t most = 0;

    for (uint32_t i = 0; i < p->n_instrs; i++) {
        const size_t bytes = vk_matmul_packs(p->dev, &p->instrs[i]);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static uint32_t count_of(const struct prepared *p, enum op op)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n_instrs; i++)
        n += p->instrs[i].op == op;
    return n;
}

// `folds`: may products be joined? Only where all of them run as prepared.
static int emit_all(struct prepared *p, const struct bindings *b, bool folds,
                    struct error *err)
{
    struct vk_emit e = {.dev = p->dev,
                        .bindings = b,
                        .list = &p->list,
                        .hazards = fault_calloc(1, sizeof(*e.hazards)),
                        .err = err};
    uint32_t *with = fault_calloc(p->n_instrs + 1u, sizeof(*with));
    struct vk_spans *spans = fault_calloc(p->n_instrs + 1u, sizeof(*spans));

    if (!e.hazards || !with || !spans)
        e.rc = error_set(err, -ENOMEM, "no memory for a program");
    else
        e.rc = vk_packs_create(&p->packs, p->dev, packs_bytes(p), err);
    if (e.rc >= 0)
        e.rc = vk_adamw_create(&p->adamw, p->dev, count_of(p, OP_adamw), err);
    e.packs = p->packs;
    e.adamw = p->adamw;
    if (e.rc >= 0 && folds)
        vk_fold_find(with, p->dev, p->instrs, p->n_instrs);
    for (uint32_t i = 0; i < p->n_instrs && e.rc >= 0; i++) {
        e.spans = &spans[i];
        emit_one(&e, p, i, with[i]);
    }
    p->first[p->n_instrs] = p->list.n;
    if (e.rc >= 0 && vk_waves_create(&p->waves, p, spans) < 0)
        e.rc = error_set(err, -ENOMEM, "no memory for a program");
    if (e.rc >= 0 && (e.rc = vk_adamw_write(p->adamw, p->dev)) < 0)
        (void) error_set(err, e.rc, "%.60s failed", p->dev->traits.name);
    free(spans);
    free(with);
    free(e.hazards);
    return e.rc;
}

int vk_prepare(struct prepared **out, struct device *dev,
               const struct instr *instrs, uint32_t count,
               const struct bindings *b, bool folds, struct error *err)
{
    struct prepared *p = fault_calloc(1, sizeof(*p));

    if (!p)
        return error_set(err, -ENOMEM, "no memory for a program");
    p->dev = dev;
    p->instrs = instrs;
    p->n_instrs = count;
    p->first = fault_calloc(count + 1u, sizeof(*p->first));
    int rc = p->first ? emit_all(p, b, folds, err)
                      : error_set(err, -ENOMEM, "no memory for a program");
    if (rc < 0) {
        vk_release(p);
        return rc;
    }
    *out = p;
    return 0;
}

void vk_release(struct prepared *p)
{
    if (!p)
        return;
    vk_host_views_destroy(p->host);
    vk_waves_destroy(p->waves);
    vk_adamw_destroy(p->adamw, p->dev);
    vk_packs_destroy(p->packs);
    free(p->first);
    free(p->list.items);
    free(p);
}
