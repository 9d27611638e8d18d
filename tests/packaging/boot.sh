#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Boots a bare Debian in a container, in which inside.sh installs the packages
# as a newcomer would, and uses them. Prints TAP. The container's root is made
# once, below build-tests/, and stays as it was: what a boot writes is in memory.
#
# Needs root, systemd-nspawn and, the first time, debootstrap and a mirror
# ($POCKD_MIRROR). Only with POCKD_BOOT_TEST=1: it takes a minute and more.
#
# usage: boot.sh [DIRECTORY]      default: build-tests

set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${1:-$root/build-tests}
suite=${POCKD_SUITE:-bookworm}
mirror=${POCKD_MIRROR:-http://deb.debian.org/debian}

skip()
{
    echo "1..0 # SKIP no boot test: $*"
    exit 0
}

[ "${POCKD_BOOT_TEST:-}" = 1 ] || skip "set POCKD_BOOT_TEST=1 for it"
[ "$(id -u)" = 0 ] || skip "only root may boot a container"
for tool in systemd-nspawn debootstrap; do
    command -v $tool >/dev/null || skip "there is no $tool: run clients/demo/packages.sh packaging"
done

mkdir -p "$work"
image=$work/boot-root-$suite
packages=systemd,systemd-sysv,dbus,udev,procps,sensible-utils
packages=$packages,libhogweed6,libsodium23,libuv1,libsqlite3-0,libnettle8,libmsgpackc2,libsystemd0
# One that was made for other packages is made anew.
if [ "$(cat "$image/.complete" 2>/dev/null)" != "$packages" ]; then
    rm -rf --one-file-system "$image"
    debootstrap --variant=minbase --include="$packages" "$suite" "$image" \
        "$mirror" >"$work/debootstrap.log" 2>&1 ||
        skip "debootstrap failed: see $work/debootstrap.log"
    echo "$packages" >"$image/.complete"
fi

if ! "$here/build_deb.sh" "$work/deb" >"$work/deb.log" 2>&1; then
    cat "$work/deb.log" >&2
    echo "Bail out! the packages were not built"
    exit 1
fi

# What the container sees besides its root.
share=$(mktemp -d "$work/share.XXXXXX")
trap 'rm -rf "$share"' EXIT
cp "$work"/deb/*.deb "$here/inside.sh" "$share/"
cp "$root"/clients/demo/*.gguf "$root"/clients/demo/messages.jsonl "$share/"
cat >"$share/pock-boot-test.service" <<'U'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /share/inside.sh
ExecStopPost=/bin/sh -c 'journalctl -b --no-pager >/share/journal.log; systemctl --no-block poweroff'
TimeoutStartSec=300
StandardOutput=append:/share/tap
StandardError=append:/share/log
U
# The controller hierarchy is the host's; a container may not mix them.
legacy=
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || legacy=systemd.unified_cgroup_hierarchy=0
timeout --kill-after=10 ${POCKD_BOOT_SECONDS:-240} systemd-nspawn --quiet --directory="$image" --volatile=overlay \
    --register=no --keep-unit --private-network --machine=pock-boot-$$ \
    --bind="$share:/share" \
    --bind-ro="$share/pock-boot-test.service:/etc/systemd/system/pock-boot-test.service" \
    --console=pipe --boot $legacy \
    systemd.wants=pock-boot-test.service \
    </dev/null >"$share/console.log" 2>&1 || true
if [ ! -s "$share/tap" ]; then
    tail -n 20 "$share/console.log" >&2
    skip "the container did not boot"
fi
cat "$share/tap"
cp "$share/log" "$share/journal.log" "$share/console.log" "$work/" || true
if grep -q '^not ok' "$share/tap" || ! grep -q '^1\.\.' "$share/tap"; then
    tail -n 40 "$share/log" >&2
    echo "# see $work/journal.log"
    exit 1
fi
