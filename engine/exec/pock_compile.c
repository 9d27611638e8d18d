// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * pock-compile: what the compiler makes of a model, for developers.
 *
 *   pock-compile MODEL.gguf [--kind train] [--batch 1] [--length 256]
 *                [--cache N] [--rows 1] [--rank 8] [--alpha 16]
 *                [--targets 127] [--last 0] [--summary]
 *
 * Prints the passes, the instructions and the map of the arena. With
 * POCK_DUMP=PASS (or all) the graph after that pass goes to standard error.
 */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/formats/gguf.h"

static const char *const kinds[] = {
    [PROGRAM_TRAIN] = "train",   [PROGRAM_ACCUMULATE] = "accumulate",
    [PROGRAM_UPDATE] = "update", [PROGRAM_GRADIENT] = "gradient",
    [PROGRAM_EVAL] = "eval",     [PROGRAM_CACHED] = "cached",
};

struct options {
    const char *model;
    bool is_summary;
    struct program_params params;
};

static int parse_kind(enum program_kind *out, const char *text)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i], text) == 0) {
            *out = (enum program_kind) i;
            return 0;
        }
    }
    return -EINVAL;
}

static int parse_u32(uint32_t *out, const char *text)
{
    char *end;
    errno = 0;
    const unsigned long x = strtoul(text, &end, 0);
    if (errno || *end || end == text || x > UINT32_MAX)
        return -EINVAL;
    *out = (uint32_t) x;
    return 0;
}

static int parse_options(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        {"kind", 1, NULL, 'k'},   {"batch", 1, NULL, 'b'},
        {"length", 1, NULL, 'l'}, {"cache", 1, NULL, 'c'},
        {"rows", 1, NULL, 'n'},   {"rank", 1, NULL, 'r'},
        {"alpha", 1, NULL, 'a'},  {"targets", 1, NULL, 't'},
        {"last", 1, NULL, 'L'},   {"summary", 0, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    struct program_params *p = &o->params;
    uint32_t alpha = 16;
    int rc = 0;
    int c;

    *p = (struct program_params){PROGRAM_TRAIN,       1, 256, 0, 1,
                                 {8, 16, LORA_ALL, 0}};
    while (rc == 0 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        uint32_t *const fields[] = {
            ['b'] = &p->batch,        ['l'] = &p->length,
            ['c'] = &p->cache_length, ['n'] = &p->n_rows,
            ['r'] = &p->lora.rank,    ['a'] = &alpha,
            ['t'] = &p->lora.targets, ['L'] = &p->lora.last_blocks,
        };
        if (c == 's')
            o->is_summary = true;
        else if (c == 'k')
            rc = parse_kind(&p->kind, optarg);
        else
            rc = c == '?' ? -EINVAL : parse_u32(fields[c], optarg);
    }
    p->lora.alpha = (float) alpha;
    if (p->kind == PROGRAM_CACHED && p->cache_length == 0)
        p->cache_length = p->length;
    if (optind + 1 != argc)
        return -EINVAL;
    o->model = argv[optind];
    return rc;
}

static int print(const struct options *o, const struct program *p,
                 uint64_t compile_ns)
{
    char *text;
    int rc = program_print(&text, p);
    if (rc < 0)
        return rc;
    if (o->is_summary)
        *strstr(text, " instructions\n") = '\0';
    (void) printf("%s%scompiled in %.3f ms\n", text,
                  o->is_summary ? " instructions\n" : "\n",
                  (double) compile_ns * 1e-6);
    free(text);
    return 0;
}

static int compile(const struct options *o, struct error *err)
{
    const struct device_params dp = {.threads = 1};
    struct model_config m;
    struct gguf *file = NULL;
    struct device *dev = NULL;
    struct program *p = NULL;
    int rc;

    if ((rc = gguf_load(&file, o->model, err)) < 0)
        goto out;
    if ((rc = model_config_read(&m, file, err)) < 0)
        goto out;
    if ((rc = cpu_backend.open(&dev, &dp, err)) < 0)
        goto out;
    const uint64_t start = clock_monotonic_ns();
    if ((rc = program_compile(&p, &m, &o->params, &cpu_backend, dev, err)) < 0)
        goto out;
    rc = print(o, p, clock_monotonic_ns() - start);

out:
    program_destroy(p);
    cpu_backend.close(dev);
    gguf_destroy(file);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct error err = {0};

    if (parse_options(&o, argc, argv) < 0) {
        (void) fprintf(stderr,
                       "usage: pock-compile MODEL.gguf [--kind train|accumulate"
                       "|update|gradient|eval|cached]\n"
                       "       [--batch N] [--length N] [--cache N] [--rows N] "
                       "[--rank N] [--alpha N]\n"
                       "       [--targets BITS] [--last BLOCKS] [--summary]\n");
        return 2;
    }
    if (compile(&o, &err) < 0) {
        (void) fprintf(stderr, "pock-compile: %s\n", err.text);
        return 1;
    }
    return 0;
}
