// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/dataset.h"

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/tokenizer/chat.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    IDS_MAX = 1 << 28, // 1.25 GiB; ids are 32 bits, marks 8
    MESSAGES_MAX = 4096,
};

void dataset_destroy(struct dataset *d)
{
    if (!d)
        return;
    free(d->ids);
    free(d->marks);
    free(d->windows);
    free(d->labels);
    free(d);
}

bool dataset_is_target(const struct dataset *d, const struct dataset_window *w,
                       uint32_t place)
{
    return place >= w->first_target && d->marks[w->first + place + 1];
}

static int add_window(struct dataset *d, const struct dataset_window *w)
{
    // The array doubles: it is full when the count is a power of two.
    if ((d->n_windows & (d->n_windows - 1)) == 0) {
        const size_t size = d->n_windows ? d->n_windows * 2 : 1;
        void *p = realloc(d->windows, size * sizeof *d->windows);
        if (!p)
            return -ENOMEM;
        d->windows = p;
    }
    d->windows[d->n_windows++] = *w;
    return 0;
}

int dataset_add_windows(struct dataset *d, uint32_t record, size_t first,
                        uint32_t length, uint32_t overlap)
{
    const size_t end = d->n_ids;
    bool is_used = false;

    for (size_t at = first; at + 1 < end;) {
        const size_t places = end - at - 1 < length ? end - at - 1 : length;
        struct dataset_window w = {
            .record = record,
            .first = (uint32_t) at,
            .count = (uint32_t) places + 1,
            .first_target = at > first ? overlap : 0,
        };
        for (uint32_t i = 0; i < places; i++)
            w.n_targets += dataset_is_target(d, &w, i);
        if (w.n_targets > 0) {
            int rc = add_window(d, &w);
            if (rc < 0)
                return rc;
            d->n_tokens += places;
            d->n_targets += w.n_targets;
            is_used = true;
        }
        if (at + places + 1 >= end)
            break;
        at += places - overlap;
    }
    d->n_records += is_used;
    return 0;
}

static int render_chat(struct token_list *list, struct chat *c,
                       const struct record *r, struct error *err)
{
    struct chat_message *m;
    int rc = 0;

    if (r->n_messages > MESSAGES_MAX)
        return error_set(err, -E2BIG,
                         "record %" PRId64 ": it has %u messages, but %d are "
                         "the most in a chat; split it",
                         r->id, r->n_messages, MESSAGES_MAX);
    m = calloc(r->n_messages, sizeof *m);
    if (!m)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->n_messages && rc == 0; i++) {
        const struct record_message *from = &r->messages[i];
        char role[16] = "";
        if (from->role.bytes < sizeof role)
            memcpy(role, from->role.data, from->role.bytes);
        rc = chat_role_parse(&m[i].role, role);
        m[i].text = from->content.data;
        m[i].bytes = from->content.bytes;
    }
    if (rc == 0)
        rc = chat_render_messages(list, c, m, r->n_messages, err);
    free(m);
    return rc;
}

int dataset_render(struct token_list *list, struct chat *c,
                   const struct record *r, struct error *err)
{
    switch (r->kind) {
    case RECORD_TEXT:
        return chat_render_text(list, c, r->text.data, r->text.bytes, err);
    case RECORD_PAIR:
    case RECORD_FEEDBACK: {
        const struct chat_message prompt = {
            .role = CHAT_ROLE_USER,
            .text = r->prompt.data,
            .bytes = r->prompt.bytes,
        };
        const struct chat_message completion = {
            .role = CHAT_ROLE_ASSISTANT,
            .text = r->completion.data,
            .bytes = r->completion.bytes,
        };
        return chat_render_pair(list, c, &prompt, &completion, err);
    }
    case RECORD_CHAT:
        return render_chat(list, c, r, err);
    case RECORD_KINDS:
        break;
    }
    return -EINVAL;
}

// Is there something in it for this objective?
static bool is_example(const struct record *r, enum objective o)
{
    switch (o) {
    case OBJECTIVE_NLL:
        // What was not accepted is not to be learned.
        return r->kind != RECORD_FEEDBACK || r->is_accepted;
    case OBJECTIVE_FEEDBACK:
        return r->kind == RECORD_FEEDBACK;
    case OBJECTIVE_ACCURACY:
    case OBJECTIVE_F1:
        return r->kind == RECORD_PAIR;
    case OBJECTIVE_COUNT:
        break;
    }
    return false;
}

// As it is, or with a choice for its completion.
static int add_one(struct dataset *d, struct token_list *list, struct chat *c,
                   const struct dataset_params *params, const struct record *r,
                   uint32_t index, struct error *err)
{
    const size_t first = list->count;
    struct error why = {0};
    int rc = dataset_render(list, c, r, &why);
    // To be asked, prompt and reply must be in one window.
    const bool is_cut = params->objective == OBJECTIVE_F1 &&
                        list->count > first + params->length + 1;

    if (rc == 0 && !is_cut) {
        d->ids = list->ids;
        d->marks = list->marks;
        d->n_ids = list->count;
        rc = dataset_add_windows(d, index, first, params->length,
                                 params->overlap);
    }
    if (rc < 0)
        return error_set(err, rc, "record %" PRId64 ": %.400s", r->id,
                         why.text[0] ? why.text : strerror(-rc));
    return 0;
}

static int add_record(struct dataset *d, struct token_list *list,
                      struct chat *c, const struct dataset_params *params,
                      uint32_t i, struct error *err)
{
    const struct record *r = &params->records[i];

    if (params->watch)
        params->watch->fn(params->watch->user, DATASET_READING, &i, 1);
    int rc = record_check(r, c->loss_on, err);
    if (rc < 0 || !is_example(r, params->objective))
        return rc;
    if (params->subset != DATASET_ALL &&
        record_is_held_out(r) != (params->subset == DATASET_HELD_OUT))
        return 0;
    d->labels[i] = r->kind == RECORD_FEEDBACK && r->is_accepted;
    if (params->n_choices == 0)
        return add_one(d, list, c, params, r, i, err);
    for (uint32_t k = 0; k < params->n_choices && rc == 0; k++) {
        const struct record_text *choice = &params->choices[k];
        struct record one = *r;
        if (choice->bytes == r->completion.bytes &&
            memcmp(choice->data, r->completion.data, choice->bytes) == 0)
            d->labels[i] = (uint8_t) k;
        one.completion = *choice;
        rc = add_one(d, list, c, params, &one, i * d->n_choices + k, err);
    }
    return rc;
}

int dataset_create(struct dataset **out, struct chat *c,
                   const struct dataset_params *params, struct error *err)
{
    struct token_list list = {.limit = IDS_MAX};
    struct dataset *d;
    int rc = 0;

    if (params->length < 1 || params->overlap >= params->length ||
        params->n_records > UINT32_MAX / OBJECTIVE_CHOICES_MAX)
        return error_set(err, -EINVAL,
                         "dataset: rows of %u tokens cannot "
                         "overlap by %u",
                         params->length, params->overlap);
    d = calloc(1, sizeof *d);
    if (d)
        d->labels = calloc(params->n_records + 1, sizeof *d->labels);
    if (!d || !d->labels) {
        free(d);
        return error_set(err, -ENOMEM, "dataset: out of memory");
    }
    d->n_choices = params->n_choices ? params->n_choices : 1;
    for (size_t i = 0; i < params->n_records && rc == 0; i++)
        rc = add_record(d, &list, c, params, (uint32_t) i, err);
    // The list owned the arrays while it grew; now the dataset does.
    d->ids = list.ids;
    d->marks = list.marks;
    d->n_ids = list.count;
    if (rc < 0) {
        dataset_destroy(d);
        return rc;
    }
    *out = d;
    return 0;
}

void dataset_hash(uint8_t out[32], const struct dataset *d)
{
    struct hash_state h;

    hash_init(&h);
    hash_update(&h, d->ids, d->n_ids * sizeof *d->ids);
    hash_update(&h, d->marks, d->n_ids * sizeof *d->marks);
    hash_update(&h, d->windows, d->n_windows * sizeof *d->windows);
    for (size_t i = 0; i < d->n_windows && d->labels; i++)
        hash_update(&h, &d->labels[d->windows[i].record / d->n_choices], 1);
    hash_final(&h, out);
}
