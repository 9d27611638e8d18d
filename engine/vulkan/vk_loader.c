// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "vulkan"
#include "engine/vulkan/vk_api.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";
static unsigned messages;

static const struct {
    VkResult result;
    int rc;
    const char *text;
} results[] = {
    {VK_ERROR_OUT_OF_HOST_MEMORY, -ENOMEM, "out of memory"},
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, -ENOMEM, "out of device memory"},
    {VK_ERROR_INCOMPATIBLE_DRIVER, -ENODEV, "there is no driver"},
    {VK_ERROR_INITIALIZATION_FAILED, -ENODEV, "the driver could not start"},
    {VK_ERROR_FEATURE_NOT_PRESENT, -ENOTSUP, "the driver lacks a feature"},
    {VK_ERROR_EXTENSION_NOT_PRESENT, -ENOTSUP, "the driver lacks an extension"},
    {VK_ERROR_DEVICE_LOST, -EIO, "the device was lost"},
    {VK_TIMEOUT, -EIO, "the device did not answer"},
};

int vk_errno(VkResult r)
{
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
        if (results[i].result == r)
            return results[i].rc;
    return -EIO;
}

const char *vk_result_text(VkResult r)
{
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
        if (results[i].result == r)
            return results[i].text;
    return "the driver failed";
}

unsigned vk_api_messages(void)
{
    return messages;
}

static VkBool32 VKAPI_PTR
on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
           VkDebugUtilsMessageTypeFlagsEXT types,
           const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void) severity;
    (void) types;
    (void) user;
    messages++;
    log_error("Vulkan validation: %s", data->pMessage);
    return VK_FALSE;
}

static bool wants_validation(void)
{
    const char *v = getenv("POCK_VK_VALIDATE");
    return v && *v && strcmp(v, "0") != 0;
}

static bool has_validation(const struct vk_api *vk)
{
    VkLayerProperties layers[64];
    uint32_t n = 64;

    if (vk->EnumerateInstanceLayerProperties(&n, layers) < 0)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(layers[i].layerName, validation_layer) == 0)
            return true;
    return false;
}

static const VkDebugUtilsMessengerCreateInfoEXT messenger = {
    .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
    .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
    .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
    .pfnUserCallback = on_message,
};

static VkResult create_instance(struct vk_api *vk)
{
    const char *const layer = validation_layer;
    const char *const extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    const VkValidationFeatureEnableEXT enables[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    const VkValidationFeaturesEXT validation = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = enables,
    };
    const VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "pockd",
        .apiVersion = VK_API_VERSION_1_3,
    };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = vk->validates ? &validation : NULL,
        .pApplicationInfo = &app,
        .enabledLayerCount = vk->validates,
        .ppEnabledLayerNames = &layer,
        .enabledExtensionCount = vk->validates,
        .ppEnabledExtensionNames = &extension,
    };
    return vk->CreateInstance(&info, NULL, &vk->instance);
}

// A pointer to any function fits into one to void, in POSIX.
static bool get(const struct vk_api *vk, void *out, const char *name)
{
    const PFN_vkVoidFunction f = vk->GetInstanceProcAddr(vk->instance, name);
    memcpy(out, &f, sizeof(f));
    return f != NULL;
}

static int load_global(struct vk_api *vk, struct error *err)
{
#define VK_GLOBAL(name)                                     \
    if (!get(vk, &vk->name, "vk" #name))                    \
        return error_set(err, -ENODEV,                      \
                         "Vulkan's library is too old: it " \
                         "has no vk" #name);
#define VK_INSTANCE(name)
#define VK_INSTANCE_OPTIONAL(name)
#define VK_DEVICE(name)
#include "engine/vulkan/vk_api.def"
#undef VK_GLOBAL
#undef VK_INSTANCE
#undef VK_INSTANCE_OPTIONAL
    return 0;
}

static int load_instance(struct vk_api *vk, struct error *err)
{
#define VK_GLOBAL(name)
#define VK_INSTANCE(name)                                   \
    if (!get(vk, &vk->name, "vk" #name))                    \
        return error_set(err, -ENODEV,                      \
                         "Vulkan's library is too old: it " \
                         "has no vk" #name);
#define VK_INSTANCE_OPTIONAL(name) (void) get(vk, &vk->name, "vk" #name);
#include "engine/vulkan/vk_api.def"
#undef VK_GLOBAL
#undef VK_INSTANCE
#undef VK_INSTANCE_OPTIONAL
#undef VK_DEVICE
    return 0;
}

int vk_api_load_device(struct vk_api *vk, VkDevice device, struct error *err)
{
    PFN_vkVoidFunction f;

#define VK_GLOBAL(name)
#define VK_INSTANCE(name)
#define VK_INSTANCE_OPTIONAL(name)
#define VK_DEVICE(name)                                                      \
    f = vk->GetDeviceProcAddr(device, "vk" #name);                           \
    if (!f)                                                                  \
        return error_set(err, -ENOTSUP, "the Vulkan driver lacks vk" #name); \
    memcpy(&vk->name, &f, sizeof(f));
#include "engine/vulkan/vk_api.def"
#undef VK_GLOBAL
#undef VK_INSTANCE
#undef VK_INSTANCE_OPTIONAL
#undef VK_DEVICE
    return 0;
}

int vk_api_open(struct vk_api *vk, struct error *err)
{
    int rc;

    memset(vk, 0, sizeof(*vk));
    if (!fault_hit(FAULT_READ))
        vk->library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!vk->library)
        return error_set(err, -ENODEV,
                         "there is no Vulkan here: libvulkan.so.1 is not "
                         "installed");
    void *f = dlsym(vk->library, "vkGetInstanceProcAddr");
    memcpy(&vk->GetInstanceProcAddr, &f, sizeof(f));
    if (!f) {
        rc = error_set(err, -ENODEV, "libvulkan.so.1 is no Vulkan loader");
        goto error;
    }
    if ((rc = load_global(vk, err)) < 0)
        goto error;
    vk->validates = wants_validation() && has_validation(vk);
    VkResult r = create_instance(vk);
    if (r < 0) {
        rc = error_set(err, vk_errno(r), "Vulkan did not start: %s",
                       vk_result_text(r));
        goto error;
    }
    if ((rc = load_instance(vk, err)) < 0)
        goto error;
    // What hangs on the instance's creation hears that and its end only.
    if (vk->validates && vk->CreateDebugUtilsMessengerEXT) {
        r = vk->CreateDebugUtilsMessengerEXT(vk->instance, &messenger, NULL,
                                             &vk->messenger);
        if (r < 0) {
            rc = error_set(err, vk_errno(r),
                           "Vulkan's validation layer did not start: %s",
                           vk_result_text(r));
            goto error;
        }
    }
    return 0;

error:
    vk_api_close(vk);
    return rc;
}

void vk_api_close(struct vk_api *vk)
{
    if (vk->messenger)
        vk->DestroyDebugUtilsMessengerEXT(vk->instance, vk->messenger, NULL);
    if (vk->instance && vk->DestroyInstance)
        vk->DestroyInstance(vk->instance, NULL);
    if (vk->library)
        dlclose(vk->library);
    memset(vk, 0, sizeof(*vk));
}
