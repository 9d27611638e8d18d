// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/engine_inside.h"
#include "engine/train/adapter_arith.h"
#include "engine/train/dataset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * How a model holds conversations.
 */

static int check_chat(struct base_model *base, struct error *err)
{
    const struct chat_message hello = {
        .role = CHAT_ROLE_USER,
        .text = "x",
        .bytes = 1,
    };
    struct token_list list = {0};
    int rc = chat_render_prompt(&list, &base->chat, &hello, 1, err);

    token_list_free(&list);
    return rc;
}

int engine_model_check_chat(struct engine_model *m, struct error *err)
{
    return check_chat(m->base, err);
}

const char *engine_model_chat(const struct engine_model *m)
{
    return chat_format_name(&m->base->chat);
}

int engine_model_set_chat(struct engine_model *m, const char *format,
                          struct error *err)
{
    return chat_set_format(&m->base->chat, format, err);
}

int engine_show(struct engine_shown **out, size_t *count,
                struct engine_model *m, const struct record *r,
                uint32_t loss_on, struct error *err)
{
    struct chat chat = m->base->chat;
    struct token_list list = {0};

    chat.loss_on = (enum chat_loss) loss_on;
    int rc = dataset_render(&list, &chat, r, err);
    struct engine_shown *shown = calloc(list.count + 1, sizeof *shown);
    if (rc == 0 && !shown)
        rc = error_set(err, -ENOMEM, "tokens: out of memory");
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        struct engine_shown *s = &shown[i];
        s->text = tokenizer_piece(chat.t, list.ids[i], &s->bytes);
        s->counts = list.marks[i];
        s->is_special = tokenizer_is_control(chat.t, list.ids[i]);
    }
    if (rc == 0) {
        *out = shown;
        *count = list.count;
    } else {
        free(shown);
    }
    token_list_free(&list);
    return rc;
}

int engine_model_ollama(char *out, size_t size, const struct engine_model *m)
{
    struct str s = {.limit = size};

    chat_print_ollama(&s, &m->base->chat);
    int rc = str_finish(&s);
    if (rc == 0 && s.bytes >= size)
        rc = -E2BIG;
    if (rc == 0 && s.bytes > 0)
        memcpy(out, s.data, s.bytes);
    if (rc == 0)
        out[s.bytes] = '\0';
    str_free(&s);
    return rc;
}

/*
 * Arithmetic of adapters.
 */

int engine_adapter_sum(struct adapter **out, double *left_out,
                       const struct adapter_part *parts, uint32_t n_parts,
                       const struct engine_model *m, uint32_t rank,
                       struct error *err)
{
    return adapter_sum(out, left_out, parts, n_parts, &m->base->config, rank,
                       err);
}

int engine_adapter_compare(struct adapter_difference **out, uint32_t *n_blocks,
                           uint32_t *n_linears, const struct adapter *a,
                           const struct adapter *b,
                           const struct engine_model *m, struct error *err)
{
    const struct model_config *config = &m->base->config;
    struct adapter_difference *d =
        calloc((size_t) config->n_blocks * MODEL_LINEARS, sizeof *d);
    int rc = d ? adapter_compare(d, a, b, config, err)
               : error_set(err, -ENOMEM, "comparison: out of memory");

    if (rc < 0) {
        free(d);
        return rc;
    }
    *out = d;
    *n_blocks = config->n_blocks;
    *n_linears = MODEL_LINEARS;
    return 0;
}
