#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Measures pockd and what people would use instead, in turn, on the same shape,
# batch, length and threads; run.sh --peers calls it. Prints a line of JSON for
# each run, of which table.py makes tables. ROOT is what peer_root.sh makes;
# what is not in there is left out, with a sentence on stderr. The models take
# 1.2 GB under TMPDIR. About ten minutes; ROUNDS=1 or SECONDS_EACH=1 in the
# environment make it shorter, and worse.
#
# usage: tests/peers/speed.sh BUILD_DIR [ROOT [PART ...]]
#        PART: peak smollm135m llama29m stories15m qwen3_06b contention
#              generation; without any, all of them

set -eu
here=$(dirname "$0")
bench=$1/tests/bench
root=${2:-}
shift
[ $# = 0 ] || shift
parts=${*:-peak smollm135m llama29m stories15m qwen3_06b contention generation}
demo=clients/demo/pock-16m-q8_0.gguf
threads=2
rounds=${ROUNDS:-2}
seconds=${SECONDS_EACH:-6}

dir=$(mktemp -d "${TMPDIR:-/var/tmp}/pockd-peers.XXXXXX")
inside=
loop=
cleanup()
{
    [ -z "$loop" ] || kill "$loop"
    rm -rf "$dir" ${inside:+"$root$inside"}
}
trap cleanup EXIT

say()
{
    echo "peers: $*" >&2
}

# What a command measured, with what it was and whose it is.
record()
{
    local row=$1 who=$2
    shift 2
    say "$row: $who"
    { "$@" || say "$row: $who failed"; } |
        sed -n "s/^{\(\"bench\":\"[a-z]*\",\)\{0,1\}/{\"bench\":\"peers\",\"row\":\"$row\",\"who\":\"$who\",/p"
}

# As many threads as ours. Where the root has several OpenBLAS, the one that has
# PyTorch's threads; peer_root.sh says why.
peer()
{
    "$here/peer_root.sh" run "$root" env OMP_NUM_THREADS=$threads \
        LD_LIBRARY_PATH="$blas" "$@"
}

has_torch=
has_llama=
blas=
if [ -z "$root" ]; then
    say "PyTorch and llama.cpp are left out: no root was given; make one with"
    say "    tests/peers/peer_root.sh make DIR"
elif [ "$(id -u)" != 0 ]; then
    say "PyTorch and llama.cpp are left out: to run them in $root takes root"
else
    inside=$(mktemp -d "$root/tmp/pockd-peers.XXXXXX")
    inside=${inside#"$root"}
    cp "$here/lora_speed.py" "$root$inside"
    blas=$(chroot "$root" sh -c 'echo /usr/lib/*/openblas-openmp')
    if peer python3 -c 'import torch' 2>/dev/null; then
        has_torch=yes
    else
        say "PyTorch is left out: it is not in $root"
    fi
    if peer sh -c 'command -v llama-bench' >/dev/null; then
        has_llama=yes
    else
        say "llama.cpp is left out: there is no llama-bench in $root"
    fi
fi

# Training: a shape, types of weights, rows and length, PyTorch's types.
training()
{
    local shape=$1 types=$2 batch=$3 length=$4 torch=$5 type precision

    [ -n "$has_torch" ] || torch=
    for type in $types; do
        "$bench/make_shape" "$shape" "$type" "$dir/$type.gguf"
    done
    for _ in $(seq "$rounds"); do
        for type in $types; do
            for precision in bf16 ${6:-}; do
                record "$shape $type" "pockd $precision" \
                    "$bench/bench_train" "$dir/$type.gguf" --json \
                    --threads $threads --seconds "$seconds" batch="$batch" \
                    length="$length" precision="$precision"
            done
        done
        for type in $torch; do
            record "$shape" "torch $type" \
                peer python3 "$inside/lora_speed.py" "$shape" "$batch" \
                "$length" "$type" --threads $threads --seconds "$seconds"
        done
    done
    for type in $types; do
        rm -f "$dir/$type.gguf"
    done
}

# Generation and prompts of one model file.
generation()
{
    local row=$1 file=$2

    [ -n "$has_llama" ] || return 0
    cp "$file" "$root$inside/model.gguf"
    for _ in $(seq "$rounds"); do
        record "$row" "pockd" "$bench/bench_generate" "$file" --json \
            --threads $threads
        record "$row" "llama.cpp" peer llama-bench -m "$inside/model.gguf" \
            -t $threads -p 512 -n 128 -r 3 -o jsonl 2>"$dir/log"
    done
    rm -f "$root$inside/model.gguf"
}

# Training beside a program that never sleeps.
contention()
{
    "$bench/make_shape" llama29m f32 "$dir/f32.gguf"
    for _ in $(seq "$rounds"); do
        record "llama29m f32" "quiet" "$bench/bench_train" "$dir/f32.gguf" \
            --json --threads $threads --seconds "$seconds" length=128
        (while :; do :; done) &
        loop=$!
        record "llama29m f32" "beside" "$bench/bench_train" "$dir/f32.gguf" \
            --json --threads $threads --seconds "$seconds" length=128
        kill $loop
        wait $loop 2>/dev/null || :
        loop=
    done
    rm -f "$dir/f32.gguf"
}

# What the cores can do at most. Each try is short, so the host may spoil it.
peak()
{
    for _ in $(seq "$rounds"); do
        for precision in f32 bf16; do
            record "peak $precision" "pockd" "$bench/bench_kernels" --json \
                --precision $precision --threads $threads --ms 100 \
                --only 512x2048x2048 |
                sed 's/"tokens_per_s":inf/"tokens_per_s":0/'
        done
    done
}

for part in $parts; do
    case $part in
    smollm135m | stories15m)
        # Nobody else's figures were recorded.
        [ -n "$has_torch" ] || continue
        ;;
    esac
    case $part in
    peak) peak ;;
    smollm135m) training "$part" "q8_0" 1 256 "f32 bf16" f32 ;;
    llama29m) training "$part" "f32 q8_0 q4_0 q4_k_m" 1 128 "f32 bf16" f32 ;;
    stories15m) training "$part" "q8_0" 4 256 "f32" f32 ;;
    qwen3_06b) training "$part" "q8_0 q4_0" 1 128 "" ;;
    contention) contention ;;
    generation)
        for type in f32 q8_0 q4_0 q4_k; do
            [ -n "$has_llama" ] || break
            "$bench/make_shape" llama29m $type "$dir/model.gguf"
            generation "llama29m $type" "$dir/model.gguf"
        done
        generation "pock-16m q8_0" $demo
        ;;
    *)
        say "there is no part $part"
        exit 2
        ;;
    esac
done
