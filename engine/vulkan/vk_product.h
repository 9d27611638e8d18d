// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Products
 *
 * What every operator that multiplies matrices asks for; emit_matmul.c chooses
 * how it is done. Sizes are below 2^31 values each.
 */

#include "engine/vulkan/vk_emit.h"

// Another product, of few columns, that is added: low.alpha * a (M,K) op(b),
// both f32, b turned as the large one's.
struct vk_low {
    VkDeviceAddress a, b;
    uint32_t k; // 0: none
    float alpha;
};

// y (M,N) = alpha * op(a) (M,K) (op(b) + op(d)) (K,N) + c (M,N)
struct vk_product {
    VkDeviceAddress y;  // may be c
    VkDeviceAddress a;  // f32; (K,M) when trans_a
    VkDeviceAddress d;  // f32, as b; or 0
    VkDeviceAddress c;  // or 0
    struct vk_weight b; // (N,K) when trans_b
    // Of a number of rows (u32, written by a dispatch before): y need not be
    // right from there on. 0: all rows matter.
    VkDeviceAddress live;
    VkDeviceAddress scratch; // vk_product_scratch()
    uint32_t m, n, k;
    // That many products, each behind the one before in y, a, b and c; b is
    // turned, a is not, and d and live are none. 0: one.
    uint32_t copies;
    float alpha;
    bool trans_a;
    bool trans_b;
    uint8_t precision; // enum precision: what may be rounded
    uint8_t family;    // instr.kernel; those that are not below: what is best
    bool has_packs;    // rows are packed into e->packs, not into scratch
    struct vk_low low; // only where vk_product_folds()
};

// Families that can be asked for, as numbers of instr.kernel.
enum vk_product_family {
    VK_PRODUCT_REG = 3, // no shared memory
    VK_PRODUCT_LDS = 4, // tiles in shared memory
    VK_PRODUCT_CM = 5,  // cooperative matrices, if they take it
    // The same with these tiles, not those of the rules.
    VK_PRODUCT_LDS_64 = 6,
    VK_PRODUCT_LDS_128 = 7,
    VK_PRODUCT_CM_64 = 8,
    VK_PRODUCT_CM_128 = 9,
    VK_PRODUCT_CM_256 = 10,
};
void vk_emit_product(struct vk_emit *e, const struct vk_product *p);
// Looks at sizes, types and forms, at no address.
size_t vk_product_scratch(const struct device *dev, const struct vk_product *p);

// Can a product and one that adds to it, or is added to, be done as one?
bool vk_product_folds(const struct device *dev, const struct instr *first,
                      const struct instr *later);
// Families that a timed table may choose of, on this device: how many. And is
// that of in->kernel one for this product, and another one than the rules'?
uint32_t vk_matmul_kernels(struct backend_kernel *out,
                           const struct device *dev);
bool vk_matmul_offers(const struct device *dev, const struct instr *in);
// What an instruction needs in e->packs, 0 if it does not use them.
size_t vk_matmul_packs(const struct device *dev, const struct instr *in);

// A weight's type in shaders/lib/dequant.glsl, and whether its lines of so many
// values can be read four at a time.
uint32_t vk_weight_code(enum dtype dtype);
bool vk_weight_by_4(const struct vk_weight *w, uint32_t cols);
// The type that a weight of the file has on the device.
enum dtype vk_stored_type(enum dtype dtype);

/*
 * Between the files of products
 */

// By cooperative matrices; false when they do not take it.
bool vk_emit_product_cm(struct vk_emit *e, const struct vk_product *p);
// 0 when they do not: of scratch, and of e->packs.
size_t vk_product_packs_cm(const struct device *dev,
                           const struct vk_product *p);
bool vk_product_takes_cm(const struct device *dev, const struct vk_product *p);
// Do they take both, in the same tiles?
bool vk_product_same_cm(const struct device *dev, const struct vk_product *p,
                        const struct vk_product *q);
// Is it known of the device that all subgroups have the same size?
bool vk_product_knows_cm(const struct device *dev);
size_t vk_product_scratch_cm(const struct device *dev,
                             const struct vk_product *p);
// Adds what parts of K gave, which lie in p->scratch.
void vk_emit_product_sum(struct vk_emit *e, const struct vk_product *p,
                         uint32_t n_parts);
