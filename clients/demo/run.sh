#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Two nights of pockd, from a bare machine: builds it, starts a private daemon
# in a temporary directory, hands it one person's notes and messages, and lets
# it train while a make-believe laptop lies idle on its charger. The laptop is a
# directory: POCKD_SYSROOT stands for /sys and /proc, so nothing here needs
# a battery, logind or root rights. Nothing is left behind.
#
# usage: clients/demo/run.sh [--keep] [--device DEVICE]
#   --keep            leave the temporary directory
#   --device DEVICE   train and answer there: auto, cpu, vulkan, or vulkan:cpu, a
#                     CPU that plays a GPU (mesa-vulkan-drivers), which is slow

set -eu
cd "$(dirname "$0")/../.."
demo=clients/demo
build=build-demo
prompts=(
    "Hi, what do you charge for a puncture?"
    "Are you open on Sunday? My chain fell off."
    "How are the bees today?"
    "Do you still bake on Wednesdays?"
    "Good morning! How is the dog?"
)
keep=
device=
patience=1
while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=yes ;;
    --device)
        device=${2:?"--device: which?"}
        shift
        ;;
    *)
        echo "usage: clients/demo/run.sh [--keep] [--device DEVICE]" >&2
        exit 2
        ;;
    esac
    shift
done
[ "${device%%:*}" != vulkan ] || patience=10
[ "$device" != vulkan:cpu ] || patience=30

bold=
plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$'\033[1m'
    plain=$'\033[0m'
fi

say()
{
    printf '\n%s== %s%s\n' "$bold" "$*" "$plain"
}

fail()
{
    echo "demo: $*" >&2
    [ ! -s "${dir:-/}/pockd.log" ] || tail -20 "$dir/pockd.log" >&2
    exit 1
}

now_ms()
{
    date +%s%3N
}

# Install, build

$demo/packages.sh build
if [ ! -e $build/build.ninja ]; then
    say "Building (once; some minutes)"
    rm -rf $build
    meson setup $build --native-file tests/presets/release.ini -Dtests=false \
        >$build.log 2>&1 || { tail -20 $build.log; exit 1; }
    rm -f $build.log
fi
if [ -t 1 ]; then
    ninja -C $build
else
    ninja -C $build >$build/ninja.log 2>&1 || { tail -20 $build/ninja.log; exit 1; }
fi

# A make-believe laptop: on battery, its display on

dir=$(mktemp -d "${TMPDIR:-/tmp}/pockd-demo.XXXXXX")
sys=$dir/laptop/sys/class
export POCKD_SYSROOT=$dir/laptop
export POCKD_SOCKET=$dir/pockd.sock
export POCKD_PROBE=$demo/probe.jsonl
pockctl=$build/clients/pockctl/pockctl
daemon=

cleanup()
{
    trap - EXIT INT TERM
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$daemon" ] || wait "$daemon" 2>/dev/null || true
    if [ -n "$keep" ]; then
        echo "kept: $dir"
    else
        rm -rf "$dir"
    fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

laptop()
{
    mkdir -p "$sys/power_supply/AC" "$sys/power_supply/BAT0" \
        "$sys/drm/card0-eDP-1" "$sys/thermal/thermal_zone0" "$dir/laptop/proc"
    echo Mains >"$sys/power_supply/AC/type"
    echo Battery >"$sys/power_supply/BAT0/type"
    echo 1 >"$sys/power_supply/BAT0/present"
    echo 87 >"$sys/power_supply/BAT0/capacity"
    echo Good >"$sys/power_supply/BAT0/health"
    echo 280 >"$sys/power_supply/BAT0/temp"
    echo connected >"$sys/drm/card0-eDP-1/status"
    echo x86_pkg_temp >"$sys/thermal/thermal_zone0/type"
    echo 41000 >"$sys/thermal/thermal_zone0/temp"
    cp /proc/meminfo "$dir/laptop/proc/meminfo"
    charger 0
    display On
}

charger()
{
    local states=(Discharging Charging)
    echo "${states[$1]}" >"$sys/power_supply/BAT0/status"
    echo "$1" >"$sys/power_supply/AC/online"
}

display()
{
    echo "$1" >"$sys/drm/card0-eDP-1/dpms"
}

# wait_for SECONDS WHAT COMMAND...     From the last step that was seen on.
wait_for()
{
    local begin=$SECONDS told=15 what=$2 step seen=
    local ms=$(($1 * 1000 * patience))
    local end=$(($(now_ms) + ms))
    shift 2
    until "$@"; do
        [ "$(now_ms)" -lt "$end" ] || fail "$what did not happen in time." \
            "What trains by itself waits for all other programs:" \
            "is the machine busy?"
        kill -0 "$daemon" 2>/dev/null || fail "pockd ended"
        if [ $((SECONDS - begin)) -ge $told ]; then
            step=$(job step 2>/dev/null || true)
            echo "waiting for $what, $told s so far${step:+, at step $step}"
            told=$((told + 15))
            [ "$step" = "$seen" ] || end=$(($(now_ms) + ms))
            seen=$step
        fi
        sleep 0.02
    done
}

# The field of the newest job: job KEY
job()
{
    $pockctl --json train history --limit 1 |
        python3 -c 'import json, sys
jobs = json.load(sys.stdin)["jobs"]
print(jobs[0].get(sys.argv[1], "") if jobs else "")' "$1"
}

job_is()
{
    case " $2 " in *" $(job "$1") "*) return 0 ;; esac
    return 1
}

stepped()
{
    local step
    step=$(job step)
    [ "${step:-0}" -ge "$1" ]
}

answers()
{
    local prompt
    for prompt in "${prompts[@]}"; do
        printf '  > %s\n' "$prompt"
        $pockctl gen --temp 0.7 --top-k 40 --seed 7 --max-tokens 48 "$prompt" |
            sed 's/^/    /'
    done
}

import()
{
    [ "$device" = vulkan:cpu ] ||
        $pockctl data import $demo/notebook.jsonl --stream notebook "$@"
    $pockctl data import $demo/messages.jsonl --stream messages "$@"
}

# Follow the job until it ends; it prints its own progress.
watch_night()
{
    $pockctl train status --watch || true
    wait_for 240 "the end of the night" job_is state "done failed"
    job_is state done || fail "the job failed: $(job message)"
}

# The story

laptop
say "A private pockd in $dir"
$build/daemon/pockd --user --dir "$dir" --socket "$POCKD_SOCKET" \
    2>"$dir/pockd.log" &
daemon=$!
wait_for 10 "the start of pockd" test -S "$POCKD_SOCKET"
$pockctl model add $demo/pock-16m-q8_0.gguf --name pock-16m
# One minute of idleness would do on a real machine; nobody watches this one.
$pockctl policy set idle_screen_off_s=0 disk_free_mib=64 disk_free_pct=0
[ -z "$device" ] || $pockctl policy set device="$device"
if [ "$device" = vulkan:cpu ]; then
    echo "A CPU that plays a GPU takes a hundred times as long: it learns from the"
    echo "messages only, once, in one block. Some ten minutes on two processors."
    $pockctl policy set train_last_blocks=1 train_length=64 train_epochs=1
fi

say "A year of notes and messages, up to December"
import --until 2025-12-31
$pockctl data count

say "Five questions, answered by the base model"
answers

say "Why it does not train yet"
$pockctl why || true

say "22:40. The charger is plugged in, the display goes dark"
display Off
charger 1
wait_for 20 "the start of the job" job_is state "running"
echo "pockd has started job $(job id) by itself."
wait_for 120 "the twentieth step" stepped 20

say "23:05. Somebody pulls the plug"
pulled=$(now_ms)
charger 0
wait_for 10 "the stop" grep -q 'event=job_interrupted' "$dir/pockd.log"
wait_for 10 "the queue" job_is state "queued"
saved=$(stat -c %.3Y "$dir"/ckpt/* | tr -d .)
grep -o 'latency_us=[0-9]*' "$dir/pockd.log" | tail -1 |
    awk -F= '{printf "the worker stopped computing %.1f ms after it was told,\n", $2 / 1000}'
echo "the checkpoint of step $(job step) was on disk $((saved - pulled)) ms after the plug was pulled."
$pockctl train history --limit 1
$pockctl why | tail -1

say "23:06. It is plugged in again"
charger 1
watch_night
$pockctl adapter list

say "The same questions, answered with version 1"
answers

say "The next evening: the records of January and February"
display On
charger 0
import
display Off
charger 1
wait_for 120 "the second job" job_is version ""
watch_night
$pockctl adapter list

say "Rollback to version 1, and an export for llama.cpp"
$pockctl adapter rollback
$pockctl adapter list
$pockctl adapter export -o "$dir/maren.gguf"
ls -l "$dir/maren.gguf" | awk '{print $5 " bytes"}'
$pockctl status || true
say "Done in $SECONDS s, building included"
