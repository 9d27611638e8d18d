#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Builds pockd with gcov's counters, runs the tests of daemon/, ipc/ and
# storage/, and prints how many of their lines were run, file by file. Workers
# (daemon/worker) run as processes of their own and are counted too. Other
# tests than these are not run: what only they reach counts as not reached.
#
# usage: tests/coverage.sh [--no-tests]     only read the counters that are there

set -eu
cd "$(dirname "$0")/.."
out=${POCK_COVERAGE:-build-coverage}
suites=(ipc storage daemon worker clients fault fuzz integration)

if [ ! -e "$out/build.ninja" ]; then
    meson setup "$out" -Dbuildtype=debugoptimized -Db_coverage=true -Dvulkan=disabled >/dev/null
fi
if [ "${1:-}" != --no-tests ]; then
    # shellcheck disable=SC2046 # a list
    ninja -C "$out" $(python3 tests/targets.py "$out" "${suites[@]}") >"$out/ninja.log" ||
        { tail -20 "$out/ninja.log"; exit 1; }
    find "$out" -name '*.gcda' -delete
    # A test that fails is told of; what it reached counts all the same.
    meson test -C "$out" --no-rebuild -t 4 $(printf -- '--suite %s ' "${suites[@]}") \
        >"$out/test.log" 2>&1 || grep -E 'FAIL|TIMEOUT' "$out/test.log" || true
fi
python3 tests/coverage.py "$out"
