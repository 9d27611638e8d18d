// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The text of one conversation in one chat format, special tokens as they are
 * written, for chat.py to compare with what a template makes of it; or its ids
 * by a model's vocabulary.
 *
 * usage: print_chat TEMPLATE_FILE PROMPT ROLE TEXT [ROLE TEXT ...]
 *        print_chat --ids MODEL.gguf FORMAT PROMPT ROLE TEXT [ROLE TEXT ...]
 *        PROMPT: 1 when it is then the model's turn, else 0
 */

#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "tests/support/chattok.h"

#include <errno.h>
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

// PROMPT ROLE TEXT [ROLE TEXT ...]
static int render(struct token_list *out, struct chat *c, char **argv,
                  struct error *err)
{
    struct chat_message m[MESSAGES_MAX];
    size_t n = 0;

    for (int i = 1; argv[i] && argv[i + 1] && n < MESSAGES_MAX; i += 2, n++) {
        m[n] = (struct chat_message){.text = argv[i + 1],
                                     .bytes = strlen(argv[i + 1])};
        if (chat_role_parse(&m[n].role, argv[i]) < 0)
            return error_set(err, -EINVAL, "there is no role %s", argv[i]);
    }
    return argv[0][0] == '1' ? chat_render_prompt(out, c, m, n, err)
                             : chat_render_messages(out, c, m, n, err);
}

static int print_text(char **argv, struct error *err)
{
    struct token_list l = {0};
    struct chattok c;
    size_t bytes;
    char *jinja = read_file(argv[0]);
    int rc = chattok_create(&c,
                            "<s> </s> <|im_start|> <|im_end|> <|im_sep|> "
                            "<|system|> <|user|> <|assistant|> <|end|> "
                            "<|start_header_id|> <|end_header_id|> <|eot_id|> "
                            "<start_of_turn> <end_of_turn>",
                            jinja);

    if (rc < 0)
        return error_set(err, rc, "there is no tokenizer");
    rc = render(&l, &c.chat, argv + 1, err);
    printf("%s\n", chat_format_name(&c.chat));
    for (size_t i = 0; i < l.count; i++) {
        const char *piece = tokenizer_piece(c.t, l.ids[i], &bytes);
        fwrite(piece, 1, bytes, stdout);
    }
    token_list_free(&l);
    chattok_finish(&c);
    free(jinja);
    return rc;
}

static int print_ids(char **argv, struct error *err)
{
    struct token_list l = {0};
    struct tokenizer *t;
    struct gguf *g;
    struct chat c;
    int rc = gguf_load(&g, argv[0], err);

    if (rc < 0)
        return rc;
    if ((rc = tokenizer_create(&t, g, err)) == 0) {
        chat_init(&c, t, g);
        if ((rc = chat_set_format(&c, argv[1], err)) == 0)
            rc = render(&l, &c, argv + 2, err);
        for (size_t i = 0; i < l.count; i++)
            printf("%s%d", i ? ", " : "[", l.ids[i]);
        printf("]\n");
        token_list_free(&l);
        tokenizer_destroy(t);
    }
    gguf_destroy(g);
    return rc;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    const bool is_ids = argc > 1 && strcmp(argv[1], "--ids") == 0;

    if (argc < (is_ids ? 7 : 5))
        return 2;
    if ((is_ids ? print_ids(argv + 2, &err) : print_text(argv + 1, &err)) < 0) {
        fprintf(stderr, "print_chat: %s\n", err.text);
        return 1;
    }
    return 0;
}
