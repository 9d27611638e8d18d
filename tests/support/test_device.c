// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/test_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/devname.h"
#include "engine/base/error.h"
#include "engine/device.h"

static void parse(struct devname *out)
{
    struct error err = {0};

    if (devname_parse(out, test_device_name() ? test_device_name() : "cpu",
                      &err) == 0)
        return;
    (void) printf("Bail out! POCK_TEST_DEVICE: %s\n", err.text);
    exit(1);
}

const char *test_device_name(void)
{
    const char *name = getenv("POCK_TEST_DEVICE");

    return name && *name ? name : NULL;
}

bool test_device_is_cpu(void)
{
    return test_backend() == &cpu_backend;
}

const struct backend *test_backend(void)
{
    struct devname d;

    parse(&d);
#ifdef POCK_VULKAN
    if (d.kind == DEVNAME_VULKAN)
        return &vulkan_backend;
#endif
    return &cpu_backend;
}

int test_device_open(struct device **out, const struct device_params *params,
                     struct error *err)
{
    struct device_params p = *params;
    struct devname d;

    parse(&d);
    if (d.kind != DEVNAME_CPU || d.which)
        p.tier = d.which;
    return test_backend()->open(out, &p, err);
}

static void skip(const char *why, const char *what)
{
    (void) printf("1..0 # SKIP %s%s\n", why, what);
    exit(0);
}

void test_device_begin(void)
{
    const struct backend *backend = test_backend();
    const struct device_params params = {.threads = 1};
    struct error err = {0};
    struct device *dev;

    if (backend == &cpu_backend) {
        if (test_device_name() && test_device_name()[0] != 'c')
            skip("this build has no ", test_device_name());
        return;
    }
    if (test_device_open(&dev, &params, &err) < 0)
        skip(err.text, "");
    const char *lacks = device_lacks(backend, dev);
    if (lacks)
        skip("the device cannot compute ", lacks);
    backend->close(dev);
}
