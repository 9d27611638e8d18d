// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/purpose.h"

#include <errno.h>

#include "storage/store_app.h"

static const struct {
    const char *name;
    uint32_t bit;
} purposes[] = {
    {"train", STORE_PURPOSE_TRAIN},
    {"generate", STORE_PURPOSE_GENERATE},
    {"score", STORE_PURPOSE_SCORE},
};

enum { PURPOSES = sizeof(purposes) / sizeof(purposes[0]) };

void purpose_put(struct encoder *e, const char *key, uint32_t bits)
{
    encoder_put_array(e, key);
    for (size_t i = 0; i < PURPOSES; i++)
        if (bits & purposes[i].bit)
            encoder_cstr(e, purposes[i].name);
    encoder_close(e);
}

int purpose_read(uint32_t *bits, const msgpack_object *list, struct error *err)
{
    uint32_t found = 0;

    for (uint32_t k = 0; k < codec_count(list); k++) {
        struct codec_bytes name = {"", 0};
        size_t i = 0;
        (void) codec_as_str(codec_at(list, k), &name);
        while (i < PURPOSES && !codec_bytes_equal(name, purposes[i].name))
            i++;
        if (i == PURPOSES)
            return error_set(err, -EINVAL,
                             "there is no purpose %.*s: there are train, "
                             "generate and score",
                             name.bytes < 32 ? (int) name.bytes : 32,
                             name.data);
        found |= purposes[i].bit;
    }
    *bits = found;
    return 0;
}

const char *purpose_word(uint32_t bit)
{
    for (size_t i = 0; i < PURPOSES; i++)
        if (bit == purposes[i].bit)
            return purposes[i].name;
    return "train";
}
