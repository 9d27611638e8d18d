#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# What pockd converts, judged by llama.cpp and transformers: small random models
# of each architecture must have the same perplexity (0.2 %) as directories
# there and as GGUF made here, and quantised files must not be further from f32
# (5 %) than llama-quantize's. Starts a private pockd. ROOT is what peer_root.sh
# makes; needs root. About three minutes.
#
# usage: sudo tests/peers/convert.sh BUILD_DIR ROOT TOKENIZER.json
#        TOKENIZER.json: of at most 8,192 tokens, whose begin of text is 0

set -eu
build=$(realpath "$1")
root=$(realpath "$2")
tokenizer=$3
here=$(dirname "$0")
demo=$(realpath clients/demo)
if ! [ -x "$root/usr/bin/llama-perplexity" ]; then
    echo "convert: $root has no llama-perplexity: make it with peer_root.sh"
    exit 77
fi
mkdir -p "$root/data"
dir=$(mktemp -d "$root/data/pockd-convert.XXXXXX")
inside=/data/${dir##*/}
daemon=
cleanup()
{
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT
bad=0

# A name that no loader knows: llama.cpp looks for "phi3" in it.
convert()
{
    "$build/clients/pockctl/pockctl" -q model convert "$1" --name tiny -t "$2" -o "$3" >/dev/null
}
# With one thread: several wait for each other where the machine is busy.
peer()
{
    "$here/peer_root.sh" run "$root" env OMP_NUM_THREADS=1 "$@"
}
# perplexity PATTERN ARGUMENT...: the number behind it. Its logger may lose the
# last line.
perplexity()
{
    local pattern=$1 found
    shift
    for _ in 1 2 3 4 5 6 7 8; do
        peer llama-perplexity "$@" -f "$inside/text" -c 256 -t 1 --no-warmup >"$dir/log" 2>&1 || true
        found=$(sed -n "s/.*$pattern *\([0-9.]*\).*/\1/p" "$dir/log" | tail -n 1)
        [ -z "$found" ] || break
    done
    echo "${found:-0}"
}
# within NAME A B RATIO: is A at most RATIO times B?
within()
{
    awk -v name="$1" -v a="$2" -v b="$3" -v most="$4" 'BEGIN {
        ok = a > 0 && b > 0 && a <= b * most
        printf "%-22s %12s %12s%s\n", name, a, b, ok ? "" : "  FAILED"
        exit !ok
    }' || bad=1
}

export POCKD_SOCKET=$dir/sock
"$build/daemon/pockd" --user --dir "$dir/state" --socket "$POCKD_SOCKET" 2>"$dir/daemon.log" &
daemon=$!
for _ in $(seq 100); do [ -S "$POCKD_SOCKET" ] && break; sleep 0.1; done

cp "$tokenizer" "$dir/tokenizer.json"
tail -n 60 "$demo/notebook.jsonl" |
    python3 -c 'import json, sys
for line in sys.stdin: print(json.loads(line).get("text", ""))' >"$dir/text"
cp "$here/convert_models.py" "$dir"
mkdir "$dir/hf"
peer python3 "$inside/convert_models.py" make "$inside/tokenizer.json" "$inside/hf" 2>/dev/null
peer python3 "$inside/convert_models.py" perplexity "$inside/hf" "$inside/text" 256 \
    2>/dev/null >"$dir/transformers"
echo "perplexity                pockd's GGUF transformers"
while read -r name theirs; do
    convert "$dir/hf/$name" f32 "$dir/$name.gguf"
    ours=$(perplexity 'Final estimate: PPL =' -m "$inside/$name.gguf")
    within "$name" "$ours" "$theirs" 1.002
    within "" "$theirs" "$ours" 1.002 >/dev/null
done <"$dir/transformers"
[ "$(wc -l <"$dir/transformers")" = "$(find "$dir/hf" -mindepth 1 -maxdepth 1 -type d | wc -l)" ] || {
    echo "transformers did not say the perplexity of each model"
    bad=1
}

echo "mean KL divergence               pockd llama-quantize"
for t in q8_0:Q8_0 q4_0:Q4_0 q4_k:Q4_K_M; do
    convert "$dir/hf/llama" "${t%:*}" "$dir/ours.gguf"
    peer llama-quantize "$inside/llama.gguf" "$inside/theirs.gguf" "${t#*:}" >"$dir/log" 2>&1
    [ -e "$dir/base.kl" ] || perplexity 'Final estimate: PPL =' -m "$inside/llama.gguf" \
        --kl-divergence-base "$inside/base.kl" >/dev/null
    for f in ours theirs; do
        kl=$(perplexity 'Mean *KLD:' -m "$inside/$f.gguf" --kl-divergence-base "$inside/base.kl" --kl-divergence)
        eval "$f=\$kl"
    done
    within "${t%:*}" "$ours" "$theirs" 1.05
done
exit $bad
