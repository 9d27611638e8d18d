#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Write SQL files as a C table. usage: embed.py OUT FILE.sql..."""
import pathlib
import sys


def numbers(text):
    """The bytes with a NUL: a string literal may not be that long in C11."""
    data = ''.join(line + '\n' for line in text.splitlines()
                   if line.strip() and not line.startswith('--')).encode() + b'\0'
    return '\n'.join('    ' + ' '.join(f'{b},' for b in data[i:i + 20])
                     for i in range(0, len(data), 20))


out = ['// Generated from storage/migrations/.', '']
files = sorted(pathlib.Path(f) for f in sys.argv[2:])
for n, f in enumerate(files, 1):
    if int(f.stem[:4]) != n:
        sys.exit(f'{f}: step {n} is missing')
    out += [f'static const char sql_{n}[] = {{', numbers(f.read_text()), '};', '']
out += ['const struct migration migrations[] = {']
out += [f'    {{"{f.stem}", sql_{n}}},' for n, f in enumerate(files, 1)]
out += ['};', f'const size_t migration_count = {len(files)};', '']
pathlib.Path(sys.argv[1]).write_text('\n'.join(out))
