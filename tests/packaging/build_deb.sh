#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Builds the Debian packages from the tracked files of this tree, and asks
# lintian. Packages that are there already, of the same files, are kept.
#
# usage: build_deb.sh [DIRECTORY]      default: build-tests/deb

set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${1:-$root/build-tests/deb}

for tool in dpkg-buildpackage dh git; do
    if ! command -v $tool >/dev/null; then
        echo "build_deb.sh: there is no $tool: run clients/demo/packages.sh packaging" >&2
        exit 77
    fi
done

mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"
# What goes into the packages; a test is no part of them.
files()
{
    git ls-files -z --cached --others --exclude-standard -- . ':!tests' ':!*.md'
}
now=$(files | xargs -0 sha256sum | sha256sum)
if [ "$(cat "$out/stamp" 2>/dev/null)" != "$now" ]; then
    rm -rf "$out/src" "$out"/*.deb "$out/stamp"
    mkdir -p "$out/src"
    files | xargs -0 tar -cf - | tar -xf - -C "$out/src"
    (cd "$out/src" && dpkg-buildpackage -us -uc -b >"$out/build.log" 2>&1) || {
        tail -n 40 "$out/build.log" >&2
        echo "build_deb.sh: dpkg-buildpackage failed: see $out/build.log" >&2
        exit 1
    }
    rm -rf "$out/src"
    echo "$now" >"$out/stamp"
fi
if command -v lintian >/dev/null; then
    # A package that no archive has closes no bug, and its authors have no list.
    lintian --allow-root --fail-on error,warning --suppress-tags \
        initial-upload-closes-no-bugs,bogus-mail-host,bogus-mail-host-in-debian-changelog \
        "$out"/*.changes
else
    echo "build_deb.sh: not checked: there is no lintian" >&2
fi
ls "$out"/*.deb
