#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""That nobody notices pockd: a start with a full store, and what other work loses
while a job runs. (What it costs while idle: idle.py.)

usage: nobody.py [start RECORDS | beside SECONDS]...
       default: start 100000, beside 60; prints a line of JSON for each
"""
import hashlib
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '../integration'))
from pockd_rpc import Client, Daemon, wait_for  # noqa: E402

def proc(pid, name):
    with open('/proc/%d/%s' % (pid, name)) as f:
        return f.read()


def fill(d, count):
    c = d.client()
    for start in range(0, count, 500):
        c.call('data.put_many', create_stream=True, records=[
            {'uid': hashlib.sha256(b'%d' % i).digest()[:16], 'kind': 'text', 'stream': 'notes',
             'time': 1700000000000 + i, 'text': 'note %d: the lodger bubbled like a drain' % i}
            for i in range(start, min(count, start + 500))])


def start(count):
    with Daemon() as d:
        fill(d, count)
        clean, killed = [], []
        for i in range(10):
            if i % 2:
                d.kill()
            else:
                assert d.stop() == 0
            begin = time.monotonic()
            d.proc = subprocess.Popen(d.command(), env=d.env, stderr=d.log, stdout=d.log)
            while not ready(d):
                time.sleep(0.0005)
            took = (time.monotonic() - begin) * 1000
            # On a machine that does other things too, the time on a core is the better figure.
            ran = int(proc(d.proc.pid, 'schedstat').split()[0]) / 1e6
            (killed if i % 2 else clean).append((took, ran))
        out = {'bench': 'start', 'records': count}
        for name, side in (('ready', clean), ('after_kill', killed)):
            out.update({name + '_ms': round(sorted(side)[2][0], 1), name + '_ms_min': round(min(side)[0], 1),
                        name + '_cpu_ms': round(sorted(r for _, r in side)[2], 1)})
        print(json.dumps(out), flush=True)


def ready(d):
    try:
        Client(d.socket).close()
        return True
    except (OSError, EOFError):
        return False


FRAMES = '''
import sys, time, hashlib
late, n, due = 0, 0, time.monotonic()
end = due + float(sys.argv[1])
while due < end:
    due += 1 / 60
    hashlib.sha256(b"x" * 3000000).digest()
    late += time.monotonic() > due
    n += 1
    time.sleep(max(0, due - time.monotonic()))
print(n, late)
'''
WORK = '''
import sys, time, hashlib
n, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    hashlib.sha256(b"x" * 200000).digest()
    n += 1
print(n)
'''


def cpu_s(pid):
    """What a process has had of the cores."""
    fields = proc(pid, 'stat').rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def foreground(seconds, worker=None):
    """Work on every core, and a loop of 60 frames a second: units, frames, late
    ones, and what it and the worker had of the cores."""
    had = cpu_s(worker) if worker else 0
    ours = os.times()
    busy = [subprocess.Popen([sys.executable, '-c', WORK, str(seconds)], stdout=subprocess.PIPE)
            for _ in range(os.cpu_count())]
    loop = subprocess.Popen([sys.executable, '-c', FRAMES, str(seconds)], stdout=subprocess.PIPE)
    units = sum(int(p.communicate()[0]) for p in busy)
    frames, late = map(int, loop.communicate()[0].split())
    now = os.times()
    mine = now.children_user + now.children_system - ours.children_user - ours.children_system
    return units, frames, late, mine, cpu_s(worker) - had if worker else 0


def beside(seconds):
    sys.path.insert(0, HERE)
    from ladder import RECIPE, jobs, night, worker_pid
    with night() as d:
        d.c.call('train.start', recipe=RECIPE)
        piece, alone, beside = 5, [], []
        # In turns, so that what else the machine does falls on both.
        for i in range(max(2, int(seconds / piece))):
            d.c.call('train.pause' if i % 2 == 0 else 'train.resume')
            wait_for('it', 60, lambda: (jobs(d)[0]['state'] == 'running') == bool(i % 2))
            (beside if i % 2 else alone).append(foreground(piece, worker_pid(d) if i % 2 else None))
        sums = [[sum(x[k] for x in side) / len(side) for k in range(5)] for side in (alone, beside)]
        print(json.dumps({'bench': 'beside', 'pairs': len(beside), 'alone': round(sums[0][0]),
                          'beside': round(sums[1][0]), 'drop_pct': round(100 - 100 * sums[1][0] / sums[0][0], 2),
                          # Of the cores, beside what the work had: the better
                          # figure where the machine does other things too.
                          'worker_pct': round(100 * sums[1][4] / sums[1][3], 2),
                          'frames_late_alone': sums[0][2], 'frames_late_beside': sums[1][2]}), flush=True)


if __name__ == '__main__':
    args = sys.argv[1:] or ['start', '100000', 'beside', '60']
    for what, number in zip(args[::2], args[1::2]):
        {'start': start, 'beside': beside}[what](int(number))
