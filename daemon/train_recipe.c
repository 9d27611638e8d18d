// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/train_recipe.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    KIND_INT,
    KIND_NUM,
    KIND_WORD,
    KIND_LIST,
};

// API key, name in the worker's recipe, how it is written, and its range.
static const struct row {
    const char *key;
    const char *name;
    enum kind kind;
    double min;
    double max;
} rows[] = {
    {"rank", "rank", KIND_INT, 1, 256},
    {"alpha", "alpha", KIND_NUM, 0.001, 65536},
    {"targets", "targets", KIND_LIST, 0, 0},
    {"blocks", "last_blocks", KIND_INT, 0, 4096},
    {"epochs", "epochs", KIND_INT, 1, 1000},
    {"batch", "batch", KIND_INT, 1, 4096},
    {"length", "length", KIND_INT, 16, 65536},
    {"lr", "lr", KIND_NUM, 1e-8, 1},
    {"schedule", "schedule", KIND_WORD, 0, 0},
    {"warmup", "warmup", KIND_INT, 0, 1000000},
    {"weight_decay", "decay", KIND_NUM, 0, 1},
    {"clip", "clip", KIND_NUM, 0, 1e9},
    {"patience", "patience", KIND_INT, 1, 1000},
    {"eval_steps", "eval_every", KIND_INT, 0, 1000000},
    {"seed", "seed", KIND_INT, 0, 9007199254740991.0},
};

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

struct maker {
    char *out;
    size_t at;
    int rc;
};

static void put(struct maker *m, const char *name, const char *value)
{
    int n = snprintf(m->out + m->at, TRAIN_RECIPE_BYTES - m->at, "%s%s=%s",
                     m->at ? " " : "", name, value);

    if (n < 0 || (size_t) n >= TRAIN_RECIPE_BYTES - m->at)
        m->rc = -E2BIG;
    else
        m->at += (size_t) n;
}

static int put_number(struct maker *m, const struct row *r, double v,
                      struct error *err)
{
    char text[40];

    if (!isfinite(v) || v < r->min || v > r->max)
        return error_set(err, -EINVAL, "recipe %s is %g, but must be %g to %g",
                         r->key, v, r->min, r->max);
    if (r->kind == KIND_INT && v != floor(v))
        return error_set(err, -EINVAL, "recipe %s is %g, but must be whole",
                         r->key, v);
    snprintf(text, sizeof(text), r->kind == KIND_INT ? "%.0f" : "%.9g", v);
    put(m, r->name, text);
    return 0;
}

// Words are names: letters and digits only, so that they stay one word.
static bool is_word(struct codec_bytes b)
{
    for (size_t i = 0; i < b.bytes; i++)
        if (!((b.data[i] >= 'a' && b.data[i] <= 'z') || b.data[i] == '_'))
            return false;
    return b.bytes > 0 && b.bytes < 32;
}

static int put_word(struct maker *m, const struct row *r,
                    const msgpack_object *map, struct error *err)
{
    struct codec_bytes b = codec_str(map, r->key);
    char text[40];

    if (!b.data) {
        put(m, r->name, "linear");
        return 0;
    }
    if (!is_word(b))
        return error_set(err, -EINVAL,
                         "recipe %s must be linear, cosine or constant",
                         r->key);
    snprintf(text, sizeof(text), "%.*s", (int) b.bytes, b.data);
    put(m, r->name, text);
    return 0;
}

static int put_list(struct maker *m, const struct row *r,
                    const msgpack_object *map, struct error *err)
{
    const msgpack_object *list = codec_find(map, r->key);
    char text[128] = "all";
    size_t at = 0;

    for (uint32_t i = 0; i < codec_count(list); i++) {
        struct codec_bytes b;
        if (!codec_as_str(codec_at(list, i), &b) || !is_word(b) ||
            at + b.bytes + 2 > sizeof(text))
            return error_set(err, -EINVAL,
                             "recipe %s must name some of q k v o gate up "
                             "down",
                             r->key);
        at += (size_t) snprintf(text + at, sizeof(text) - at, "%s%.*s",
                                i ? "," : "", (int) b.bytes, b.data);
    }
    put(m, r->name, text);
    return 0;
}

static double fallback(const struct row *r, const struct policy *p, double rank)
{
    char name[64];

    snprintf(name, sizeof(name), "train_%s", r->key);
    const struct policy_row *row = policy_find(name);
    double v = row ? policy_get(p, row) : 0;
    return strcmp(r->key, "alpha") == 0 && v == 0 ? 2 * rank : v;
}

static int put_row(struct maker *m, const struct row *r,
                   const msgpack_object *map, const struct policy *p,
                   double *rank, struct error *err)
{
    double v;

    if (r->kind == KIND_WORD)
        return put_word(m, r, map, err);
    if (r->kind == KIND_LIST)
        return put_list(m, r, map, err);
    v = codec_float(map, r->key, fallback(r, p, *rank));
    // The engine counts whole epochs.
    if (strcmp(r->key, "epochs") == 0)
        v = ceil(v);
    if (strcmp(r->key, "rank") == 0)
        *rank = v;
    return put_number(m, r, v, err);
}

int train_recipe_make(char out[TRAIN_RECIPE_BYTES], const msgpack_object *map,
                      const struct policy *p, struct error *err)
{
    char text[TRAIN_RECIPE_BYTES] = "";
    struct maker m = {.out = text};
    struct codec_bytes scheme = codec_str(map, "scheme");
    double rank = 0;

    if (scheme.data && !codec_bytes_equal(scheme, "lora"))
        return error_set(err, -EINVAL, "recipe scheme must be lora");
    if (codec_int(map, "steps", 0) != 0)
        return error_set(err, -EINVAL,
                         "recipe steps cannot be limited: use epochs");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        int rc = put_row(&m, &rows[i], map, p, &rank, err);
        if (rc < 0)
            return rc;
    }
    if (m.rc < 0)
        return error_set(err, m.rc, "the recipe is too long");
    memcpy(out, text, sizeof(text));
    return 0;
}

static void encode_pair(struct encoder *e, const struct row *r, char *value)
{
    switch (r->kind) {
    case KIND_INT:
        if (strcmp(r->key, "epochs") == 0)
            encoder_put_float(e, r->key, strtod(value, NULL));
        else
            encoder_put_int(e, r->key, strtoll(value, NULL, 10));
        return;
    case KIND_NUM:
        encoder_put_float(e, r->key, strtod(value, NULL));
        return;
    case KIND_WORD:
        encoder_put_cstr(e, r->key, value);
        return;
    case KIND_LIST:
        if (strcmp(value, "all") == 0)
            return;
        encoder_put_array(e, r->key);
        for (char *save, *w = strtok_r(value, ",", &save); w;
             w = strtok_r(NULL, ",", &save))
            encoder_cstr(e, w);
        encoder_close(e);
        return;
    }
}

void train_recipe_encode(struct encoder *e, const char *text)
{
    char copy[TRAIN_RECIPE_BYTES];
    char *save;

    snprintf(copy, sizeof(copy), "%s", text);
    encoder_put_map(e, "recipe");
    encoder_put_cstr(e, "scheme", "lora");
    for (char *pair = strtok_r(copy, " ", &save); pair;
         pair = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(pair, '=');
        if (!eq)
            continue;
        *eq = '\0';
        for (size_t i = 0; i < ROW_COUNT; i++)
            if (strcmp(rows[i].name, pair) == 0)
                encode_pair(e, &rows[i], eq + 1);
    }
    encoder_close(e);
}
