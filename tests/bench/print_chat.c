// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The text of one conversation in one chat format, special tokens as they are
 * written, for peer_chat.py to compare with what a template makes of it.
 *
 * usage: print_chat TEMPLATE_FILE PROMPT ROLE TEXT [ROLE TEXT ...]
 *        PROMPT: 1 when it is then the model's turn, else 0
 */

#include "engine/base/error.h"
#include "tests/support/chattok.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES_MAX = 16 };

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 16);

    if (!f || !text || fread(text, 1, (1 << 16) - 1, f) == 0) {
        fprintf(stderr, "print_chat: cannot read %s\n", path);
        exit(1);
    }
    fclose(f);
    return text;
}

int main(int argc, char **argv)
{
    struct chat_message m[MESSAGES_MAX];
    struct token_list l = {0};
    struct error err = {0};
    struct chattok c;
    size_t n = 0, bytes;

    if (argc < 5)
        return 2;
    char *jinja = read_file(argv[1]);
    if (chattok_create(&c,
                       "<s> </s> <|im_start|> <|im_end|> <|im_sep|> "
                       "<|system|> <|user|> <|assistant|> <|end|> "
                       "<|start_header_id|> <|end_header_id|> <|eot_id|> "
                       "<start_of_turn> <end_of_turn>",
                       jinja) < 0)
        return 1;
    for (int i = 3; i + 1 < argc && n < MESSAGES_MAX; i += 2, n++) {
        m[n] = (struct chat_message){.text = argv[i + 1],
                                     .bytes = strlen(argv[i + 1])};
        if (chat_role_parse(&m[n].role, argv[i]) < 0)
            return 2;
    }
    int rc = argv[2][0] == '1' ? chat_render_prompt(&l, &c.chat, m, n, &err)
                               : chat_render_messages(&l, &c.chat, m, n, &err);
    if (rc < 0)
        fprintf(stderr, "print_chat: %s\n", err.text);
    printf("%s\n", chat_format_name(&c.chat));
    for (size_t i = 0; i < l.count; i++) {
        const char *piece = tokenizer_piece(c.t, l.ids[i], &bytes);
        fwrite(piece, 1, bytes, stdout);
    }
    token_list_free(&l);
    chattok_finish(&c);
    free(jinja);
    return rc < 0;
}
