// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants
 * 1. `order` is a permutation of all items that keeps each window's in its
 *    places, and those outside of windows where they are; but for items that
 *    were joined, in the place of the first.
 * 2. A window holds dispatches alone, and tails only behind what they end.
 * 3. An instruction's first dispatch is in a later wave than all of those
 *    before it in the window that it meets; the others follow as the list says.
 */

#include "engine/vulkan/vk_waves.h"

#include "engine/base/fault.h"
#include "engine/vulkan/vk_adamw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Instructions of a window: a block of a model, forth or back.
enum { WINDOW = 64 };

struct window {
    uint32_t first, end; // instructions
    struct {
        uint32_t first, end; // waves: its first, and the one behind its last
    } instrs[WINDOW];
    uint32_t *wave; // by item, from the window's first item on
    uint32_t n_waves;
};

// Does one begin here that is not left before its tails are done?
static bool has_tail(const struct prepared *p, uint32_t i)
{
    return !p->instrs[i].is_tail && i + 1 < p->n_instrs &&
           p->instrs[i + 1].is_tail;
}

static bool goes_on(const struct prepared *p, uint32_t first, uint32_t end)
{
    if (p->instrs[first].is_tail || has_tail(p, first))
        return p->instrs[end].is_tail;
    return !p->instrs[end].is_tail && !has_tail(p, end);
}

// In whole, from `first`: as far as instructions go together.
static uint32_t window_end(const struct prepared *p, uint32_t first)
{
    uint32_t end = first;

    while (end < p->n_instrs && end - first < WINDOW &&
           (end == first || goes_on(p, first, end))) {
        for (uint32_t i = p->first[end]; i < p->first[end + 1]; i++)
            if (!p->list.items[i].pipeline)
                return end;
        end++;
    }
    return end;
}

// Behind all in the window that instruction i meets.
static uint32_t first_wave(const struct window *w, const struct vk_spans *spans,
                           uint32_t i)
{
    uint32_t wave = 0;

    for (uint32_t j = w->first; j < i; j++) {
        const uint32_t first = w->instrs[j - w->first].first + 1;
        const uint32_t end = w->instrs[j - w->first].end;
        if (end <= wave)
            continue;
        switch (vk_spans_order(&spans[j], &spans[i])) {
        case VK_ORDER_NONE:
            break;
        case VK_ORDER_FIRST:
            wave = first > wave ? first : wave;
            break;
        case VK_ORDER_ALL:
            wave = end;
            break;
        }
    }
    return wave;
}

static void find_waves(struct window *w, const struct prepared *p,
                       const struct vk_spans *spans)
{
    const uint32_t base = p->first[w->first];

    w->n_waves = 0;
    for (uint32_t i = w->first; i < w->end; i++) {
        uint32_t wave = first_wave(w, spans, i);
        w->instrs[i - w->first].first = wave;
        for (uint32_t n = p->first[i]; n < p->first[i + 1]; n++) {
            wave += n > p->first[i] && p->list.items[n].waits;
            w->wave[n - base] = wave;
        }
        w->instrs[i - w->first].end = ++wave;
        if (wave > w->n_waves)
            w->n_waves = wave;
    }
}

// Joins item i to what stands before it in its wave, if that can be.
static bool join(struct vk_waves *out, uint32_t *before, uint32_t i,
                 const struct prepared *p)
{
    const uint32_t n = p->list.n;
    const struct vk_item *it = &p->list.items[i];
    struct vk_item both;

    if (*before >= n)
        return vk_adamw_join(&out->joined[*before - n], it);
    both = p->list.items[*before];
    if (!vk_adamw_join(&both, it))
        return false;
    out->joined[out->n_joined] = both;
    *before = n + out->n_joined++;
    return true;
}

// Wave after wave, each in the list's order.
static void lay_out(struct vk_waves *out, const struct window *w,
                    const struct prepared *p)
{
    const uint32_t base = p->first[w->first];
    const uint32_t n = p->first[w->end] - base;
    uint32_t at = base;

    memset(out->waits + base, 0, n * sizeof(*out->waits));
    for (uint32_t wave = 0; wave < w->n_waves; wave++) {
        const uint32_t from = at;
        for (uint32_t i = 0; i < n; i++)
            if (w->wave[i] == wave &&
                (at == from || !join(out, &out->order[at - 1], base + i, p)))
                out->order[at++] = base + i;
        if (at > from)
            out->waits[from] = true;
    }
    while (at < base + n)
        out->order[at++] = VK_WAVES_NOTHING;
}

static int add_windows(struct vk_waves *out, const struct prepared *p,
                       const struct vk_spans *spans)
{
    struct window *w = fault_calloc(1, sizeof(*w));
    int rc = -ENOMEM;

    if (!w)
        return -ENOMEM;
    w->wave = fault_calloc(p->list.n + 1u, sizeof(*w->wave));
    if (!w->wave)
        goto out;
    for (uint32_t i = 0; i < p->n_instrs; i = w->end) {
        w->first = i;
        w->end = window_end(p, i);
        if (w->end - w->first < 2) {
            w->end = i + 1;
            continue;
        }
        find_waves(w, p, spans);
        lay_out(out, w, p);
        // Those at its start may have no items: others do their work.
        if (p->first[w->end] > p->first[i])
            out->ends[p->list.items[p->first[i]].instr] = w->end;
    }
    rc = 0;

out:
    free(w->wave);
    free(w);
    return rc;
}

int vk_waves_create(struct vk_waves **out, const struct prepared *p,
                    const struct vk_spans *spans)
{
    struct vk_waves *w = fault_calloc(1, sizeof(*w));
    int rc = -ENOMEM;

    if (!w)
        return rc;
    w->order = fault_calloc(p->list.n + 1u, sizeof(*w->order));
    w->waits = fault_calloc(p->list.n + 1u, sizeof(*w->waits));
    w->ends = fault_calloc(p->n_instrs + 1u, sizeof(*w->ends));
    // Each is of two items at least.
    w->joined = fault_calloc(p->list.n / 2 + 1u, sizeof(*w->joined));
    if (!w->order || !w->waits || !w->ends || !w->joined)
        goto error;
    for (uint32_t i = 0; i < p->list.n; i++) {
        w->order[i] = i;
        w->waits[i] = p->list.items[i].waits;
    }
    if ((rc = add_windows(w, p, spans)) < 0)
        goto error;
    *out = w;
    return 0;

error:
    vk_waves_destroy(w);
    return rc;
}

void vk_waves_destroy(struct vk_waves *w)
{
    if (!w)
        return;
    free(w->order);
    free(w->waits);
    free(w->ends);
    free(w->joined);
    free(w);
}
