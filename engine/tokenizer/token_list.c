// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/tokenizer.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <stdlib.h>

enum {
    LIMIT_DEFAULT = 16 << 20,
    SIZE_FIRST = 64,
};

int token_list_add(struct token_list *l, int32_t id)
{
    if (l->count == l->size) {
        size_t limit = l->limit ? l->limit : LIMIT_DEFAULT;
        size_t size = l->size ? l->size * 2 : SIZE_FIRST;
        if (l->count >= limit)
            return -E2BIG;
        if (size > limit)
            size = limit;
        int32_t *ids = fault_realloc(l->ids, size * sizeof(*ids));
        if (!ids)
            return -ENOMEM;
        l->ids = ids;
        uint8_t *marks = fault_realloc(l->marks, size);
        if (!marks)
            return -ENOMEM;
        l->marks = marks;
        l->size = size;
    }
    l->ids[l->count] = id;
    l->marks[l->count++] = l->mark;
    return 0;
}

void token_list_clear(struct token_list *l)
{
    l->count = 0;
}

void token_list_free(struct token_list *l)
{
    free(l->ids);
    free(l->marks);
    *l = (struct token_list){.limit = l->limit};
}
