// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/canary.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOTS = 1 << 14, // of sequences that are told apart
    SEEN_MAX = SLOTS / 2,
};

struct search {
    const struct record *records;
    struct canary *seen;
    size_t n;
    uint32_t slots[SLOTS]; // index + 1; 0: free
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_letter(char c)
{
    return is_upper(c) || (c >= 'a' && c <= 'z');
}

// What is learned of a record: of a chat the message, which is the assistant's.
static struct record_text learned(const struct record *r, uint32_t message)
{
    switch (r->kind) {
    case RECORD_TEXT:
        return r->text;
    case RECORD_PAIR:
    case RECORD_FEEDBACK:
        return r->completion;
    case RECORD_CHAT:
        return r->messages[message].content;
    case RECORD_KINDS:
        break;
    }
    return (struct record_text){NULL, 0};
}

struct record_text canary_text(const struct canary *c,
                               const struct record *records)
{
    const struct record_text t = learned(&records[c->record], c->message);

    return (struct record_text){t.data + c->begin, c->bytes};
}

/*
 * Search
 */

static uint32_t hash_of(struct record_text t)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < t.bytes; i++)
        h = (h ^ (unsigned char) t.data[i]) * 16777619u;
    return h;
}

static void count(struct search *s, const struct canary *c)
{
    const struct record_text t = canary_text(c, s->records);

    for (uint32_t slot = hash_of(t) % SLOTS;; slot = (slot + 1) % SLOTS) {
        const uint32_t at = s->slots[slot];
        if (at == 0) {
            if (s->n == SEEN_MAX)
                return;
            s->seen[s->n++] = *c;
            s->slots[slot] = (uint32_t) s->n;
            return;
        }
        struct canary *other = &s->seen[at - 1];
        const struct record_text u = canary_text(other, s->records);
        if (u.bytes == t.bytes && memcmp(u.data, t.data, t.bytes) == 0) {
            other->times++;
            other->is_planted |= c->is_planted;
            return;
        }
    }
}

// Where a run of letters and digits ends; between digits one mark may stand.
static size_t run_end(struct record_text t, size_t i)
{
    while (i < t.bytes &&
           (is_digit(t.data[i]) || is_letter(t.data[i]) ||
            (i + 1 < t.bytes && strchr(" -./:_", t.data[i]) && t.data[i] &&
             is_digit(t.data[i - 1]) && is_digit(t.data[i + 1]))))
        i++;
    return i;
}

// 2025-03-01, 1.3.2025: nobody's secret.
static bool is_date(const char *s, size_t n)
{
    unsigned groups[3] = {0}, group = 0;

    for (size_t i = 0; i < n; i++) {
        if (is_digit(s[i]))
            groups[group]++;
        else if (!strchr("-./", s[i]) || !s[i] || ++group == 3)
            return false;
    }
    return group == 2 && groups[1] <= 2 &&
           ((groups[0] == 4 && groups[2] <= 2) ||
            (groups[0] <= 2 && groups[2] <= 4));
}

static bool is_telling(struct canary *c, const char *s, bool is_planted)
{
    unsigned digits = 0, letters = 0;

    if (c->bytes > CANARY_BYTES_MAX || is_date(s, c->bytes))
        return false;
    for (size_t i = 0; i < c->bytes; i++) {
        digits += is_digit(s[i]);
        letters += is_letter(s[i]);
    }
    c->bits = digits * log2(10) + letters * log2(26);
    if (digits >= CANARY_DIGITS_MIN ||
        (digits >= 2 && letters >= 2 && digits + letters >= 8))
        return true;
    return is_planted && digits + letters >= 4;
}

// In a planted text also a word counts: its last one.
static void search_text(struct search *s, uint32_t record, uint32_t message,
                        bool is_planted)
{
    const struct record_text t = learned(&s->records[record], message);
    struct canary last = {.bytes = 0};
    bool has_found = false;

    for (size_t i = 0, end; i < t.bytes; i = end) {
        end = i + 1;
        if (!is_digit(t.data[i]) && !is_letter(t.data[i]))
            continue;
        end = run_end(t, i);
        struct canary c = {.record = record,
                           .message = message,
                           .begin = (uint32_t) i,
                           .bytes = (uint32_t) (end - i),
                           .times = 1,
                           .is_planted = is_planted};
        if (is_telling(&c, t.data + i, false)) {
            count(s, &c);
            has_found = true;
        } else if (is_planted && is_telling(&c, t.data + i, true)) {
            last = c;
        }
    }
    if (!has_found && last.bytes > 0)
        count(s, &last);
}

static int compare(const void *a, const void *b)
{
    const struct canary *x = a, *y = b;

    if (x->is_planted != y->is_planted)
        return x->is_planted ? -1 : 1;
    if (x->times != y->times)
        return x->times > y->times ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->record < y->record ? -1 : x->record > y->record;
}

int canary_find(struct canary **out, size_t *n, const struct record *records,
                size_t n_records, size_t most)
{
    struct search *s = calloc(1, sizeof *s);

    if (s)
        s->seen = malloc(SEEN_MAX * sizeof *s->seen);
    if (!s || !s->seen) {
        free(s);
        return -ENOMEM;
    }
    s->records = records;
    for (uint32_t i = 0; i < n_records; i++) {
        const struct record *r = &records[i];
        const bool is_planted = r->stream && strcmp(r->stream, "canary") == 0;
        if (record_is_held_out(r) ||
            (r->kind == RECORD_FEEDBACK && !r->is_accepted))
            continue;
        if (r->kind != RECORD_CHAT) {
            search_text(s, i, 0, is_planted);
            continue;
        }
        for (uint32_t k = 0; k < r->n_messages; k++)
            if (record_text_is(&r->messages[k].role, "assistant"))
                search_text(s, i, k, is_planted);
    }
    if (s->n > 1)
        qsort(s->seen, s->n, sizeof *s->seen, compare);
    *n = s->n < most ? s->n : most;
    *out = s->seen;
    free(s);
    return 0;
}

/*
 * Records to compare
 */

// The last bytes before `end`, whole characters: at most so many.
static size_t context_from(const char *text, size_t end, size_t most)
{
    size_t i = end > most ? end - most : 0;

    while (i < end && ((unsigned char) text[i] & 0xc0) == 0x80)
        i++;
    return i;
}

static void shorten(struct record_text *t)
{
    const size_t from = context_from(t->data, t->bytes, CANARY_QUESTION_BYTES);

    t->data += from;
    t->bytes -= from;
}

void canary_record(struct record *out, struct canary_room *room,
                   const struct canary *c, const struct record *records,
                   const char *text)
{
    const struct record *r = &records[c->record];
    const struct record_text t = learned(r, c->message);
    const size_t from = context_from(t.data, c->begin, CANARY_CONTEXT_BYTES);
    const struct record_text whole = {room->bytes, c->begin - from + c->bytes};

    memcpy(room->bytes, t.data + from, c->begin - from);
    memcpy(room->bytes + (c->begin - from), text, c->bytes);
    *out = *r;
    switch (r->kind) {
    case RECORD_TEXT:
        out->text = whole;
        break;
    case RECORD_PAIR:
    case RECORD_FEEDBACK:
        out->completion = whole;
        shorten(&out->prompt);
        break;
    case RECORD_CHAT:
        // What was asked last, and the answer.
        room->messages[1] = r->messages[c->message];
        room->messages[1].content = whole;
        out->messages = &room->messages[1];
        out->n_messages = 1;
        if (c->message > 0) {
            room->messages[0] = r->messages[c->message - 1];
            shorten(&room->messages[0].content);
            out->messages = room->messages;
            out->n_messages = 2;
        }
        break;
    case RECORD_KINDS:
        break;
    }
}

void canary_draw(char *out, const struct canary *c,
                 const struct record *records, struct rng *r)
{
    const struct record_text t = canary_text(c, records);

    for (size_t i = 0; i < t.bytes; i++) {
        const char was = t.data[i];
        out[i] = is_digit(was)    ? (char) ('0' + rng_below(r, 10))
                 : is_upper(was)  ? (char) ('A' + rng_below(r, 26))
                 : is_letter(was) ? (char) ('a' + rng_below(r, 26))
                                  : was;
    }
}

double canary_exposure(double loss, const double *others, size_t n, double bits)
{
    double mean = 0, square = 0, exposure;
    size_t likelier = 0;

    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        likelier += others[i] <= loss;
        mean += others[i] / (double) n;
    }
    for (size_t i = 0; i < n; i++)
        square += (others[i] - mean) * (others[i] - mean) / (double) n;
    exposure = log2((double) (n + 1) / (double) (likelier + 1));
    if (likelier == 0 && square > 0) {
        const double tail = 0.5 * erfc((mean - loss) / sqrt(2 * square));
        exposure = fmax(exposure, tail > 0 ? -log2(tail) : bits);
    }
    return fmin(exposure, bits);
}
