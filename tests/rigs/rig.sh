#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Runs a program on one of the drivers that mesa.sh unpacked.
#
# usage: POCKD_RIGS=DIR rig.sh NAME PROGRAM ARGUMENT...
#        rig.sh list           the names, one a line, and what they are
#
# The validation layer that a program may ask for is that of mesa.sh too. Debian
# has Mali's driver for Arm alone: elsewhere a program must have been built for
# that (tests/cross/arm64.sh), and runs in qemu.

set -eu

# name, driver, shim, its variable, what it is
table='
lavapipe  lvp       -         -                        the CPU, and it computes
a618      freedreno freedreno FD_GPU_ID=618            Adreno 618, turnip
a660      freedreno freedreno FD_GPU_ID=660            Adreno 660, turnip
a730      freedreno freedreno FD_GPU_ID=730            Adreno 730, turnip
a750      freedreno freedreno FD_GPU_ID=750            Adreno 750, turnip
polaris10 radeon    amdgpu    AMDGPU_GPU_ID=polaris10  AMD GCN 4, RADV
navi21    radeon    amdgpu    AMDGPU_GPU_ID=navi21     AMD RDNA 2, RADV
navi31    radeon    amdgpu    AMDGPU_GPU_ID=navi31     AMD RDNA 3, RADV
strix1    radeon    amdgpu    AMDGPU_GPU_ID=strix1     AMD RDNA 3.5, RADV
gfx1201   radeon    amdgpu    AMDGPU_GPU_ID=gfx1201    AMD RDNA 4, RADV
turing    nouveau   nouveau   NOUVEAU_CHIPSET=0x166    NVIDIA Turing, NVK
ampere    nouveau   nouveau   NOUVEAU_CHIPSET=0x172    NVIDIA Ampere, NVK
m1        asahi     asahi     -                        Apple M1, honeykrisp
g310      panfrost  panfrost  PAN_GPU_ID=ac74          Mali-G310, panvk
g610      panfrost  panfrost  PAN_GPU_ID=a867          Mali-G610, panvk
'
qemu="qemu-aarch64-static"
[ "$(uname -m)" != aarch64 ] || qemu=
if [ "${1:-}" = list ]; then
    echo "$table" | awk -v qemu=$qemu 'NF {
        printf "%-9s ", $1
        end = $2 == "panfrost" && qemu != "" ? ", in qemu" : ""
        $1=$2=$3=$4=""; sub(/^ +/, ""); print $0 end}'
    exit 0
fi
if [ $# -lt 2 ] || [ -z "${POCKD_RIGS:-}" ]; then
    echo "usage: POCKD_RIGS=DIR rig.sh NAME PROGRAM ARGUMENT... | rig.sh list" >&2
    exit 2
fi
name=$1
shift
row=$(echo "$table" | awk -v name="$name" '$1 == name {print $2, $3, $4}')
[ -n "$row" ] || {
    echo "rig.sh: no rig is called $name; rig.sh list prints their names" >&2
    exit 2
}
read -r driver shim variable <<ROW
$row
ROW
[ "$variable" = - ] || export "${variable?}"

dir=$(cd "$POCKD_RIGS" && pwd)
if [ "$driver" = panfrost ] && [ -n "$qemu" ]; then
    dir=$dir/arm64
else
    qemu=
fi
root=$dir/root
ld=$(echo "$root"/usr/lib/*/ld-linux-*.so.*)
lib=${ld%/*}
[ -x "$ld" ] || {
    echo "rig.sh: nothing is unpacked in $dir; mesa.sh does that" >&2
    exit 1
}
export VK_DRIVER_FILES="$root/usr/share/vulkan/icd.d/${driver}_icd.json"
export VK_LAYER_PATH="$root/usr/share/vulkan/explicit_layer.d"
if [ -n "$qemu" ]; then
    exec $qemu -L "$root" -E LD_LIBRARY_PATH="$lib" \
        -E LD_PRELOAD="lib${shim}_noop_drm_shim.so" "$@"
fi
if [ "$shim" = - ]; then
    exec "$ld" --library-path "$lib" "$@"
fi
exec "$ld" --library-path "$lib" --preload "lib${shim}_noop_drm_shim.so" "$@"
