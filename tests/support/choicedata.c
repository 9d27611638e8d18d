// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/choicedata.h"

#include "engine/base/arena.h"
#include "engine/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_LIMIT = 64 << 20, SENTENCE_BYTES = 512 };

static int add(struct choicedata *d, const char *sentence, uint8_t label)
{
    static const char form[] = "Review: %s\nIs it good or bad?";
    const size_t bytes = strlen(sentence) + sizeof form;
    char *prompt = arena_calloc(d->arena, bytes, 1);

    if (d->n == d->size) {
        d->size = d->size ? d->size * 2 : 256;
        void *p = realloc(d->choices, d->size * sizeof *d->choices);
        if (!p)
            return -ENOMEM;
        d->choices = p;
    }
    if (!prompt)
        return -ENOMEM;
    (void) snprintf(prompt, bytes, form, sentence);
    d->choices[d->n++] = (struct choice){prompt, label};
    return 0;
}

// A label and a sentence, which ends where the line does.
static int split(uint8_t *label, char **sentence, char *line)
{
    size_t n = strlen(line);

    if (n < 3 || (line[0] != '0' && line[0] != '1') || line[1] != '\t')
        return -EINVAL;
    while (n > 2 && strchr(" \r\n", line[n - 1]))
        line[--n] = '\0';
    *label = line[0] == '1';
    *sentence = line + 2;
    return n > 2 ? 0 : -EINVAL;
}

static int read_lines(struct choicedata *d, FILE *f, size_t n, size_t apart)
{
    size_t left[2] = {n - n / 2, n / 2};
    char *line = NULL, *sentence;
    size_t size = 0;
    uint8_t label;
    int rc = 0;

    // The first line is the header.
    for (size_t at = 0; rc == 0 && getline(&line, &size, f) > 0; at++) {
        if (at == 0 || at % apart != 0)
            continue;
        if ((rc = split(&label, &sentence, line)) < 0)
            break;
        if (left[label] == 0 || strlen(sentence) > SENTENCE_BYTES)
            continue;
        left[label]--;
        rc = add(d, sentence, label);
    }
    free(line);
    return rc;
}

static size_t count_lines(FILE *f)
{
    size_t n = 0;

    for (int c; (c = getc(f)) != EOF;)
        n += c == '\n';
    rewind(f);
    return n;
}

static int load_file(struct choicedata *d, const char *dir, const char *name,
                     size_t n, struct error *err)
{
    char path[1024];
    int rc;

    (void) snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (!f)
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    // Twice as many lines as are taken, for one label may be rarer.
    const size_t apart = count_lines(f) / (2 * n + 1);
    rc = read_lines(d, f, n, apart ? apart : 1);
    (void) fclose(f);
    if (rc == -EINVAL)
        return error_set(err, rc,
                         "%s: a line is no label (0 or 1), tab and sentence",
                         path);
    return rc < 0 ? error_set(err, rc, "out of memory") : 0;
}

int choicedata_load(struct choicedata *d, const char *dir, size_t n_learned,
                    size_t n_held, struct error *err)
{
    int rc;

    *d = (struct choicedata){0};
    if ((rc = arena_create(&d->arena, ARENA_LIMIT)) < 0)
        return error_set(err, rc, "out of memory");
    if ((rc = load_file(d, dir, "train.tsv", n_learned, err)) < 0)
        goto error;
    d->n_learned = d->n;
    if ((rc = load_file(d, dir, "dev.tsv", n_held, err)) < 0)
        goto error;
    return 0;

error:
    choicedata_finish(d);
    return rc;
}

void choicedata_finish(struct choicedata *d)
{
    arena_destroy(d->arena);
    free(d->choices);
    *d = (struct choicedata){0};
}
