// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/scheme_text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/json.h"
#include "engine/base/str.h"
#include "engine/models/scheme_preset.h"

enum { ARENA_BYTES_MAX = 1 << 20 };

static const char *const learn_names[LEARN_KINDS] = {
    [LEARN_NONE] = "none", [LEARN_LORA] = "lora",   [LEARN_LORA_B] = "lora_b",
    [LEARN_DORA] = "dora", [LEARN_DELTA] = "delta",
};

static const char *const scale_names[SCHEME_SCALES] = {
    [SCHEME_SCALE_RANK] = "rank",
    [SCHEME_SCALE_ROOT] = "root",
};

/*
 * Names. All tensors that can learn, by number: MODEL_LINEARS linears and two
 * norms in each block, then the last norm.
 */

enum {
    STEMS = MODEL_LINEARS + 2,
    STEM_OUTPUT_NORM = STEMS,
};

// NULL: the model has no tensor of that number.
static const char *stem_name(const struct model_config *m, int stem)
{
    if (stem == STEM_OUTPUT_NORM)
        return "output_norm";
    if (stem >= MODEL_LINEARS)
        return model_norm_stem(m, stem - MODEL_LINEARS);
    return model_has_linear(m, (enum model_linear) stem)
               ? model_linear_stem(m, (enum model_linear) stem)
               : NULL;
}

static bool matches(const char *pattern, const char *name)
{
    const char *star = NULL;
    const char *from = NULL; // where what the star stands for may end

    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            from = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            name = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool names_tensor(const char *pattern, const struct model_config *m,
                         int stem, uint32_t block)
{
    const char *of = stem_name(m, stem);
    char name[MODEL_NAME_BYTES];

    if (!of)
        return false;
    if (matches(pattern, of))
        return true;
    (void) snprintf(name, sizeof(name), "%s.weight", of);
    if (matches(pattern, name))
        return true;
    if (stem == STEM_OUTPUT_NORM)
        return false;
    (void) snprintf(name, sizeof(name), "blk.%u.%s.weight", block, of);
    return matches(pattern, name);
}

// "attn_q, attn_k, ... and output_norm"
static const char *stem_list(char *out, size_t bytes,
                             const struct model_config *m)
{
    size_t used = 0;

    *out = '\0';
    for (int i = 0; i <= STEM_OUTPUT_NORM && used < bytes; i++) {
        const char *name = stem_name(m, i);
        if (!name)
            continue;
        const char *before = i == 0                  ? ""
                             : i == STEM_OUTPUT_NORM ? " and "
                                                     : ", ";
        const int n = snprintf(out + used, bytes - used, "%s%s", before, name);
        used += n > 0 ? (size_t) n : 0;
    }
    return out;
}

/*
 * Rules
 */

struct rule {
    unsigned number; // from 1, for people
    const struct json *tensors;
    uint32_t first, end; // blocks
    bool has_blocks;
    uint8_t learn;
    uint8_t part;
    uint16_t rank;
};

struct reader {
    struct scheme *s;
    const struct model_config *m;
    const struct scheme_defaults *defaults;
    struct error *err;
};

// Every member must be one of `known`.
static int check_members(const struct json *v, const char *const *known,
                         const char *where, struct error *err)
{
    for (const struct json *c = v->first; c; c = c->next) {
        int i = 0;
        while (known[i] && strcmp(known[i], c->key) != 0)
            i++;
        if (!known[i])
            return error_set(err, -EINVAL,
                             "scheme: %s has \"%.40s\", which "
                             "nobody knows",
                             where, c->key);
    }
    return 0;
}

static bool parse_block(uint32_t *out, const char *text, const char **end)
{
    char *stop;

    if (!isdigit((unsigned char) *text))
        return false;
    const unsigned long v = strtoul(text, &stop, 10);
    *end = stop;
    *out = (uint32_t) v;
    return v <= 1000000;
}

static int parse_blocks(struct rule *r, const struct json *v,
                        const struct reader *in)
{
    const uint32_t n = in->m->n_blocks;
    uint32_t first = 0, last = 0;
    bool is_fine = false;
    char shown[40] = "";

    if (v->type == JSON_NUMBER) {
        (void) snprintf(shown, sizeof(shown), "%g", v->number);
        is_fine = v->is_integer && v->integer >= 0 && v->integer < n;
        first = last = is_fine ? (uint32_t) v->integer : 0;
    } else if (v->type == JSON_STRING && strlen(v->text) == v->bytes) {
        const char *at = v->text;
        (void) snprintf(shown, sizeof(shown), "\"%.32s\"", v->text);
        if (strncmp(at, "last:", 5) == 0) {
            is_fine = parse_block(&first, at + 5, &at) && *at == '\0' &&
                      first >= 1 && first <= n;
            first = is_fine ? n - first : 0;
            last = n - 1;
        } else if (parse_block(&first, at, &at)) {
            last = first;
            is_fine =
                *at == '\0' ||
                (*at == '-' && parse_block(&last, at + 1, &at) && *at == '\0');
            is_fine = is_fine && first <= last && last < n;
        }
    }
    if (!is_fine)
        return error_set(in->err, -EINVAL,
                         "scheme: rule %u has blocks %s, but the model has 0 "
                         "to %u; write a number, \"first-last\" or \"last:K\"",
                         r->number, shown, n - 1);
    r->first = first;
    r->end = last + 1;
    r->has_blocks = true;
    return 0;
}

static int parse_learn(struct rule *r, const struct json *v,
                       const struct reader *in)
{
    const char *text = json_get_text(v, "learn");

    for (int i = 0; text && i < LEARN_KINDS; i++) {
        if (strcmp(text, learn_names[i]) != 0)
            continue;
        r->learn = (uint8_t) i;
        return 0;
    }
    return error_set(in->err, -EINVAL,
                     "scheme: rule %u has learn \"%.40s\", but knows none, "
                     "lora, lora_b, dora and delta",
                     r->number, text ? text : "");
}

static bool is_lora(uint8_t learn)
{
    return learn == LEARN_LORA || learn == LEARN_LORA_B || learn == LEARN_DORA;
}

static int parse_rank(struct rule *r, const struct json *v,
                      const struct reader *in)
{
    const struct json *rank = json_get(v, "rank");

    if (!rank) {
        r->rank = is_lora(r->learn) ? (uint16_t) in->defaults->rank : 0;
        return 0;
    }
    if (!is_lora(r->learn))
        return error_set(in->err, -EINVAL,
                         "scheme: rule %u has a rank, which \"%s\" does not "
                         "take",
                         r->number, learn_names[r->learn]);
    if (!rank->is_integer || rank->integer < 1 || rank->integer > LORA_RANK_MAX)
        return error_set(in->err, -EINVAL,
                         "scheme: rule %u has a rank that is not 1 to %d",
                         r->number, LORA_RANK_MAX);
    r->rank = (uint16_t) rank->integer;
    return 0;
}

static int parse_part(struct rule *r, const struct json *v,
                      const struct reader *in)
{
    const struct json *part = json_get(v, "part");
    bool is_fine = part && part->type == JSON_ARRAY && part->count > 0;

    if (!part)
        return 0;
    if (r->learn != LEARN_DELTA)
        return error_set(in->err, -EINVAL,
                         "scheme: rule %u has a part, which only a delta can "
                         "have, not \"%s\"",
                         r->number, learn_names[r->learn]);
    for (const struct json *c = is_fine ? part->first : NULL; c; c = c->next) {
        is_fine = is_fine && c->type == JSON_NUMBER && c->is_integer &&
                  c->integer >= 0 && c->integer < 8 &&
                  !(r->part >> c->integer & 1);
        if (is_fine)
            r->part |= (uint8_t) (1u << c->integer);
    }
    if (!is_fine)
        return error_set(in->err, -EINVAL,
                         "scheme: rule %u has a part that is not a list of "
                         "eighths, 0 to 7",
                         r->number);
    if (r->part == 0xff)
        r->part = 0;
    return 0;
}

static void apply_to(const struct rule *r, struct scheme *s, int stem,
                     uint32_t block)
{
    const bool learns = r->learn != LEARN_NONE;

    if (stem == STEM_OUTPUT_NORM)
        s->output_norm = learns;
    else if (stem >= MODEL_LINEARS)
        s->norms[block] =
            (uint8_t) ((s->norms[block] & ~(1u << (stem - MODEL_LINEARS))) |
                       (unsigned) learns << (stem - MODEL_LINEARS));
    else
        s->linears[block][stem] = (struct scheme_linear){
            .learn = r->learn,
            .part = r->part,
            .rank = r->rank,
        };
}

// Norms have no low-rank tensors: a star leaves them out.
static bool can_be(const struct rule *r, int stem)
{
    return stem < MODEL_LINEARS || (!is_lora(r->learn) && r->part == 0);
}

static int apply_pattern(const struct rule *r, const char *pattern,
                         const struct reader *in)
{
    unsigned named = 0, fit = 0, all = 0;
    char list[160];

    for (uint32_t i = 0; i <= in->m->n_blocks; i++)
        for (int stem = 0; stem <= STEM_OUTPUT_NORM; stem++) {
            const bool is_last = i == in->m->n_blocks;
            if (is_last != (stem == STEM_OUTPUT_NORM))
                continue;
            if (!stem_name(in->m, stem))
                continue;
            all++;
            if (is_last ? r->has_blocks : i < r->first || i >= r->end)
                continue;
            if (!names_tensor(pattern, in->m, stem, i))
                continue;
            named++;
            if (!can_be(r, stem))
                continue;
            fit++;
            apply_to(r, in->s, stem, i);
        }
    if (named == 0)
        return error_set(in->err, -EINVAL,
                         "scheme: rule %u names \"%.60s\", which is no tensor "
                         "of these blocks that can learn; there are %s",
                         r->number, pattern,
                         stem_list(list, sizeof(list), in->m));
    if (fit == 0)
        return error_set(in->err, -EINVAL,
                         "scheme: rule %u lets \"%.60s\" learn by \"%s\"%s, "
                         "but norms know delta alone",
                         r->number, pattern, learn_names[r->learn],
                         r->part ? " of a part" : "");
    if (fit == all && r->learn == LEARN_DELTA)
        return error_set(in->err, -EINVAL,
                         "scheme: rule %u lets every tensor of the model "
                         "learn; if that is meant, the preset is called full",
                         r->number);
    return 0;
}

static int apply_tensors(const struct rule *r, const struct reader *in)
{
    const struct json *v = r->tensors;
    const struct json *c = v && v->type == JSON_ARRAY ? v->first : v;
    int rc = 0;

    if (!c)
        return error_set(in->err, -EINVAL, "scheme: rule %u names no tensors",
                         r->number);
    for (; c && rc == 0; c = v->type == JSON_ARRAY ? c->next : NULL) {
        if (c->type != JSON_STRING || strlen(c->text) != c->bytes)
            return error_set(in->err, -EINVAL,
                             "scheme: rule %u has tensors that are not a name "
                             "or a list of names",
                             r->number);
        rc = apply_pattern(r, c->text, in);
    }
    return rc;
}

static int read_rule(const struct json *v, unsigned number,
                     const struct reader *in)
{
    static const char *const known[] = {"tensors", "blocks", "learn",
                                        "rank",    "part",   NULL};
    struct rule r = {.number = number, .end = in->m->n_blocks};
    const struct json *blocks = json_get(v, "blocks");
    char where[24];
    int rc;

    (void) snprintf(where, sizeof(where), "rule %u", number);
    if (v->type != JSON_OBJECT)
        return error_set(in->err, -EINVAL, "scheme: rule %u is not an object",
                         number);
    r.tensors = json_get(v, "tensors");
    if ((rc = check_members(v, known, where, in->err)) < 0 ||
        (blocks && (rc = parse_blocks(&r, blocks, in)) < 0) ||
        (rc = parse_learn(&r, v, in)) < 0 || (rc = parse_rank(&r, v, in)) < 0 ||
        (rc = parse_part(&r, v, in)) < 0)
        return rc;
    return apply_tensors(&r, in);
}

/*
 * The whole
 */

static int read_float(float *out, const struct json *v, const char *key,
                      struct error *err)
{
    const struct json *x = json_get(v, key);

    if (!x)
        return 0;
    if (x->type != JSON_NUMBER || !(x->number > 0) || !(x->number < 3e38))
        return error_set(err, -EINVAL, "scheme: %s must be a number above 0",
                         key);
    *out = (float) x->number;
    return 0;
}

static int read_scale(struct scheme *s, const struct json *v, struct error *err)
{
    const char *text = json_get_text(v, "scale");

    if (!json_get(v, "scale"))
        return 0;
    for (uint8_t i = 0; text && i < SCHEME_SCALES; i++) {
        if (strcmp(text, scale_names[i]) == 0) {
            s->scale = i;
            return 0;
        }
    }
    return error_set(err, -EINVAL,
                     "scheme: scale must be \"rank\" or \"root\", what alpha "
                     "is divided by");
}

static int read_exit(const struct reader *in, const struct json *v)
{
    const struct json *x = json_get(v, "exit");

    if (!x)
        return 0;
    if (x->type != JSON_NUMBER || !x->is_integer || x->integer < 0 ||
        x->integer > in->m->n_blocks)
        return error_set(in->err, -EINVAL,
                         "scheme: exit must be the number of blocks after "
                         "which the model ends, at most %u, or 0",
                         in->m->n_blocks);
    in->s->exit_block =
        x->integer == in->m->n_blocks ? 0 : (uint32_t) x->integer;
    return 0;
}

static int read_scheme(const struct reader *in, const struct json *v)
{
    static const char *const known[] = {"alpha",      "scale", "b_rate",
                                        "delta_rate", "exit",  "rules",
                                        NULL};
    const struct json *rules = json_get(v, "rules");
    unsigned number = 1;
    int rc;

    if (v->type != JSON_OBJECT)
        return error_set(in->err, -EINVAL, "scheme: it is not a JSON object");
    if ((rc = check_members(v, known, "it", in->err)) < 0 ||
        (rc = read_float(&in->s->alpha, v, "alpha", in->err)) < 0 ||
        (rc = read_float(&in->s->b_rate, v, "b_rate", in->err)) < 0 ||
        (rc = read_float(&in->s->delta_rate, v, "delta_rate", in->err)) < 0 ||
        (rc = read_scale(in->s, v, in->err)) < 0 || (rc = read_exit(in, v)) < 0)
        return rc;
    if (!rules || rules->type != JSON_ARRAY || rules->count == 0)
        return error_set(in->err, -EINVAL,
                         "scheme: it has no rules: nothing would learn");
    for (const struct json *c = rules->first; c && rc == 0; c = c->next)
        rc = read_rule(c, number++, in);
    return rc;
}

static int parse_json(struct scheme *out, const char *text, size_t bytes,
                      const struct scheme_defaults *defaults,
                      const struct model_config *m, struct error *err)
{
    struct scheme s;
    const struct reader in = {&s, m, defaults, err};
    const struct json *v;
    struct arena *a;
    int rc;

    if (arena_create(&a, ARENA_BYTES_MAX) < 0)
        return error_set(err, -ENOMEM, "scheme: out of memory");
    if ((rc = json_parse(&v, a, text, bytes, err)) < 0) {
        rc = error_prefix(err, rc, "scheme");
        goto out;
    }
    scheme_init(&s);
    s.alpha = defaults->alpha;
    if ((rc = read_scheme(&in, v)) == 0)
        rc = scheme_check(&s, m, err);
    if (rc == 0)
        *out = s;

out:
    arena_destroy(a);
    return rc;
}

int scheme_parse(struct scheme *out, const char *text, size_t bytes,
                 const struct scheme_defaults *defaults,
                 const struct model_config *m, struct error *err)
{
    char preset[64];

    if (bytes > 0 && (text[0] == '{' || isspace((unsigned char) text[0])))
        return parse_json(out, text, bytes, defaults, m, err);
    if (bytes >= sizeof(preset) || memchr(text, '\0', bytes))
        return error_set(err, -EINVAL,
                         "scheme: it is neither a preset nor JSON");
    memcpy(preset, text, bytes);
    preset[bytes] = '\0';
    return scheme_preset_parse(out, preset, defaults, m, err);
}

/*
 * Printing: for each kind and range of blocks one rule that names all tensors
 * to which it applies.
 */

struct run {
    uint32_t first, end;
    struct scheme_linear how;
};

static struct scheme_linear how_at(const struct scheme *s, int stem,
                                   uint32_t block)
{
    struct scheme_linear how = {0};

    if (stem < MODEL_LINEARS) {
        how = s->linears[block][stem];
    } else if (s->norms[block] >> (stem - MODEL_LINEARS) & 1) {
        how.learn = LEARN_DELTA;
    }
    return how;
}

static bool is_how(struct scheme_linear a, struct scheme_linear b)
{
    return a.learn == b.learn && a.part == b.part && a.rank == b.rank;
}

// The run of equal blocks from `first` on; false when nothing learns there, or
// when it began earlier.
static bool find_run(struct run *out, const struct scheme *s, uint32_t n,
                     int stem, uint32_t first)
{
    const struct scheme_linear how = how_at(s, stem, first);
    uint32_t end = first;

    if (how.learn == LEARN_NONE ||
        (first > 0 && is_how(how_at(s, stem, first - 1), how)))
        return false;
    while (end < n && is_how(how_at(s, stem, end), how))
        end++;
    *out = (struct run){first, end, how};
    return true;
}

static bool is_run(const struct run *a, const struct run *b)
{
    return a->first == b->first && a->end == b->end && is_how(a->how, b->how);
}

static void print_run(struct str *out, const struct scheme *s,
                      const struct model_config *m, int stem,
                      const struct run *run)
{
    const uint32_t n = m->n_blocks;
    const char *comma = "";
    struct run other;

    str_puts(out, "{\"tensors\":[");
    for (int i = stem; i < STEMS; i++) {
        if (!find_run(&other, s, n, i, run->first) || !is_run(&other, run))
            continue;
        str_printf(out, "%s\"%s\"", comma, stem_name(m, i));
        comma = ",";
    }
    str_puts(out, "]");
    if (run->end == run->first + 1)
        str_printf(out, ",\"blocks\":%u", run->first);
    else if (run->first != 0 || run->end != n)
        str_printf(out, ",\"blocks\":\"%u-%u\"", run->first, run->end - 1);
    str_printf(out, ",\"learn\":\"%s\"", learn_names[run->how.learn]);
    if (run->how.rank)
        str_printf(out, ",\"rank\":%u", run->how.rank);
    comma = ",\"part\":[";
    for (int e = 0; e < 8 && run->how.part; e++) {
        if (!(run->how.part >> e & 1))
            continue;
        str_printf(out, "%s%d", comma, e);
        comma = ",";
    }
    str_puts(out, run->how.part ? "]}" : "}");
}

// Was it printed with a tensor before?
static bool is_printed(const struct scheme *s, uint32_t n, int stem,
                       const struct run *run)
{
    struct run other;

    for (int i = 0; i < stem; i++)
        if (find_run(&other, s, n, i, run->first) && is_run(&other, run))
            return true;
    return false;
}

void scheme_print(struct str *out, const struct scheme *s,
                  const struct model_config *m)
{
    const char *comma = "";
    struct run run;

    str_printf(out,
               "{\"alpha\":%.9g,\"scale\":\"%s\",\"b_rate\":%.9g,"
               "\"delta_rate\":%.9g,\"exit\":%u,\"rules\":[",
               (double) s->alpha, scale_names[s->scale], (double) s->b_rate,
               (double) s->delta_rate, s->exit_block);
    for (uint32_t i = 0; i < m->n_blocks; i++)
        for (int stem = 0; stem < STEMS; stem++) {
            if (!find_run(&run, s, m->n_blocks, stem, i) ||
                is_printed(s, m->n_blocks, stem, &run))
                continue;
            str_puts(out, comma);
            print_run(out, s, m, stem, &run);
            comma = ",";
        }
    if (s->output_norm)
        str_printf(out, "%s{\"tensors\":[\"output_norm\"],\"learn\":\"delta\"}",
                   comma);
    str_puts(out, "]}");
}
