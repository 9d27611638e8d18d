#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Many clients, some of them hostile, and a pockd of their own.

usage: load.py [SECONDS [CLIENTS [HOSTILE]]]    default 600 180 20; prints JSON,
       first of 50 clients that only ping, 1,000 requests/s in all, then of the
       others beside the hostile ones
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


if __name__ == '__main__':
    seconds, clients, hostile = (list(map(int, sys.argv[1:])) + [600, 180, 20][len(sys.argv) - 1:])[:3]
    with Daemon(args=MANY + ['--log-level', 'error']) as d:
        pings = load(d, '--clients', 50, '--hostile', 0, '--pings', '--seconds', min(20, seconds))
        print(json.dumps(dict(pings, bench='load_pings')), flush=True)
        print(json.dumps(load(d, '--clients', clients, '--hostile', hostile, '--seconds', seconds)))
