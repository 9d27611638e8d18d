#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
#
# Products by cooperative matrices on this machine's GPU, shape by shape.
#
#   vk_gemm.sh PROGRAM DIR [DEVICE]     PROGRAM: build/tests/bench/vk_gemm
#
# Compiles the shaders into DIR with $POCKD_GLSLANG (16 or newer), then runs
# the tiles that emit_matmul_cm.c chooses from. Another list: see vk_gemm.c.

set -eu
program=$1 dir=$2 device=${3:-NVIDIA}
shaders=$(cd "$(dirname "$0")/../../engine/vulkan/shaders" && pwd)
mkdir -p "$dir"

spv() # NAME SOURCE DEFINES...
{
    out=$dir/$1.spv source=$shaders/$2.comp
    shift 2
    "${POCKD_GLSLANG:-glslang}" -V --quiet --target-env vulkan1.2 \
        -I"$shaders/lib" "$@" -o "$out" "$source"
}
spv cm_pack cm_pack
spv gemm_sum gemm_sum
code=0
for type in f16 bf16 q8_0 q4_0; do
    code=$((code + 1))
    bf16=
    [ $type != bf16 ] || bf16=-DOPERAND_BF16
    # shellcheck disable=SC2086 # none or one word
    spv gemm_cm_$type gemm_cm -DWEIGHT=$code $bf16
    # shellcheck disable=SC2086
    spv gemm_cm_${type}_back gemm_cm -DWEIGHT=$code -DBACK $bf16
done

for shape in '4096 4096 4096' '512 4096 4096' '512 11008 4096' \
    '2048 8192 2048' '4096 576 1536' '512 576 576'; do
    for type in f16 bf16 q8_0 q4_0; do
        for way in fwd back; do
            for tile in '256 128 128 64 64 32' '256 256 128 32 64 64' \
                '128 64 64 64 32 32'; do
                echo "$way $type $shape 1 8 $tile"
            done
        done
    done
done | "$program" "$dir" "$device"
