// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Waves
 *
 * Dispatches of neighbouring instructions that do not touch what the others
 * write may run side by side, and small ones leave a large device idle by
 * themselves. Windows of some instructions are laid out a second time: wave
 * after wave, each of all dispatches whose forerunners are in the waves before,
 * with one wait between two waves. What a window computes is the same either
 * way; but it cannot be left before its end, so that whoever runs it takes
 * instructions in their own order where a window would take too long.
 */

#include "engine/vulkan/vk_prepare.h"

#define VK_WAVES_NOTHING UINT32_MAX

struct vk_waves {
    // Of a window, in the places that are its own: numbers of items; from the
    // list's length on, of `joined`; VK_WAVES_NOTHING where it needs fewer.
    uint32_t *order;
    bool *waits;            // by place: the first of a wave
    uint32_t *ends;         // by instruction: where the window ends of which
                            // it has the first item; 0: of none
    struct vk_item *joined; // items that became one
    uint32_t n_joined;
};

// `spans`: of each instruction; not used after the call.
int vk_waves_create(struct vk_waves **out, const struct prepared *p,
                    const struct vk_spans *spans);
void vk_waves_destroy(struct vk_waves *w); // accepts NULL
