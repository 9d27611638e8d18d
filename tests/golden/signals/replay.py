#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Replay a recording and compare what is told with what is expected.

usage: replay.py POCK_REPLAY RECORDING.jsonl EXPECTED.txt [--write]
The words of gates may change; when what happened, and why, may not."""
import json
import subprocess
import sys
import time

player, recording, expected = sys.argv[1:4]
out = subprocess.run([player, '--json', recording], stdout=subprocess.PIPE, text=True, check=True)
told = ''
for line in out.stdout.splitlines():
    e = json.loads(line)
    if e['event'] == 'end':
        told += 'end %d lines, trained %d s in %d runs, %s\n' % (
            e['lines'], e['trained_ms'] // 1000, e['starts'], json.dumps(e['stops'], sort_keys=True))
    else:
        clock = time.strftime('%F %T', time.gmtime(e['unix'] / 1000))
        told += ' '.join([clock, e['event'], e.get('reason', ''), e.get('gate', '')]).rstrip() + '\n'
if '--write' in sys.argv:
    open(expected, 'w').write(told)
want = open(expected).read()
print('1..1')
if told != want:
    print('# told:', *told.splitlines(), '# expected:', *want.splitlines(), sep='\n# ')
print('ok 1' if told == want else 'not ok 1', '-', 'replays', recording.rsplit('/', 1)[-1])
sys.exit(told != want)
