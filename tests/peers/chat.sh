#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Conversations as transformers renders them with jinja, against ours: texts by
# a template of each chat format, ids by each VOCAB.gguf (llama-spm, qwen2, as in
# llama.cpp's models/ggml-vocab-*.gguf). ROOT is what peer_root.sh makes; needs
# root. Half a minute.
#
# usage: sudo tests/peers/chat.sh BUILD_DIR ROOT [VOCAB.gguf ...]

set -eu
program=$1/tests/peers/print_chat
root=$2
shift 2
here=$(dirname "$0")
[ -d "$root" ] || { echo "chat: $root is not there: make it with peer_root.sh"; exit 77; }
dir=$(mktemp -d "$root/tmp/pockd-chat.XXXXXX")
trap 'rm -rf "$dir"' EXIT
inside=${dir#"$root"}
names=
for vocab in "$@"; do
    cp "$vocab" "$dir"
    names="$names $inside/$(basename "$vocab")"
done
cp "$here/chat.py" "$dir"
# shellcheck disable=SC2086 # a list
"$here/peer_root.sh" run "$root" python3 "$inside/chat.py" theirs $names >"$dir/theirs" 2>"$dir/log" ||
    { tail -n 5 "$dir/log" >&2; exit 1; }
python3 "$here/chat.py" compare "$program" "$dir/theirs"
