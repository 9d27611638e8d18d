# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Prints engine/base/noise_table.h: cubics for the quantiles of the normal
distribution, four for each binary order of a probability."""
import math, struct
from statistics import NormalDist
N = NormalDist()

def f32(x):
    return struct.unpack('<f', struct.pack('<f', x))[0]

def solve(a, b):
    n = len(b)
    a = [r[:] + [v] for r, v in zip(a, b)]
    for i in range(n):
        p = max(range(i, n), key=lambda r: abs(a[r][i]))
        a[i], a[p] = a[p], a[i]
        for r in range(n):
            if r != i:
                f = a[r][i] / a[i][i]
                a[r] = [x - f * y for x, y in zip(a[r], a[i])]
    return [a[i][n] / a[i][i] for i in range(n)]

def rows_of(values, n):
    text = ['%sf' % float(v).hex() for v in values]
    lines = [', '.join(text[i:i + n]) for i in range(0, len(text), n)]
    return '    {' + ',\n     '.join(lines) + '},'

rows = []
for e in range(24):
    for s in range(4):
        ts = [0.5 - 0.5 * math.cos(math.pi * (k + 0.5) / 4) for k in range(4)]
        zs = [-N.inv_cdf(2.0 ** (e - 25) * (1 + (s + t) / 4)) for t in ts]
        rows.append([f32(c) for c in solve([[t ** p for p in range(4)] for t in ts], zs)])
print('''// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// Made by tests/unit/base/make_noise.py. A row: 1, t, t^2 and t^3.
// clang-format off
static const float noise_cubics[96][4] = {''')
for r in rows:
    print(rows_of(r, 2))
print('};')
print('// The last 32 of them, each coefficient together.')
print('static const float noise_last[4][32] __attribute__((unused)) = {')
for k in range(4):
    print(rows_of([r[k] for r in rows[64:]], 3))
print('};\n// clang-format on')
