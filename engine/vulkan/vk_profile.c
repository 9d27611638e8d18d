// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_profile.h"

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
    VkQueryPool queries;
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

    if (!v || !*v || dev->traits.timestamp_ns <= 0)
        return;
    struct vk_profile *p = calloc(1, sizeof(*p));
    if (p &&
        dev->vk.CreateQueryPool(dev->device, &info, NULL, &p->queries) < 0) {
        free(p);
        p = NULL;
    }
    dev->profile = p;
}

void vk_profile_mark(struct device *dev, VkCommandBuffer cmd,
                     const struct vk_item *item, bool before)
{
    struct vk_profile *p = dev->profile;

    if (!p || (before && p->n_marks + 2 > MARKS_MAX) ||
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
    print(p);
    dev->vk.DestroyQueryPool(dev->device, p->queries, NULL);
    free(p);
    dev->profile = NULL;
}
