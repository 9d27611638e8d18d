#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Makes a directory with Debian sid in it that has PyTorch and llama.cpp, for
# run.sh --peers; or runs a command in there, with a /proc that goes away with
# it. Needs root, debootstrap and 2 GB.
#
# usage: peer_root.sh make DIR
#        peer_root.sh run DIR COMMAND [ARGUMENT ...]

set -eu
case ${1:-},$# in
make,2 | run,[3-9] | run,[1-9]?*) ;;
*)
    sed -n '/^# usage/,/^$/s/^# //p' "$0" >&2
    exit 2
    ;;
esac
verb=$1
dir=$2
shift 2

if [ "$verb" = run ]; then
    # The whole command line, as the shell of the new namespace gets it.
    exec unshare --mount --propagation private sh -c \
        'mount -t proc proc "$1/proc" && exec chroot "$@"' sh "$dir" "$@"
fi
command -v debootstrap >/dev/null || {
    echo "peer_root.sh: install debootstrap, and run this again" >&2
    exit 1
}
# The mirror that this system takes its own packages from, or the usual one.
mirror=$(apt-get indextargets --format '$(SITE) $(ORIGIN)' \
    'Created-By: Packages' 2>/dev/null | awk '$2 == "Debian" { print $1; exit }')
debootstrap --variant=minbase sid "$dir" $mirror
# OpenBLAS with the threads that PyTorch has: with threads of its own, which spin
# against those, PyTorch is six times slower.
chroot "$dir" apt-get -q install -y --no-install-recommends \
    python3-torch libopenblas0-openmp llama.cpp-tools llama.cpp-tools-extra
