#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Measures a query without gradients, pockd's and MeZO's loop in PyTorch, in turn
# on the same shape, batch, length and threads, and prints a table with ratios.
# ROOT is what peer_root.sh makes. The model takes 0.6 GB under TMPDIR, PyTorch
# 4 GB of memory. ROUNDS, SECONDS_EACH, QUERIES and THREADS are taken from the
# environment; with one thread the second table, of the CPU's time, says the same
# beside other work.
#
# usage: tests/peers/mezo.sh BUILD_DIR ROOT [SHAPE [TYPE [BATCHxLENGTH]]]

set -eu
if [ $# -lt 2 ]; then
    sed -n '/^# usage/s/# //p' "$0" >&2
    exit 2
fi
here=$(dirname "$0")
bench=$1/tests/bench
root=$2
shape=${3:-qwen3_06b}
type=${4:-q8_0}
size=${5:-1x64}
rounds=${ROUNDS:-2}
seconds=${SECONDS_EACH:-4}
queries=${QUERIES:-8}
threads=${THREADS:-2}

if [ ! -x "$root/usr/bin/python3" ] || [ "$(id -u)" != 0 ]; then
    echo "mezo: needs root, and what tests/peers/peer_root.sh makes" >&2
    exit 77
fi
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/pockd-mezo.XXXXXX")
inside=$(mktemp -d "$root/tmp/pockd-mezo.XXXXXX")
trap 'rm -rf "$dir" "$inside"' EXIT
cp "$here/lora_speed.py" "$here/torch_mezo.py" "$inside"
blas=$(chroot "$root" sh -c 'echo /usr/lib/*/openblas-openmp')
"$bench/make_shape" "$shape" "$type" "$dir/model.gguf"

torch()
{
    "$here/peer_root.sh" run "$root" env OMP_NUM_THREADS="$threads" \
        LD_LIBRARY_PATH="$blas" python3 "${inside#"$root"}/torch_mezo.py" \
        "$shape" "${size%x*}" "${size#*x}" "$1" "$2" --threads "$threads" \
        --seconds "$seconds"
}

for _ in $(seq "$rounds"); do
    for precision in "" --bf16; do
        # shellcheck disable=SC2086
        "$bench/bench_probe" "$dir/model.gguf" --json $precision --rounds 2 \
            --queries "$queries" --threads $threads "$size" |
            sed "s/^{/{\"who\":\"pockd ${precision:---f32}\",/"
    done
    for what in lora all; do
        for dtype in f32 bf16; do
            torch $dtype $what | sed "s/^{/{\"who\":\"torch $dtype $what\",/"
        done
    done
done | tee "$dir/runs" >&2
python3 - "$dir/runs" "$shape" "$type" "$size" <<'TABLE'
import json
import sys

runs = [json.loads(line) for line in open(sys.argv[1])]
device = next(r['device'] for r in runs if 'device' in r)
print(f'mezo: {sys.argv[2]}, {sys.argv[4]}, {sys.argv[3]} in pockd; {device}; of each the best run')
for key, title in (('query_ms', 'a query, ms'), ('cpu_ms', 'the same, CPU time')):
    best = {}
    for r in runs:
        best[r['who']] = min(r[key], best.get(r['who'], r[key]))
    print(f'| {title} | PyTorch | pockd, f32 | times faster | pockd, bf16 | times faster |\n|---|---|---|---|---|---|')
    for what, name in (('all', 'MeZO as it is: all weights move'), ('lora', 'B of LoRA on all linears')):
        for dtype in ('f32', 'bf16'):
            peer = best.get(f'torch {dtype} {what}')
            if peer:
                ours = (best['pockd --f32'], best['pockd --bf16'])
                cells = ''.join(f' {x:,.1f} | {peer / x:.1f} |' for x in ours)
                print(f'| {name}, {dtype} | {peer:,.1f} |{cells}')
TABLE
