#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# A newer glslang than this Debian's, in a private directory: it compiles the
# cooperative-matrix shaders that Debian 12's does not know. 10 MB to fetch.
#
# usage: glslang.sh DIR      then: POCKD_GLSLANG=DIR/bin/glslang meson setup ...

set -eu
[ $# = 1 ] || {
    echo "usage: glslang.sh DIR" >&2
    exit 2
}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)

# Each tool is started by the C library that it came with.
starters()
{
    rm -rf "$dir/bin"
    mkdir "$dir/bin"
    cat >"$dir/bin/start" <<'START'
#!/bin/sh
bin=$(cd "$(dirname "$0")" && pwd)
ld=$(echo "$bin"/../root/usr/lib/*/ld-linux-*.so.*)
exec "$ld" --library-path "${ld%/*}" "$bin/../root/usr/bin/${0##*/}" "$@"
START
    chmod +x "$dir/bin/start"
    for tool in glslang spirv-val spirv-dis spirv-opt; do
        ln -s start "$dir/bin/$tool"
    done
}

# works PROBE...: the shaders by which the build decides, all compiled?
works()
{
    for probe in "$@"; do
        "$dir/bin/glslang" -V --quiet --target-env vulkan1.3 -o "$dir/probe.spv" \
            "$here/../../engine/vulkan/shaders/probe_$probe.comp" >"$dir/probe.log" 2>&1 &&
            "$dir/bin/spirv-val" --target-env vulkan1.3 "$dir/probe.spv" \
                >"$dir/probe.log" 2>&1 || return 1
    done
}

# Debian 14's knows all; Debian 13's does not know bf16.
arch=$(dpkg --print-architecture)
"$here/unpack.sh" "$dir" "$arch" forky glslang-tools spirv-tools && starters &&
    works cm cm2 cm_bf16 && exit 0
"$here/unpack.sh" "$dir" "$arch" trixie glslang-tools spirv-tools
starters
works cm cm2 || {
    echo "glslang.sh: it cannot compile the cooperative-matrix probes:" >&2
    cat "$dir/probe.log" >&2
    exit 1
}
