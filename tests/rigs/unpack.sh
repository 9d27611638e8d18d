#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Unpacks packages of another Debian release, with all that they depend on down
# to the C library, into DIR/root. Installs nothing, needs no root rights, and
# changes nothing outside of DIR. The system's own apt settings say which
# mirror to ask and how to get there. When DIR has the same packages already,
# nothing is fetched.
#
# usage: unpack.sh DIR ARCHITECTURE "SUITE..." PACKAGE...
#        A package may be written NAME/SUITE. One that another depends on, but
#        that is not needed for what is wanted, is left out by NAME-.

set -eu

if [ $# -lt 4 ]; then
    echo 'usage: unpack.sh DIR ARCHITECTURE "SUITE..." PACKAGE...' >&2
    exit 2
fi
dir=$1 arch=$2 suites=$3
shift 3
for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || {
        echo "unpack.sh: no $tool here: this wants a Debian" >&2
        exit 1
    }
done
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
wanted="$arch, $suites: $*"
[ "$(cat "$dir/unpacked" 2>/dev/null)" != "$wanted" ] || exit 0

# The first mirror that carries Debian itself; after it, the public one.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' |
    grep -E '/debian/?$' | head -n 1) || mirror=
mirror=${mirror:-http://deb.debian.org/debian}

rm -rf "$dir/unpacked" "$dir/root" "$dir/apt"
mkdir -p "$dir/root" "$dir/apt/lists/partial" "$dir/apt/archives/partial"
# What is left out seems to be there.
fetched=
: >"$dir/apt/status"
for package; do
    case $package in
    *-)
        printf '%s\n' "Package: ${package%-}" "Status: install ok installed" \
            "Version: 999:0" "Architecture: $arch" "Multi-Arch: same" \
            "Maintainer: nobody" "Description: left out" "" >>"$dir/apt/status"
        ;;
    *) fetched="$fetched $package" ;;
    esac
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in $suites; do
    echo "deb [signed-by=$keys] $mirror $suite main"
done >"$dir/apt/sources.list"

# apt as it is set up here, but with lists, states and sources of its own.
own_apt()
{
    apt-get -q -o Dir::State="$dir/apt" -o Dir::State::status="$dir/apt/status" \
        -o Dir::Cache="$dir/apt" -o Dir::Cache::archives="$dir/apt/archives" \
        -o Dir::Etc::sourcelist="$dir/apt/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferences=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false \
        -o APT::Architecture="$arch" -o APT::Architectures::="$arch" \
        -o APT::Install-Recommends=false -o APT::Sandbox::User=root \
        -o Acquire::Retries=2 -o Debug::NoLocking=true "$@" \
        >>"$dir/apt/log" 2>&1 || {
        echo "unpack.sh: could not get $wanted from $mirror:" >&2
        grep -E '^[EW]:' "$dir/apt/log" | tail -n 3 >&2
        exit 1
    }
}
own_apt update
# shellcheck disable=SC2086 # a list
own_apt -y --download-only install $fetched
for deb in "$dir"/apt/archives/*.deb; do
    dpkg-deb -x "$deb" "$dir/root"
done
# Releases without a merged /usr have loaders that look in /lib.
[ -e "$dir/root/lib" ] || ln -s usr/lib "$dir/root/lib"
rm -rf "$dir/apt"
echo "$wanted" >"$dir/unpacked"
