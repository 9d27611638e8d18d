// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * How fast text becomes tokens: megabytes a second on one thread, the best of
 * several passes, and what the tokenizer takes in memory.
 *
 * usage: bench_tokenize MODEL.gguf TEXT_FILE [SECONDS]
 */

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/mapfile.h"
#include "engine/formats/gguf.h"
#include "engine/tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

static int measure(struct tokenizer *t, const struct mapfile *text,
                   double seconds)
{
    struct token_list l = {.limit = (size_t) 1 << 28};
    uint64_t best = UINT64_MAX, begin = clock_monotonic_ns();
    int rc = 0;

    while (rc == 0 &&
           (double) (clock_monotonic_ns() - begin) * 1e-9 < seconds) {
        uint64_t from = clock_monotonic_ns();
        token_list_clear(&l);
        rc = tokenizer_encode(t, &l, text->data, text->bytes, 0);
        uint64_t ns = clock_monotonic_ns() - from;
        if (ns < best)
            best = ns;
    }
    if (rc == 0)
        (void) printf("{\"bench\":\"tokenize\",\"kind\":\"%s\",\"vocab\":%u,"
                      "\"bytes\":%zu,\"tokens\":%zu,\"mb_per_s\":%.1f}\n",
                      tokenizer_kind_name(t), (unsigned) tokenizer_n_vocab(t),
                      text->bytes, l.count,
                      (double) text->bytes * 1e3 / (double) best);
    token_list_free(&l);
    return rc;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct tokenizer *t = NULL;
    struct mapfile text;
    struct gguf *g;
    int rc;

    if (argc < 3) {
        (void) fputs("usage: bench_tokenize MODEL.gguf TEXT_FILE [SECONDS]\n",
                     stderr);
        return 2;
    }
    if ((rc = gguf_load(&g, argv[1], &err)) == 0) {
        rc = tokenizer_create(&t, g, &err);
        gguf_destroy(g);
    }
    if (rc == 0 && (rc = mapfile_load(&text, argv[2], &err)) == 0) {
        rc = measure(t, &text, argc > 3 ? strtod(argv[3], NULL) : 2);
        mapfile_finish(&text);
    }
    if (rc < 0)
        (void) fprintf(stderr, "bench_tokenize: %s\n", err.text);
    tokenizer_destroy(t);
    return rc < 0;
}
