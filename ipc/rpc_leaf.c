// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/rpc_leaf.h"

#include <string.h>

static void hash_word(struct hash_state *h, const char *word)
{
    hash_update(h, word, strlen(word) + 1);
}

static void hash_part(struct hash_state *h, struct codec_bytes part)
{
    uint8_t length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t) ((uint64_t) part.bytes >> (8 * i));
    hash_update(h, length, sizeof(length));
    hash_update(h, part.data, part.bytes);
}

void rpc_leaf_text(uint8_t key[HASH_BYTES], const char *text, size_t bytes)
{
    struct hash_state h;

    hash_init(&h);
    hash_word(&h, "pockd text");
    hash_update(&h, text, bytes);
    hash_final(&h, key);
}

void rpc_leaf_record(uint8_t key[HASH_BYTES], const struct rpc_record *r)
{
    const uint8_t kind = (uint8_t) r->kind;
    struct codec_bytes role, content;
    struct hash_state h;

    hash_init(&h);
    hash_word(&h, "pockd record");
    hash_update(&h, &kind, 1);
    if (r->kind == RPC_RECORD_KIND_TEXT) {
        hash_part(&h, r->text);
    } else if (r->kind != RPC_RECORD_KIND_CHAT) {
        hash_part(&h, r->prompt);
        hash_part(&h, r->completion);
        if (r->kind == RPC_RECORD_KIND_FEEDBACK)
            hash_part(&h, (struct codec_bytes){r->is_accepted ? "1" : "0", 1});
    } else {
        for (uint32_t i = 0; rpc_record_message(r, i, &role, &content); i++) {
            hash_part(&h, role);
            hash_part(&h, content);
        }
    }
    hash_final(&h, key);
}

bool rpc_leaf_part(const struct rpc_record *r, uint32_t i,
                   struct codec_bytes *text)
{
    struct codec_bytes role;

    if (r->kind == RPC_RECORD_KIND_CHAT)
        return rpc_record_message(r, i, &role, text);
    if (r->kind == RPC_RECORD_KIND_TEXT) {
        *text = r->text;
        return i == 0;
    }
    *text = i == 0 ? r->prompt : r->completion;
    return i < 2;
}
