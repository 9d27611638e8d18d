// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Presets of schemes: what stands before a colon, and a number behind it.
 */

#include "engine/models/scheme_text.h"

// `text` ends with a NUL.
int scheme_preset_parse(struct scheme *out, const char *text,
                        const struct scheme_defaults *defaults,
                        const struct model_config *m, struct error *err);
