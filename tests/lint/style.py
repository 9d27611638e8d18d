#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Fail on what a formatter does not see.

Licence lines, trailing blanks, tabs, long lines, open tasks in comments,
`#pragma once`, file stems that are not unique, exit() and abort() outside of
programs' main files.
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
DIRS = ('engine', 'ipc', 'storage', 'daemon', 'vulkan', 'clients', 'tests')
bad = 0


def complain(f, n, text):
    global bad
    print(f'{f.relative_to(root)}:{n}: {text}')
    bad = 1


stems = {}
for d in DIRS:
    for f in sorted((root / d).rglob('*')):
        if not f.is_file() or f.suffix not in ('.c', '.h', '.def', '.py', '.sh', '.sql', '.build'):
            continue
        text = f.read_text()
        lines = text.splitlines()
        code = f.suffix in ('.c', '.h')
        if f.suffix not in ('.build',) and lines and 'SPDX-License-Identifier: Apache-2.0' not in text[:400]:
            complain(f, 1, 'no SPDX lines')
        if text and not text.endswith('\n'):
            complain(f, len(lines), 'no newline at the end')
        if f.suffix == '.h' and '#pragma once' not in text and 'include/pock' not in str(f):
            complain(f, 1, 'no #pragma once')
        for n, line in enumerate(lines, 1):
            if line != line.rstrip():
                complain(f, n, 'trailing blanks')
            if '\t' in line and code:
                complain(f, n, 'tab')
            if code and len(line) > 100:
                complain(f, n, f'{len(line)} columns')
            if code and re.search(r'\b(TODO|FIXME|XXX)\b', line):
                complain(f, n, 'open task: finish it, or record a decision')
            if code and d in ('engine', 'ipc', 'storage') and re.match(r'\s*(exit|abort|_exit)\(', line) \
                    and 'int main(' not in text:
                complain(f, n, 'a library does not end the process')
        if f.suffix == '.c' and d != 'tests':
            stems.setdefault(f.stem, []).append(f)
for stem, files in stems.items():
    if len(files) > 1:
        complain(files[1], 1, f'the stem {stem} is taken by {files[0].relative_to(root)}')
sys.exit(bad)
