// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Recipe
 *
 * How to train: one row of recipe.def each, with its range and default. Set
 * from text, so that a job can carry it as key=value pairs; every refusal says
 * the name, the value and what is allowed.
 */

#include "engine/models/kept.h"
#include "engine/models/scheme_text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

enum { RECIPE_TEXT_BYTES = SCHEME_TEXT_BYTES + 2048 };

enum recipe_method {
    RECIPE_METHOD_GRADIENT,
    RECIPE_METHOD_MEZO, // Malladi et al., arXiv 2305.17333
    RECIPE_METHOD_PRGE, // Gao et al., arXiv 2409.15520
    RECIPE_METHOD_FZOO, // Dang et al., arXiv 2506.09034
    RECIPE_METHOD_AUTO,
    RECIPE_METHOD_COUNT
};

enum recipe_sweep {
    RECIPE_SWEEP_AUTO,
    RECIPE_SWEEP_DUAL,
    RECIPE_SWEEP_SINGLE,
    RECIPE_SWEEP_SEQUENTIAL,
    RECIPE_SWEEP_COUNT
};

enum recipe_schedule {
    RECIPE_SCHEDULE_LINEAR,
    RECIPE_SCHEDULE_COSINE,
    RECIPE_SCHEDULE_CONSTANT,
    RECIPE_SCHEDULE_COUNT
};

enum recipe_updates {
    RECIPE_UPDATES_AUTO,
    RECIPE_UPDATES_EARLY,
    RECIPE_UPDATES_LATE,
    RECIPE_UPDATES_COUNT
};

struct recipe_text {
    char text[SCHEME_TEXT_BYTES]; // zeros behind the end
};

struct recipe {
#define RECIPE_TYPE_U32                         uint32_t
#define RECIPE_TYPE_U64                         uint64_t
#define RECIPE_TYPE_F32                         float
#define RECIPE_TYPE_CHOICE                      uint32_t
#define RECIPE_TYPE_TARGETS                     uint32_t
#define RECIPE_TYPE_TEXT                        struct recipe_text
#define RECIPE(name, type, min, max, def, help) RECIPE_TYPE_##type name;
#include "engine/train/recipe.def"
#undef RECIPE
#undef RECIPE_TYPE_U32
#undef RECIPE_TYPE_U64
#undef RECIPE_TYPE_F32
#undef RECIPE_TYPE_CHOICE
#undef RECIPE_TYPE_TARGETS
#undef RECIPE_TYPE_TEXT
};

// All defaults.
void recipe_init(struct recipe *r);
// By forward passes alone? AUTO counts as by gradient.
bool recipe_is_forward(const struct recipe *r);
// Another method, and its own defaults for what still has the default.
void recipe_set_method(struct recipe *r, enum recipe_method method);
// One value, as text: ("lr", "0.001"). As recipe_set_method() for that. -ENOENT
// for an unknown name, -EINVAL for a value out of range; the recipe is
// untouched then.
int recipe_set(struct recipe *r, const char *name, const char *value,
               struct error *err);
// "rank=8 lr=1e-3 targets=q,v": pairs divided by white space. Starts from what
// `r` holds.
int recipe_parse(struct recipe *r, const char *text, struct error *err);
// Ranges that depend on one another, and on the model.
int recipe_check(const struct recipe *r, const struct model_config *m,
                 struct error *err);
// All values as text that recipe_parse() reads back exactly. Returns the
// length, or -E2BIG; RECIPE_TEXT_BYTES are enough for any.
int recipe_print(char *out, size_t bytes, const struct recipe *r);
// SHA-256 of that text: two recipes with one hash train alike.
int recipe_hash(uint8_t out[32], const struct recipe *r);

// What learns, checked against the model.
int recipe_scheme(struct scheme *out, const struct recipe *r,
                  const struct model_config *m, struct error *err);
// What is kept for its gradients, checked against both.
int recipe_kept(struct kept *out, const struct recipe *r,
                const struct scheme *s, const struct model_config *m,
                struct error *err);
// Where the states of a frozen prefix end: the first block of the scheme that
// learns, or 0 when the whole model runs.
uint32_t recipe_first_block(const struct recipe *r, const struct scheme *s,
                            const struct model_config *m);
// Learning rate of step 0 .. steps_total - 1.
float recipe_rate(const struct recipe *r, uint64_t step, uint64_t steps_total);

// The names of a CHOICE, ending with NULL; NULL for other options.
const char *const *recipe_choices(const char *option);

enum recipe_type {
    RECIPE_U32,
    RECIPE_U64,
    RECIPE_F32,
    RECIPE_CHOICE,
    RECIPE_TARGETS,
    RECIPE_TEXT,
};

// The table, for help texts and completions.
struct recipe_option {
    const char *name;
    const char *help;
    double min, max, fallback;
    uint8_t type;
    uint16_t offset; // in struct recipe
};
extern const struct recipe_option recipe_options[];
extern const size_t recipe_option_count;
