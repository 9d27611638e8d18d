// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Two instructions that are done as one
 *
 * LoRA adds a product of a few columns to one of a large weight: y = x W^T,
 * then y = z B^T + y; and backwards, where the small one comes first. As one
 * product whose sum is a little longer, y is written once and not read.
 *
 * Noise that one instruction alone reads is made there, and never stored:
 * perturbed copies of a factor in their products, and the sum of directions
 * where it is added to what learns.
 */

#include "engine/backend.h"

struct device;

#define VK_FOLD_SKIP UINT32_MAX

// For each of `count` instructions: 0, as it is; VK_FOLD_SKIP, another one does
// it as well; else 1 + the number of the earlier one that it does as well.
// `folds` is zero before.
void vk_fold_find(uint32_t *folds, struct device *dev,
                  const struct instr *instrs, uint32_t count);
