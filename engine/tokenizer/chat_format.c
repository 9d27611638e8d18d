// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/chat_format.h"

#include <stdio.h>
#include <string.h>

#define TOKEN(name) "\1" name "\2"
#define BOS         "\3"
#define EOS         "\4"
#define MAYBE(name) "\5" name "\2"
#define SAYS        "\6"

#define ROLES(s0, s1, u0, u1, a0, a1) \
    {                                 \
        {s0, s1}, {u0, u1},           \
        {                             \
            a0, a1                    \
        }                             \
    }
#define IM(role)     TOKEN("<|im_start|>") role "\n" SAYS
#define IM_END       TOKEN("<|im_end|>") SAYS "\n"
#define IM_SEP(role) TOKEN("<|im_start|>") role TOKEN("<|im_sep|>") SAYS
#define HEADER(role) \
    TOKEN("<|start_header_id|>") role TOKEN("<|end_header_id|>") "\n\n" SAYS
#define EOT          TOKEN("<|eot_id|>") SAYS
#define GEMMA(role)  TOKEN("<start_of_turn>") role "\n" SAYS
#define GEMMA_END    TOKEN("<end_of_turn>") SAYS "\n"
#define PIPES(role)  TOKEN("<|" role "|>")
#define ZEPHYR(role) MAYBE("<|" role "|>") "\n" SAYS

// What the owner would have to choose among: in the order of the sentence.
static const struct chat_format formats[] = {
    {
        .name = "pock",
        .roles = ROLES(PIPES("system") SAYS, TOKEN("<|end|>") SAYS,
                       PIPES("user") SAYS, TOKEN("<|end|>") SAYS,
                       PIPES("assistant") SAYS, TOKEN("<|end|>") SAYS),
    },
    {
        .name = "chatml",
        .roles = ROLES(IM("system"), IM_END, IM("user"), IM_END,
                       IM("assistant"), IM_END),
    },
    {
        .name = "qwen3",
        .roles = ROLES(IM("system"), IM_END, IM("user"), IM_END,
                       IM("assistant"), IM_END),
        .think = MAYBE("<think>") "\n\n" MAYBE("</think>") "\n\n",
    },
    {
        .name = "phi4",
        .roles = ROLES(IM_SEP("system"), TOKEN("<|im_end|>") SAYS,
                       IM_SEP("user"), TOKEN("<|im_end|>") SAYS,
                       IM_SEP("assistant"), TOKEN("<|im_end|>") SAYS),
    },
    {
        .name = "phi3",
        .flags = CHAT_STRIPS_AFTER,
        .roles =
            ROLES(PIPES("system") "\n" SAYS, TOKEN("<|end|>") SAYS "\n",
                  PIPES("user") "\n" SAYS, TOKEN("<|end|>") SAYS "\n",
                  PIPES("assistant") "\n" SAYS, TOKEN("<|end|>") SAYS "\n"),
    },
    {
        .name = "llama2",
        .flags = CHAT_TRIM_USER | CHAT_TRIM_ASSISTANT | CHAT_BOS_IN_TURN |
                 CHAT_IS_LENIENT,
        .roles = ROLES(NULL, NULL, BOS "[INST] " SAYS, SAYS " [/INST]",
                       SAYS " ", " " EOS SAYS),
        .before = "<<SYS>>\n",
        .after = "\n<</SYS>>\n\n",
    },
    {
        .name = "llama3",
        .flags = CHAT_TRIM,
        .roles = ROLES(HEADER("system"), EOT, HEADER("user"), EOT,
                       HEADER("assistant"), EOT),
    },
    {
        .name = "gemma",
        .flags = CHAT_TRIM_USER | CHAT_TRIM_ASSISTANT,
        .roles = ROLES(NULL, NULL, GEMMA("user"), GEMMA_END, GEMMA("model"),
                       GEMMA_END),
        .after = "\n\n",
    },
    {
        .name = "mistral",
        .flags = CHAT_IS_LENIENT,
        .roles = ROLES(NULL, NULL, MAYBE("[INST]") " " SAYS,
                       SAYS " " MAYBE("[/INST]"), SAYS, EOS SAYS),
        .after = "\n\n",
    },
    {
        .name = "mistral-v1",
        .flags = CHAT_IS_LENIENT,
        .roles = ROLES(NULL, NULL, " " MAYBE("[INST]") " " SAYS,
                       SAYS " " MAYBE("[/INST]"), SAYS " ", EOS SAYS),
        .after = "\n\n",
    },
    {
        .name = "mistral-v3",
        .flags = CHAT_TRIM_ASSISTANT | CHAT_IS_LENIENT,
        .roles = ROLES(NULL, NULL, MAYBE("[INST]") " " SAYS,
                       SAYS MAYBE("[/INST]"), SAYS " ", EOS SAYS),
        .after = "\n\n",
    },
    {
        .name = "mistral-v3-tekken",
        .flags = CHAT_IS_LENIENT,
        .roles = ROLES(NULL, NULL, MAYBE("[INST]") SAYS, SAYS MAYBE("[/INST]"),
                       SAYS, EOS SAYS),
        .after = "\n\n",
    },
    {
        .name = "mistral-v7",
        .flags = CHAT_IS_LENIENT,
        .roles = ROLES(MAYBE("[SYSTEM_PROMPT]") " " SAYS,
                       SAYS MAYBE("[/SYSTEM_PROMPT]"), MAYBE("[INST]") " " SAYS,
                       SAYS MAYBE("[/INST]"), SAYS " ", EOS SAYS),
    },
    {
        .name = "mistral-v7-tekken",
        .flags = CHAT_IS_LENIENT,
        .roles =
            ROLES(MAYBE("[SYSTEM_PROMPT]") SAYS, SAYS MAYBE("[/SYSTEM_PROMPT]"),
                  MAYBE("[INST]") SAYS, SAYS MAYBE("[/INST]"), SAYS, EOS SAYS),
    },
    {
        .name = "zephyr",
        .flags = CHAT_IS_LENIENT,
        .roles = ROLES(ZEPHYR("system"), EOS SAYS "\n", ZEPHYR("user"),
                       EOS SAYS "\n", ZEPHYR("assistant"), EOS SAYS "\n"),
    },
    {
        .name = "tulu",
        .flags = CHAT_IS_LENIENT,
        .roles = ROLES(ZEPHYR("system"), SAYS "\n", ZEPHYR("user"), SAYS "\n",
                       ZEPHYR("assistant"), EOS SAYS),
        .between = "\n",
    },
};

enum { FORMAT_COUNT = sizeof(formats) / sizeof(formats[0]) };

const struct chat_format *chat_format_find(const char *name)
{
    for (unsigned i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

const struct chat_format *chat_format_at(unsigned i)
{
    return i < FORMAT_COUNT ? &formats[i] : NULL;
}

bool chat_piece_next(struct chat_piece *out, const char **at)
{
    const char *p = *at;

    if (*p == '\0')
        return false;
    *out = (struct chat_piece){.kind = *p, .text = p + 1};
    switch (*p) {
    case CHAT_PIECE_TOKEN:
    case CHAT_PIECE_MAYBE:
        out->bytes = (size_t) (strchr(p, CHAT_PIECE_END) - p) - 1;
        *at = p + out->bytes + 2;
        return true;
    case CHAT_PIECE_BOS:
    case CHAT_PIECE_EOS:
    case CHAT_PIECE_SAYS:
        *at = p + 1;
        return true;
    default:
        break;
    }
    out->kind = CHAT_PIECE_TEXT;
    out->text = p;
    out->bytes = strcspn(p, "\1\2\3\4\5\6");
    *at = p + out->bytes;
    return true;
}

static bool has(const char *jinja, const char *mark)
{
    return strstr(jinja, mark) != NULL;
}

// A line feed, as such or as its escape, right behind a role's token.
static bool breaks_after_role(const char *jinja)
{
    return has(jinja, "|>\\n") || has(jinja, "|>\n") || has(jinja, "'\\n'") ||
           has(jinja, "\"\\n\"") || has(jinja, "'\n'");
}

static const char *recognise_inst(const char *jinja)
{
    if (has(jinja, "[SYSTEM_PROMPT]"))
        return has(jinja, "[INST] ") ? "mistral-v7" : "mistral-v7-tekken";
    if (has(jinja, "' [INST] ' + system_message") ||
        has(jinja, "[AVAILABLE_TOOLS]"))
        return has(jinja, " [INST]")      ? "mistral-v1"
               : has(jinja, "\"[INST]\"") ? "mistral-v3-tekken"
                                          : "mistral-v3";
    return has(jinja, "<<SYS>>") ? "llama2" : "mistral";
}

// Roles in pipes without an end token of their own: does a user's text end
// with the end of a sequence, or with a line?
static const char *recognise_pipes(const char *jinja)
{
    const char *user = strstr(jinja, "<|user|>");
    const char *end = user ? strstr(user, "}}") : NULL;
    char clause[256];

    if (!end || (size_t) (end - user) >= sizeof(clause))
        return NULL;
    memcpy(clause, user, (size_t) (end - user));
    clause[end - user] = '\0';
    if (!breaks_after_role(clause) || !has(clause, "content"))
        return NULL;
    if (has(clause, "eos_token") || has(clause, "<|endoftext|>") ||
        has(clause, "</s>"))
        return "zephyr";
    const char *says = strstr(clause, "content");
    return has(jinja, "eos_token") && (has(says, "\\n") || has(says, "\n"))
               ? "tulu"
               : NULL;
}

// The order matters: a template may hold marks of several formats.
static const char *recognise(const char *jinja)
{
    if (has(jinja, "<|im_start|>")) {
        if (has(jinja, "<end_of_utterance>"))
            return NULL;
        if (has(jinja, "<|im_sep|>"))
            return "phi4";
        return has(jinja, "enable_thinking") && has(jinja, "</think>")
                   ? "qwen3"
                   : "chatml";
    }
    if (has(jinja, "[INST]"))
        return recognise_inst(jinja);
    if (has(jinja, "[gMASK]"))
        return NULL;
    if (has(jinja, "<|assistant|>") && has(jinja, "<|end|>"))
        return breaks_after_role(jinja) ? "phi3" : "pock";
    if (has(jinja, "<|assistant|>") && has(jinja, "<|user|>"))
        return recognise_pipes(jinja);
    if (has(jinja, "<start_of_turn>"))
        return "gemma";
    if (has(jinja, "<|start_header_id|>") && has(jinja, "<|end_header_id|>"))
        return "llama3";
    return NULL;
}

const struct chat_format *chat_format_recognise(const char *jinja)
{
    const char *name = recognise(jinja);

    return name ? chat_format_find(name) : NULL;
}

void chat_format_default_system(char *out, size_t size, const char *jinja)
{
    static const char start[] = "<|im_start|>system";
    const char *p = jinja;

    out[0] = '\0';
    while ((p = strstr(p, start))) {
        p += sizeof(start) - 1;
        const size_t skip = *p == '\n' ? 1 : strncmp(p, "\\n", 2) == 0 ? 2 : 0;
        const char *end = strstr(p, "<|im_end|>");
        if (skip == 0 || !end)
            continue;
        p += skip;
        const size_t n = (size_t) (end - p);
        // Plain words only: a quote ends the string of the template, and an
        // escape would have to be read as jinja does.
        if (n > 0 && n < size && strcspn(p, "'\"\\{}") >= n) {
            memcpy(out, p, n);
            out[n] = '\0';
            return;
        }
    }
}
