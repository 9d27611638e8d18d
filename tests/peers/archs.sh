#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Compares pockd with transformers and llama.cpp on tiny models of every
# architecture: writes the models and adapters, has transformers compute what
# arch/NAME.txt holds and says whether that is what is committed, and compares
# perplexities, without and with the adapter, with llama-perplexity's. ROOT is
# what tests/peers/peer_root.sh makes. A minute.
#
# usage: tests/peers/archs.sh BUILD_DIR ROOT [--update]
#        --update: arch/NAME.txt become what transformers said now

set -eu
here=$(dirname "$0")
parity=$1/tests/parity/parity_arch
root=$2
update=${3:-}
[ -d "$root" ] || { echo "$root is not there"; exit 77; }
inside=/data/pockd-arch.$$
dir=$root$inside
mkdir -p "$dir/out"
trap 'rm -rf "$dir"' EXIT

peer()
{
    "$here/peer_root.sh" run "$root" "$@"
}

"$parity" --write "$dir"
cp "$here/arch_golden.py" "$dir/"
peer python3 "$inside/arch_golden.py" "$inside" "$inside/out" 2>/dev/null
if [ "$update" = --update ]; then
    cp "$dir"/out/*.txt "$here/../parity/arch/"
fi
"$parity" "$dir/out" 2>&1 | grep -E 'FAILED|PASSED|worst'

# llama-perplexity's estimate, of the same text in the same chunks.
"$parity" --text > "$dir/text"
bad=0
for file in "$dir"/out/*.txt; do
    name=$(basename "$file" .txt)
    # llama.cpp leaves windows of this architecture out.
    [ "$name" != phi3_window ] || continue
    for how in perplexity perplexity-lora; do
        adapter=
        [ $how = perplexity ] || adapter="--lora $inside/$name-lora.gguf"
        ours=$("$parity" --$how "$name")
        theirs=
        # Its logger may lose the last line.
        for _ in 1 2 3 4 5 6 7 8; do
            # shellcheck disable=SC2086 # two words or none
            peer llama-perplexity -m "$inside/$name.gguf" $adapter \
                -f "$inside/text" -c 48 -b 48 -t 2 --no-warmup \
                > "$dir/log" 2>&1 || true
            theirs=$(sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p' \
                "$dir/log")
            [ -z "$theirs" ] || break
        done
        awk -v name="$name" -v how="$how" -v a="$ours" -v b="${theirs:-0}" '
            BEGIN {
                off = b > 0 ? (a / b - 1) * 100 : 100
                fine = off < 0.2 && off > -0.2
                printf "%-13s %-16s ours %10.4f llama.cpp %10.4f  %+.3f %% %s\n",
                    name, how, a, b, off, fine ? "ok" : "DIFFERS"
                exit !fine
            }' || bad=1
    done
done
exit $bad
