#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Fail on functions over 80 lines and files over 1,000; print the longest.

A table or one flat switch may be longer: `// NOLINT(size): reason` on the line
above the function. Needs universal-ctags; exit status 77 without it.
"""
import json
import pathlib
import shutil
import subprocess
import sys

FUNCTION_LINES, FILE_LINES = 80, 1000

root = pathlib.Path(sys.argv[1])
files = [f for d in ('engine', 'ipc', 'storage', 'daemon', 'vulkan', 'clients', 'tests')
         for f in sorted((root / d).rglob('*.[ch]'))]
bad = 0
for f in files:
    n = len(f.read_text().splitlines())
    if n > FILE_LINES and 'generated' not in f.read_text()[:400].lower():
        print(f'{f.relative_to(root)}: {n} lines, at most {FILE_LINES}')
        bad = 1
if not shutil.which('ctags'):
    print('ctags is missing: function sizes not checked')
    sys.exit(bad or 77)
out = subprocess.run(['ctags', '--output-format=json', '--fields=+ne', '--kinds-C=f', '-f', '-', '-L', '-'],
                     input='\n'.join(map(str, files)), capture_output=True, text=True).stdout
functions = sorted(((t['end'] - t['line'] + 1, t['name'], t['path'], t['line'])
                    for t in map(json.loads, out.splitlines()) if 'end' in t), reverse=True)
for lines, name, path, at in functions:
    if lines <= FUNCTION_LINES:
        break
    before = pathlib.Path(path).read_text().splitlines()[max(0, at - 4):at]
    if not any('NOLINT(size)' in x for x in before):
        print(f'{path}:{at}: {name}() has {lines} lines, at most {FUNCTION_LINES}')
        bad = 1
print('longest functions:')
for lines, name, path, at in functions[:10]:
    print(f'{lines:5} {name:32} {pathlib.Path(path).relative_to(root)}:{at}')
sys.exit(bad)
