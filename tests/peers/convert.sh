#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
#
# What pockd converts, judged by llama.cpp and transformers: small random models of
# each architecture must have the same perplexity there as here made GGUF, and
# quantised files the types and the divergence of llama-quantize's.
#
# usage: convert.sh PEERS TOKENIZER.json TEXT   (PEERS: see bench/peer_root.sh;
#        pockctl in $POCKCTL with a pockd running; needs root)
set -eu
peers=$1 tokenizer=$2 text=$3
here=$(dirname "$0")
work=$peers/data/convert
inside() { chroot "$peers" "$@"; }
# A name that no loader knows: llama.cpp looks for "phi3" in it.
convert() { ${POCKCTL:-pockctl} -q model convert "$1" --name tiny -t "$2" -o "$3"; }
estimate() { sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p'; }

rm -rf "$work"
mkdir -p "$work/hf"
cp "$tokenizer" "$work/tokenizer.json"
cp "$text" "$work/text"
cp "$here/convert_models.py" "$work"
inside python3 /data/convert/convert_models.py make /data/convert/tokenizer.json /data/convert/hf
for m in "$work"/hf/*; do
    name=${m##*/}
    convert "$m" f32 "$work/$name.gguf" >/dev/null
    echo "$name, llama.cpp: $(inside llama-perplexity -m "/data/convert/$name.gguf" \
        -f /data/convert/text -c 256 2>&1 | estimate)"
done
inside python3 /data/convert/convert_models.py perplexity /data/convert/hf /data/convert/text 256
for t in q8_0:Q8_0 q4_0:Q4_0 q4_k:Q4_K_M; do
    convert "$work/hf/llama" "${t%:*}" "$work/ours.gguf" >/dev/null
    inside llama-quantize /data/convert/llama.gguf /data/convert/theirs.gguf "${t#*:}" >/dev/null 2>&1
    inside llama-perplexity -m /data/convert/llama.gguf -f /data/convert/text -c 256 \
        --kl-divergence-base /data/convert/base.kl >/dev/null 2>&1
    for f in ours theirs; do
        echo "${t%:*} $f: $(inside llama-perplexity -m "/data/convert/$f.gguf" -f /data/convert/text \
            -c 256 --kl-divergence-base /data/convert/base.kl --kl-divergence 2>&1 |
            sed -n 's/.*Mean *KLD: *//p')"
    done
done
