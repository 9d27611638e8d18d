// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What the files of the engine's interface share.
 */

#include "engine/engine.h"
#include "engine/train/base_model.h"

struct engine_model {
    struct base_model *base;
    struct runner *runner;
};
