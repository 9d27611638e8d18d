#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""The units as they were built: sound, and as closed as we say.

usage: test_units.py BUILD_ROOT
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

units = os.path.join(sys.argv[1], 'systemd')
# Ten times what `systemd-analyze security` may say at most.
SCORES = {'pockd@.service': 10, 'pock-worker-train@.service': 12, 'pock-worker-serve@.service': 12,
          'pock-worker-tool@.service': 12, 'pockd-user@.service': 20}
SOCKETS = ('pockd@.socket', 'pock-worker-train.socket', 'pock-worker-serve.socket',
           'pock-worker-tool.socket')
USER = ('user-pockd.service', 'user-pockd.socket')


def text(name):
    with open(os.path.join(units, name)) as f:
        return f.read()


def values(name, key):
    return re.findall(r'^%s=(.*)$' % key, text(name), re.M)


def analyze(*args):
    r = subprocess.run(('systemd-analyze',) + args, capture_output=True, text=True,
                       env=dict(os.environ, SYSTEMD_PAGER='', LC_ALL='C'))
    return r.returncode, r.stdout + r.stderr


def security(path, threshold):
    return analyze('security', '--no-pager', '--offline=true', '--threshold=%d' % threshold, path)


def nothing_is_left_to_fill_in():
    for name in list(SCORES) + list(SOCKETS) + list(USER):
        assert not re.search(r'@\w+@(?!\.)', text(name)), name


def the_sandbox_is_as_closed_as_we_say():
    for name, threshold in SCORES.items():
        status, out = security(os.path.join(units, name), threshold)
        last = out.strip().splitlines()[-1]
        print('#', last)
        assert status == 0, '%s: over %.1f: %s' % (name, threshold / 10, last)


def a_sandbox_that_is_opened_is_noticed():
    with tempfile.TemporaryDirectory() as dir:
        for name in ('pockd@.service', 'pock-worker-train@.service'):
            path = os.path.join(dir, name)
            with open(path, 'w') as f:
                f.write(re.sub(r'^(PrivateNetwork|IPAddressDeny|SystemCallFilter|RestrictAddressFamilies)=.*\n',
                               '', text(name), flags=re.M))
            assert security(path, SCORES[name])[0] != 0, name


def systemd_finds_no_fault():
    with tempfile.TemporaryDirectory() as dir:
        for name in list(SCORES) + list(SOCKETS):
            with open(os.path.join(dir, name), 'w') as f:
                # The programs are not installed yet.
                f.write(re.sub(r'^ExecStart=\S+', 'ExecStart=/bin/true', text(name), flags=re.M))
        for name in list(SCORES) + list(SOCKETS):
            status, out = analyze('verify', '--man=no', '--generators=no', os.path.join(dir, name))
            ours = [line for line in out.splitlines() if 'pock' in line]
            assert status == 0 and not ours, (name, out)
        bad = os.path.join(dir, 'pock-bad.service')
        with open(bad, 'w') as f:
            f.write(text('pockd@.service').replace('ProtectHome=yes', 'ProtectHome=perhaps'))
        assert 'ignoring: perhaps' in analyze('verify', '--man=no', '--generators=no', bad)[1]


def only_training_is_in_the_idle_class():
    assert values('pock-worker-train@.service', 'CPUWeight') == ['idle']
    for kind in ('serve', 'tool'):
        name = 'pock-worker-%s@.service' % kind
        assert 'idle' not in values(name, 'CPUWeight') and not values(name, 'Slice'), name
    for name in SCORES:
        # The thread that hears of a stop would be in it too.
        assert not values(name, 'CPUSchedulingPolicy'), name


def each_owner_has_a_place_and_a_user():
    unit = 'pockd@.service'
    assert values(unit, 'User') == ['pockd-%i'] and values(unit, 'StateDirectory') == ['pockd/%i']
    assert values('pockd@.socket', 'SocketUser') == ['%i']
    assert values('pockd@.socket', 'SocketMode') == ['0600']
    for kind in ('train', 'serve', 'tool'):
        socket = 'pock-worker-%s.socket' % kind
        assert values(socket, 'SocketMode') == ['0660'] and values(socket, 'SocketGroup') == ['pockd']
        assert values(socket, 'ListenSequentialPacket') == ['/run/pockd/worker/%s.sock' % kind]
        worker = 'pock-worker-%s@.service' % kind
        assert values(worker, 'DynamicUser') == ['yes'] and not values(worker, 'CacheDirectory')
        # The outer kill: of what hangs, and of what never ends.
        assert values(worker, 'WatchdogSec') and values(worker, 'RuntimeMaxSec')
        assert values(worker, 'WatchdogSignal') == ['SIGKILL']


tests = [nothing_is_left_to_fill_in, only_training_is_in_the_idle_class, each_owner_has_a_place_and_a_user]
with_systemd = [the_sandbox_is_as_closed_as_we_say, a_sandbox_that_is_opened_is_noticed,
                systemd_finds_no_fault]
print('1..%d' % len(tests + with_systemd))
failed = False
missing = ('there is no systemd-analyze' if not shutil.which('systemd-analyze')
           # It loads units as PID 1 would: not in a mere chroot.
           else 'there are no control groups' if not os.path.ismount('/sys/fs/cgroup') else None)
for n, t in enumerate(tests + with_systemd, 1):
    if t in with_systemd and missing:
        print('ok %d - %s # SKIP %s: scores and faults were NOT looked at' % (n, t.__name__, missing))
        continue
    try:
        t()
        print('ok %d - %s' % (n, t.__name__))
    except AssertionError as e:
        failed = True
        print('not ok %d - %s # %s' % (n, t.__name__, str(e).replace('\n', ' ')))
sys.exit(failed)
