#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# What it takes to build for 64-bit Arm and to run that here: the libraries of an
# arm64 Debian in DIR/root, and DIR/cross.ini for meson, by which its tests run in
# qemu. Installs nothing; the compiler and qemu are of `packages.sh tests`.
#
# usage: arm64.sh DIR      then: meson setup BUILD --cross-file DIR/cross.ini

set -eu
[ $# = 1 ] || {
    echo "usage: arm64.sh DIR" >&2
    exit 2
}
for tool in aarch64-linux-gnu-gcc qemu-aarch64-static; do
    command -v $tool >/dev/null || {
        echo "arm64.sh: no $tool here" >&2
        exit 1
    }
done
# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
"$(dirname "$0")/../rigs/unpack.sh" "$1" arm64 "$suite" libc6-dev nettle-dev \
    libgmp-dev libsodium-dev libuv1-dev libsqlite3-dev libmsgpack-dev libcmocka-dev \
    libvulkan-dev
root=$(cd "$1" && pwd)/root
libs=$root/usr/lib/aarch64-linux-gnu
cat >"$1/cross.ini" <<INI
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64-static', '-L', '$root']

[properties]
sys_root = '$root'
pkg_config_libdir = '$libs/pkgconfig'

[built-in options]
c_args = ['--sysroot=$root', '-g1']
c_link_args = ['--sysroot=$root', '-Wl,-rpath-link,$libs:$root/lib/aarch64-linux-gnu', '-Wl,-rpath,$libs']

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'armv8-a'
endian = 'little'
INI
