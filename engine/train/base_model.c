// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/base_model.h"

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/formats/gguf.h"
#include "engine/plan/timetable.h"
#include "engine/tokenizer/tokenizer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int base_model_open(struct base_model **out, const struct backend *backend,
                    struct device *dev, int fd, struct error *err)
{
    struct base_model *m = calloc(1, sizeof *m);
    const void *mapping;
    size_t bytes;
    int rc;

    if (!m)
        return error_set(err, -ENOMEM, "model: out of memory");
    m->backend = backend;
    m->dev = dev;
    m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (m->fd < 0) {
        rc = error_set(err, -errno, "model: its descriptor is unusable: %s",
                       strerror(errno));
        goto error;
    }
    if ((rc = gguf_load_fd(&m->file, fd, err)) < 0)
        goto error;
    if ((rc = model_config_read(&m->config, m->file, err)) < 0)
        goto error;
    if ((rc = tokenizer_create(&m->tokenizer, m->file, err)) < 0)
        goto error;
    chat_init(&m->chat, m->tokenizer, m->file);
    if (tokenizer_n_vocab(m->tokenizer) > m->config.n_vocab) {
        rc = error_set(err, -EINVAL,
                       "model: its tokenizer knows %u tokens, but it has "
                       "embeddings of %u",
                       tokenizer_n_vocab(m->tokenizer), m->config.n_vocab);
        goto error;
    }
    mapping = gguf_mapping(m->file, &bytes);
    rc = backend->buffer_import(&m->weights, dev, mapping, bytes);
    if (rc < 0) {
        rc = error_set(err, rc, "model: the device cannot hold its weights: %s",
                       strerror(-rc));
        goto error;
    }
    *out = m;
    return 0;

error:
    base_model_close(m);
    return rc;
}

void base_model_close(struct base_model *m)
{
    if (!m)
        return;
    m->backend->buffer_destroy(m->weights);
    timetable_destroy(m->times);
    tokenizer_destroy(m->tokenizer);
    gguf_destroy(m->file);
    if (m->fd >= 0)
        close(m->fd);
    free(m);
}

int base_model_borrow(struct device **out, const struct base_model *m,
                      struct error *err)
{
    const struct device_params one = {.threads = 1};

    *out = m->dev;
    return m->backend->threads(m->dev) > 1 ? m->backend->open(out, &one, err)
                                           : 0;
}

void base_model_give_back(const struct base_model *m, struct device *dev)
{
    if (dev && dev != m->dev)
        m->backend->close(dev);
}

int base_model_hash_told(struct base_model *m, hash_progress_fn progress,
                         void *user, struct error *err)
{
    int rc;

    if (m->sha256[0])
        return 0;
    if ((rc = hash_fd_told(m->hash, m->fd, progress, user)) < 0)
        return error_set(err, rc, "model: its file cannot be read: %s",
                         strerror(-rc));
    hash_to_hex(m->sha256, m->hash);
    return 0;
}

int base_model_hash(struct base_model *m, struct error *err)
{
    return base_model_hash_told(m, NULL, NULL, err);
}

struct timetable *base_model_swap_times(struct base_model *m,
                                        struct timetable *times)
{
    struct timetable *before = m->times;

    m->times = times;
    m->times_changes++;
    return before;
}

void base_model_set_times(struct base_model *m, struct timetable *times)
{
    timetable_destroy(base_model_swap_times(m, times));
}

void base_model_shape(uint8_t out[HASH_BYTES], const struct base_model *m)
{
    struct hash_state h;

    hash_init(&h);
    for (uint32_t i = 0; i < gguf_n_tensors(m->file); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(m->file, i);
        hash_update(&h, t->name, strlen(t->name) + 1);
        hash_update(&h, &t->type_id, sizeof t->type_id);
        hash_update(&h, t->ne, t->n_dims * sizeof t->ne[0]);
    }
    hash_update(&h, &m->config.n_heads, sizeof m->config.n_heads);
    hash_final(&h, out);
}

int base_model_bind(struct binding *out, const struct base_model *m,
                    const struct program_slot *slot, struct error *err)
{
    const struct gguf_tensor *t;
    size_t bytes;
    const char *mapping = gguf_mapping(m->file, &bytes);
    int rc = gguf_get_tensor(&t, m->file, slot->name, err);

    if (rc < 0)
        return rc;
    if (t->dtype != slot->dtype || t->bytes != slot->bytes)
        return error_set(err, -EINVAL,
                         "tensor %s: the program wants %zu bytes of another "
                         "type",
                         slot->name, slot->bytes);
    *out = (struct binding){
        .buffer = m->weights,
        .offset = (size_t) ((const char *) t->data - mapping),
    };
    return 0;
}
