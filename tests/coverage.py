#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What gcov counted, summed up: lines of daemon/, ipc/ and storage/ that were run.

Exits with 1 where of one of them fewer than 90 % were. No line is left out of the count.

usage: coverage.py BUILD [FILE]    with FILE: the numbers of its lines that were not
"""
import collections
import json
import os
import subprocess
import sys

DIRS = ('daemon/', 'ipc/', 'storage/')
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PERCENT_MIN = 90
WORST = 25


def notes(build):
    """Objects of the three directories: their tests have objects of their own."""
    for top in DIRS:
        for root, _, files in os.walk(os.path.join(build, top)):
            yield from (os.path.join(root, f) for f in files if f.endswith('.gcno'))


def count(build):
    lines = collections.defaultdict(dict)  # file -> line -> was it run
    out = subprocess.run(['gcov', '--json-format', '--stdout'] + sorted(os.path.abspath(f) for f in notes(build)),
                         check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    for data in map(json.loads, out.splitlines()):
        for source in data['files']:
            path = os.path.relpath(os.path.join(data['current_working_directory'], source['file']), ROOT)
            if not path.startswith(DIRS) or not path.endswith('.c'):
                continue
            for line in source['lines']:
                n = line['line_number']
                lines[path][n] = lines[path].get(n, False) or line['count'] > 0
    return lines


def show(ran, of, what):
    print('%5.1f %%  %5d of %5d lines of %s' % (100 * ran / of, ran, of, what))
    return 100 * ran / of


def main(build, file=None):
    lines = count(build)
    if file:
        print(*[n for n, ran in sorted(lines[file].items()) if not ran])
        return 0
    sums = collections.defaultdict(lambda: [0, 0])
    for path, of in lines.items():
        for what in (path, path.split('/')[0] + '/', 'all'):
            sums[what][0] += sum(of.values())
            sums[what][1] += len(of)
    worst = sorted(lines, key=lambda path: sums[path][0] - sums[path][1])[:WORST]
    for path in worst:
        show(*sums[path], path)
    least = min(show(*sums[top], top) for top in DIRS)
    show(*sums['all'], 'the three')
    return 0 if least >= PERCENT_MIN else 1


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
