// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_profile.h"

#include "engine/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARKS_MAX = 16384, ROWS_MAX = 1024 };

struct row {
    const struct vk_pipeline *pipeline;
    uint32_t groups[3];
    uint8_t op;
    uint64_t n;
    double ns;
};

struct vk_profile {
    VkQueryPool queries;        // VK_NULL_HANDLE: only the host is watched
    uint64_t first_ns, last_ns; // of what the host did
    uint64_t n_dispatches, n_waits;
    struct {
        uint64_t n, ns;
    } doings[VK_DOING_COUNT];
    uint32_t n_marks; // of this collection
    bool is_reset;
    struct {
        const struct vk_item *item;
        uint8_t op;
    } items[MARKS_MAX / 2];
    struct row rows[ROWS_MAX];
    uint32_t n_rows;
};

void vk_profile_create(struct device *dev)
{
    const char *v = getenv("POCK_VK_PROFILE");
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = MARKS_MAX,
    };

    const bool is_host = v && strcmp(v, "host") == 0;

    if (!v || !*v || (!is_host && dev->traits.timestamp_ns <= 0))
        return;
    struct vk_profile *p = calloc(1, sizeof(*p));
    if (p && !is_host &&
        dev->vk.CreateQueryPool(dev->device, &info, NULL, &p->queries) < 0) {
        free(p);
        p = NULL;
    }
    dev->profile = p;
}

uint64_t vk_profile_begin(const struct device *dev)
{
    return dev->profile ? clock_monotonic_ns() : 0;
}

void vk_profile_end(struct device *dev, enum vk_doing doing, uint64_t begin)
{
    struct vk_profile *p = dev->profile;

    if (!p || begin == 0)
        return;
    p->last_ns = clock_monotonic_ns();
    if (p->first_ns == 0)
        p->first_ns = begin;
    p->doings[doing].n++;
    p->doings[doing].ns += p->last_ns - begin;
}

void vk_profile_dispatch(struct device *dev, bool waits)
{
    if (!dev->profile)
        return;
    dev->profile->n_dispatches++;
    dev->profile->n_waits += waits;
}

bool vk_profile_is_serial(const struct device *dev)
{
    return dev->profile && dev->profile->queries;
}

void vk_profile_mark(struct device *dev, VkCommandBuffer cmd,
                     const struct vk_item *item, bool before)
{
    struct vk_profile *p = dev->profile;

    if (!p || !p->queries || (before && p->n_marks + 2 > MARKS_MAX) ||
        (!before && p->n_marks % 2 == 0))
        return;
    if (!p->is_reset)
        dev->vk.CmdResetQueryPool(cmd, p->queries, 0, MARKS_MAX);
    p->is_reset = true;
    if (before)
        p->items[p->n_marks / 2].item = item;
    dev->vk.CmdWriteTimestamp(cmd, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                              p->queries, p->n_marks++);
}

static struct row *row_of(struct vk_profile *p, const struct vk_item *it)
{
    for (uint32_t i = 0; i < p->n_rows; i++)
        if (p->rows[i].pipeline == it->pipeline && p->rows[i].op == it->op &&
            memcmp(p->rows[i].groups, it->groups, sizeof(it->groups)) == 0)
            return &p->rows[i];
    if (p->n_rows == ROWS_MAX)
        return NULL;
    struct row *r = &p->rows[p->n_rows++];
    r->pipeline = it->pipeline;
    r->op = it->op;
    memcpy(r->groups, it->groups, sizeof(r->groups));
    return r;
}

void vk_profile_collect(struct device *dev)
{
    struct vk_profile *p = dev->profile;
    uint64_t t[2];

    if (!p || p->n_marks == 0)
        return;
    for (uint32_t i = 0; i + 1 < p->n_marks; i += 2) {
        struct row *r = row_of(p, p->items[i / 2].item);
        if (dev->vk.GetQueryPoolResults(dev->device, p->queries, i, 2,
                                        sizeof(t), t, 8,
                                        VK_QUERY_RESULT_64_BIT) < 0 ||
            !r)
            continue;
        r->n++;
        r->ns += (double) (t[1] - t[0]) * (double) dev->traits.timestamp_ns;
    }
    p->n_marks = 0;
    p->is_reset = false;
}

static int by_time(const void *a, const void *b)
{
    const struct row *x = a;
    const struct row *y = b;

    return (x->ns < y->ns) - (x->ns > y->ns);
}

static void print_host(const struct vk_profile *p)
{
    static const char *const names[VK_DOING_COUNT] = {
        [VK_DOING_RECORD] = "record",     [VK_DOING_SUBMIT] = "submit",
        [VK_DOING_WAIT] = "wait",         [VK_DOING_COPY_IN] = "copy in",
        [VK_DOING_COPY_OUT] = "copy out",
    };
    const double all = (double) (p->last_ns - p->first_ns);
    double known = 0;

    for (int i = 0; i < VK_DOING_COUNT; i++) {
        known += (double) p->doings[i].ns;
        (void) fprintf(stderr, "host: %-8s %8llu times %9.2f ms %5.1f %%\n",
                       names[i], (unsigned long long) p->doings[i].n,
                       (double) p->doings[i].ns * 1e-6,
                       100 * (double) p->doings[i].ns / all);
    }
    (void) fprintf(stderr,
                   "host: elsewhere %22.2f ms %5.1f %%; %llu dispatches, of "
                   "which %llu wait\n",
                   (all - known) * 1e-6, 100 * (all - known) / all,
                   (unsigned long long) p->n_dispatches,
                   (unsigned long long) p->n_waits);
}

static void print(struct vk_profile *p)
{
    double all = 0;

    qsort(p->rows, p->n_rows, sizeof(p->rows[0]), by_time);
    for (uint32_t i = 0; i < p->n_rows; i++)
        all += p->rows[i].ns;
    (void) fprintf(stderr,
                   "%8s %6s %9s %8s  op, shader, specialisation, groups\n",
                   "ms", "%", "times", "us");
    for (uint32_t i = 0; i < p->n_rows; i++) {
        const struct row *r = &p->rows[i];
        (void) fprintf(stderr, "%8.2f %6.2f %9llu %8.2f  %s %s", r->ns * 1e-6,
                       100 * r->ns / all, (unsigned long long) r->n,
                       r->ns * 1e-3 / (double) (r->n ? r->n : 1),
                       op_infos[r->op].name,
                       vk_shaders[r->pipeline->shader].name);
        for (uint32_t j = 0; j < r->pipeline->n_specs; j++)
            (void) fprintf(stderr, " %u", r->pipeline->specs[j]);
        (void) fprintf(stderr, " (%u %u %u)\n", r->groups[0], r->groups[1],
                       r->groups[2]);
    }
}

void vk_profile_destroy(struct device *dev)
{
    struct vk_profile *p = dev->profile;

    if (!p)
        return;
    print_host(p);
    if (p->queries) {
        print(p);
        dev->vk.DestroyQueryPool(dev->device, p->queries, NULL);
    }
    free(p);
    dev->profile = NULL;
}
