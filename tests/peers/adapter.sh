#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Shows that an adapter does in llama.cpp what it does here: learns one from the
# first notes of the demo with a private pockd, and measures the perplexity of
# the last ones with and without it, as a LoRA and merged, by bench_perplexity
# and by the llama-perplexity of ROOT (see peer_root.sh). Fails when what the
# adapter changes differs by more than 1 %. Needs root; about five minutes.
#
# usage: sudo tests/peers/adapter.sh BUILD_DIR ROOT

set -eu
build=$(realpath "$1")
root=$(realpath "$2")
demo=$(realpath clients/demo)
mkdir -p "$root/data"
dir=$(mktemp -d "$root/data/pockd-adapter.XXXXXX")
inside=/data/${dir##*/}
daemon=
cleanup()
{
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

if ! [ -x "$root/usr/bin/llama-perplexity" ]; then
    echo "adapter: $root has no llama-perplexity: make it with peer_root.sh"
    exit 77
fi

export POCKD_SOCKET=$dir/sock POCKD_PROBE=$demo/probe.jsonl
pockctl=$build/clients/pockctl/pockctl
"$build/daemon/pockd" --user --dir "$dir/state" --socket "$POCKD_SOCKET" 2>"$dir/log" &
daemon=$!
for _ in $(seq 100); do [ -S "$POCKD_SOCKET" ] && break; sleep 0.1; done

cp "$demo/pock-16m-q8_0.gguf" "$dir/base.gguf"
total=$(wc -l <"$demo/notebook.jsonl")
head -n $((total - 120)) "$demo/notebook.jsonl" >"$dir/learn.jsonl"
tail -n 120 "$demo/notebook.jsonl" |
    python3 -c 'import json, sys
for line in sys.stdin: print(json.loads(line).get("text", ""))' >"$dir/text.txt"
"$pockctl" -q model add "$dir/base.gguf" >/dev/null
"$pockctl" -q data import "$dir/learn.jsonl" --stream notes >/dev/null
"$pockctl" -q train now --name mine --recipe epochs=1 --watch >/dev/null
"$pockctl" -q adapter export mine:1 -o "$dir/mine.gguf" >/dev/null
"$pockctl" -q adapter export mine:1 --merged -o "$dir/merged.gguf" >/dev/null

ours()
{
    "$build/tests/bench/bench_perplexity" "$@"
}
theirs()
{
    chroot "$root" llama-perplexity "$@" -f "$inside/text.txt" -c 256 -t 2 --no-warmup 2>&1 |
        sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p'
}
row()
{
    echo "| $1 | $2 | $3 |"
}
a0=$(ours "$dir/base.gguf" "$dir/text.txt")
b0=$(theirs -m "$inside/base.gguf")
row "base" "$a0" "$b0"
a1=$(ours "$dir/base.gguf" "$dir/text.txt" --lora "$dir/mine.gguf")
b1=$(theirs -m "$inside/base.gguf" --lora "$inside/mine.gguf")
row "with the adapter" "$a1" "$b1"
a2=$(ours "$dir/merged.gguf" "$dir/text.txt")
b2=$(theirs -m "$inside/merged.gguf")
row "merged" "$a2" "$b2"
python3 - "$a0" "$b0" "$a1" "$b1" "$a2" "$b2" <<'EOF'
import sys
a0, b0, a1, b1, a2, b2 = map(float, sys.argv[1:])
ours, theirs = a1 / a0, b1 / b0
print('the adapter multiplies perplexity by %.4f here and %.4f there' % (ours, theirs))
bad = [what for what, x in (('adapter', ours / theirs), ('merged here', a2 / a1), ('merged there', b2 / b1))
       if abs(x - 1) > 0.01]
sys.exit('more than 1 %% apart: %s' % ', '.join(bad) if bad else 0)
EOF
