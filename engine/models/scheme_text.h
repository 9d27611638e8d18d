// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Schemes as text
 *
 * A preset, "lora-last:4", or JSON: rules that are applied in order, so that a
 * later one has the last word, and what holds for all of them.
 *
 *   {"alpha":16,"scale":"rank","b_rate":1,"delta_rate":1,"exit":0,
 *    "rules":[{"tensors":["attn_*","ffn_gate"],"blocks":"4-7",
 *              "learn":"lora","rank":8},
 *             {"tensors":"attn_v","blocks":7,"learn":"delta","part":[0,1]},
 *             {"tensors":"output_norm","learn":"delta"}]}
 *
 * Tensors are named as in the file, in full or without "blk.N." and ".weight";
 * a star stands for any letters. Blocks: one, "first-last", or "last:K"; all
 * when absent. learn: none, lora, lora_b, dora, delta; norms know none and
 * delta. part: the eighths of a weight's input channels, 0 to 7, of a delta.
 * scale: rank or root, what alpha is divided by.
 *
 * Every refusal names the rule and the entry.
 */

#include "engine/models/scheme.h"

#include <stddef.h>

struct str;

enum { SCHEME_TEXT_BYTES = 4096 }; // longest text, with its NUL

// Where the text says nothing.
struct scheme_defaults {
    uint32_t rank;
    float alpha;
};

int scheme_parse(struct scheme *out, const char *text, size_t bytes,
                 const struct scheme_defaults *defaults,
                 const struct model_config *m, struct error *err);
// JSON without blanks that scheme_parse() reads back exactly, with any
// defaults.
void scheme_print(struct str *out, const struct scheme *s,
                  const struct model_config *m);

// Presets, for help texts: NULL behind the last.
struct scheme_preset_help {
    const char *name;
    const char *argument; // "", "K", "A-B"
    const char *help;
};
const struct scheme_preset_help *scheme_preset_help(uint32_t i);
