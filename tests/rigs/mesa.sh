#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# The Vulkan drivers of many GPUs, in a private directory, for a machine that
# has none of them: lavapipe, which computes on the CPU (with cooperative
# matrices), and the others behind Mesa's drm-shim, which answers in place of
# the kernel's driver: shaders are compiled for real, submissions do nothing.
# 66 MB to fetch, 350 MB on disk.
#
# usage: mesa.sh DIR      then: POCKD_RIGS=DIR tests/rigs/rig.sh NAME PROGRAM ...

set -eu
[ $# = 1 ] || {
    echo "usage: mesa.sh DIR" >&2
    exit 2
}
exec "$(dirname "$0")/unpack.sh" "$1" "$(dpkg --print-architecture)" \
    "trixie trixie-backports" mesa-vulkan-drivers/trixie-backports \
    mesa-drm-shim/trixie-backports libvulkan1 vulkan-validationlayers
