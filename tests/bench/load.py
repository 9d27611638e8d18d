#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Many clients, some of them hostile, and a pockd of their own.

usage: load.py [--realtime] [SECONDS [CLIENTS [HOSTILE]]]    default 600 180 20; prints JSON,
       first of 50 clients that only ping, 1,000 requests/s in all (then the same
       on one core), then of the others beside the hostile ones; with --realtime
       nothing else of the machine runs in between (root only)
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '../integration'))
from pockd_rpc import BUILD, Daemon  # noqa: E402

# Limits are policy; here they are raised.
MANY = ['--connections-max', '1000', '--connections-uid-max', '1000']


def load(d, *args):
    out = subprocess.run([os.path.join(BUILD, 'tests/bench/bench_load'), d.socket, str(d.proc.pid), '--json',
                          *map(str, args)], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)


def threads(d):
    return [0] + list(map(int, os.listdir('/proc/%d/task' % d.proc.pid)))


def pings(d, name, seconds):
    args = ('--clients', 50, '--hostile', 0, '--pings', '--seconds', min(10, seconds))
    print(json.dumps(dict(load(d, *args), bench=name)), flush=True)


def main(realtime, seconds=600, clients=180, hostile=20):
    with Daemon(args=MANY + ['--log-level', 'error']) as d:
        # The database thread gives way, as it does where cores are free.
        for t in threads(d) if realtime else []:
            os.sched_setscheduler(t, os.SCHED_FIFO, os.sched_param(2 if t in (0, d.proc.pid) else 1))
        pings(d, 'load_pings', seconds)
        # On one core: what the software costs. Across two, a sleeping core of a
        # virtual machine may cost more than the rest.
        cores = os.sched_getaffinity(0)
        for t in threads(d):
            os.sched_setaffinity(t, {min(cores)})
        pings(d, 'load_pings1', seconds)
        for t in threads(d):
            os.sched_setaffinity(t, cores)
        print(json.dumps(load(d, '--clients', clients, '--hostile', hostile, '--seconds', seconds)))


if __name__ == '__main__':
    numbers = [int(a) for a in sys.argv[1:] if a != '--realtime']
    main('--realtime' in sys.argv, *numbers)
