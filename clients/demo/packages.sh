#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Installs the Debian packages that a build (or with "tests", the tests; with
# "packaging", the Debian package and its boot in a container) need
# and that are missing. Asks for sudo when it is not root. Names that differ
# between Debian 12 and 13 are written A|B: the first that exists is taken.
#
# usage: packages.sh build|tests|packaging

set -eu

build="gcc libc6-dev meson ninja-build pkg-config python3
    libuv1-dev libsqlite3-dev libmsgpack-c-dev|libmsgpack-dev
    nettle-dev libgmp-dev libsodium-dev libsystemd-dev libvulkan-dev glslang-tools"
tests="$build git libcmocka-dev clang libclang-rt-dev clang-format llvm
    universal-ctags g++ strace python3-numpy dbus-daemon python3-dbusmock gnome-keyring man-db mandoc procps
    bash-completion zsh fish
    systemd
    libvulkan1 mesa-vulkan-drivers spirv-tools vulkan-validationlayers
    gcc-aarch64-linux-gnu qemu-user-static"
packaging="$build debhelper dpkg-dev git lintian systemd systemd-container debootstrap"

case ${1:-} in
build) want=$build ;;
tests) want=$tests ;;
packaging) want=$packaging ;;
*)
    echo "usage: packages.sh build|tests|packaging" >&2
    exit 2
    ;;
esac

if ! command -v apt-get >/dev/null; then
    echo "packages.sh: no apt-get here: install by hand: $want" >&2
    exit 0
fi

is_installed()
{
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

missing()
{
    for alternatives in $want; do
        found=
        for p in $(echo "$alternatives" | tr '|' ' '); do
            is_installed "$p" && found=yes
        done
        [ -n "$found" ] || echo "$alternatives"
    done
}

todo=$(missing)
[ -n "$todo" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
if [ -n "$sudo" ] && ! command -v sudo >/dev/null; then
    echo "packages.sh: missing: $todo" >&2
    echo "packages.sh: become root, or install sudo, and run this again" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
$sudo apt-get -q update >/dev/null
names=
for alternatives in $todo; do
    for p in $(echo "$alternatives" | tr '|' ' '); do
        # A virtual or missing package has no candidate version.
        if apt-cache policy "$p" | grep -q 'Candidate: [0-9]'; then
            names="$names $p"
            break
        fi
    done
done
echo "Installing, for some minutes, these packages and what they need:$names" | fold -s -w 78
# shellcheck disable=SC2086
$sudo apt-get -q -o Dpkg::Use-Pty=0 install -y --no-install-recommends $names >/dev/null
todo=$(missing)
if [ -n "$todo" ]; then
    echo "packages.sh: could not install: $todo" >&2
    exit 1
fi
