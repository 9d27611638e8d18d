#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Training on a GPU: tokens/s of the shapes that README's table has, memory of the
# device at most (by nvidia-smi, contexts included), frames of somebody else on
# the same GPU, and where the time goes. Models of random weights are made in DIR,
# 24 GB.
#
# usage: gpu.sh BUILD DIR [DEVICE]      DEVICE: vulkan, or vulkan:NAME

set -eu
[ $# -ge 2 ] || {
    echo "usage: gpu.sh BUILD DIR [DEVICE]" >&2
    exit 2
}
bench=$1/tests/bench
dir=$2
device=${3:-vulkan}
mkdir -p "$dir"

shape()
{
    [ -e "$dir/$1-$2.gguf" ] || "$bench/make_shape" "$1" "$2" "$dir/$1-$2.gguf"
}

# row SHAPE TYPE BENCH-ARGUMENTS...
row()
{
    local model=$dir/$1-$2.gguf watch=
    shape "$1" "$2"
    echo "== $*"
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=memory.used --format=csv,noheader -lms 100 >"$dir/memory" &
        watch=$!
    fi
    shift 2
    "$bench/bench_train" "$model" --device "$device" memory_mib=100000 length=512 "$@" |
        grep -E 'rows at once|median|ms a step|GFLOP'
    [ -z "$watch" ] || {
        kill "$watch"
        echo "memory at most: $(sort -n "$dir/memory" | tail -1)"
    }
}

row smollm135m f16 batch=1
row smollm135m f16 batch=8
row smollm135m q8_0 batch=8
row llama1b f16 batch=4
row llama7b f16 batch=1
row llama7b f16 batch=1 last_blocks=5
row llama7b f16 batch=1 last_blocks=5 prefix_cache=f16 --rows 6
row llama7b q8_0 batch=1

echo "== frames alone, and beside training"
name=${device#vulkan}
name=${name#:}
"$bench/bench_frames" ${name:+--device "$name"} --seconds 10
"$bench/bench_train" "$dir/smollm135m-f16.gguf" --device "$device" --active --seconds 16 \
    memory_mib=100000 batch=8 length=512 | grep median &
sleep 4
"$bench/bench_frames" ${name:+--device "$name"} --seconds 10
wait
