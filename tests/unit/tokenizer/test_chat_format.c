// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Each format: what a conversation looks like, and what of it counts. Expected
 * texts have "{" and "}" around what counts; special tokens stand as they are
 * written. The ids must be those of the whole text with its special tokens, as
 * other tools make them.
 */

#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/tokenizer/chat_format.h"
#include "tests/support/chattok.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define IM     "<|im_start|> <|im_end|>"
#define HEADER "<|start_header_id|> <|end_header_id|> <|eot_id|>"
#define PIPES  "<|system|> <|user|> <|assistant|> <|end|>"

// Templates of our own making that have the marks of each.
static const struct {
    const char *format, *specials, *jinja;
    const char *chat;   // system S, user " Q1 ", assistant "A1", user Q2
    const char *prompt; // what follows when it is the model's turn
} rows[] = {
    {"pock", PIPES, NULL,
     "<|system|>S<|end|><|user|> Q1 <|end|><|assistant|>{A1<|end|>}"
     "<|user|>Q2<|end|>",
     "<|assistant|>"},
    {"pock", PIPES,
     "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + "
     "'<|end|>' }}{% endfor %}{{ '<|assistant|>' }}",
     "<|system|>S<|end|><|user|> Q1 <|end|><|assistant|>{A1<|end|>}"
     "<|user|>Q2<|end|>",
     "<|assistant|>"},
    {"chatml", IM,
     "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + "
     "'<|im_end|>' + '\\n' }}{% endfor %}",
     "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n Q1 <|im_end|>\n"
     "<|im_start|>assistant\n{A1<|im_end|>}\n"
     "<|im_start|>user\nQ2<|im_end|>\n",
     "<|im_start|>assistant\n"},
    {"qwen3", IM " <think> </think>",
     "{{ '<|im_start|>' }} {% if enable_thinking %} '<think>\\n</think>' "
     "{% endif %}",
     "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n Q1 <|im_end|>\n"
     "<|im_start|>assistant\n{A1<|im_end|>}\n"
     "<|im_start|>user\nQ2<|im_end|>\n",
     "<|im_start|>assistant\n<think>\n\n</think>\n\n"},
    {"phi4", IM " <|im_sep|>", "{{ '<|im_start|>user<|im_sep|>' }}",
     "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|> Q1 "
     "<|im_end|><|im_start|>assistant<|im_sep|>{A1<|im_end|>}"
     "<|im_start|>user<|im_sep|>Q2<|im_end|>",
     "<|im_start|>assistant<|im_sep|>"},
    {"phi3", PIPES,
     "{{ '<|user|>\n' + m.content + '<|end|>\n' + '<|assistant|>\n' }}",
     "<|system|>\nS<|end|>\n<|user|>\n Q1 <|end|>\n<|assistant|>\n{A1<|end|>}\n"
     "<|user|>\nQ2<|end|>\n",
     "<|assistant|>\n"},
    {"llama2", "<s> </s>",
     "{{ bos_token + '[INST] ' + '<<SYS>>' + content.strip() + ' [/INST]' }}",
     "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nQ1 [/INST]{ A1 </s>}"
     "<s>[INST] Q2 [/INST]",
     ""},
    {"llama3", "<s> " HEADER,
     "{{ bos_token + '<|start_header_id|>' + r + '<|end_header_id|>' }}",
     "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nQ1<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n{A1<|eot_id|>}"
     "<|start_header_id|>user<|end_header_id|>\n\nQ2<|eot_id|>",
     "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"gemma", "<s> <start_of_turn> <end_of_turn>",
     "{{ bos_token }}{{ '<start_of_turn>' + role + content | trim }}",
     "<s><start_of_turn>user\nS\n\nQ1<end_of_turn>\n"
     "<start_of_turn>model\n{A1<end_of_turn>}\n"
     "<start_of_turn>user\nQ2<end_of_turn>\n",
     "<start_of_turn>model\n"},
    {"mistral", "<s> </s>",
     "{{ bos_token }}{{ '[INST] ' + content + ' [/INST]' }}"
     "{{ content + eos_token }}",
     "<s>[INST] S\n\n Q1  [/INST]{A1</s>}[INST] Q2 [/INST]", ""},
    {"mistral-v1", "<s> </s>",
     "{{ bos_token }}{{ ' [INST] ' + system_message + content }}",
     "<s> [INST] S\n\n Q1  [/INST]{ A1</s>} [INST] Q2 [/INST]", ""},
    {"mistral-v3", "<s> </s> [INST] [/INST] [AVAILABLE_TOOLS]",
     "{{ bos_token }}{{ '[AVAILABLE_TOOLS]' }}{{ \"[INST] \" + content }}",
     "<s>[INST] S\n\n Q1 [/INST]{ A1</s>}[INST] Q2[/INST]", ""},
    {"mistral-v3-tekken", "<s> </s> [INST] [/INST] [AVAILABLE_TOOLS]",
     "{{ bos_token }}{{ '[AVAILABLE_TOOLS]' }}{{ \"[INST]\" + content }}",
     "<s>[INST]S\n\n Q1 [/INST]{A1</s>}[INST]Q2[/INST]", ""},
    {"mistral-v7", "<s> </s> [INST] [/INST] [SYSTEM_PROMPT] [/SYSTEM_PROMPT]",
     "{{ bos_token }}{{ '[SYSTEM_PROMPT] ' + s }}{{ '[INST] ' + u }}",
     "<s>[SYSTEM_PROMPT] S[/SYSTEM_PROMPT][INST]  Q1 [/INST]{ A1</s>}"
     "[INST] Q2[/INST]",
     ""},
    {"mistral-v7-tekken",
     "<s> </s> [INST] [/INST] [SYSTEM_PROMPT] [/SYSTEM_PROMPT]",
     "{{ bos_token }}{{ '[SYSTEM_PROMPT]' + s }}{{ '[INST]' + u }}",
     "<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST] Q1 [/INST]{A1</s>}"
     "[INST]Q2[/INST]",
     ""},
    {"zephyr", "<s> </s>",
     "{{ '<|user|>\n' + content + eos_token }}{{ '<|assistant|>\n' }}",
     "<|system|>\nS</s>\n<|user|>\n Q1 </s>\n<|assistant|>\n{A1</s>}\n"
     "<|user|>\nQ2</s>\n",
     "<|assistant|>\n"},
    {"tulu", "<s> </s>",
     "{{ bos_token }}{{ '<|user|>\n' + content + '\n' }}"
     "{{ '<|assistant|>\n' + content + eos_token }}",
     "<s><|system|>\nS\n<|user|>\n Q1 \n<|assistant|>\n{A1</s>}\n"
     "<|user|>\nQ2\n",
     "<|assistant|>\n"},
};

enum { N_ROWS = sizeof(rows) / sizeof(rows[0]) };

static struct chat_message said(enum chat_role role, const char *text)
{
    return (struct chat_message){role, text, strlen(text)};
}

static void put_shown(struct str *out, const struct token_list *l,
                      const struct tokenizer *t)
{
    for (size_t i = 0; i <= l->count; i++) {
        const int before = i > 0 && l->marks[i - 1];
        const int now = i < l->count && l->marks[i];
        size_t bytes = 0;
        str_puts(out, before && !now ? "}" : now && !before ? "{" : "");
        if (i == l->count)
            break;
        const char *piece = tokenizer_piece(t, l->ids[i], &bytes);
        str_append(out, piece, bytes);
    }
    assert_int_equal(str_finish(out), 0);
}

// What it shows, and that the ids are those of the text as a whole.
static void assert_shown(struct token_list *l, struct tokenizer *t,
                         const char *want)
{
    struct token_list whole = {0};
    struct str shown = {0}, plain = {0};

    put_shown(&shown, l, t);
    assert_string_equal(shown.data, want);
    for (const char *p = want; *p; p++)
        if (*p != '{' && *p != '}')
            str_putc(&plain, *p);
    assert_int_equal(tokenizer_encode(t, &whole, plain.data, plain.bytes,
                                      TOKENIZER_PARSE_CONTROL),
                     0);
    assert_int_equal(whole.count, l->count);
    assert_memory_equal(whole.ids, l->ids, l->count * sizeof(l->ids[0]));
    token_list_free(&whole);
    token_list_free(l);
    str_free(&shown);
    str_free(&plain);
}

static void writes_each_as_its_tools_do(void **state)
{
    const struct chat_message m[] = {said(CHAT_ROLE_SYSTEM, "S"),
                                     said(CHAT_ROLE_USER, " Q1 "),
                                     said(CHAT_ROLE_ASSISTANT, "A1"),
                                     said(CHAT_ROLE_USER, "Q2")};

    for (size_t i = 0; i < N_ROWS; i++) {
        struct token_list l = {0};
        struct str prompt = {0};
        struct error err = {0};
        struct chattok c;
        assert_int_equal(chattok_create(&c, rows[i].specials, rows[i].jinja),
                         0);
        assert_string_equal(chat_format_name(&c.chat), rows[i].format);
        if (chat_render_messages(&l, &c.chat, m, 4, &err) < 0)
            fail_msg("%s: %s", rows[i].format, err.text);
        assert_shown(&l, c.t, rows[i].chat);

        for (const char *p = rows[i].chat; *p; p++)
            if (*p != '{' && *p != '}')
                str_putc(&prompt, *p);
        str_puts(&prompt, rows[i].prompt);
        assert_int_equal(chat_render_prompt(&l, &c.chat, m, 4, &err), 0);
        for (size_t k = 0; k < l.count; k++)
            l.marks[k] = 0;
        assert_shown(&l, c.t, prompt.data);
        str_free(&prompt);
        chattok_finish(&c);
    }
}

static void all_formats_are_tested(void **state)
{
    for (unsigned f = 0; chat_format_at(f); f++) {
        bool is_there = false;
        for (size_t i = 0; i < N_ROWS; i++)
            is_there |= strcmp(rows[i].format, chat_format_at(f)->name) == 0;
        assert_true(is_there);
    }
}

static void render(struct chattok *c, const struct chat_message *m, size_t n,
                   const char *want)
{
    struct token_list l = {0};
    struct str shown = {0};
    struct error err = {0};

    if (chat_render_messages(&l, &c->chat, m, n, &err) < 0)
        fail_msg("%s", err.text);
    put_shown(&shown, &l, c->t);
    assert_string_equal(shown.data, want);
    str_free(&shown);
    token_list_free(&l);
}

static void counts_whose_words_are_learned(void **state)
{
    const struct chat_message m[] = {said(CHAT_ROLE_SYSTEM, "S"),
                                     said(CHAT_ROLE_USER, "Q"),
                                     said(CHAT_ROLE_ASSISTANT, "A")};
    struct chattok c;

    assert_int_equal(chattok_create(&c, "<s> </s>", NULL), 0);
    assert_int_equal(chat_set_format(&c.chat, "llama2", NULL), 0);
    c.chat.loss_on = CHAT_LOSS_USER;
    render(&c, m, 3, "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\n{Q} [/INST] A </s>");
    c.chat.loss_on = CHAT_LOSS_ALL;
    render(&c, m, 3,
           "<s>[INST] <<SYS>>\n{S}\n<</SYS>>\n\n{Q} [/INST]{ A </s>}");
    chattok_finish(&c);
}

// Two line feeds are one token; the first is the format's, the second what is
// said. Tools that tokenize all of it at once could not tell them apart.
static void cuts_tokens_at_borders_of_what_counts(void **state)
{
    const struct chat_message m[] = {said(CHAT_ROLE_USER, "\n\nQ"),
                                     said(CHAT_ROLE_ASSISTANT, "\n\nA")};
    struct token_list l = {0};
    struct chattok c;

    assert_int_equal(chattok_create(&c, IM, "{{ '<|im_start|>' }}"), 0);
    render(&c, m, 2,
           "<|im_start|>user\n\n\nQ<|im_end|>\n"
           "<|im_start|>assistant\n{\n\nA<|im_end|>}\n");
    assert_int_equal(chat_render_messages(&l, &c.chat, m, 2, NULL), 0);
    size_t ones = 0, twos = 0, bytes;
    for (size_t i = 0; i < l.count; i++) {
        const char *p = tokenizer_piece(c.t, l.ids[i], &bytes);
        ones += bytes == 1 && p[0] == '\n';
        twos += bytes == 2 && p[0] == '\n';
    }
    assert_int_equal(twos, 1); // the user's: nothing of it counts
    assert_int_equal(ones, 6);
    token_list_free(&l);
    chattok_finish(&c);
}

// SentencePiece puts a blank behind </s>, and nothing else of the run changes.
static void a_blank_before_a_run_does_not_cut_it(void **state)
{
    const struct chat_message m[] = {said(CHAT_ROLE_USER, "Q"),
                                     said(CHAT_ROLE_ASSISTANT, "A")};
    struct token_list l = {0}, whole = {0};
    struct chattok c;
    static const char text[] = "<|user|>\nQ</s>\n<|assistant|>\nA</s>\n";

    assert_int_equal(chattok_create_spm(&c, "<s> </s>",
                                        "<|user|> eos_token <|assistant|>"),
                     0);
    assert_int_equal(chat_set_format(&c.chat, "zephyr", NULL), 0);
    assert_int_equal(chat_render_messages(&l, &c.chat, m, 2, NULL), 0);
    assert_int_equal(tokenizer_encode(c.t, &whole, text, sizeof(text) - 1,
                                      TOKENIZER_PARSE_CONTROL),
                     0);
    assert_int_equal(l.count, whole.count);
    assert_memory_equal(l.ids, whole.ids, l.count * sizeof(l.ids[0]));
    // A and what ends it count.
    for (size_t i = 0, bytes; i < l.count; i++)
        assert_int_equal(l.marks[i],
                         *tokenizer_piece(c.t, l.ids[i], &bytes) == 'A' ||
                             (i + 3 == l.count));
    token_list_free(&l);
    token_list_free(&whole);
    chattok_finish(&c);
}

static void gives_the_system_a_turn_where_no_user_speaks(void **state)
{
    const struct chat_message m[] = {said(CHAT_ROLE_SYSTEM, "S1"),
                                     said(CHAT_ROLE_SYSTEM, "S2"),
                                     said(CHAT_ROLE_ASSISTANT, "A"),
                                     said(CHAT_ROLE_SYSTEM, "S3")};
    struct chattok c;

    assert_int_equal(chattok_create(&c, "<start_of_turn> <end_of_turn>",
                                    "{{ '<start_of_turn>' }}"),
                     0);
    render(&c, m, 4,
           "<start_of_turn>user\nS1\n\nS2<end_of_turn>\n"
           "<start_of_turn>model\n{A<end_of_turn>}\n"
           "<start_of_turn>user\nS3<end_of_turn>\n");
    chattok_finish(&c);
}

static void says_what_the_template_says_by_default(void **state)
{
    const struct chat_message q[] = {said(CHAT_ROLE_USER, "Q")};
    const struct chat_message sq[] = {said(CHAT_ROLE_SYSTEM, "S"),
                                      said(CHAT_ROLE_USER, "Q")};
    struct chattok c;

    assert_int_equal(
        chattok_create(&c, IM,
                       "{% if tools %}{{ '<|im_start|>system\\n' }}{% endif %}"
                       "{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}"),
        0);
    render(&c, q, 1,
           "<|im_start|>system\nBe kind.<|im_end|>\n"
           "<|im_start|>user\nQ<|im_end|>\n");
    render(&c, sq, 2,
           "<|im_start|>system\nS<|im_end|>\n"
           "<|im_start|>user\nQ<|im_end|>\n");
    chattok_finish(&c);
}

static void thinks_nothing_before_the_last_answer(void **state)
{
    const struct chat_message m[] = {said(CHAT_ROLE_USER, "Q1"),
                                     said(CHAT_ROLE_ASSISTANT, "A1"),
                                     said(CHAT_ROLE_USER, "Q2"),
                                     said(CHAT_ROLE_ASSISTANT, "A2")};
    const struct chat_message own[] = {said(CHAT_ROLE_USER, "Q"),
                                       said(CHAT_ROLE_ASSISTANT,
                                            "<think>\nx\n</think>\n\nA")};
    struct chattok c;

    assert_int_equal(chattok_create(&c, IM " <think> </think>", NULL), 0);
    assert_int_equal(chat_set_format(&c.chat, "qwen3", NULL), 0);
    render(&c, m, 4,
           "<|im_start|>user\nQ1<|im_end|>\n"
           "<|im_start|>assistant\n{A1<|im_end|>}\n"
           "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n"
           "<think>\n\n</think>\n\n{A2<|im_end|>}\n");
    render(&c, own, 2,
           "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
           "{<think>\nx\n</think>\n\nA<|im_end|>}\n");
    chattok_finish(&c);
}

static void tells_what_it_does_not_know(void **state)
{
    static const char *const strange[] = {
        "{{ 'USER: ' + content }}",
        "<|im_start|> and <end_of_utterance>",
        "{{ '[gMASK]<sop><|user|>\n' + content }}<|assistant|>",
        "{{ '<|user|>\n' + content }}{{ '<|assistant|>\n' }}",
        "",
    };
    const struct chat_message m[] = {said(CHAT_ROLE_USER, "Q")};

    for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
        struct token_list l = {0};
        struct error err = {0};
        struct chattok c;
        assert_int_equal(chattok_create(&c, IM, strange[i]), 0);
        assert_string_equal(chat_format_name(&c.chat), "unknown");
        assert_int_equal(chat_render_prompt(&l, &c.chat, m, 1, &err), -ENOTSUP);
        assert_non_null(strstr(err.text, "--chat-format NAME"));
        assert_int_equal(chat_render_text(&l, &c.chat, "x", 1, &err), 0);
        // The owner knows better.
        assert_int_equal(chat_set_format(&c.chat, "chatml", &err), 0);
        assert_int_equal(chat_render_prompt(&l, &c.chat, m, 1, &err), 0);
        token_list_free(&l);
        chattok_finish(&c);
    }
}

static void takes_the_owners_word(void **state)
{
    const struct chat_message m[] = {said(CHAT_ROLE_USER, "Q")};
    struct token_list l = {0};
    struct error err = {0};
    struct chattok c;

    assert_int_equal(chattok_create(&c, IM, "<|im_start|>"), 0);
    assert_int_equal(chat_set_format(&c.chat, "", &err), 0);
    assert_string_equal(chat_format_name(&c.chat), "chatml");
    assert_int_equal(chat_set_format(&c.chat, "latin", &err), -EINVAL);
    assert_non_null(strstr(err.text, "no chat format \"latin\""));
    assert_non_null(strstr(err.text, "none, pock, chatml,"));
    assert_non_null(strstr(err.text, "tulu"));
    assert_int_equal(chat_set_format(&c.chat, "none", &err), 0);
    assert_string_equal(chat_format_name(&c.chat), "none");
    assert_int_equal(chat_render_prompt(&l, &c.chat, m, 1, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "for texts only"));
    // A format whose tokens are not there.
    assert_int_equal(chat_set_format(&c.chat, "llama3", &err), 0);
    assert_int_equal(chat_render_prompt(&l, &c.chat, m, 1, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "vocabulary lacks <|start_header_id|>, "
                                     "<|end_header_id|>, <|eot_id|>"));
    assert_int_equal(l.count, 0);
    chattok_finish(&c);
}

static void ends_of_turns_end_a_generation(void **state)
{
    static const char *const ends[] = {"<|im_end|>", "<|eot_id|>",
                                       "<end_of_turn>", "<|end|>"};
    struct chattok c;

    assert_int_equal(chattok_create(&c,
                                    "</s> <|user|> <|im_end|> <|eot_id|> "
                                    "<end_of_turn> <|end|>",
                                    NULL),
                     0);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        assert_true(chat_is_end(&c.chat, tokenizer_find_special(c.t, ends[i])));
    assert_true(chat_is_end(&c.chat, tokenizer_eos(c.t)));
    assert_false(chat_is_end(&c.chat, tokenizer_find_special(c.t, "<|user|>")));
    assert_false(chat_is_end(&c.chat, 'a'));
    chattok_finish(&c);
}

static void assert_ollama(const char *format, const char *want)
{
    struct str s = {0};
    struct chattok c;

    assert_int_equal(chattok_create(&c, "<s> </s>", NULL), 0);
    assert_int_equal(chat_set_format(&c.chat, format, NULL), 0);
    chat_print_ollama(&s, &c.chat);
    assert_int_equal(str_finish(&s), 0);
    assert_string_equal(s.data ? s.data : "", want);
    str_free(&s);
    chattok_finish(&c);
}

static void is_written_for_ollama(void **state)
{
    assert_ollama("chatml",
                  "TEMPLATE \"\"\"{{ if .System }}<|im_start|>system\n"
                  "{{ .System }}<|im_end|>\n{{ end }}{{ if .Prompt }}"
                  "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n{{ end }}"
                  "<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
                  "\"\"\"\nPARAMETER stop \"<|im_end|>\"\n"
                  "PARAMETER stop \"<|im_start|>\"\n");
    assert_ollama("llama2",
                  "TEMPLATE \"\"\"{{ if .Prompt }}[INST] {{ if .System }}"
                  "<<SYS>>\n{{ .System }}\n<</SYS>>\n\n{{ end }}{{ .Prompt }} "
                  "[/INST]{{ end }} {{ .Response }} </s>\"\"\"\n"
                  "PARAMETER stop \"</s>\"\n");
    assert_ollama("none", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_each_as_its_tools_do),
        cmocka_unit_test(all_formats_are_tested),
        cmocka_unit_test(counts_whose_words_are_learned),
        cmocka_unit_test(cuts_tokens_at_borders_of_what_counts),
        cmocka_unit_test(a_blank_before_a_run_does_not_cut_it),
        cmocka_unit_test(gives_the_system_a_turn_where_no_user_speaks),
        cmocka_unit_test(says_what_the_template_says_by_default),
        cmocka_unit_test(thinks_nothing_before_the_last_answer),
        cmocka_unit_test(tells_what_it_does_not_know),
        cmocka_unit_test(takes_the_owners_word),
        cmocka_unit_test(ends_of_turns_end_a_generation),
        cmocka_unit_test(is_written_for_ollama),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
