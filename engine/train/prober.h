// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Prober
 *
 * Steps without gradients: the loss of a batch is measured for copies of the
 * adapter that are moved along random directions, and the adapter then moves
 * along the same ones by what was found. Directions follow from seed, step and
 * query (engine/base/noise.h), so that a step is known by its few numbers.
 *
 * MeZO and P-RGE look both ways: g = (L(+) - L(-)) / (2 eps), and move by the
 * mean of g times direction (Malladi et al., arXiv 2305.17333, algorithm 1; Gao
 * et al., arXiv 2409.15520, 3). FZOO looks one way, and takes for g what the
 * loss rose by, in standard deviations of all losses (Dang et al., arXiv
 * 2506.09034, 3).
 */

#include "engine/train/microbatch.h"

#include <stddef.h>
#include <stdint.h>

struct adapter_state;
struct base_model;
struct dataset;
struct error;
struct packing;
struct prefix;
struct program_cache;
struct prober;
struct recipe;

struct rng;

struct prober_params {
    struct base_model *base;        // borrowed, as are those below
    struct program_cache *programs; // bound to `state`
    struct adapter_state *state;
    const struct recipe *recipe;
    const struct scheme *scheme;
    struct prefix *prefix;          // or NULL
    const struct microbatch *micro; // NULL: it only moves
    // Noise and its size make what a step tells of a record private; NULL: it
    // is not. See privacy.h.
    const struct privacy_release *privacy;
};

int prober_create(struct prober **out, const struct prober_params *params,
                  struct error *err);
void prober_destroy(struct prober *p);

// Mean loss of a step's copies, and g (queries). -EINTR when the device was
// stopped: nothing has changed. `noise` only where steps are private: then each
// window counts as a record of its own, and there may be none.
int prober_look(float *g, double *loss, struct prober *p, uint64_t step,
                const struct packing *packing, const struct dataset *d,
                struct rng *noise, struct error *err);
// Of the last look: one for each copy.
const double *prober_losses(const struct prober *p);
// -EINTR: as before. With rate and g of a step, the same bytes at any time.
int prober_move(struct prober *p, uint64_t step, float rate, const float *g,
                struct error *err);

// The numbers of a step from its losses: those of copies (queries + and - in
// turn), or of a one-sided look (queries, and last the loss where it stands).
void prober_two_sided(float *g, const double *losses, uint32_t queries,
                      double eps);
void prober_one_sided(float *g, const double *losses, uint32_t queries);

// Copies of the adapter that a step looks at.
uint32_t prober_copies(const struct recipe *r);
// As microbatch_plan(), for a recipe without gradients.
int prober_plan(struct microbatch *out, const struct base_model *base,
                const struct recipe *r, struct error *err);
