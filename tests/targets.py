#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What ninja must build for the tests of some suites, or of all but some.

usage: targets.py BUILD_DIR [SUITE...] [-SUITE...]
"""
import json
import os
import subprocess
import sys


def introspect(build, what):
    out = subprocess.run(['meson', 'introspect', '--' + what, build], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)


def main():
    build = os.path.realpath(sys.argv[1])
    without = {s[1:] for s in sys.argv[2:] if s[0] == '-'}
    suites = {s for s in sys.argv[2:] if s[0] != '-'}
    files = {t['id']: t['filename'] for t in introspect(build, 'targets')}
    needed = set()
    for test in introspect(build, 'tests'):
        # "pockd:unit"
        own = {s.split(':')[-1] for s in test['suite']}
        if (own & suites or not suites) and not own & without:
            needed.update(f for d in test['depends'] for f in files[d])
    for f in sorted(needed):
        print(os.path.relpath(f, build))
    return 0 if needed else 1


sys.exit(main())
