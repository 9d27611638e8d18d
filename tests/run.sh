#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Installs what the tests need, builds pockd without and with sanitizers, and
# runs every test. Build directories stay in build-tests/ and are reused.
#
# usage: tests/run.sh [--ci]      --ci: warnings are errors

set -u
cd "$(dirname "$0")/.."

werror=false
[ "${1:-}" != --ci ] || werror=true
out=build-tests
failed=0
clients/demo/packages.sh tests || exit 1
mkdir -p "$out"

section()
{
    printf '\n== %s (%s)\n' "$1" "$(date +%H:%M:%S)"
}

# What a CPU that plays a GPU compiled is there for the next test: without it most
# of their time is compiling the same again.
export MESA_SHADER_CACHE_DIR=$PWD/$out/shaders

# Of symbols what tells where an error was: the rest is a fifth of the time.
lines=-Dc_args=-g1

# build NAME [--for [-]SUITE,...] MESON-ARGUMENTS...     --for: what the tests of
# these suites need; with -, all others'
build()
{
    local name=$1 suites= targets=
    shift
    [ "${1:-}" != --for ] || { suites=$2; shift 2; }
    section "build $name"
    if [ ! -e "$out/$name/build.ninja" ]; then
        rm -rf "${out:?}/$name"
        meson setup "$out/$name" -Dwerror=$werror "$@" >"$out/$name.log" 2>&1 ||
            { tail -20 "$out/$name.log"; return 1; }
    fi
    # shellcheck disable=SC2086 # lists
    if [ -n "$suites" ]; then
        targets=$(python3 tests/targets.py "$out/$name" ${suites//,/ }) || return 1
    fi
    # shellcheck disable=SC2086
    $beside ninja -C "$out/$name" $jobs $targets >"$out/$name.log" 2>&1 ||
        { grep -E 'error|warning|FAILED' "$out/$name.log" | head -40; return 1; }
    ! grep -E 'warning:' "$out/$name.log" | head -20 | grep .
}

# What trains in the background leaves the processors to all other programs: so
# that it goes on beside other tests, these are in its class too.
idle=
! chrt --idle 0 true 2>/dev/null || idle="chrt --idle 0"

# Of what is built beside tests.
beside=
jobs=

# run NAME MESON-TEST-ARGUMENTS...     Of four on two processors, two or so wait:
# for a daemon, a disk, a time.
run()
{
    local name=$1 more=2
    shift
    [ -z "$beside" ] || more=0
    section "test $name"
    rm -f "$out/$name/meson-logs/"*.junit.xml
    $idle meson test -C "$out/$name" --no-rebuild --print-errorlogs \
        --num-processes $(($(nproc) + more)) "$@" \
        >"$out/$name.test.log" 2>&1 || failed=1
    grep -vE '^ *[0-9]+/[0-9]+ .* (OK|SKIP|EXPECTEDFAIL)' "$out/$name.test.log" |
        tail -150
    grep -E '^ *[0-9]+/[0-9]+ .* SKIP' "$out/$name.test.log"
    # With a test setup, its name is part of the file's.
    cp "$out/$name/meson-logs/"testlog*.junit.xml "$out/$name.junit.xml"
}

format()
{
    section format
    if ! clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
        echo "skipped: other versions than clang-format 14 format differently"
        return 0
    fi
    git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror \
        >"$out/format.log" 2>&1 && return 0
    head -20 "$out/format.log"
    return 1
}

# What compiles every shader; what is only needed later comes meanwhile. Without
# a Debian mirror the rest is built and tested all the same.
fetch()
{
    section fetch
    tests/rigs/mesa.sh "$out/mesa" >"$out/mesa.log" 2>&1 &
    mesa=$!
    tests/cross/arm64.sh "$out/arm64" >"$out/arm64.log" 2>&1 &
    arm64=$!
    if tests/rigs/glslang.sh "$out/glslang"; then
        export POCKD_GLSLANG=$PWD/$out/glslang/bin/glslang
    else
        echo "skipped: no newer glslang, so no cooperative-matrix shaders"
    fi
}

# The drivers of GPUs that shaders are compiled for.
rigs()
{
    if wait "$mesa"; then
        export POCKD_RIGS=$PWD/$out/mesa
    else
        tail -5 "$out/mesa.log"
        echo "skipped: no drivers of GPUs that are not here"
    fi
}

# Kernels for 64-bit Arm, and shaders for Mali, whose driver there is for Arm alone,
# in qemu, on one processor, beside tests that wait for one another. Without a Debian
# mirror, or on another processor than qemu's package is for, the rest is tested all
# the same.
begin_arm64()
{
    local mali=pipelines

    if ! wait "$arm64"; then
        arm64=
        return
    fi
    (
        failed=0
        beside=$idle
        jobs=-j1
        if [ -z "${POCKD_RIGS:-}" ] || ! tests/rigs/mesa.sh "$POCKD_RIGS" mali; then
            echo "skipped: no driver of Mali"
            mali=
        fi
        # Cooperative matrices are not Mali's.
        POCKD_GLSLANG='' build neon --for "check${mali:+,mali}" \
            --cross-file "$out/arm64/cross.ini" \
            --native-file tests/presets/release.ini -Dsystemd=disabled &&
            run neon "check neon" "check neondot" "check neonbf16" \
                "tiers cortex-a72" "tiers cortex-a76" "tiers max" $mali || failed=1
        exit $failed
    ) >"$out/neon.out" 2>&1 &
    arm64=$!
}

end_arm64()
{
    section arm64
    if [ -z "$arm64" ]; then
        tail -5 "$out/arm64.log"
        echo "skipped: nothing to build for 64-bit Arm with"
        return 0
    fi
    wait "$arm64" || failed=1
    cat "$out/neon.out"
}

rm -f "$out"/*.junit.xml
fetch
format || failed=1
if build plain $lines; then
    rigs
    run plain
else
    failed=1
fi
begin_arm64
if build asan --for -lint,-slow,-vulkan $lines --native-file tests/presets/asan.ini; then
    # Code for CPUs that a driver made at run time has no instrumentation.
    run asan --setup sanitize --no-suite lint --no-suite slow --no-suite vulkan
else
    failed=1
fi
if build tsan --for cpu,train,worker,integration,-vulkan,-api $lines --native-file tests/presets/tsan.ini; then
    run tsan --setup sanitize --suite cpu --suite train --suite worker --suite integration \
        --no-suite vulkan --no-suite api
else
    failed=1
fi

end_arm64

section result
python3 tests/count.py "$failed" "$out"/*.junit.xml
