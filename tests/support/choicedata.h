// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A choice between two replies, for benchmarks: sentences of reviews and
 * whether they are good, from train.tsv and dev.tsv of a directory in SST-2's
 * form (a header, then "label<TAB>sentence", labels 0 and 1).
 */

#include <stddef.h>
#include <stdint.h>

struct arena;
struct error;

struct choice {
    const char *prompt; // asks about the sentence
    uint8_t label;
};

struct choicedata {
    struct arena *arena;
    struct choice *choices; // those to learn, then those held out
    size_t n, n_learned;
    size_t size;
};

// As many as that of each file, every so many lines, so that they come from all
// of it; of the first as many of each label. -ENOENT and a sentence when a file
// is not there.
int choicedata_load(struct choicedata *d, const char *dir, size_t n_learned,
                    size_t n_held, struct error *err);
void choicedata_finish(struct choicedata *d);
