// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The walk over a text, and what is put in the place of what was found.
 *
 * 1. Scanners are asked at the first character of a word and at a few marks.
 *    After a word without a find the walk goes on behind it.
 * 2. A find never reaches before `floor`, the end of the one before it.
 * 3. What stands in the place of a find could make another one of what is
 *    beside it. The walk is done again until nothing changes, a few times at
 *    most; a text that does not come to rest is not stored.
 */

#include "ipc/redact.h"

#include "ipc/redact_fold.h"
#include "ipc/redact_scan.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum { PASSES_MAX = 4 };

static const struct {
    const char *name, *tag, *meaning;
} rows[] = {
#define REDACT(class, name, tag, meaning) {name, tag, meaning},
#include "ipc/redact.def"
#undef REDACT
};

static const char *const mode_names[] = {"off", "mask", "shape", "drop"};

const char *redact_class_name(enum redact_class c)
{
    return rows[c].name;
}

const char *redact_class_meaning(enum redact_class c)
{
    return rows[c].meaning;
}

const char *redact_class_tag(enum redact_class c)
{
    return rows[c].tag;
}

const char *redact_mode_name(enum redact_mode m)
{
    return mode_names[m];
}

int redact_mode_parse(enum redact_mode *out, const char *name, size_t bytes)
{
    for (int m = 0; m < REDACT_MODES; m++) {
        if (strlen(mode_names[m]) == bytes &&
            memcmp(mode_names[m], name, bytes) == 0) {
            *out = (enum redact_mode) m;
            return 0;
        }
    }
    return -EINVAL;
}

int redact_class_parse(enum redact_class *out, const char *name, size_t bytes)
{
    for (int c = 0; c < REDACT_CLASSES; c++) {
        if (strlen(rows[c].name) == bytes &&
            memcmp(rows[c].name, name, bytes) == 0) {
            *out = (enum redact_class) c;
            return 0;
        }
    }
    return -EINVAL;
}

void redact_init(struct redact *r, enum redact_mode all)
{
    memset(r->modes, (int) all, sizeof(r->modes));
}

/*
 * The walk
 */

static bool find_number(const struct redact_view *v, size_t i,
                        struct redact_hit *hit)
{
    return (redact_is_on(v, REDACT_IP) && redact_ipv4(v, i, hit)) ||
           (redact_is_on(v, REDACT_CARD) && redact_card(v, i, hit)) ||
           (redact_is_on(v, REDACT_PHONE) && redact_phone(v, i, hit)) ||
           (redact_is_on(v, REDACT_CODE) && redact_code(v, i, hit));
}

static bool has_digit(const struct redact_view *v, size_t i, size_t end)
{
    while (i < end && !redact_is(v, i, REDACT_IS_DIGIT))
        i++;
    return i < end;
}

static bool find_word(const struct redact_view *v, size_t i, size_t end,
                      struct redact_hit *hit)
{
    if (redact_is_on(v, REDACT_KEY) && redact_key(v, i, hit))
        return true;
    if (end - i <= 4 && redact_is(v, i, REDACT_IS_HEX) &&
        (redact_is_on(v, REDACT_MAC) || redact_is_on(v, REDACT_IP)) &&
        redact_hex(v, i, hit) && redact_is_on(v, hit->class))
        return true;
    // The rest has a digit in its first word, or is in capitals.
    if (!has_digit(v, i, end) && !redact_is(v, i + 1, REDACT_IS_UPPER))
        return false;
    if (redact_is_on(v, REDACT_IBAN) && redact_iban(v, i, hit))
        return true;
    if (redact_is_on(v, REDACT_ID) && redact_id(v, i, hit))
        return true;
    return redact_is(v, i, REDACT_IS_DIGIT) && find_number(v, i, hit);
}

// Remembers what the words at i say, and finds what they announce.
static bool find_announced(struct redact_view *v, size_t i,
                           struct redact_hit *hit)
{
    size_t end[REDACT_WORDS];
    const unsigned kinds = redact_words_at(v, i, end);

    if (kinds == 0)
        return false;
    for (int w = 0; w < REDACT_WORDS; w++) {
        if (!(kinds >> w & 1))
            continue;
        // "error code 404"
        if (w == REDACT_WORD_CODE &&
            redact_word_near(v, REDACT_WORD_NOCODE, i, 2))
            continue;
        v->word_end[w] = end[w];
    }
    if (redact_is_on(v, REDACT_PASSWORD) && kinds >> REDACT_WORD_PASSWORD & 1 &&
        redact_secret(v, end[REDACT_WORD_PASSWORD], REDACT_WORD_PASSWORD, hit))
        return true;
    if (!redact_is_on(v, REDACT_KEY))
        return false;
    return (kinds >> REDACT_WORD_KEY & 1 &&
            redact_secret(v, end[REDACT_WORD_KEY], REDACT_WORD_KEY, hit)) ||
           (kinds >> REDACT_WORD_BEARER & 1 &&
            redact_secret(v, end[REDACT_WORD_BEARER], REDACT_WORD_BEARER, hit));
}

static bool find_mark(const struct redact_view *v, size_t i,
                      struct redact_hit *hit)
{
    switch (v->f[i]) {
    case '@':
        return redact_is_on(v, REDACT_EMAIL) && redact_email(v, i, hit);
    case ':':
        return redact_is_on(v, REDACT_LOGIN) && redact_login(v, i, hit);
    case '+':
    case '(':
        return redact_is_on(v, REDACT_PHONE) && redact_phone(v, i, hit);
    case '-':
        return redact_is_on(v, REDACT_KEY) && redact_pem(v, i, hit);
    default:
        return false;
    }
}

static bool find_at(struct redact_view *v, size_t i, size_t *next,
                    struct redact_hit *hit)
{
    *next = i + 1;
    if (v->f[i] == REDACT_CHAR_IDEOGRAM)
        return find_announced(v, i, hit);
    if (!redact_is(v, i, REDACT_IS_WORD))
        return find_mark(v, i, hit);
    while (redact_is(v, *next, REDACT_IS_WORD))
        (*next)++;
    if (i > 0 && redact_is(v, i - 1, REDACT_IS_WORD))
        return false;
    return find_announced(v, i, hit) || find_word(v, i, *next, hit);
}

static void make_index(void)
{
    redact_words_index();
    redact_keys_index();
}

int redact_find(const struct redact *r, const char *text, size_t bytes,
                redact_fn fn, void *user)
{
    struct redact_fold fold;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct redact_hit hit;
    int rc = pthread_once(&once, make_index);

    if (rc != 0)
        return -rc;
    rc = redact_fold_init(&fold, text, bytes);

    if (rc < 0)
        return rc;
    struct redact_view v = {.rules = r,
                            .f = fold.f,
                            .at = fold.at,
                            .n = fold.n,
                            .text = text};
    for (int w = 0; w < REDACT_WORDS; w++)
        v.word_end[w] = SIZE_MAX;
    for (size_t i = 0, next; i < v.n && rc == 0; i = next) {
        if (!find_at(&v, i, &next, &hit))
            continue;
        rc = fn(user, hit.class, v.at ? v.at[hit.begin] : hit.begin,
                v.at ? v.at[hit.end] : hit.end);
        next = v.floor = hit.end;
    }
    redact_fold_finish(&fold);
    return rc;
}

/*
 * What is stored
 */

struct rewriting {
    const struct redact *rules;
    struct redact_counts *counts;
    struct str out;
    const char *text;
    size_t done; // bytes of it
    bool has_changed;
};

static int rewrite(void *user, enum redact_class c, size_t begin, size_t end)
{
    struct rewriting *w = user;
    struct str *out = &w->out;

    str_append(out, w->text + w->done, begin - w->done);
    w->done = end;
    const size_t from = out->bytes;
    if (w->rules->modes[c] == REDACT_SHAPE)
        redact_shape(out, w->text + begin, end - begin);
    else if (w->rules->modes[c] == REDACT_MASK)
        str_puts(out, rows[c].tag);
    // What has its shape already is found again, and stays.
    if (w->rules->modes[c] != REDACT_DROP && out->rc == 0 &&
        out->bytes - from == end - begin &&
        memcmp(out->data + from, w->text + begin, end - begin) == 0)
        return 0;
    w->has_changed = true;
    if (w->counts)
        w->counts->found[c]++;
    return w->rules->modes[c] == REDACT_DROP ? -ECANCELED : 0;
}

static int rewrite_all(struct rewriting *w, const char *text, size_t bytes)
{
    int rc;

    w->text = text;
    w->done = 0;
    w->has_changed = false;
    str_clear(&w->out);
    rc = redact_find(w->rules, text, bytes, rewrite, w);
    if (rc < 0)
        return rc;
    str_append(&w->out, text + w->done, bytes - w->done);
    return str_finish(&w->out);
}

int redact_text(const struct redact *r, struct str *out,
                struct redact_counts *counts, const char *text, size_t bytes)
{
    const size_t limit = bytes * REDACT_GROWTH + 64;
    struct str before = {.limit = limit};
    struct rewriting w = {.rules = r, .counts = counts, .out.limit = limit};
    int rc = rewrite_all(&w, text, bytes);
    bool is_found = w.has_changed;

    for (int i = 1; rc == 0 && w.has_changed; i++) {
        struct str last = w.out;
        w.out = before;
        before = last;
        rc = i == PASSES_MAX ? -ECANCELED
                             : rewrite_all(&w, before.data, before.bytes);
    }
    if (rc == -E2BIG)
        rc = -ECANCELED;
    if (rc == 0 && is_found) {
        str_append(out, w.out.data, w.out.bytes);
        rc = out->rc < 0 ? out->rc : 1;
    }
    str_free(&before);
    str_free(&w.out);
    return rc;
}
