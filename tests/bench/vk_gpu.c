// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "vk_gemm.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What the headers of Debian 12 do not have; the values are of vk.xml.
#define TYPE_CM_FEATURES    1000506000
#define TYPE_CM_PROPERTIES  1000506001
#define TYPE_CM2_FEATURES   1000593000
#define TYPE_CM2_FLEXIBLE   1000593001
#define TYPE_CM2_PROPERTIES 1000593002
#define TYPE_BF16_FEATURES  1000141000
#define COMPONENT_BF16      1000141000

struct cm_features {
    VkStructureType type;
    void *next;
    VkBool32 matrix;
    VkBool32 robust;
};
struct cm_properties {
    VkStructureType type;
    void *next;
    uint32_t m, n, k, a, b, c, result;
    VkBool32 saturating;
    uint32_t scope;
};
struct cm2_features {
    VkStructureType type;
    void *next;
    VkBool32 workgroup, flexible, reductions, conversions, per_element, tensor,
        block_loads;
};
struct cm2_flexible {
    VkStructureType type;
    void *next;
    uint32_t m, n, k, a, b, c, result;
    VkBool32 saturating;
    uint32_t scope;
    uint32_t invocations;
};
struct cm2_properties {
    VkStructureType type;
    void *next;
    uint32_t max_workgroup, max_dimension, reserved_shared;
};
struct bf16_features {
    VkStructureType type;
    void *next;
    VkBool32 type_, dot, matrix;
};

#define FUNCTIONS(X)                            \
    X(vkGetPhysicalDeviceProperties2)           \
    X(vkGetPhysicalDeviceFeatures2)             \
    X(vkGetPhysicalDeviceMemoryProperties)      \
    X(vkGetPhysicalDeviceQueueFamilyProperties) \
    X(vkEnumeratePhysicalDevices)               \
    X(vkEnumerateDeviceExtensionProperties)     \
    X(vkCreateDevice)                           \
    X(vkDestroyDevice)                          \
    X(vkDestroyInstance)                        \
    X(vkGetDeviceQueue)                         \
    X(vkCreateCommandPool)                      \
    X(vkDestroyCommandPool)                     \
    X(vkCreateQueryPool)                        \
    X(vkDestroyQueryPool)                       \
    X(vkCreatePipelineLayout)                   \
    X(vkDestroyPipelineLayout)                  \
    X(vkCreateBuffer)                           \
    X(vkDestroyBuffer)                          \
    X(vkGetBufferMemoryRequirements)            \
    X(vkAllocateMemory)                         \
    X(vkFreeMemory)                             \
    X(vkBindBufferMemory)                       \
    X(vkMapMemory)                              \
    X(vkGetBufferDeviceAddress)                 \
    X(vkCreateShaderModule)                     \
    X(vkDestroyShaderModule)                    \
    X(vkCreateComputePipelines)                 \
    X(vkDestroyPipeline)                        \
    X(vkAllocateCommandBuffers)                 \
    X(vkFreeCommandBuffers)                     \
    X(vkBeginCommandBuffer)                     \
    X(vkEndCommandBuffer)                       \
    X(vkCmdBindPipeline)                        \
    X(vkCmdPushConstants)                       \
    X(vkCmdDispatch)                            \
    X(vkCmdPipelineBarrier)                     \
    X(vkCmdFillBuffer)                          \
    X(vkCmdCopyBuffer)                          \
    X(vkCmdResetQueryPool)                      \
    X(vkCmdWriteTimestamp)                      \
    X(vkQueueSubmit)                            \
    X(vkQueueWaitIdle)                          \
    X(vkGetQueryPoolResults)                    \
    X(vkGetPipelineExecutablePropertiesKHR)     \
    X(vkGetPipelineExecutableStatisticsKHR)
#define DECLARE(f) static PFN_##f f##_;
FUNCTIONS(DECLARE)
static PFN_vkGetInstanceProcAddr get_proc;

static int fail(const char *what, int code)
{
    fprintf(stderr, "vulkan: %s failed with %d\n", what, code);
    return -1;
}

#define TRY(call)                         \
    do {                                  \
        const VkResult r_ = (call);       \
        if (r_ != VK_SUCCESS)             \
            return fail(#call, (int) r_); \
    } while (0)

static int open_instance(struct gpu *g)
{
    void *lib = dlopen("libvulkan.so.1", RTLD_NOW);
    if (!lib)
        return fail("dlopen of libvulkan.so.1", 0);
    *(void **) &get_proc = dlsym(lib, "vkGetInstanceProcAddr");
    PFN_vkCreateInstance create =
        (PFN_vkCreateInstance) get_proc(NULL, "vkCreateInstance");
    const VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                   .apiVersion = VK_API_VERSION_1_3};
    const VkInstanceCreateInfo info =
        {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
         .pApplicationInfo = &app};
    TRY(create(&info, NULL, &g->instance));
#define RESOLVE(f) f##_ = (PFN_##f) get_proc(g->instance, #f);
    FUNCTIONS(RESOLVE)
    return 0;
}

static bool has_extension(const VkExtensionProperties *e, uint32_t n,
                          const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(e[i].extensionName, name) == 0)
            return true;
    return false;
}

static int open_device(struct gpu *g)
{
    static VkExtensionProperties found[512];
    const char *names[8];
    uint32_t n = 512, n_names = 0;
    vkEnumerateDeviceExtensionProperties_(g->physical, NULL, &n, found);
    g->has_cm = has_extension(found, n, "VK_KHR_cooperative_matrix");
    g->has_cm2 = has_extension(found, n, "VK_NV_cooperative_matrix2");
    g->has_bf16 = has_extension(found, n, "VK_KHR_shader_bfloat16");
    g->has_statistics =
        has_extension(found, n, "VK_KHR_pipeline_executable_properties");

    struct bf16_features bf16 = {TYPE_BF16_FEATURES, NULL, 0, 0, 0};
    struct cm2_features cm2 = {TYPE_CM2_FEATURES, NULL, 0, 0, 0, 0, 0, 0, 0};
    struct cm_features cm = {TYPE_CM_FEATURES, NULL, 0, 0};
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR stat = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
    VkPhysicalDeviceVulkan13Features v13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES};
    VkPhysicalDeviceVulkan12Features v12 =
        {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
         .pNext = &v13};
    VkPhysicalDeviceVulkan11Features v11 =
        {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
         .pNext = &v12};
    VkPhysicalDeviceFeatures2 all =
        {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &v11};
    void **tail = &v13.pNext;
#define WITH(has, s, name)                               \
    if (has) {                                           \
        *tail = &s;                                      \
        tail = (void **) ((char *) &s + sizeof(void *)); \
        names[n_names++] = name;                         \
    }
    WITH(g->has_cm, cm, "VK_KHR_cooperative_matrix")
    WITH(g->has_cm2, cm2, "VK_NV_cooperative_matrix2")
    WITH(g->has_bf16, bf16, "VK_KHR_shader_bfloat16")
    WITH(g->has_statistics, stat, "VK_KHR_pipeline_executable_properties")
    // All that there is, but for what makes loads slower.
    vkGetPhysicalDeviceFeatures2_(g->physical, &all);
    all.features.robustBufferAccess = VK_FALSE;
    v13.robustImageAccess = VK_FALSE;
    cm.robust = VK_FALSE;
    g->has_bf16 = g->has_bf16 && bf16.matrix;

    const float priority = 0.0f;
    const VkDeviceQueueCreateInfo queue =
        {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
         .queueCount = 1,
         .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType =
                                         VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = &all,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue,
                                     .enabledExtensionCount = n_names,
                                     .ppEnabledExtensionNames = names};
    TRY(vkCreateDevice_(g->physical, &info, NULL, &g->device));
    vkGetDeviceQueue_(g->device, 0, 0, &g->queue);
    return 0;
}

static int open_pools(struct gpu *g)
{
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
    const VkQueryPoolCreateInfo queries =
        {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
         .queryType = VK_QUERY_TYPE_TIMESTAMP,
         .queryCount = 2};
    const VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                       GPU_PUSH_MAX};
    const VkPipelineLayoutCreateInfo layout =
        {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
         .pushConstantRangeCount = 1,
         .pPushConstantRanges = &range};
    TRY(vkCreateCommandPool_(g->device, &pool, NULL, &g->pool));
    TRY(vkCreateQueryPool_(g->device, &queries, NULL, &g->queries));
    TRY(vkCreatePipelineLayout_(g->device, &layout, NULL, &g->layout));
    return 0;
}

int gpu_open(struct gpu *g, const char *name_part)
{
    VkPhysicalDevice found[8];
    uint32_t n = 8;

    *g = (struct gpu){0};
    if (open_instance(g) != 0)
        return -1;
    TRY(vkEnumeratePhysicalDevices_(g->instance, &n, found));
    for (uint32_t i = 0; i < n && !g->physical; i++) {
        VkPhysicalDeviceProperties2 p = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
        vkGetPhysicalDeviceProperties2_(found[i], &p);
        if (!strstr(p.properties.deviceName, name_part))
            continue;
        g->physical = found[i];
        g->ns_per_tick = (double) p.properties.limits.timestampPeriod;
        g->shared_bytes = p.properties.limits.maxComputeSharedMemorySize;
    }
    if (!g->physical)
        return fail("the search for a device of that name", (int) n);
    vkGetPhysicalDeviceMemoryProperties_(g->physical, &g->memory);
    return open_device(g) == 0 ? open_pools(g) : -1;
}

void gpu_close(struct gpu *g)
{
    if (g->device) {
        vkDestroyPipelineLayout_(g->device, g->layout, NULL);
        vkDestroyQueryPool_(g->device, g->queries, NULL);
        vkDestroyCommandPool_(g->device, g->pool, NULL);
        vkDestroyDevice_(g->device, NULL);
    }
    if (g->instance)
        vkDestroyInstance_(g->instance, NULL);
}

static const char *component(uint32_t c)
{
    static const char *const names[] = {"f16", "f32", "f64", "s8",
                                        "s16", "s32", "s64", "u8"};
    return c < 8 ? names[c] : c == COMPONENT_BF16 ? "bf16" : "other";
}

static void print_matrices(const struct gpu *g)
{
    typedef VkResult get_cm(VkPhysicalDevice, uint32_t *, void *);
    static struct cm_properties cm[128];
    static struct cm2_flexible flexible[256];
    uint32_t n = 128;

    get_cm *get = (get_cm *)
        get_proc(g->instance,
                 "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    for (uint32_t i = 0; i < n; i++)
        cm[i].type = TYPE_CM_PROPERTIES;
    if (g->has_cm && get && get(g->physical, &n, cm) >= 0)
        for (uint32_t i = 0; i < n; i++)
            printf("  cm %ux%ux%u %s %s -> %s scope %u\n", cm[i].m, cm[i].n,
                   cm[i].k, component(cm[i].a), component(cm[i].c),
                   component(cm[i].result), cm[i].scope);
    get = (get_cm *) get_proc(
        g->instance,
        "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV");
    n = 256;
    for (uint32_t i = 0; i < n; i++)
        flexible[i].type = TYPE_CM2_FLEXIBLE;
    if (g->has_cm2 && get && get(g->physical, &n, flexible) >= 0)
        for (uint32_t i = 0; i < n; i++)
            printf("  cm2 granularity %ux%ux%u %s %s -> %s scope %u, %u "
                   "invocations\n",
                   flexible[i].m, flexible[i].n, flexible[i].k,
                   component(flexible[i].a), component(flexible[i].c),
                   component(flexible[i].result), flexible[i].scope,
                   flexible[i].invocations);
}

void gpu_print(const struct gpu *g)
{
    struct cm2_properties cm2 = {.type = TYPE_CM2_PROPERTIES};
    VkPhysicalDeviceSubgroupProperties sub =
        {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
         .pNext = g->has_cm2 ? (void *) &cm2 : NULL};
    VkPhysicalDeviceProperties2 p =
        {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
         .pNext = &sub};
    vkGetPhysicalDeviceProperties2_(g->physical, &p);
    printf("%s: subgroup %u, shared %u KiB, %u invocations, cm %d, cm2 %d "
           "(workgroup %u, dimension %u, shared %u), bf16 %d\n",
           p.properties.deviceName, sub.subgroupSize,
           p.properties.limits.maxComputeSharedMemorySize / 1024,
           p.properties.limits.maxComputeWorkGroupInvocations, g->has_cm,
           g->has_cm2, cm2.max_workgroup, cm2.max_dimension,
           cm2.reserved_shared, g->has_bf16);
    for (uint32_t i = 0; i < g->memory.memoryHeapCount; i++)
        printf("  heap %u: %llu MiB\n", i,
               (unsigned long long) g->memory.memoryHeaps[i].size >> 20);
    print_matrices(g);
}

static int memory_type(const struct gpu *g, uint32_t bits, uint32_t wanted)
{
    for (uint32_t i = 0; i < g->memory.memoryTypeCount; i++)
        if (bits >> i & 1 &&
            (g->memory.memoryTypes[i].propertyFlags & wanted) == wanted)
            return (int) i;
    return -1;
}

int gpu_buffer_create(struct gpu *g, struct gpu_buffer *b, uint64_t size,
                      bool is_mapped)
{
    const VkBufferCreateInfo info =
        {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
         .size = size,
         .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                  VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                  VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                  VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT};
    VkMemoryRequirements needs;

    *b = (struct gpu_buffer){.size = size};
    TRY(vkCreateBuffer_(g->device, &info, NULL, &b->buffer));
    vkGetBufferMemoryRequirements_(g->device, b->buffer, &needs);
    const int type =
        memory_type(g, needs.memoryTypeBits,
                    is_mapped ? VK_MEMORY_PROPERTY_HOST_COHERENT_BIT |
                                    VK_MEMORY_PROPERTY_HOST_CACHED_BIT
                              : VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
    if (type < 0)
        return fail("the search for a memory type", type);
    const VkMemoryAllocateFlagsInfo flags =
        {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
         .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    const VkMemoryAllocateInfo alloc =
        {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
         .pNext = &flags,
         .allocationSize = needs.size,
         .memoryTypeIndex = (uint32_t) type};
    TRY(vkAllocateMemory_(g->device, &alloc, NULL, &b->memory));
    TRY(vkBindBufferMemory_(g->device, b->buffer, b->memory, 0));
    if (is_mapped)
        TRY(vkMapMemory_(g->device, b->memory, 0, VK_WHOLE_SIZE, 0,
                         &b->mapped));
    const VkBufferDeviceAddressInfo address =
        {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
         .buffer = b->buffer};
    b->address = vkGetBufferDeviceAddress_(g->device, &address);
    return 0;
}

void gpu_buffer_destroy(struct gpu *g, struct gpu_buffer *b)
{
    vkDestroyBuffer_(g->device, b->buffer, NULL);
    vkFreeMemory_(g->device, b->memory, NULL);
    *b = (struct gpu_buffer){0};
}

static int begin(struct gpu *g, VkCommandBuffer *cmd)
{
    const VkCommandBufferAllocateInfo alloc =
        {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
         .commandPool = g->pool,
         .commandBufferCount = 1};
    const VkCommandBufferBeginInfo info =
        {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
         .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    TRY(vkAllocateCommandBuffers_(g->device, &alloc, cmd));
    TRY(vkBeginCommandBuffer_(*cmd, &info));
    return 0;
}

static void barrier(VkCommandBuffer cmd)
{
    const VkMemoryBarrier all = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                 .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
                                 .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT |
                                                  VK_ACCESS_MEMORY_WRITE_BIT};
    vkCmdPipelineBarrier_(cmd, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                          VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, 0, 1, &all, 0,
                          NULL, 0, NULL);
}

static int submit(struct gpu *g, VkCommandBuffer cmd)
{
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &cmd};
    TRY(vkEndCommandBuffer_(cmd));
    TRY(vkQueueSubmit_(g->queue, 1, &info, VK_NULL_HANDLE));
    TRY(vkQueueWaitIdle_(g->queue));
    vkFreeCommandBuffers_(g->device, g->pool, 1, &cmd);
    return 0;
}

int gpu_copy(struct gpu *g, struct gpu_buffer *to, uint64_t to_at,
             struct gpu_buffer *from, uint64_t from_at, uint64_t size)
{
    const VkBufferCopy region = {from_at, to_at, size};
    VkCommandBuffer cmd;
    if (begin(g, &cmd) != 0)
        return -1;
    vkCmdCopyBuffer_(cmd, from->buffer, to->buffer, 1, &region);
    barrier(cmd);
    return submit(g, cmd);
}

int gpu_fill(struct gpu *g, struct gpu_buffer *b, uint32_t value)
{
    VkCommandBuffer cmd;
    if (begin(g, &cmd) != 0)
        return -1;
    vkCmdFillBuffer_(cmd, b->buffer, 0, VK_WHOLE_SIZE, value);
    barrier(cmd);
    return submit(g, cmd);
}

static void *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *size = (size_t) ftell(f);
    rewind(f);
    void *data = malloc(*size);
    if (data && fread(data, 1, *size, f) != *size) {
        free(data);
        data = NULL;
    }
    fclose(f);
    return data;
}

int gpu_kernel_create(struct gpu *g, struct gpu_kernel *k, const char *path,
                      const uint32_t *spec, uint32_t n_spec)
{
    VkSpecializationMapEntry entries[GPU_SPEC_MAX];
    size_t size;
    void *code = read_file(path, &size);

    *k = (struct gpu_kernel){0};
    if (!code) {
        fprintf(stderr, "%s cannot be read\n", path);
        return -1;
    }
    const VkShaderModuleCreateInfo module =
        {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
         .codeSize = size,
         .pCode = code};
    const VkResult r =
        vkCreateShaderModule_(g->device, &module, NULL, &k->module);
    free(code);
    TRY(r);
    for (uint32_t i = 0; i < n_spec; i++)
        entries[i] = (VkSpecializationMapEntry){i, 4 * i, 4};
    const VkSpecializationInfo values = {n_spec, entries, 4 * (size_t) n_spec,
                                         spec};
    const VkComputePipelineCreateInfo info =
        {.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
         .flags = g->has_statistics
                      ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR
                      : 0,
         .stage =
             {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
              .flags =
                  VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT,
              .stage = VK_SHADER_STAGE_COMPUTE_BIT,
              .module = k->module,
              .pName = "main",
              .pSpecializationInfo = &values},
         .layout = g->layout};
    TRY(vkCreateComputePipelines_(g->device, VK_NULL_HANDLE, 1, &info, NULL,
                                  &k->pipeline));
    return 0;
}

void gpu_kernel_destroy(struct gpu *g, struct gpu_kernel *k)
{
    vkDestroyPipeline_(g->device, k->pipeline, NULL);
    vkDestroyShaderModule_(g->device, k->module, NULL);
    *k = (struct gpu_kernel){0};
}

void gpu_kernel_print(const struct gpu *g, const struct gpu_kernel *k)
{
    VkPipelineExecutableStatisticKHR s[32];
    const VkPipelineExecutableInfoKHR info =
        {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
         .pipeline = k->pipeline};
    uint32_t n = 32;

    if (!g->has_statistics)
        return;
    for (uint32_t i = 0; i < n; i++)
        s[i] = (VkPipelineExecutableStatisticKHR){
            .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    if (vkGetPipelineExecutableStatisticsKHR_(g->device, &info, &n, s) < 0)
        return;
    printf(" [");
    for (uint32_t i = 0; i < n; i++)
        printf("%s%s %llu", i ? ", " : "", s[i].name,
               (unsigned long long) s[i].value.u64);
    printf("]");
}

int gpu_run(struct gpu *g, const struct gpu_call *calls, uint32_t n_calls,
            uint32_t repeats, double *ns)
{
    uint64_t ticks[2];
    VkCommandBuffer cmd;

    if (begin(g, &cmd) != 0)
        return -1;
    vkCmdResetQueryPool_(cmd, g->queries, 0, 2);
    vkCmdWriteTimestamp_(cmd, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, g->queries,
                         0);
    for (uint32_t r = 0; r < repeats; r++)
        for (uint32_t i = 0; i < n_calls; i++) {
            vkCmdBindPipeline_(cmd, VK_PIPELINE_BIND_POINT_COMPUTE,
                               calls[i].kernel->pipeline);
            vkCmdPushConstants_(cmd, g->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                calls[i].push_size, calls[i].push);
            vkCmdDispatch_(cmd, calls[i].groups[0], calls[i].groups[1],
                           calls[i].groups[2]);
            barrier(cmd);
        }
    vkCmdWriteTimestamp_(cmd, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, g->queries,
                         1);
    if (submit(g, cmd) != 0)
        return -1;
    TRY(vkGetQueryPoolResults_(g->device, g->queries, 0, 2, sizeof(ticks),
                               ticks, 8, VK_QUERY_RESULT_64_BIT));
    *ns = (double) (ticks[1] - ticks[0]) * g->ns_per_tick / repeats;
    return 0;
}
