// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_clock.h"
#include "engine/vulkan/vk_host.h"
#include "engine/vulkan/vk_profile.h"
#include "engine/vulkan/vk_waves.h"

#include "engine/base/clock.h"

#include <string.h>
#include <time.h>

/*
 * Submissions are slices: as many dispatches, or rows of workgroups of one, as
 * are expected to take dev->slice_ns. What a shader's unit of work takes is
 * learned from when submissions end. Whoever else uses the device waits for a
 * slice at most, and so does `stop`.
 */
struct cursor {
    const struct prepared *p;
    uint32_t item; // or its place in p->waves
    uint32_t end;
    uint32_t done; // workgroups of `item`, along the dimension that is cut
    // Within a window that runs in waves: where it begins and ends.
    uint32_t wave_first, wave_end;
    bool must_wait; // the next dispatch: a window begins, or has ended
};

static bool is_in_waves(const struct cursor *c)
{
    return c->item >= c->wave_first && c->item < c->wave_end;
}

static const struct vk_item *item_at(const struct cursor *c)
{
    const uint32_t n = c->p->list.n;
    const uint32_t i = is_in_waves(c) ? c->p->waves->order[c->item] : c->item;

    return i < n ? &c->p->list.items[i] : &c->p->waves->joined[i - n];
}

static void go_on(struct cursor *c)
{
    do
        c->item++;
    while (is_in_waves(c) && c->p->waves->order[c->item] == VK_WAVES_NOTHING);
}

// The dimension that has the most workgroups is the one that is cut.
static int cut_of(const struct vk_item *it)
{
    int d = 0;

    for (int i = 1; i < 3; i++)
        if (it->groups[i] > it->groups[d])
            d = i;
    return d;
}

static void record_wait(struct device *dev, VkCommandBuffer cmd)
{
    const VkMemoryBarrier b = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT,
    };
    dev->vk.CmdPipelineBarrier(cmd, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                               VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &b,
                               0, NULL, 0, NULL);
}

struct slice {
    struct vk_flight *flight;
    double ns;    // expected
    double limit; // of that
    VkPipeline bound;
    uint32_t n; // dispatches
    struct {
        struct vk_pipeline *pipeline;
        double work;
    } parts[64]; // what it is made of, by shader
    uint32_t n_parts;
};

static void note_part(struct slice *s, struct vk_pipeline *p, double work)
{
    for (uint32_t i = 0; i < s->n_parts; i++)
        if (s->parts[i].pipeline == p) {
            s->parts[i].work += work;
            return;
        }
    s->parts[s->n_parts].pipeline = p;
    s->parts[s->n_parts++].work = work;
}

// How many of `left` workgroups along the cut fit; at least one into an empty
// slice.
static uint32_t fits(const struct device *dev, const struct slice *s,
                     const struct vk_item *it, uint32_t all, uint32_t left)
{
    const double rate = it->pipeline->ns_per_work;
    double room = s->limit - s->ns;

    if (rate <= 0) {
        // Nothing is known: alone, and little of it when others may wait.
        if (s->n > 0)
            return 0;
        const uint32_t few = dev->slice_ns > 10e6 ? left : all / 16 + 1;
        return few < left ? few : left;
    }
    const double each = it->work * rate / all;
    if (each * left <= room)
        return left;
    // The first slices are short, but nothing is cut for that.
    if (s->limit < dev->slice_ns) {
        if (s->n > 0)
            return 0;
        room = dev->slice_ns;
    }
    if (each * left <= room)
        return left;
    const double n = room / each;
    if (n >= 1)
        return (uint32_t) n;
    return s->n == 0 ? 1 : 0;
}

// What items [from, end) are expected to take; 0: nobody knows.
static double expected_ns(const struct prepared *p, uint32_t from, uint32_t end)
{
    double ns = 0;

    for (uint32_t i = from; i < end; i++) {
        const struct vk_item *it = &p->list.items[i];
        if (it->pipeline->ns_per_work <= 0)
            return 0;
        ns += it->work * it->pipeline->ns_per_work;
    }
    return ns;
}

// Where a window begins, it runs in waves if it is all to run and takes no more
// than a slice: nobody can come between.
static void look_for_waves(const struct device *dev, struct cursor *c)
{
    const struct prepared *p = c->p;
    const uint32_t i = p->list.items[c->item].instr;

    if (c->done > 0 || is_in_waves(c))
        return;
    c->must_wait |= c->wave_end > 0 && c->item == c->wave_end;
    c->wave_first = c->wave_end = 0;
    if (c->item != p->first[i] || p->waves->ends[i] == 0)
        return;
    const uint32_t end = p->first[p->waves->ends[i]];
    const double ns =
        end <= c->end ? expected_ns(p, c->item, end) : dev->slice_ns + 1;
    if (ns <= 0 || ns > dev->slice_ns || vk_profile_is_serial(dev) ||
        vk_clock_runs(dev))
        return;
    c->must_wait = true;
    c->wave_first = c->item;
    c->wave_end = end;
}

// Adds what fits of the next dispatch; false when the slice is full.
static bool add_next(struct device *dev, struct slice *s, struct cursor *c)
{
    look_for_waves(dev, c);
    const struct vk_item *it = item_at(c);
    const int cut = cut_of(it);
    const uint32_t all = it->groups[cut];
    const uint32_t from = c->done;
    const uint32_t n = fits(dev, s, it, all, all - from);

    if (n == 0 || s->n_parts == 64 || s->n >= 4096)
        return false;
    uint32_t base[3] = {0, 0, 0};
    uint32_t groups[3] = {it->groups[0], it->groups[1], it->groups[2]};
    base[cut] = from;
    groups[cut] = n;
    const bool waits =
        c->must_wait || vk_profile_is_serial(dev) ||
        (vk_clock_runs(dev) && c->item == c->p->first[it->instr]) ||
        (is_in_waves(c) ? c->p->waves->waits[c->item] : it->waits);
    c->must_wait = false;
    vk_clock_next(dev, s->flight->cmd, it->instr);
    if (waits && from == 0 && s->n > 0)
        record_wait(dev, s->flight->cmd);
    vk_profile_dispatch(dev, waits);
    if (s->bound != it->pipeline->handle)
        dev->vk.CmdBindPipeline(s->flight->cmd, VK_PIPELINE_BIND_POINT_COMPUTE,
                                it->pipeline->handle);
    s->bound = it->pipeline->handle;
    dev->vk.CmdPushConstants(s->flight->cmd, dev->layout,
                             VK_SHADER_STAGE_COMPUTE_BIT, 0, it->push_bytes,
                             it->push);
    vk_profile_mark(dev, s->flight->cmd, it, true);
    dev->vk.CmdDispatchBase(s->flight->cmd, base[0], base[1], base[2],
                            groups[0], groups[1], groups[2]);
    vk_profile_mark(dev, s->flight->cmd, it, false);
    const double work = it->work * n / all;
    note_part(s, it->pipeline, work);
    s->ns += work * it->pipeline->ns_per_work;
    s->n++;
    c->done += n;
    if (c->done == all) {
        c->done = 0;
        go_on(c);
    }
    // What nothing is known of stays alone.
    return it->pipeline->ns_per_work > 0;
}

// What a slice took changes what is expected of its shaders, each by its share.
static void learn(struct slice *s, double ns)
{
    if (ns <= 0)
        return;
    for (uint32_t i = 0; i < s->n_parts; i++) {
        struct vk_pipeline *p = s->parts[i].pipeline;
        if (p->ns_per_work <= 0) {
            p->ns_per_work = ns / s->parts[i].work;
            continue;
        }
        const double share = s->parts[i].work * p->ns_per_work / s->ns;
        double factor = 1 + share * 0.5 * (ns / s->ns - 1);
        factor = factor < 0.25 ? 0.25 : factor > 4 ? 4 : factor;
        p->ns_per_work *= factor;
    }
}

static void pause_after(const struct device *dev, double ns)
{
    const double gap = ns * dev->gap / 100;
    const struct timespec t = {(time_t) (gap / 1e9), (long) gap % 1000000000};

    if (dev->gap > 0)
        (void) nanosleep(&t, NULL);
}

// Waits for the slice that `f` carries and learns from it.
static int finish(struct device *dev, struct slice *s)
{
    if (!s->flight || s->flight->value == 0)
        return 0;
    const uint64_t before = dev->done_ns;
    const int rc = vk_wait(dev, s->flight);
    if (rc < 0)
        return rc;
    const uint64_t from =
        s->flight->submitted_ns > before ? s->flight->submitted_ns : before;
    const double ns = (double) (dev->done_ns - from);
    learn(s, ns);
    pause_after(dev, ns);
    s->flight = NULL;
    return 0;
}

// Of slice `turn` of a run. Where slices follow each other, the first ones are
// short: the device begins while the others are still recorded.
static double limit_of(const struct device *dev, uint32_t turn)
{
    const double first_ns = 0.25e6;

    return dev->depth == 1 || turn > 10 ||
                   first_ns * (1 << turn) > dev->slice_ns
               ? dev->slice_ns
               : first_ns * (1 << turn);
}

static int send(struct device *dev, struct slice *s, struct cursor *c,
                uint32_t turn)
{
    int rc;

    memset(s, 0, sizeof(*s));
    s->limit = limit_of(dev, turn);
    if ((rc = vk_begin(&s->flight, dev)) < 0)
        return rc;
    const uint64_t begin = vk_profile_begin(dev);
    vk_copies_record(dev, s->flight->cmd);
    // What the slice before has written is there for this one.
    record_wait(dev, s->flight->cmd);
    vk_clock_begin(dev, s->flight->cmd);
    while (c->item < c->end && c->p->list.items[c->item].pipeline &&
           add_next(dev, s, c))
        ;
    vk_clock_end(dev, s->flight->cmd);
    vk_profile_end(dev, VK_DOING_RECORD, begin);
    return vk_submit(dev, s->flight);
}

static bool is_pure(const struct prepared *p, uint32_t instr)
{
    const struct instr *in = &p->instrs[instr];

    for (int o = 0; o < in->n_out; o++)
        for (int i = 0; i < in->n_in; i++)
            if (in->out[o].region != REGION_NONE &&
                in->out[o].region == in->in[i].region &&
                in->out[o].slot == in->in[i].slot &&
                in->out[o].offset == in->in[i].offset)
                return false;
    return true;
}

// May the program be left here? Before an instruction that is no tail, or
// within one that can begin again.
static bool may_stop(const struct device *dev, const struct cursor *c)
{
    if (!dev->stop || !atomic_load(dev->stop) || c->item >= c->end ||
        (is_in_waves(c) && (c->item > c->wave_first || c->done > 0)))
        return false;
    const struct prepared *p = c->p;
    const uint32_t i = p->list.items[c->item].instr;
    if (p->instrs[i].is_tail)
        return false;
    const bool at_start = c->item == p->first[i] && c->done == 0;
    return at_start || is_pure(p, i);
}

// Everything that is on its way.
static int finish_all(struct device *dev, struct slice slices[VK_FLIGHTS])
{
    int rc = 0;

    for (uint32_t i = 0; i < VK_FLIGHTS && rc >= 0; i++)
        rc = finish(dev, &slices[i]);
    return rc;
}

// An instruction of the CPU, once all before it is done. 1, or 0: stopped.
static int run_on_cpu(struct device *dev, struct slice slices[VK_FLIGHTS],
                      struct cursor *c)
{
    const uint32_t i = c->p->list.items[c->item].instr;
    int rc = finish_all(dev, slices);

    if (rc >= 0)
        rc = vk_flush(dev);
    const uint64_t begin = clock_monotonic_ns();
    if (rc >= 0)
        rc = vk_host_run(c->p->host, &c->p->instrs[i]);
    vk_clock_add(dev, i, clock_monotonic_ns() - begin);
    if (rc == 1)
        c->item++;
    return rc;
}

int vk_run(struct device *dev, const struct prepared *p, uint32_t first,
           uint32_t count)
{
    struct slice slices[VK_FLIGHTS];
    struct cursor c = {.p = p,
                       .item = p->first[first],
                       .end = p->first[first + count]};
    uint32_t turn = 0;
    bool stopped = false;
    int rc = 0;

    memset(slices, 0, sizeof(slices));
    while (rc >= 0 && c.item < c.end && !(stopped = may_stop(dev, &c))) {
        // Slices may come in another number from here on.
        if ((vk_behave(dev) || vk_clock_is_full(dev)) &&
            (rc = finish_all(dev, slices)) < 0)
            break;
        if (vk_clock_is_full(dev))
            vk_clock_collect(dev);
        struct slice *s = &slices[turn % dev->depth];
        if (!p->list.items[c.item].pipeline) {
            rc = run_on_cpu(dev, slices, &c);
            stopped = rc == 0;
            if (stopped)
                break;
            continue;
        }
        if ((rc = finish(dev, s)) >= 0)
            rc = send(dev, s, &c, turn);
        turn++;
    }
    for (uint32_t i = 0; i < dev->depth && rc >= 0; i++)
        rc = finish(dev, &slices[(turn + i) % dev->depth]);
    if (rc >= 0)
        rc = vk_wait_all(dev);
    vk_profile_collect(dev);
    if (rc < 0)
        return rc;
    vk_clock_collect(dev);
    if (stopped)
        return (int) (p->list.items[c.item].instr - first);
    return (int) count;
}
