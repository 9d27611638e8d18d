#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Compiles the backend's pipelines on each driver that is there: the system's,
# and those of mesa.sh where POCKD_RIGS says where they are, but for those that
# want a program for qemu. Prints the tables as TAP.
#
# usage: run.sh PIPELINES-PROGRAM [RIG...]

set -u
program=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
rigs=${*:-system}
if [ $# = 0 ] && [ -n "${POCKD_RIGS:-}" ]; then
    rigs="system $("$here/rig.sh" list | awk '!/in qemu/ {print $1}')"
fi
if [ "$rigs" != system ] && [ -z "${POCKD_RIGS:-}" ]; then
    echo "1..0 # SKIP POCKD_RIGS does not say where mesa.sh put the drivers"
    exit 0
fi

# The shims tell of each kernel call that they do not know.
look()
{
    if [ "$1" = system ]; then
        "$program" system --used "$tmp/used.$1"
    else
        "$here/rig.sh" "$1" "$program" "$1" --used "$tmp/used.$1"
    fi >"$tmp/out.$1" 2>"$tmp/err.$1"
    echo $? >"$tmp/rc.$1"
}

# As many at a time as there are processors.
jobs=$(nproc)
running=0
for rig in $rigs; do
    if [ "$running" -ge "$jobs" ]; then
        wait
        running=0
    fi
    look "$rig" &
    running=$((running + 1))
done
wait

n=0
# report STATUS TEXT
report()
{
    n=$((n + 1))
    case $1 in
    0) echo "ok $n $2" ;;
    77) echo "ok $n $2 # SKIP no device" ;;
    *) echo "not ok $n $2" ;;
    esac
}
for rig in $rigs; do
    cat "$tmp/out.$rig"
    rc=$(cat "$tmp/rc.$rig")
    [ "$rc" = 0 ] || grep -vi ioctl "$tmp/err.$rig" | sed 's/^/# /'
    report "$rc" "$rig"
done

# What no driver was asked for was not looked at either.
if [ "$rigs" != "${rigs#system lavapipe}" ]; then
    cat "$tmp"/used.* | sort -u >"$tmp/used"
    rc=0
    for shader in $("$program" --list | awk '$2 == "built" && $3 == "-" {print $1}'); do
        grep -qx "$shader" "$tmp/used" || {
            echo "# $shader: no case of cases.def reaches it"
            rc=1
        }
    done
    report $rc "every shader is reached"
fi
echo "1..$n"
