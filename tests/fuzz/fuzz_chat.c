// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A byte that chooses whose words count, a template up to a zero byte, then
 * messages, each a byte for its role and a text up to a zero byte. Whatever the
 * template is, its format is known or not; in every format the special tokens
 * are those of the same conversation with nothing said in it, in the same
 * order, so that no text speaks for another.
 */

#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/tokenizer/chat_format.h"
#include "tests/support/chattok.h"

#include <stdlib.h>
#include <string.h>

enum { MESSAGES_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void keep_special(struct token_list *out, const struct token_list *l,
                         const struct tokenizer *t)
{
    for (size_t i = 0; i < l->count; i++)
        if (tokenizer_is_control(t, l->ids[i]) &&
            token_list_add(out, l->ids[i]) < 0)
            abort();
}

static void render(struct chat *c, const struct chat_message *m,
                   const struct chat_message *silent, size_t n)
{
    struct token_list said = {.limit = 1 << 16}, nothing = {.limit = 1 << 16};
    struct token_list a = {0}, b = {0};
    struct error err = {0};
    struct str s = {0};

    if (chat_render_messages(&said, c, m, n, &err) == 0) {
        if (chat_render_messages(&nothing, c, silent, n, &err) < 0)
            abort();
        keep_special(&a, &said, c->t);
        keep_special(&b, &nothing, c->t);
        if (a.count != b.count ||
            (a.count > 0 &&
             memcmp(a.ids, b.ids, a.count * sizeof(a.ids[0])) != 0))
            abort();
        token_list_clear(&said);
        if (chat_render_prompt(&said, c, m, n, &err) < 0)
            abort();
        chat_print_ollama(&s, c);
    } else if (err.text[0] == '\0') {
        abort();
    }
    str_free(&s);
    token_list_free(&said);
    token_list_free(&nothing);
    token_list_free(&a);
    token_list_free(&b);
}

static size_t read_messages(struct chat_message *m, struct chat_message *silent,
                            const char *at, const char *end)
{
    size_t n = 0;

    for (; at < end && n < MESSAGES_MAX; n++) {
        const enum chat_role role =
            (enum chat_role)((unsigned char) *at++ % CHAT_ROLE_COUNT);
        const char *stop = memchr(at, 0, (size_t) (end - at));
        if (!stop)
            stop = end;
        m[n] = (struct chat_message){role, at, (size_t) (stop - at)};
        silent[n] = (struct chat_message){role, "", 0};
        at = stop + (stop < end);
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chattok tok;
    struct chat_message m[MESSAGES_MAX], silent[MESSAGES_MAX];
    const char *at = (const char *) data, *end = at + size;
    const char *zero = size > 1 ? memchr(at + 1, 0, size - 1) : NULL;

    if (!tok.t &&
        chattok_create(&tok,
                       "<s> </s> <|im_start|> <|im_end|> <|im_sep|> "
                       "<|system|> <|user|> <|assistant|> <|end|> "
                       "<|start_header_id|> <|end_header_id|> <|eot_id|> "
                       "<start_of_turn> <end_of_turn> [INST] [/INST]",
                       NULL) < 0)
        abort();
    if (!zero)
        return 0;
    tok.chat.format = chat_format_recognise(at + 1);
    tok.chat.why_not = "it is not known";
    tok.chat.loss_on = (enum chat_loss)(data[0] % CHAT_LOSS_COUNT);
    chat_format_default_system(tok.chat.system, sizeof(tok.chat.system),
                               at + 1);
    const size_t n = read_messages(m, silent, zero + 1, end);
    render(&tok.chat, m, silent, n);
    for (unsigned i = 0; chat_format_at(i); i++) {
        tok.chat.format = chat_format_at(i);
        render(&tok.chat, m, silent, n);
    }
    return 0;
}
