#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What gcov counted, summed up: lines of daemon/, ipc/ and storage/ that were run.

usage: coverage.py BUILD [FILE]    with FILE: the numbers of its lines that were not
"""
import collections
import gzip
import json
import os
import subprocess
import sys
import tempfile

DIRS = ('daemon/', 'ipc/', 'storage/')
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def notes(build):
    """Objects of the three directories: their tests have objects of their own."""
    for top in DIRS:
        for root, _, files in os.walk(os.path.join(build, top)):
            yield from (os.path.join(root, f) for f in files if f.endswith('.gcno'))


def count(build):
    lines = collections.defaultdict(dict)  # file -> line -> was it run
    with tempfile.TemporaryDirectory() as dir:
        files = [os.path.abspath(f) for f in notes(build)]
        for i in range(0, len(files), 20):
            subprocess.run(['gcov', '--json-format'] + files[i:i + 20], cwd=dir, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name in os.listdir(dir):
            with gzip.open(os.path.join(dir, name)) as f:
                data = json.load(f)
            for source in data['files']:
                path = os.path.relpath(os.path.join(data['current_working_directory'], source['file']), ROOT)
                if not path.startswith(DIRS) or not path.endswith('.c'):
                    continue
                for line in source['lines']:
                    n = line['line_number']
                    lines[path][n] = lines[path].get(n, False) or line['count'] > 0
    return lines


def main(build, file=None):
    lines = count(build)
    if file:
        print(*[n for n, ran in sorted(lines[file].items()) if not ran])
        return
    sums = collections.defaultdict(lambda: [0, 0])
    for path, of in sorted(lines.items()):
        ran = sum(of.values())
        print('%5.1f %%  %4d of %4d  %s' % (100 * ran / len(of), ran, len(of), path))
        for top in (path.split('/')[0] + '/', 'all'):
            sums[top][0] += ran
            sums[top][1] += len(of)
    for top, (ran, of) in sums.items():
        print('%5.1f %%  %5d of %5d lines of %s' % (100 * ran / of, ran, of, top))


if __name__ == '__main__':
    main(*sys.argv[1:])
