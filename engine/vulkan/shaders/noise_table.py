# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Prints the cubics of engine/base/noise_table.h for shaders, as bits: GLSL has
no hexadecimal floats."""
import re
import struct
import sys

text = open(sys.argv[1]).read()
numbers = re.findall(r'-?0x[0-9a-f.]+p[+-]\d+(?=f)', text)[:4 * 96]
bits = ['0x%08xu' % struct.unpack('<I', struct.pack('<f', float.fromhex(n)))[0]
        for n in numbers]
rows = ['    uvec4(%s)' % ', '.join(bits[i:i + 4]) for i in range(0, len(bits), 4)]
if len(rows) != 96:
    sys.exit('%s: %d cubics are not 96' % (sys.argv[1], len(rows)))
print('const uvec4 NOISE_CUBICS[96] = uvec4[96](\n%s);' % ',\n'.join(rows))
