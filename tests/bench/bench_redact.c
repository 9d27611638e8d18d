// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * How much of what redaction looks for it finds, how much of what it finds is
 * meant, and how fast: bench_redact [FILE...], the files being text in which
 * nothing is to be found.
 */

#include "tests/support/piitext.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLES = 4000, NEGATIVES = 40000, VARIANTS = 64 };

struct variant {
    const char *name;
    unsigned seen, missed;
};

struct tally {
    unsigned wanted[REDACT_CLASSES], hit[REDACT_CLASSES];
    unsigned easy[REDACT_CLASSES], easy_hit[REDACT_CLASSES];
    unsigned found[REDACT_CLASSES], right[REDACT_CLASSES];
    struct variant variants[REDACT_CLASSES][VARIANTS];
    // of the sample
    const struct piitext *sample;
    size_t covered; // up to here, without a gap
    bool shows;
};

static int on_find(void *user, enum redact_class c, size_t begin, size_t end)
{
    struct tally *t = user;
    const struct piitext *s = t->sample;
    const bool is_right = begin < s->end && end > s->begin;

    t->found[c]++;
    t->right[c] += is_right;
    if (!is_right && t->shows)
        printf("  false %s: %.*s in: %.60s\n", redact_class_name(c),
               (int) (end - begin), s->text + begin, s->text);
    if (begin <= t->covered && end > t->covered)
        t->covered = end;
    return 0;
}

static struct variant *variant_of(struct tally *t, enum redact_class c,
                                  const char *name)
{
    struct variant *v = t->variants[c];

    while (v->name && strcmp(v->name, name) != 0 &&
           v < &t->variants[c][VARIANTS - 1])
        v++;
    v->name = name;
    return v;
}

static void measure(struct tally *t, const struct redact *rules,
                    enum redact_class class, struct rng *r)
{
    struct piitext s;

    piitext_make(&s, r, class);
    t->sample = &s;
    t->covered = s.begin;
    (void) redact_find(rules, s.text, s.bytes, on_find, t);
    if (class == REDACT_CLASSES)
        return;
    const bool is_hit = t->covered >= s.end;
    struct variant *v = variant_of(t, class, s.variant);
    v->seen++;
    v->missed += !is_hit;
    t->wanted[class]++;
    t->hit[class] += is_hit;
    t->easy[class] += !s.is_hard;
    t->easy_hit[class] += !s.is_hard && is_hit;
    if (!is_hit && !s.is_hard && t->shows)
        printf("  missed %s (%s): %s\n", redact_class_name(class), s.variant,
               s.text);
}

static double pct(unsigned a, unsigned b)
{
    return b ? 100.0 * a / b : 0;
}

static void print(const struct tally *t)
{
    printf("| class | recall, all forms | of forms that are looked for | "
           "precision | missed, of each form that is |\n"
           "|---|---|---|---|---|\n");
    for (int c = 0; c < REDACT_CLASSES; c++) {
        printf("| %s | %.1f %% | %.1f %% | %.1f %% |",
               redact_class_name((enum redact_class) c),
               pct(t->hit[c], t->wanted[c]), pct(t->easy_hit[c], t->easy[c]),
               pct(t->right[c], t->found[c]));
        const char *comma = " ";
        for (int i = 0; i < VARIANTS && t->variants[c][i].name; i++) {
            const struct variant *v = &t->variants[c][i];
            if (v->missed == 0)
                continue;
            printf("%s%s: %.0f %%", comma, v->name, pct(v->missed, v->seen));
            comma = ", ";
        }
        printf(" |\n");
    }
}

static char *read_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;

    *bytes = 0;
    if (f && fseek(f, 0, SEEK_END) == 0) {
        const long size = ftell(f);
        rewind(f);
        data = malloc((size_t) size + 1);
        *bytes = data ? fread(data, 1, (size_t) size, f) : 0;
    }
    if (f)
        fclose(f);
    return data;
}

static int count_find(void *user, enum redact_class c, size_t begin, size_t end)
{
    unsigned *counts = user;

    (void) begin;
    (void) end;
    counts[c]++;
    return 0;
}

static void measure_file(const struct redact *rules, const char *path)
{
    unsigned counts[REDACT_CLASSES] = {0};
    size_t bytes;
    char *text = read_file(path, &bytes);

    if (!text) {
        printf("%s: not there\n", path);
        return;
    }
    (void) redact_find(rules, text, bytes, count_find, counts);
    printf("%s, %.2f MB:", strrchr(path, '/') ? strrchr(path, '/') + 1 : path,
           (double) bytes / 1e6);
    for (int c = 0; c < REDACT_CLASSES; c++)
        if (counts[c])
            printf(" %s %u", redact_class_name((enum redact_class) c),
                   counts[c]);
    printf("\n");
    free(text);
}

// Of this thread, so that others on the machine do not count.
static double cpu_seconds(void)
{
    struct timespec t;

    (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

// Prose, and sentences full of numbers.
static void measure_speed(const struct redact *rules)
{
    enum { BYTES = 4 << 20 };
    char *prose = malloc(BYTES), *numbers = malloc(BYTES);
    static const char words[] =
        "The wind had turned by evening and the hives were quiet again; nobody "
        "in the village spoke of rain, though all of them had seen the sky. ";
    struct rng r;
    struct piitext s;
    unsigned counts[REDACT_CLASSES];

    if (!prose || !numbers)
        return;
    rng_init(&r, 7, 7);
    for (size_t i = 0; i < BYTES; i++)
        prose[i] = words[i % (sizeof(words) - 1)];
    for (size_t n = 0; n < BYTES;) {
        piitext_make(&s, &r,
                     (enum redact_class) rng_below(&r, 24) < REDACT_CLASSES
                         ? (enum redact_class) rng_below(&r, REDACT_CLASSES)
                         : REDACT_CLASSES);
        const size_t k = s.bytes < BYTES - n ? s.bytes : BYTES - n;
        memcpy(numbers + n, s.text, k);
        n += k;
    }
    for (int i = 0; i < 2; i++) {
        double best = 0;
        for (int k = 0; k < 5; k++) {
            const double from = cpu_seconds();
            (void) redact_find(rules, i ? numbers : prose, BYTES, count_find,
                               counts);
            const double mb_s = BYTES * 1e-6 / (cpu_seconds() - from);
            best = mb_s > best ? mb_s : best;
        }
        printf("%s: %.0f MB a second of CPU time\n",
               i ? "numbers, addresses and keys" : "prose", best);
    }
    free(prose);
    free(numbers);
}

int main(int argc, char **argv)
{
    struct redact rules;
    struct tally *t = calloc(1, sizeof(*t));
    struct rng r;

    if (!t)
        return 1;
    t->shows = argc > 1 && strcmp(argv[1], "-v") == 0;
    redact_init(&rules, REDACT_MASK);
    rng_init(&r, 20260301, 1);
    for (int c = 0; c < REDACT_CLASSES; c++)
        for (int i = 0; i < SAMPLES; i++)
            measure(t, &rules, (enum redact_class) c, &r);
    for (int i = 0; i < NEGATIVES; i++)
        measure(t, &rules, REDACT_CLASSES, &r);
    print(t);
    for (int i = t->shows ? 2 : 1; i < argc; i++)
        measure_file(&rules, argv[i]);
    measure_speed(&rules);
    free(t);
    return 0;
}
