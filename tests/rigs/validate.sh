#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Runs a program with the Vulkan validation layer, synchronization included,
# and fails when the layer had anything to say. Of `meson test --setup
# validate`.
#
# usage: validate.sh PROGRAM ARGUMENT...

set -u
layers=${VK_LAYER_PATH:-/usr/share/vulkan/explicit_layer.d}
ls "$layers"/*VkLayer_khronos_validation*.json >/dev/null 2>&1 ||
    ls "$layers"/*validation*.json >/dev/null 2>&1 || {
    echo "validate.sh: no validation layer in $layers: install" \
        "vulkan-validationlayers" >&2
    exit 1
}
said=$(mktemp)
trap 'rm -f "$said"' EXIT
POCK_VK_VALIDATE=1 "$@" 2>"$said"
rc=$?
cat "$said" >&2
if grep -q 'Vulkan validation: ' "$said"; then
    echo "validate.sh: the layer objects, see above" >&2
    exit 1
fi
exit $rc
