// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_features.h"

#include <stdlib.h>
#include <string.h>

static bool has_extension(const struct vk_api *vk, VkPhysicalDevice d,
                          const char *name)
{
    uint32_t n = 0;
    bool has = false;

    if (vk->EnumerateDeviceExtensionProperties(d, NULL, &n, NULL) < 0)
        return false;
    VkExtensionProperties *list = calloc(n + 1u, sizeof(*list));
    if (list && vk->EnumerateDeviceExtensionProperties(d, NULL, &n, list) >= 0)
        for (uint32_t i = 0; i < n && !has; i++)
            has = strcmp(list[i].extensionName, name) == 0;
    free(list);
    return has;
}

struct chain {
    VkPhysicalDeviceFeatures2 core;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coopmat;
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV coopmat2;
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bf16;
};

static void *push(void *head, void *node)
{
    VkBaseOutStructure *n = node;
    VkBaseOutStructure *h = head;

    n->pNext = h->pNext;
    h->pNext = n;
    return n;
}

static void ask(struct chain *c, const struct vk_api *vk, VkPhysicalDevice d)
{
    memset(c, 0, sizeof(*c));
    c->core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    c->v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
    c->v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    c->coopmat.sType =
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR;
    c->coopmat2.sType =
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV;
    c->bf16.sType =
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR;
    push(&c->core, &c->v11);
    push(&c->core, &c->v12);
    if (has_extension(vk, d, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME))
        push(&c->core, &c->coopmat);
    if (has_extension(vk, d, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME))
        push(&c->core, &c->coopmat2);
    if (has_extension(vk, d, VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME))
        push(&c->core, &c->bf16);
    vk->GetPhysicalDeviceFeatures2(d, &c->core);
}

// The largest size with f16 operands and f32 sums for one subgroup.
static void find_coopmat(struct vk_traits *t, const struct vk_api *vk,
                         VkPhysicalDevice d)
{
    VkCooperativeMatrixPropertiesKHR p[64];
    uint32_t n = 64;

    for (uint32_t i = 0; i < n; i++)
        p[i] = (VkCooperativeMatrixPropertiesKHR){
            .sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    t->has_coopmat = t->has_coopmat_bf16 = false;
    if (!vk->GetPhysicalDeviceCooperativeMatrixPropertiesKHR ||
        vk->GetPhysicalDeviceCooperativeMatrixPropertiesKHR(d, &n, p) < 0)
        return;
    for (uint32_t i = 0; i < n; i++) {
        if (p[i].scope != VK_SCOPE_SUBGROUP_KHR || p[i].AType != p[i].BType ||
            p[i].CType != VK_COMPONENT_TYPE_FLOAT32_KHR ||
            p[i].ResultType != VK_COMPONENT_TYPE_FLOAT32_KHR)
            continue;
        if (p[i].AType == VK_COMPONENT_TYPE_BFLOAT16_KHR)
            t->has_coopmat_bf16 = true;
        if (p[i].AType != VK_COMPONENT_TYPE_FLOAT16_KHR)
            continue;
        if (t->has_coopmat && p[i].MSize * p[i].NSize * p[i].KSize <=
                                  t->coopmat_m * t->coopmat_n * t->coopmat_k)
            continue;
        t->has_coopmat = true;
        t->coopmat_m = p[i].MSize;
        t->coopmat_n = p[i].NSize;
        t->coopmat_k = p[i].KSize;
    }
}

void vk_traits_init(struct vk_traits *t, const struct vk_api *vk,
                    VkPhysicalDevice d)
{
    enum { ARM = 0x13b5 };
    struct chain c;
    VkPhysicalDeviceVulkan11Properties v11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES};
    VkPhysicalDeviceProperties2 p =
        {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
         .pNext = &v11};

    memset(t, 0, sizeof(*t));
    vk->GetPhysicalDeviceProperties2(d, &p);
    const VkPhysicalDeviceLimits *l = &p.properties.limits;
    memcpy(t->name, p.properties.deviceName, sizeof(t->name));
    t->type = p.properties.deviceType;
    t->vendor = p.properties.vendorID;
    t->has_few_registers = t->vendor == ARM;
    t->driver = p.properties.driverVersion;
    t->api = p.properties.apiVersion;
    t->subgroup = v11.subgroupSize;
    t->has_subgroup_sum =
        v11.subgroupSize >= 4 &&
        v11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT &&
        v11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
    t->shared_bytes = l->maxComputeSharedMemorySize;
    t->max_workgroup = l->maxComputeWorkGroupInvocations;
    t->max_groups = l->maxComputeWorkGroupCount[0];
    t->timestamp_ns = l->timestampPeriod;
    memcpy(t->uuid, p.properties.pipelineCacheUUID, sizeof(t->uuid));

    ask(&c, vk, d);
    t->has_f16 = c.v12.shaderFloat16;
    t->has_storage16 = c.v11.storageBuffer16BitAccess;
    if (c.coopmat.cooperativeMatrix && t->has_f16 && t->has_storage16)
        find_coopmat(t, vk, d);
    t->has_coopmat_bf16 =
        t->has_coopmat_bf16 && c.bf16.shaderBFloat16CooperativeMatrix;
    t->has_coopmat2 = t->has_coopmat &&
                      c.coopmat2.cooperativeMatrixWorkgroupScope &&
                      c.coopmat2.cooperativeMatrixFlexibleDimensions &&
                      c.coopmat2.cooperativeMatrixTensorAddressing &&
                      c.coopmat2.cooperativeMatrixConversions &&
                      c.coopmat2.cooperativeMatrixPerElementOperations &&
                      c.coopmat2.cooperativeMatrixReductions &&
                      c.coopmat2.cooperativeMatrixBlockLoads;
}

static void add_extension(struct vk_features *f, const char *name)
{
    f->extensions[f->n_extensions++] = name;
}

void vk_features_init(struct vk_features *f, const struct vk_api *vk,
                      VkPhysicalDevice d, const struct vk_traits *t)
{
    struct chain has;

    ask(&has, vk, d);
    memset(f, 0, sizeof(*f));
    f->core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    f->core.features.shaderInt16 = has.core.features.shaderInt16;
    f->core.features.shaderInt64 = has.core.features.shaderInt64;
    f->v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
    f->v11.storageBuffer16BitAccess = has.v11.storageBuffer16BitAccess;
    f->v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    f->v12.bufferDeviceAddress = VK_TRUE;
    f->v12.timelineSemaphore = VK_TRUE;
    f->v12.vulkanMemoryModel = VK_TRUE;
    f->v12.vulkanMemoryModelDeviceScope = has.v12.vulkanMemoryModelDeviceScope;
    f->v12.shaderFloat16 = has.v12.shaderFloat16;
    f->v12.shaderInt8 = has.v12.shaderInt8;
    f->v12.storageBuffer8BitAccess = has.v12.storageBuffer8BitAccess;
    f->v12.scalarBlockLayout = has.v12.scalarBlockLayout;
    push(&f->core, &f->v11);
    push(&f->core, &f->v12);
    f->has_priority =
        has_extension(vk, d, VK_KHR_GLOBAL_PRIORITY_EXTENSION_NAME);
    if (f->has_priority)
        add_extension(f, VK_KHR_GLOBAL_PRIORITY_EXTENSION_NAME);
    if (t->has_coopmat) {
        add_extension(f, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
        f->coopmat = has.coopmat;
        f->coopmat.cooperativeMatrixRobustBufferAccess = VK_FALSE;
        push(&f->core, &f->coopmat);
    }
    if (t->has_coopmat2) {
        add_extension(f, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME);
        f->coopmat2 = has.coopmat2;
        push(&f->core, &f->coopmat2);
    }
    if (t->has_coopmat_bf16) {
        add_extension(f, VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME);
        f->bf16 = has.bf16;
        push(&f->core, &f->bf16);
    }
}

bool vk_queue_offers_low(const struct vk_api *vk, VkPhysicalDevice d,
                         uint32_t family)
{
    VkQueueFamilyGlobalPriorityPropertiesKHR priorities[16];
    VkQueueFamilyProperties2 families[16];
    uint32_t n = 16;

    for (uint32_t i = 0; i < n; i++) {
        priorities[i] = (VkQueueFamilyGlobalPriorityPropertiesKHR){
            .sType =
                VK_STRUCTURE_TYPE_QUEUE_FAMILY_GLOBAL_PRIORITY_PROPERTIES_KHR};
        families[i] = (VkQueueFamilyProperties2){
            .sType = VK_STRUCTURE_TYPE_QUEUE_FAMILY_PROPERTIES_2,
            .pNext = &priorities[i]};
    }
    vk->GetPhysicalDeviceQueueFamilyProperties2(d, &n, families);
    if (family >= n)
        return false;
    for (uint32_t i = 0; i < priorities[family].priorityCount; i++)
        if (priorities[family].priorities[i] ==
            VK_QUEUE_GLOBAL_PRIORITY_LOW_KHR)
            return true;
    return false;
}
