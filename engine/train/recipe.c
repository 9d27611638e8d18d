// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/recipe.h"

#include "engine/autodiff/perturb.h"
#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/base/noise.h"
#include "engine/ir/op.h"
#include "engine/tokenizer/chat.h"
#include "engine/train/objective.h"
#include "engine/train/prefix_values.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct recipe_option recipe_options[] = {
#define RECIPE(name, type, min, max, def, help) \
    {#name, help, min, max, def, RECIPE_##type, offsetof(struct recipe, name)},
#include "engine/train/recipe.def"
#undef RECIPE
};
const size_t recipe_option_count =
    sizeof recipe_options / sizeof *recipe_options;

static const char *const method_names[RECIPE_METHOD_COUNT + 1] = {
    [RECIPE_METHOD_GRADIENT] = "gradient", [RECIPE_METHOD_MEZO] = "mezo",
    [RECIPE_METHOD_PRGE] = "prge",         [RECIPE_METHOD_FZOO] = "fzoo",
    [RECIPE_METHOD_AUTO] = "auto",
};

static const char *const sweep_names[RECIPE_SWEEP_COUNT + 1] = {
    [RECIPE_SWEEP_AUTO] = "auto",
    [RECIPE_SWEEP_DUAL] = "dual",
    [RECIPE_SWEEP_SINGLE] = "single",
    [RECIPE_SWEEP_SEQUENTIAL] = "sequential",
};

static const char *const noise_names[NOISE_KINDS + 1] = {
    [NOISE_GAUSSIAN] = "gaussian",
    [NOISE_RADEMACHER] = "rademacher",
};

static const char *const zo_update_names[PERTURB_UPDATES + 1] = {
    [PERTURB_SGD] = "sgd",
    [PERTURB_MOMENTUM] = "momentum",
    [PERTURB_ADAM] = "adam",
};

static const char *const schedule_names[RECIPE_SCHEDULE_COUNT + 1] = {
    [RECIPE_SCHEDULE_LINEAR] = "linear",
    [RECIPE_SCHEDULE_COSINE] = "cosine",
    [RECIPE_SCHEDULE_CONSTANT] = "constant",
};

static const char *const updates_names[RECIPE_UPDATES_COUNT + 1] = {
    [RECIPE_UPDATES_AUTO] = "auto",
    [RECIPE_UPDATES_EARLY] = "early",
    [RECIPE_UPDATES_LATE] = "late",
};

static const char *const prefix_names[] = {"off", "f16", "int8", NULL};
_Static_assert(sizeof prefix_names / sizeof *prefix_names ==
                   PREFIX_VALUES_COUNT + 1,
               "in the order of enum prefix_values");

static const char *const loss_names[CHAT_LOSS_COUNT + 1] = {
    [CHAT_LOSS_ASSISTANT] = "assistant",
    [CHAT_LOSS_USER] = "user",
    [CHAT_LOSS_ALL] = "all",
};

static const char *const compress_names[] = {"off", "velora", NULL};
_Static_assert(KEPT_WHOLE == 0 && KEPT_SUBTOKENS == 1,
               "in the order of enum kept_how");
static const char *const objective_names[] = {"nll", "feedback", "accuracy",
                                              "f1", NULL};
static const char *const precision_names[] = {
    [PRECISION_F32] = "f32",
    [PRECISION_BF16] = "bf16",
    NULL, // q8 is for generation
};

const char *const *recipe_choices(const char *option)
{
    if (strcmp(option, "method") == 0)
        return method_names;
    if (strcmp(option, "sweep") == 0)
        return sweep_names;
    if (strcmp(option, "noise") == 0)
        return noise_names;
    if (strcmp(option, "zo_update") == 0)
        return zo_update_names;
    if (strcmp(option, "schedule") == 0)
        return schedule_names;
    if (strcmp(option, "updates") == 0)
        return updates_names;
    if (strcmp(option, "loss_on") == 0)
        return loss_names;
    if (strcmp(option, "act_compress") == 0)
        return compress_names;
    if (strcmp(option, "objective") == 0)
        return objective_names;
    if (strcmp(option, "precision") == 0)
        return precision_names;
    return strcmp(option, "prefix_cache") == 0 ? prefix_names : NULL;
}

// In the order of enum lora_target's bits.
static const char *const target_names[] = {"q",    "k",  "v",   "o",
                                           "gate", "up", "down"};
enum { N_TARGETS = sizeof target_names / sizeof *target_names };

static void *field(const struct recipe *r, const struct recipe_option *o)
{
    return (char *) (uintptr_t) r + o->offset;
}

void recipe_init(struct recipe *r)
{
    memset(r, 0, sizeof *r); // padding too
#define SET_U32(name, def)                      r->name = def
#define SET_U64(name, def)                      r->name = def
#define SET_F32(name, def)                      r->name = def
#define SET_CHOICE(name, def)                   r->name = def
#define SET_TARGETS(name, def)                  r->name = def
#define SET_TEXT(name, def)                     (void) 0
#define RECIPE(name, type, min, max, def, help) SET_##type(name, def);
#include "engine/train/recipe.def"
#undef RECIPE
}

// Blanks divide the pairs of a recipe, so they are left out of JSON, where they
// mean nothing; inside of its strings no name of a tensor has any.
static int parse_text(struct recipe_text *out, const struct recipe_option *o,
                      const char *value, struct error *err)
{
    struct recipe_text next = {""};
    size_t n = 0;
    bool is_string = false;

    for (const char *p = value; *p; p++) {
        is_string ^= *p == '"';
        if (isspace((unsigned char) *p) && !is_string)
            continue;
        if ((unsigned char) *p <= ' ' || n + 1 >= sizeof next.text)
            return error_set(err, -EINVAL,
                             *p <= ' ' ? "recipe: %s has a name with a blank "
                                         "in it"
                                       : "recipe: %s is too long",
                             o->name);
        next.text[n++] = *p;
    }
    *out = next;
    return 0;
}

static int parse_targets(uint32_t *out, const struct recipe_option *o,
                         const char *value, struct error *err)
{
    uint32_t bits = 0;

    if (strcmp(value, "all") == 0) {
        *out = LORA_ALL;
        return 0;
    }
    for (const char *p = value;; p++) {
        const size_t n = strcspn(p, ",");
        int i = 0;
        while (i < N_TARGETS && (strlen(target_names[i]) != n ||
                                 memcmp(target_names[i], p, n) != 0))
            i++;
        if (i == N_TARGETS)
            return error_set(err, -EINVAL,
                             "recipe: %s has \"%.*s\", but knows all, or "
                             "some of q,k,v,o,gate,up,down",
                             o->name, (int) (n < 40 ? n : 40), p);
        bits |= 1u << i;
        p += n;
        if (*p == '\0')
            break;
    }
    *out = bits;
    return 0;
}

// "off, f16 or int8"
static const char *list_of(char *out, size_t bytes, const char *const *names)
{
    size_t used = 0;

    for (int i = 0; names[i] && used < bytes; i++) {
        const char *before = i == 0 ? "" : names[i + 1] ? ", " : " or ";
        int n = snprintf(out + used, bytes - used, "%s%s", before, names[i]);
        used += n > 0 ? (size_t) n : 0;
    }
    return out;
}

static int parse_choice(uint32_t *out, const struct recipe_option *o,
                        const char *value, struct error *err)
{
    const char *const *names = recipe_choices(o->name);

    for (uint32_t i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) == 0) {
            *out = i;
            return 0;
        }
    }
    char list[128];
    return error_set(err, -EINVAL, "recipe: %s is \"%.40s\", but must be %s",
                     o->name, value, list_of(list, sizeof list, names));
}

static int parse_u64(uint64_t *out, const struct recipe_option *o,
                     const char *value, struct error *err)
{
    char *end;

    errno = 0;
    const unsigned long long v = strtoull(value, &end, 10);
    if (!isdigit((unsigned char) *value) || *end || errno)
        return error_set(err, -EINVAL,
                         "recipe: %s is \"%.40s\", but must be a whole number",
                         o->name, value);
    *out = v;
    return 0;
}

static int parse_number(void *out, const struct recipe_option *o,
                        const char *value, struct error *err)
{
    double d;

    if (o->type == RECIPE_U32) {
        uint64_t v = 0;
        int rc = parse_u64(&v, o, value, err);
        if (rc < 0)
            return rc;
        d = (double) v;
    } else {
        char *end;
        d = strtod(value, &end);
        if (end == value || *end || isspace((unsigned char) *value))
            return error_set(err, -EINVAL,
                             "recipe: %s is \"%.40s\", but must be a number",
                             o->name, value);
    }
    if (!(d >= o->min && d <= o->max))
        return error_set(err, -EINVAL,
                         "recipe: %s is %.40s, but must be %g to %g", o->name,
                         value, o->min, o->max);
    if (o->type == RECIPE_U32)
        *(uint32_t *) out = (uint32_t) d;
    else
        *(float *) out = (float) d;
    return 0;
}

bool recipe_is_forward(const struct recipe *r)
{
    return r->method == RECIPE_METHOD_MEZO || r->method == RECIPE_METHOD_PRGE ||
           r->method == RECIPE_METHOD_FZOO;
}

// What forward passes want where gradients want the value of the table.
static const struct {
    const char *name;
    double mezo, prge, fzoo;
} forward_defaults[] = {
    {"queries", 1, 8, 8},
    {"noise", NOISE_GAUSSIAN, NOISE_GAUSSIAN, NOISE_RADEMACHER},
    {"lr", 5e-4, 2e-3, 2e-2},
    {"eps", 1e-2, 1e-2, 1e-2},
    {"warmup", 0, 0, 0},
    {"schedule", RECIPE_SCHEDULE_CONSTANT, RECIPE_SCHEDULE_CONSTANT,
     RECIPE_SCHEDULE_CONSTANT},
    {"decay", 0, 0, 0},
};

void recipe_set_method(struct recipe *r, enum recipe_method method)
{
    r->method = method;
    if (!recipe_is_forward(r))
        return;
    for (size_t i = 0; i < sizeof forward_defaults / sizeof *forward_defaults;
         i++) {
        const double values[] = {forward_defaults[i].mezo,
                                 forward_defaults[i].prge,
                                 forward_defaults[i].fzoo};
        const double value = values[method - RECIPE_METHOD_MEZO];
        const struct recipe_option *o = recipe_options;
        while (strcmp(o->name, forward_defaults[i].name) != 0)
            o++;
        if (o->type == RECIPE_F32) {
            float *p = field(r, o);
            if (*p == (float) o->fallback)
                *p = (float) value;
        } else {
            uint32_t *p = field(r, o);
            if (*p == (uint32_t) o->fallback)
                *p = (uint32_t) value;
        }
    }
}

static int set_choice(struct recipe *r, const struct recipe_option *o,
                      const char *value, struct error *err)
{
    uint32_t choice = 0;
    int rc = parse_choice(&choice, o, value, err);

    if (rc < 0)
        return rc;
    if (strcmp(o->name, "method") == 0)
        recipe_set_method(r, (enum recipe_method) choice);
    else
        *(uint32_t *) field(r, o) = choice;
    return 0;
}

int recipe_set(struct recipe *r, const char *name, const char *value,
               struct error *err)
{
    for (size_t i = 0; i < recipe_option_count; i++) {
        const struct recipe_option *o = &recipe_options[i];
        if (strcmp(o->name, name) != 0)
            continue;
        switch ((enum recipe_type) o->type) {
        case RECIPE_U32:
        case RECIPE_F32:
            return parse_number(field(r, o), o, value, err);
        case RECIPE_U64:
            return parse_u64(field(r, o), o, value, err);
        case RECIPE_CHOICE:
            return set_choice(r, o, value, err);
        case RECIPE_TARGETS:
            return parse_targets(field(r, o), o, value, err);
        case RECIPE_TEXT:
            return parse_text(field(r, o), o, value, err);
        }
    }
    return error_set(err, -ENOENT, "recipe: there is no setting \"%.40s\"",
                     name);
}

int recipe_parse(struct recipe *r, const char *text, struct error *err)
{
    static const char blanks[] = " \t\r\n";
    struct recipe next = *r;

    for (const char *p = text + strspn(text, blanks); *p;
         p += strspn(p, blanks)) {
        const size_t n = strcspn(p, blanks);
        char pair[SCHEME_TEXT_BYTES + 16];

        if (n >= sizeof pair)
            return error_set(err, -EINVAL, "recipe: \"%.40s...\" is too long",
                             p);
        memcpy(pair, p, n);
        pair[n] = '\0';
        char *equals = strchr(pair, '=');
        if (!equals)
            return error_set(err, -EINVAL,
                             "recipe: \"%.40s\" is not of the form name=value",
                             pair);
        *equals = '\0';
        int rc = recipe_set(&next, pair, equals + 1, err);
        if (rc < 0)
            return rc;
        p += n;
    }
    *r = next;
    return 0;
}

int recipe_scheme(struct scheme *out, const struct recipe *r,
                  const struct model_config *m, struct error *err)
{
    const struct scheme_lora lora = {
        .rank = r->rank,
        .alpha = r->alpha,
        .targets = r->targets,
        .last_blocks = r->last_blocks,
    };
    const struct scheme_defaults defaults = {r->rank, r->alpha};
    const char *text = r->scheme.text;

    if (*text)
        return scheme_parse(out, text, strlen(text), &defaults, m, err);
    int rc = scheme_from_lora(out, &lora, m, err);
    // Fewer values that learn, a better estimate: LoRA-FA, arXiv 2308.03303.
    for (uint32_t i = 0; rc == 0 && recipe_is_forward(r) && i < m->n_blocks;
         i++)
        for (int k = 0; k < MODEL_LINEARS; k++)
            if (out->linears[i][k].learn == LEARN_LORA)
                out->linears[i][k].learn = LEARN_LORA_B;
    return rc;
}

uint32_t recipe_first_block(const struct recipe *r, const struct scheme *s,
                            const struct model_config *m)
{
    return r->prefix_cache == PREFIX_VALUES_OFF ? 0 : scheme_first_block(s, m);
}

int recipe_kept(struct kept *out, const struct recipe *r,
                const struct scheme *s, const struct model_config *m,
                struct error *err)
{
    struct kept k = {.how = (uint8_t) r->act_compress};

    if (k.how != KEPT_WHOLE && r->dw_tokens < 1)
        return error_set(err, -EINVAL,
                         "recipe: act_compress=velora and dw_tokens below 1 "
                         "both say what is kept of inputs: choose one");
    if (r->dw_tokens < 1) {
        k.how = KEPT_TOKENS;
        k.part = r->dw_tokens;
    }
    if (k.how != KEPT_WHOLE)
        k.targets = (uint8_t) r->act_targets;
    if (k.how == KEPT_SUBTOKENS) {
        k.groups = (uint16_t) r->velora_groups;
        k.scale = r->velora_scale;
    }
    int rc = kept_check(&k, s, m, err);
    if (rc < 0)
        return error_prefix(err, rc, "recipe");
    *out = k;
    return 0;
}

// What only gradients have.
static int check_forward(const struct recipe *r, struct error *err)
{
    const char *other = r->drop_rate > 0                ? "drop_rate"
                        : r->act_compress != KEPT_WHOLE ? "act_compress"
                        : r->dw_tokens < 1              ? "dw_tokens"
                                                        : NULL;

    if (other)
        return error_set(err, -EINVAL,
                         "recipe: %s is about gradients, which method=%s does "
                         "not have: leave it out",
                         other, method_names[r->method]);
    if (!(r->eps >= 1e-6F))
        return error_set(err, -EINVAL,
                         "recipe: eps is %g, but without gradients a step "
                         "looks 1e-06 to 1 far: 0.01 is usual",
                         (double) r->eps);
    return 0;
}

static int check_objective(const struct recipe *r, struct error *err)
{
    if (r->objective == OBJECTIVE_NLL)
        return 0;
    if (r->loss_on != CHAT_LOSS_ASSISTANT)
        return error_set(err, -EINVAL,
                         "recipe: objective=%s is about replies: leave loss_on "
                         "at assistant",
                         objective_names[r->objective]);
    if (r->method != RECIPE_METHOD_GRADIENT)
        return 0;
    return error_set(err, -EINVAL,
                     "recipe: objective=%s has no gradient: choose "
                     "method=prge, mezo or fzoo",
                     objective_names[r->objective]);
}

static int check_privacy(const struct recipe *r, struct error *err)
{
    if (!(r->dp_epsilon > 0) || r->method == RECIPE_METHOD_MEZO ||
        r->method == RECIPE_METHOD_PRGE || r->method == RECIPE_METHOD_AUTO)
        return 0;
    return error_set(err, -EINVAL,
                     "recipe: dp_epsilon is %g, but method=%s cannot keep that "
                     "promise: choose mezo or prge",
                     (double) r->dp_epsilon, method_names[r->method]);
}

int recipe_check(const struct recipe *r, const struct model_config *m,
                 struct error *err)
{
    struct scheme scheme;
    struct kept kept;
    int rc = check_privacy(r, err);

    if (rc == 0)
        rc = check_objective(r, err);
    if (rc == 0 && recipe_is_forward(r))
        rc = check_forward(r, err);
    if (rc == 0)
        rc = recipe_scheme(&scheme, r, m, err);
    return rc < 0 ? rc : recipe_kept(&kept, r, &scheme, m, err);
}

static int print_targets(char *out, size_t bytes, uint32_t bits)
{
    size_t used = 0;

    if (bits == LORA_ALL)
        return snprintf(out, bytes, "all");
    for (int i = 0; i < N_TARGETS; i++) {
        if (!(bits & 1u << i))
            continue;
        int n = snprintf(out + used, bytes - used, "%s%s", used ? "," : "",
                         target_names[i]);
        if (n < 0 || (size_t) n >= bytes - used)
            return -E2BIG;
        used += (size_t) n;
    }
    return (int) used;
}

static int print_value(char *out, size_t bytes, const struct recipe *r,
                       const struct recipe_option *o)
{
    const void *p = field(r, o);

    switch ((enum recipe_type) o->type) {
    case RECIPE_U32:
        return snprintf(out, bytes, "%u", *(const uint32_t *) p);
    case RECIPE_U64:
        return snprintf(out, bytes, "%llu",
                        (unsigned long long) *(const uint64_t *) p);
    case RECIPE_F32: // nine digits read back as the same float
        return snprintf(out, bytes, "%.9g", (double) *(const float *) p);
    case RECIPE_CHOICE:
        return snprintf(out, bytes, "%s",
                        recipe_choices(o->name)[*(const uint32_t *) p]);
    case RECIPE_TARGETS:
        return print_targets(out, bytes, *(const uint32_t *) p);
    case RECIPE_TEXT:
        return snprintf(out, bytes, "%s", (const char *) p);
    }
    return -EINVAL;
}

int recipe_print(char *out, size_t bytes, const struct recipe *r)
{
    char text[RECIPE_TEXT_BYTES];
    size_t used = 0;

    for (size_t i = 0; i < recipe_option_count; i++) {
        char value[SCHEME_TEXT_BYTES];
        int n = print_value(value, sizeof value, r, &recipe_options[i]);
        if (n < 0 || (size_t) n >= sizeof value)
            return -E2BIG;
        if (n == 0) // a text that says nothing
            continue;
        n = snprintf(text + used, sizeof text - used, "%s%s=%s",
                     used ? " " : "", recipe_options[i].name, value);
        if (n < 0 || (size_t) n >= sizeof text - used)
            return -E2BIG;
        used += (size_t) n;
    }
    if (used >= bytes)
        return -E2BIG;
    memcpy(out, text, used + 1);
    return (int) used;
}

int recipe_hash(uint8_t out[32], const struct recipe *r)
{
    char text[RECIPE_TEXT_BYTES];
    int n = recipe_print(text, sizeof text, r);

    if (n < 0)
        return n;
    hash_bytes(out, text, (size_t) n);
    return 0;
}

float recipe_rate(const struct recipe *r, uint64_t step, uint64_t steps_total)
{
    const double at = (double) step;
    const double done = steps_total > 0 ? at / (double) steps_total : 0;
    double rate = r->lr;
    double decay = 1;

    if (step < r->warmup)
        rate *= (at + 1) / r->warmup;
    switch ((enum recipe_schedule) r->schedule) {
    case RECIPE_SCHEDULE_LINEAR:
        decay = 1 - done;
        break;
    case RECIPE_SCHEDULE_COSINE:
        decay = 0.5 + 0.5 * cos(3.141592653589793 * done);
        break;
    case RECIPE_SCHEDULE_CONSTANT:
    case RECIPE_SCHEDULE_COUNT:
        break;
    }
    return (float) (rate * fmax(decay, r->lr_floor));
}
