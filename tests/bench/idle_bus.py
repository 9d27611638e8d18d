#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What an idle pockd costs that hears a bus: resident memory, times that one of its
threads woke up, bytes written.

usage: idle_bus.py POCKD [SECONDS]    prints JSON; needs python3-dbusmock

A private bus has UPower and logind with a session in use, played by dbusmock; /sys
and /proc are the machine's own."""
import json
import os
import pathlib
import re
import sys
import time

pockd, seconds = os.path.abspath(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 60
os.environ['POCK_BUILD'] = str(pathlib.Path(pockd).parents[1])
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'integration'))
import test_pockd_signals as played  # noqa: E402  (may start Debian's Python instead)
from pockd_rpc import Daemon, rss_kib  # noqa: E402


def wakeups(pid):
    return sum(int(re.search(r'^voluntary_ctxt_switches:\t(\d+)', p.read_text(), re.M)[1])
               for p in pathlib.Path(f'/proc/{pid}/task').glob('*/status'))


def written(pid):
    return int(re.search(r'^wchar: (\d+)', pathlib.Path(f'/proc/{pid}/io').read_text(), re.M)[1])


if played.MISSING:
    sys.exit(played.MISSING)
with played.Bus() as bus:
    bus.upower(OnBattery=False)
    bus.logind().AddSession('c1', 'seat0', played.dbus.UInt32(500), 'maren', True)
    with Daemon(env=bus.env, sysroot=False) as d:
        time.sleep(5)
        pid = d.proc.pid
        before = wakeups(pid), written(pid)
        time.sleep(seconds)
        print(json.dumps({'bench': 'idle_bus', 'rss_kib': rss_kib(pid), 'seconds': seconds,
                          'wakeups': wakeups(pid) - before[0], 'written': written(pid) - before[1]}))
