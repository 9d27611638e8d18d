#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# The Vulkan drivers of many GPUs, in a private directory, for a machine that
# has none of them: lavapipe, which computes on the CPU (with cooperative
# matrices), and the others behind Mesa's drm-shim, which answers in place of
# the kernel's driver: shaders are compiled for real, submissions do nothing.
# 66 MB to fetch, 350 MB on disk. Mali's is built for Arm alone; "mali" brings
# it beside the others, for qemu to run: 30 MB more.
#
# usage: mesa.sh DIR [mali]      then: POCKD_RIGS=DIR tests/rigs/rig.sh NAME PROGRAM ...

set -eu
here=$(dirname "$0")
suites="trixie trixie-backports"
drivers="mesa-vulkan-drivers/trixie-backports mesa-drm-shim/trixie-backports libvulkan1"
# shellcheck disable=SC2086 # lists
case $#,${2:-} in
1,)
    exec "$here/unpack.sh" "$1" "$(dpkg --print-architecture)" "$suites" \
        $drivers vulkan-validationlayers
    ;;
2,mali)
    [ "$(uname -m)" != aarch64 ] || exit 0 # it is among the others
    # LLVM is lavapipe's.
    exec "$here/unpack.sh" "$1/arm64" arm64 "$suites" $drivers libllvm19-
    ;;
esac
echo "usage: mesa.sh DIR [mali]" >&2
exit 2
