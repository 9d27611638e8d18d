#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Runs a test that prints TAP on the newer lavapipe, which has cooperative
# matrices, with its validation layer.
#
# usage: on_lavapipe.sh PROGRAM ARGUMENT...

if [ -z "${POCKD_RIGS:-}" ]; then
    echo "1..0 # SKIP POCKD_RIGS does not say where mesa.sh put the drivers"
    exit 0
fi
POCK_VK_VALIDATE=1 exec "$(dirname "$0")/rig.sh" lavapipe "$@"
