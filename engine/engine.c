// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/backend.h"
#include "engine/exec/program.h"
#include "engine/ir/graph.h"
