// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/train_recipe.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/devname.h"
#include "storage/store_scheme.h"

enum kind {
    KIND_INT,
    KIND_NUM,
    KIND_WORDS,  // names, with a comma between them
    KIND_TEXT,   // a word or JSON, which the worker reads; absent: not said
    KIND_DEVICE, // a name of a device; absent: as the policy says at each run
};

// A key of the API, which is also its name in the worker's recipe; how it is
// written; its range. Defaults of numbers and texts are train_<key> of the
// policy.
static const struct row {
    const char *key;
    enum kind kind;
    double min;
    double max;
    const char *fallback;
    const char *words; // of KIND_WORDS: what they may be
} rows[] = {
    {"method", KIND_WORDS, 0, 0, "gradient",
     "gradient, mezo, prge, fzoo or auto"},
    {"queries", KIND_INT, 1, 256, NULL, NULL},
    {"sweep", KIND_WORDS, 0, 0, "auto", "auto, dual, single or sequential"},
    {"noise", KIND_WORDS, 0, 0, "gaussian", "gaussian or rademacher"},
    {"zo_update", KIND_WORDS, 0, 0, "sgd", "sgd, momentum or adam"},
    {"sparse", KIND_NUM, 0.01, 1, NULL, NULL},
    {"objective", KIND_WORDS, 0, 0, "nll", "nll, feedback, accuracy or f1"},
    {"dp_epsilon", KIND_NUM, 0, 1000, NULL, NULL},
    {"dp_delta", KIND_NUM, 1e-12, 0.1, NULL, NULL},
    {"dp_clip", KIND_NUM, 1e-3, 1e6, NULL, NULL},
    {"rank", KIND_INT, 1, 256, NULL, NULL},
    {"alpha", KIND_NUM, 0.001, 65536, NULL, NULL},
    {"targets", KIND_WORDS, 0, 0, "all",
     "all, or some of q,k,v,o,gate,up,down"},
    {"last_blocks", KIND_INT, 0, 4096, NULL, NULL},
    {"scheme", KIND_TEXT, 0, 0, NULL, NULL},
    {"loss_on", KIND_WORDS, 0, 0, "assistant", "assistant, user or all"},
    {"lr", KIND_NUM, 1e-8, 1, NULL, NULL},
    {"warmup", KIND_INT, 0, 1000000, NULL, NULL},
    {"schedule", KIND_WORDS, 0, 0, "linear", "linear, cosine or constant"},
    {"lr_floor", KIND_NUM, 0, 1, NULL, NULL},
    {"epochs", KIND_INT, 1, 1000, NULL, NULL},
    {"batch", KIND_INT, 1, 4096, NULL, NULL},
    {"length", KIND_INT, 16, 65536, NULL, NULL},
    {"clip", KIND_NUM, 0, 1e9, NULL, NULL},
    {"decay", KIND_NUM, 0, 1, NULL, NULL},
    {"beta1", KIND_NUM, 0, 0.9999, NULL, NULL},
    {"beta2", KIND_NUM, 0, 0.999999, NULL, NULL},
    {"eps", KIND_NUM, 1e-16, 1, NULL, NULL},
    {"eval_every", KIND_INT, 0, 1000000, NULL, NULL},
    {"patience", KIND_INT, 1, 1000, NULL, NULL},
    {"min_delta", KIND_NUM, 0, 100, NULL, NULL},
    {"memory_mib", KIND_INT, 16, 1048576, NULL, NULL},
    {"updates", KIND_WORDS, 0, 0, "auto", "auto, early or late"},
    {"drop_rate", KIND_NUM, 0, 0.9, NULL, NULL},
    {"act_compress", KIND_WORDS, 0, 0, "off", "off or velora"},
    {"act_targets", KIND_WORDS, 0, 0, "all",
     "all, or some of q,k,v,o,gate,up,down"},
    {"velora_groups", KIND_INT, 1, 4096, NULL, NULL},
    {"velora_scale", KIND_NUM, 1e-4, 100, NULL, NULL},
    {"dw_tokens", KIND_NUM, 0.01, 1, NULL, NULL},
    {"prefix_cache", KIND_WORDS, 0, 0, "f16", "off, f16 or int8"},
    {"precision", KIND_WORDS, 0, 0, "bf16", "f32 or bf16"},
    {"seed", KIND_INT, 0, 9007199254740991.0, NULL, NULL},
    {"device", KIND_DEVICE, 0, 0, NULL, NULL},
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

static const struct policy_row *find_policy(const struct row *r)
{
    char name[64];

    snprintf(name, sizeof(name), "train_%s", r->key);
    return policy_find(name);
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
    put(m, r->key, text);
    return 0;
}

// Names, digits and commas only, so that they stay one word of the recipe.
static bool is_words(struct codec_bytes b)
{
    for (size_t i = 0; i < b.bytes; i++)
        if (!((b.data[i] >= 'a' && b.data[i] <= 'z') ||
              (b.data[i] >= '0' && b.data[i] <= '9') || b.data[i] == ','))
            return false;
    return b.bytes > 0 && b.bytes < 64;
}

static int put_words(struct maker *m, const struct row *r,
                     const msgpack_object *map, const struct policy *p,
                     struct error *err)
{
    const struct policy_row *row = find_policy(r);
    const char *fallback = row ? policy_get_text(p, row) : "";
    struct codec_bytes b = codec_str(map, r->key);
    char text[64];

    if (!b.data) {
        put(m, r->key, fallback[0] ? fallback : r->fallback);
        return 0;
    }
    if (!is_words(b))
        return error_set(err, -EINVAL, "recipe %s must be %s", r->key,
                         r->words);
    snprintf(text, sizeof(text), "%.*s", (int) b.bytes, b.data);
    put(m, r->key, text);
    return 0;
}

// The text of the policy, unless the map says by itself what learns.
static struct codec_bytes find_text(const struct row *r,
                                    const msgpack_object *map,
                                    const struct policy *p)
{
    static const char *const own[] = {"scheme", "targets", "last_blocks"};
    const struct policy_row *row = find_policy(r);

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (codec_find(map, own[i]))
            return codec_str(map, r->key);
    const char *text = row ? policy_get_text(p, row) : "";
    return (struct codec_bytes){text, strlen(text)};
}

// Without blanks, which divide the pairs of the text.
static int put_text(struct maker *m, const struct row *r,
                    const msgpack_object *map, const struct policy *p,
                    struct error *err)
{
    struct codec_bytes b = find_text(r, map, p);
    char text[POLICY_TEXT_BYTES];

    if (policy_pack_text(text, b.data, b.bytes) < 0)
        return error_set(err, -EINVAL,
                         "recipe %s must be a preset or JSON of at most "
                         "%d characters, with names in ASCII",
                         r->key, POLICY_TEXT_BYTES - 1);
    if (text[0])
        put(m, r->key, text);
    return 0;
}

static int put_device(struct maker *m, const struct row *r,
                      const msgpack_object *map, struct error *err)
{
    struct codec_bytes b = codec_str(map, r->key);
    struct devname parsed;
    char text[TRAIN_DEVICE_BYTES];

    if (!b.data)
        return 0;
    (void) snprintf(text, sizeof(text), "%.*s",
                    (int) (b.bytes < sizeof(text) ? b.bytes : sizeof(text)),
                    b.data);
    int rc = devname_parse(&parsed, text, err);
    if (rc < 0)
        return rc;
    // A blank divides the pairs of the text.
    if (strchr(text, ' '))
        return error_set(err, -EINVAL,
                         "a device is named by its number, or by one word of "
                         "its name: \"pockctl doctor\" lists them");
    put(m, r->key, text);
    return 0;
}

static double fallback(const struct row *r, const struct policy *p)
{
    const struct policy_row *row = find_policy(r);

    return row ? policy_get(p, row) : 0;
}

// Methods have defaults of their own for these: those of the policy are for
// gradients. What no policy has is left to the worker as well.
static bool is_left_to_method(const struct maker *m, const struct row *r,
                              const msgpack_object *map)
{
    static const char *const keys[] = {"queries", "noise",    "lr",   "eps",
                                       "warmup",  "schedule", "decay"};
    const bool is_gradient = strncmp(m->out, "method=gradient", 15) == 0;

    if (codec_find(map, r->key) || (r->kind == KIND_TEXT))
        return false;
    if (!r->fallback && !find_policy(r))
        return true;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (strcmp(keys[i], r->key) == 0)
            return !is_gradient;
    return false;
}

static int put_row(struct maker *m, const struct row *r,
                   const msgpack_object *map, const struct policy *p,
                   struct error *err)
{
    if (is_left_to_method(m, r, map))
        return 0;
    switch (r->kind) {
    case KIND_INT:
    case KIND_NUM:
        return put_number(m, r, codec_float(map, r->key, fallback(r, p)), err);
    case KIND_WORDS:
        return put_words(m, r, map, p, err);
    case KIND_DEVICE:
        return put_device(m, r, map, err);
    case KIND_TEXT:
        break;
    }
    return put_text(m, r, map, p, err);
}

int train_recipe_make(char out[TRAIN_RECIPE_BYTES], const msgpack_object *map,
                      const struct policy *p, struct error *err)
{
    char text[TRAIN_RECIPE_BYTES] = "";
    struct maker m = {.out = text};

    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct row *r = &rows[i];
        int rc = put_row(&m, r, map, p, err);
        if (rc < 0)
            return rc;
    }
    if (m.rc < 0)
        return error_set(err, m.rc, "the recipe is too long");
    memcpy(out, text, sizeof(text));
    return 0;
}

// The value of a pair of the text; NULL when it is not there.
static char *find_value(const char *text, const char *key)
{
    const size_t bytes = strlen(key);

    for (const char *at = text; at; at = strchr(at, ' ')) {
        at += *at == ' ';
        if (strncmp(at, key, bytes) == 0 && at[bytes] == '=')
            return (char *) at + bytes + 1;
    }
    return NULL;
}

bool train_recipe_take_device(char out[TRAIN_DEVICE_BYTES],
                              char text[TRAIN_RECIPE_BYTES])
{
    char *value = find_value(text, "device");

    out[0] = '\0';
    if (!value)
        return false;
    const size_t bytes = strcspn(value, " ");
    char *from = value - strlen("device=");
    if (from > text)
        from--;
    (void) snprintf(out, TRAIN_DEVICE_BYTES, "%.*s", (int) bytes, value);
    memmove(from, value + bytes, strlen(value + bytes) + 1);
    return true;
}

int64_t train_recipe_int(const char *text, const char *key)
{
    const char *value = find_value(text, key);

    return value ? strtoll(value, NULL, 10) : 0;
}

int train_recipe_resolve(char text[TRAIN_RECIPE_BYTES], struct store *s,
                         struct error *err)
{
    char *at = find_value(text, "scheme");
    char made[TRAIN_RECIPE_BYTES];
    char name[STORE_NAME_SIZE];
    struct store_scheme sc;

    if (!at || *at != '@')
        return 0;
    const size_t bytes = strcspn(++at, " ");
    if (bytes == 0 || bytes >= sizeof(name))
        return error_set(err, -EINVAL,
                         "recipe scheme: @ must be followed by the name of a "
                         "saved scheme: `pockctl scheme list` shows them");
    memcpy(name, at, bytes);
    name[bytes] = '\0';
    int rc = store_scheme_get(s, name, &sc, err);
    if (rc < 0)
        return rc;
    int n = snprintf(made, sizeof(made), "%.*s%s%s", (int) (at - 1 - text),
                     text, sc.json, at + bytes);
    if (n < 0 || (size_t) n >= sizeof(made))
        return error_set(err, -E2BIG,
                         "the recipe is too long with the scheme %s", name);
    memcpy(text, made, (size_t) n + 1);
    return 0;
}

int train_recipe_check_scheme(const char *scheme, struct store *s,
                              struct error *err)
{
    char text[TRAIN_RECIPE_BYTES];
    int n = snprintf(text, sizeof(text), "scheme=%s", scheme);

    if (n < 0 || (size_t) n >= sizeof(text))
        return error_set(err, -E2BIG, "the scheme is too long");
    return train_recipe_resolve(text, s, err);
}

static void encode_pair(struct encoder *e, const struct row *r,
                        const char *value)
{
    switch (r->kind) {
    case KIND_INT:
        encoder_put_int(e, r->key, strtoll(value, NULL, 10));
        return;
    case KIND_NUM:
        encoder_put_float(e, r->key, strtod(value, NULL));
        return;
    case KIND_WORDS:
    case KIND_TEXT:
    case KIND_DEVICE:
        encoder_put_cstr(e, r->key, value);
        return;
    }
}

void train_recipe_encode(struct encoder *e, const char *text)
{
    char copy[TRAIN_RECIPE_BYTES];
    char *save;

    snprintf(copy, sizeof(copy), "%s", text);
    encoder_put_map(e, "recipe");
    for (char *pair = strtok_r(copy, " ", &save); pair;
         pair = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(pair, '=');
        if (!eq)
            continue;
        *eq = '\0';
        for (size_t i = 0; i < ROW_COUNT; i++)
            if (strcmp(rows[i].key, pair) == 0)
                encode_pair(e, &rows[i], eq + 1);
    }
    encoder_close(e);
}
