#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Training on a GPU: tokens/s of the shapes that README's table has, memory of the
# device at most, and frames of somebody else on the same GPU. Models of random
# weights are made in DIR, 24 GB. With $TORCH_LORA, a program that trains the same
# with PyTorch (DEVICE SHAPE lora BATCH LENGTH) and prints a line, it has its turn.
#
# usage: [TORCH_LORA=FILE] gpu.sh BUILD DIR [DEVICE]   DEVICE: vulkan, or vulkan:NAME

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
    local model=$dir/$1-$2.gguf
    shape "$1" "$2"
    echo "== $*"
    shift 2
    "$bench/bench_train" "$model" --device "$device" memory_mib=100000 length=512 "$@" |
        grep -E 'rows at once|median|ms a step|GFLOP|device memory'
}

# peer SHAPE BATCH
peer()
{
    [ -z "${TORCH_LORA:-}" ] || python3 "$TORCH_LORA" cuda "$1" lora "$2" 512
}

# Budgets of activations by which the device's memory stays below PyTorch's.
row smollm135m f16 batch=1 memory_mib=550
peer smollm135m 1
row smollm135m f16 batch=8 memory_mib=4900
peer smollm135m 8
row smollm135m q8_0 batch=8 memory_mib=4900
row smollm135m q4_0 batch=8 memory_mib=4900
row llama1b f16 batch=4 memory_mib=6000
peer llama1b 4
row llama7b f16 batch=1 memory_mib=3000
peer llama7b 1
row llama7b f16 batch=1 last_blocks=5
row llama7b f16 batch=1 last_blocks=5 prefix_cache=f16 --rows 6
row llama7b q8_0 batch=1 memory_mib=3000
row llama7b q4_0 batch=1 memory_mib=3000

echo "== by rules, and by what was timed"
shape llama1b f16
"$bench/bench_times" "$dir/llama1b-f16.gguf" "$(dirname "$0")/../../clients/demo" --device "$device" \
    --rows --tokens 0 --steps 30 memory_mib=100000 length=512 batch=4 epochs=1000 prefix_cache=off

echo "== frames alone, and beside training"
name=${device#vulkan}
name=${name#:}
"$bench/bench_frames" ${name:+--device "$name"} --seconds 10
"$bench/bench_train" "$dir/smollm135m-f16.gguf" --device "$device" --active --seconds 16 \
    memory_mib=100000 batch=8 length=512 | grep median &
sleep 4
"$bench/bench_frames" ${name:+--device "$name"} --seconds 10
wait
