#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Compares our ids with those of the tokenizers library and of llama.cpp: for a
# tokenizer trained with each pre-tokenizer, one like SentencePiece's, and the
# demo's own. ROOT is what tests/peers/peer_root.sh makes; needs root. Without
# ROOT it says so, and is content. Prints a line for each comparison, with the
# first texts that differ; fails if more differ than llama.cpp's older Unicode
# explains (1 in 1,000, and two of few).
#
# usage: tests/peers/tokenizers.sh BUILD_DIR [ROOT [COUNT [DEMO_TOKENIZER_JSON]]]

set -eu
here=$(dirname "$0")
tool=$1/tests/peers/print_ids
root=${2:-}
count=${3:-3000}
demo=${4:-}

if [ -z "$root" ]; then
    echo "tokenizers: no root was given; tests/peers/peer_root.sh makes one" >&2
    exit 0
fi
inside=$(mktemp -d "$root/tmp/pockd-tokenizers.XXXXXX")
trap 'rm -rf "$inside"' EXIT
dir=${inside#"$root"}
py=$here/tokenizer_vectors.py
cp "$py" "$inside"
bad=0

peer()
{
    "$here/peer_root.sh" run "$root" \
        env OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 python3 "$dir/tokenizer_vectors.py" "$@"
}

# A tokenizer.json with its lines, against the library.
library()
{
    "$tool" ids "$1" < "$2" > "$inside/ids"
    python3 "$py" compare "$2" "$inside/ids" || bad=1
}

# The same lines by a GGUF with this pre-tokenizer, against llama.cpp.
llama()
{
    "$tool" convert "$1" "$inside/x.gguf" ${3:+"$3"}
    "$tool" ids "$inside/x.gguf" < "$2" > "$inside/ids"
    python3 "$py" join "$2" "$inside/ids" > "$inside/x.jsonl"
    echo "${3:-its own}:"
    peer llama "$dir/x.gguf" "$dir/x.jsonl" || bad=1
}

peer train "$dir" "$count"
for json in "$inside"/*.json; do
    name=$(basename "$json" .json)
    library "$json" "${json}l"
    llama "$json" "${json}l"
done
# Rows without a tokenizer.json, and each of them with blanks that were merged.
for pre in deepseek-llm deepseek-coder deepseek-v3 falcon default stablelm2 \
    tekken gpt-4o llama-bpe smaug-bpe qwen2 smollm; do
    llama "$inside/gpt-2.json" "$inside/gpt-2.jsonl" $pre
done
if [ -n "$demo" ]; then
    cp "$demo" "$inside/demo"
    peer vectors "$dir/demo" "$count" > "$inside/demo.jsonl"
    library "$demo" "$inside/demo.jsonl"
fi
exit $bad
