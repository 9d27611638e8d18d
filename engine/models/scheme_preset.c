// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/scheme_preset.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/error.h"

// The blocks [first, end) that a preset is about.
struct scope {
    const struct model_config *m;
    uint32_t first, end;
    uint16_t rank;
    bool is_end; // it reaches the last block
};

static void set_linears(struct scheme *s, const struct scope *o, uint8_t learn,
                        uint32_t targets)
{
    targets = model_whole_linears(o->m, targets);
    for (uint32_t i = o->first; i < o->end; i++)
        for (int l = 0; l < MODEL_LINEARS; l++)
            if (targets >> l & 1u)
                s->linears[i][l] = (struct scheme_linear){
                    .learn = learn,
                    .rank = learn == LEARN_DELTA ? 0 : o->rank,
                };
}

static void set_norms(struct scheme *s, const struct scope *o)
{
    memset(s->norms + o->first, SCHEME_BOTH_NORMS, o->end - o->first);
}

static void preset_lora_all(struct scheme *s, const struct scope *o)
{
    set_linears(s, o, LEARN_LORA, LORA_ALL);
}

static void preset_lora_last(struct scheme *s, const struct scope *o)
{
    set_linears(s, o, LEARN_LORA, LORA_ALL);
}

static void preset_lora_fa(struct scheme *s, const struct scope *o)
{
    set_linears(s, o, LEARN_LORA_B, LORA_ALL);
}

static void preset_lora_plus(struct scheme *s, const struct scope *o)
{
    s->b_rate = 16; // Hayou et al., arXiv 2402.12354
    set_linears(s, o, LEARN_LORA, LORA_ALL);
}

static void preset_rslora(struct scheme *s, const struct scope *o)
{
    s->scale = SCHEME_SCALE_ROOT;
    set_linears(s, o, LEARN_LORA, LORA_ALL);
}

static void preset_dora(struct scheme *s, const struct scope *o)
{
    set_linears(s, o, LEARN_DORA, LORA_ALL);
}

// Zhu et al., arXiv 2310.17752: the attention module and the first linear of
// the feed-forward of the last blocks. Linears have no bias here; the gains of
// the norms stand for what that paper does with biases.
static void preset_pockengine(struct scheme *s, const struct scope *o)
{
    set_linears(s, o, LEARN_DELTA,
                LORA_Q | LORA_K | LORA_V | LORA_O | LORA_GATE);
    set_norms(s, o);
}

static void preset_full(struct scheme *s, const struct scope *o)
{
    set_linears(s, o, LEARN_DELTA, LORA_ALL);
    set_norms(s, o);
    s->output_norm = 1;
}

static void preset_norms(struct scheme *s, const struct scope *o)
{
    set_norms(s, o);
    s->output_norm = 1;
}

// Yu et al., arXiv 2406.15758.
static void preset_window(struct scheme *s, const struct scope *o)
{
    set_linears(s, o, LEARN_LORA, LORA_ALL);
    s->exit_block = o->is_end ? 0 : o->end;
}

enum argument { NONE, LAST, COUNT, RANGE };

static const struct preset {
    const char *name;
    enum argument argument;
    const char *help;
    void (*set)(struct scheme *s, const struct scope *o);
} presets[] = {
#define PRESET(id, name, argument, help) {name, argument, help, preset_##id},
#include "engine/models/scheme_presets.def"
#undef PRESET
};

enum { N_PRESETS = sizeof(presets) / sizeof(presets[0]) };

const struct scheme_preset_help *scheme_preset_help(uint32_t i)
{
    static const struct scheme_preset_help helps[] = {
#define TEXT_NONE                        ""
#define TEXT_LAST                        "[:K]"
#define TEXT_COUNT                       ":K"
#define TEXT_RANGE                       ":A-B"
#define PRESET(id, name, argument, help) {name, TEXT_##argument, help},
#include "engine/models/scheme_presets.def"
#undef PRESET
    };
    return i < N_PRESETS ? &helps[i] : NULL;
}

static const struct preset *find(const char *text, size_t bytes)
{
    for (int i = 0; i < N_PRESETS; i++)
        if (strlen(presets[i].name) == bytes &&
            memcmp(presets[i].name, text, bytes) == 0)
            return &presets[i];
    return NULL;
}

static int refuse_name(const char *text, size_t bytes, struct error *err)
{
    char names[256] = "";
    size_t at = 0;

    for (int i = 0; i < N_PRESETS; i++) {
        const int n = snprintf(names + at, sizeof(names) - at, "%s%s%s",
                               i ? ", " : "", presets[i].name,
                               scheme_preset_help((uint32_t) i)->argument);
        at += n > 0 && (size_t) n < sizeof(names) - at ? (size_t) n : 0;
    }
    return error_set(err, -EINVAL,
                     "scheme: there is no preset \"%.*s\"; there are %s, or a "
                     "scheme as JSON",
                     (int) (bytes < 40 ? bytes : 40), text, names);
}

// Digits, and nothing else up to `end`.
static bool parse_number(uint32_t *out, const char *text, char end,
                         const char **after)
{
    char *stop;

    if (!isdigit((unsigned char) *text))
        return false;
    const unsigned long v = strtoul(text, &stop, 10);
    if (*stop != end || v > 1000000)
        return false;
    *out = (uint32_t) v;
    *after = stop;
    return true;
}

static int parse_last(struct scope *o, const char *text, const char *arg,
                      const struct model_config *m, struct error *err)
{
    uint32_t k = 0;

    if (!parse_number(&k, arg, '\0', &arg) || k < 1 || k > m->n_blocks)
        return error_set(err, -EINVAL,
                         "scheme: \"%.40s\" must say how many of the last "
                         "blocks learn, 1 to %u",
                         text, m->n_blocks);
    o->first = m->n_blocks - k;
    return 0;
}

static int parse_range(struct scope *o, const char *text, const char *arg,
                       const struct model_config *m, struct error *err)
{
    uint32_t first = 0, last = 0;

    if (!parse_number(&first, arg, '-', &arg) ||
        !parse_number(&last, arg + 1, '\0', &arg) || first > last ||
        last >= m->n_blocks)
        return error_set(err, -EINVAL,
                         "scheme: \"%.40s\" must name a first and a last "
                         "block, 0-%u at most",
                         text, m->n_blocks - 1);
    o->first = first;
    o->end = last + 1;
    return 0;
}

int scheme_preset_parse(struct scheme *out, const char *text,
                        const struct scheme_defaults *defaults,
                        const struct model_config *m, struct error *err)
{
    const size_t n = strcspn(text, ":");
    const char *arg = text[n] ? text + n + 1 : "";
    const struct preset *preset = find(text, n);
    struct scope o = {.m = m,
                      .end = m->n_blocks,
                      .rank = (uint16_t) defaults->rank};
    struct scheme s;
    int rc = 0;

    if (!preset)
        return refuse_name(text, n, err);
    switch (preset->argument) {
    case NONE:
        if (text[n])
            rc = error_set(err, -EINVAL,
                           "scheme: %s takes no number, but is "
                           "\"%.40s\"",
                           preset->name, text);
        break;
    case LAST:
        if (text[n])
            rc = parse_last(&o, text, arg, m, err);
        break;
    case COUNT:
        rc = parse_last(&o, text, arg, m, err);
        break;
    case RANGE:
        rc = parse_range(&o, text, arg, m, err);
        break;
    }
    if (rc < 0)
        return rc;
    o.is_end = o.end == m->n_blocks;
    scheme_init(&s);
    s.alpha = defaults->alpha;
    preset->set(&s, &o);
    if ((rc = scheme_check(&s, m, err)) < 0)
        return rc;
    *out = s;
    return 0;
}
