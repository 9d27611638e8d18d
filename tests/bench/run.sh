#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Measures pockd on this machine with a release build, and prints a table for
# README.md. With --update the table replaces the one that is there. Times are
# only worth reading on a machine that does nothing else meanwhile.
#
# The staircase of schemes takes as long as all the rest; --staircase measures
# nothing else. --peers measures pockd against PyTorch and llama.cpp in a
# directory that tests/peers/peer_root.sh made, and nothing else; without one,
# against recorded figures only. Its JSON stays in build-bench/peers.json.
#
# usage: tests/bench/run.sh [--update] [--staircase | --peers [ROOT]]

set -eu
update=
only=
root=
while [ $# -gt 0 ]; do
    case $1 in
    --update) update=--update ;;
    --staircase) only=staircase ;;
    --peers)
        only=peers
        case ${2:-} in
        '' | -*) ;;
        *)
            root=$(realpath "$2")
            shift
            ;;
        esac
        ;;
    *)
        sed -n '/^# usage/s/# //p' "$0" >&2
        exit 2
        ;;
    esac
    shift
done
cd "$(dirname "$0")/../.."
out=build-bench
model=clients/demo/pock-16m-q8_0.gguf

clients/demo/packages.sh tests
if [ ! -e $out/build.ninja ]; then
    rm -rf $out
    meson setup $out --native-file tests/presets/release.ini >/dev/null
fi
ninja -C $out >$out/ninja.log || { tail -20 $out/ninja.log; exit 1; }
[ -n "$only" ] || rm -f $out/*.json
if [ "$only" = peers ]; then
    tests/peers/speed.sh $out "$root" >$out/peers.json
    python3 tests/bench/table.py $update $out/peers.json
    exit
fi

run()
{
    local name=$1
    shift
    echo "bench $name" >&2
    "$out/tests/bench/bench_$name" "$@" --json >"$out/$name.json" ||
        { echo "bench_$name failed" >&2; rm -f "$out/$name.json"; }
}

$out/tests/bench/make_shape blocks32 q8_0 $out/blocks32.gguf
run schemes $out/blocks32.gguf clients/demo 5
mv $out/schemes.json $out/schemes32.json
run schemes $model clients/demo 4 --quality
if [ -n "$only" ]; then
    python3 tests/bench/table.py $update $out/schemes*.json
    exit
fi
run kernels
run steps $model clients/demo
run demo $model clients/demo
run prefix $model clients/demo 4
mv $out/prefix.json $out/prefix8.json
run prefix $out/blocks32.gguf clients/demo 5
shapes=$(mktemp -d "${TMPDIR:-/var/tmp}/pockd-shapes.XXXXXX")
for shape in "qwen05b q8_0 length=256 memory_mib=52" "4b q4_0 length=128 memory_mib=400"; do
    set -- $shape
    echo "bench plan $1" >&2
    $out/tests/bench/make_shape "$1" "$2" "$shapes/$1.gguf"
    $out/tests/bench/bench_plan "$1" "$shapes/$1.gguf" --json "$3" "$4" >$out/plan_$1.json ||
        rm -f $out/plan_$1.json
    rm -f "$shapes/$1.gguf"
done
rmdir "$shapes"
echo "bench store" >&2
"$out/tests/bench/bench_store" "${TMPDIR:-/var/tmp}" | sed -n \
    -e 's/^durable records.s \([0-9]*\).*/{"bench":"store","records_per_s":\1}/p' \
    -e 's/^sealing a record.* \([0-9]*\) ns/{"bench":"sealing","ns":\1}/p' \
    -e 's/^opening .* \([0-9.]*\) ms/{"bench":"opening","ms":\1}/p' \
    -e 's/^erasing .* scattered .* \([0-9]*\) ms/{"bench":"erase","ms":\1}/p' >$out/store.json

dir=$(mktemp -d "${TMPDIR:-/var/tmp}/pockd-bench.XXXXXX")
trap 'kill $pockd 2>/dev/null; rm -rf "$dir"' EXIT
$out/daemon/pockd --user --dir "$dir" --socket "$dir/s" 2>"$dir/log" &
pockd=$!
for _ in $(seq 50); do [ -S "$dir/s" ] || sleep 0.1; done
run ipc "$dir/s"
# On one core: what the software costs. Across two, a sleeping core of a virtual
# machine may cost more than the rest.
taskset -a -p -c 0 $pockd >/dev/null
taskset -c 0 "$out/tests/bench/bench_ipc" "$dir/s" --json |
    sed 's/"ipc"/"ipc1"/' >$out/ipc1.json
kill $pockd
echo "bench idle" >&2
tests/bench/idle.py $out/daemon/pockd >$out/idle.json
tests/bench/idle_bus.py $out/daemon/pockd >$out/idle_bus.json || rm -f $out/idle_bus.json
python3 tests/bench/table.py $update $out/*.json
