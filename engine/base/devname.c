// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/devname.h"

#include "engine/base/error.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

enum { WHICH_MAX = 48 };

static const char *const kinds[] = {
    [DEVNAME_AUTO] = "auto",
    [DEVNAME_CPU] = "cpu",
    [DEVNAME_VULKAN] = "vulkan",
};

static int refuse(const char *text, struct error *err)
{
    return error_set(err, -EINVAL,
                     "no device is called \"%.40s\": there are auto, cpu, "
                     "vulkan, vulkan:NUMBER and vulkan:NAME, which "
                     "\"pockctl doctor\" lists, and vulkan:cpu",
                     text);
}

int devname_parse(struct devname *out, const char *text, struct error *err)
{
    if (!text || !*text)
        text = kinds[DEVNAME_AUTO];
    const size_t n = strcspn(text, ":");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strlen(kinds[i]) != n || strncmp(text, kinds[i], n) != 0)
            continue;
        out->kind = (enum devname_kind) i;
        out->which = text[n] ? text + n + 1 : NULL;
        if (!out->which)
            return 0;
        const size_t m = strlen(out->which);
        if (m == 0 || m > WHICH_MAX || out->kind == DEVNAME_AUTO)
            return refuse(text, err);
        for (const char *c = out->which; *c; c++)
            if ((unsigned char) *c < ' ' || *c == 0x7f)
                return refuse("", err);
        return 0;
    }
    return refuse(text, err);
}
