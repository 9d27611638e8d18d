#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Builds pockd with gcov's counters, runs the tests of daemon/, ipc/ and
# storage/, and prints how many of their lines were run: the files with the most
# that were not, each directory, and all. Exits with 1 where one has under 90 %.
#
# Run are the unit tests of the three and of clients/, the fuzz corpora, the
# simulated nights, and all tests with real processes (integration, fault) but
# kill_cycles and load, which repeat what others run, memory (gcov needs memory
# of its own), and those of fault/ that are the engine's. Processes count when
# they end by themselves, in tests mostly by SIGTERM, and workers however pockd
# ends them (coverage_exit.c); a pockd that a test killed does not. It takes a
# few minutes on two idle CPUs.
#
# usage: tests/coverage.sh [--no-tests]     only read the counters that are there

set -eu
cd "$(dirname "$0")/.."
out=${POCK_COVERAGE:-build-coverage}
suites=(ipc storage daemon worker clients fuzz sim)
left_out='^(kill_cycles|load|memory|compile|kill)$'
long='^(pockd_train|store|pockctl|pockd_rights|damage)$'

build()
{
    if [ ! -e "$out/build.ninja" ]; then
        mkdir -p "$out"
        ${CC:-cc} -O1 -fPIC -c tests/coverage_exit.c -o "$out/coverage_exit.o"
        # Only files that are counted get counters: the engine stays fast.
        meson setup "$out" -Dbuildtype=debugoptimized -Doptimization=1 \
            -Db_coverage=true -Dvulkan=disabled \
            "-Dc_args=-fprofile-update=atomic -fprofile-filter-files=(^|/)(daemon|ipc|storage)/" \
            "-Dc_link_args=--coverage $PWD/$out/coverage_exit.o -Wl,--wrap=_exit,--wrap=uv_process_kill" \
            >/dev/null
    fi
    # shellcheck disable=SC2046 # a list
    ninja -C "$out" $(python3 tests/targets.py "$out" "${suites[@]}" fault integration) \
        >"$out/ninja.log" || { tail -20 "$out/ninja.log"; exit 1; }
}

# run LOG MESON-TEST-ARGUMENTS...     a test that fails is told of; it counts all the same
run()
{
    local log=$1
    shift
    meson test -C "$out" --no-rebuild -t 4 --logbase "$log" "$@" >"$out/$log.log" 2>&1 ||
        grep -hE '^ *[0-9]+/[0-9]+ .* (FAIL|ERROR|TIMEOUT)' "$out/$log.log" || true
}

# Those that want to be alone wait more than they compute: several at a time, and
# those first that take longest.
run_all()
{
    local alone
    find "$out" -name '*.gcda' -delete
    alone=$(meson test -C "$out" --no-rebuild --list --suite fault --suite integration |
        sed -n 's/.* \/ //p' | grep -vE "$left_out")
    export -f run
    export out POCK_SLOW=4 # nothing is timed here
    {
        grep -E "$long" <<<"$alone" | sed 's/.*/& &/'
        printf 'together%s\n' "$(printf -- ' --suite %s' "${suites[@]}")"
        grep -vE "$long" <<<"$alone" | sed 's/.*/& &/'
    } | xargs -P 4 -L 1 bash -c 'run "$@"' run
}

if [ "${1:-}" != --no-tests ]; then
    build
    run_all
fi
python3 tests/coverage.py "$out"
