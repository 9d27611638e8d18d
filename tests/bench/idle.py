#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What an idle pockd costs: resident memory, and system calls in 30 seconds.

usage: idle.py POCKD [SECONDS]    prints JSON; needs strace for the calls
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30
with tempfile.TemporaryDirectory() as top:
    # A laptop on battery: nothing may run, so nothing should be watched.
    sys_dir = pathlib.Path(top, 'root/sys/class/power_supply')
    for name, files in {'AC': {'type': 'Mains', 'online': '0'},
                        'BAT0': {'type': 'Battery', 'present': '1', 'capacity': '80',
                                 'status': 'Discharging'}}.items():
        (sys_dir / name).mkdir(parents=True)
        for key, value in files.items():
            (sys_dir / name / key).write_text(value + '\n')
    env = dict(os.environ, POCKD_SYSROOT=f'{top}/root', POCKD_SOCKET=f'{top}/s')
    pockd = subprocess.Popen([sys.argv[1], '--user', '--dir', f'{top}/d'], env=env,
                             stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if os.path.exists(f'{top}/s'):
                break
            time.sleep(0.1)
        time.sleep(2)
        status = pathlib.Path(f'/proc/{pockd.pid}/status').read_text()
        rss = next(int(x.split()[1]) for x in status.splitlines() if x.startswith('VmRSS'))
        calls = None
        if shutil.which('strace'):
            trace = f'{top}/trace'
            subprocess.run(['timeout', '-s', 'INT', str(seconds), 'strace', '-f', '-qq', '-o', trace,
                            '-p', str(pockd.pid)], stderr=subprocess.DEVNULL)
            # What strace interrupted when it attached is not a wake-up.
            calls = sum(1 for line in open(trace)
                        if 'resumed' not in line and 'restart_syscall' not in line
                        and not line.rstrip().endswith('<detached ...>')
                        and '<unfinished' not in line)
        print(json.dumps({'bench': 'idle', 'rss_kib': rss, 'seconds': seconds, 'calls': calls}))
    finally:
        pockd.terminate()
        pockd.wait(10)
