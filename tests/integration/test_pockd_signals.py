#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What pockd knows of a machine that is played: a directory stands for /sys and
/proc, a private bus for the system bus, python-dbusmock for logind, UPower and
the power profiles. Without these packages the tests of the bus are skipped."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

try:
    import dbus
    import dbusmock  # noqa: F401
except ImportError:
    # Debian's modules belong to Debian's Python.
    if sys.executable != '/usr/bin/python3' and os.access('/usr/bin/python3', os.X_OK) \
            and 'POCK_REEXEC' not in os.environ:
        os.environ['POCK_REEXEC'] = '1'
        os.execv('/usr/bin/python3', ['/usr/bin/python3'] + sys.argv)
    dbus = None

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import BUILD, SLOW, Daemon, main, wait_for  # noqa: E402

POCKCTL = os.path.join(BUILD, 'clients/pockctl/pockctl')
MISSING = (None if dbus and shutil.which('dbus-daemon') else
           'SKIP: python3-dbusmock or dbus-daemon is not installed')


class Bus:
    """A private bus at an address that outlives it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='pock-bus-')
        self.address = 'unix:path=' + os.path.join(self.dir, 'bus')
        self.env = {'DBUS_SYSTEM_BUS_ADDRESS': self.address}
        self.proc = None
        self.mocks = {}
        self.start()

    def start(self):
        self.proc = subprocess.Popen(
            ['dbus-daemon', '--session', '--nofork', '--nopidfile', '--address=' + self.address],
            stderr=subprocess.DEVNULL)
        wait_for('the bus', 10, self.connect)

    def connect(self):
        try:
            self.bus = dbus.bus.BusConnection(self.address)
            return True
        except dbus.DBusException:
            return False

    def kill(self):
        for name in list(self.mocks):
            self.end(name)
        self.proc.kill()
        self.proc.wait()
        os.unlink(os.path.join(self.dir, 'bus'))

    def mock(self, template, name, path, **params):
        """Play a service, and wait until it is there."""
        self.mocks[name] = subprocess.Popen(
            ['/usr/bin/python3', '-m', 'dbusmock', '--system', '--template', template,
             '-p', json.dumps(params)],
            env=dict(os.environ, **self.env), stdout=subprocess.DEVNULL)
        wait_for(name, 10, lambda: self.bus.name_has_owner(name))
        return Mock(self.bus.get_object(name, path))

    def end(self, name):
        p = self.mocks.pop(name)
        p.kill()
        p.wait()

    def upower(self, **params):
        return self.mock('upower', 'org.freedesktop.UPower', '/org/freedesktop/UPower', **params)

    def logind(self):
        return self.mock('logind', 'org.freedesktop.login1', '/org/freedesktop/login1')

    def at(self, name, path):
        return Mock(self.bus.get_object(name, path))

    def __enter__(self):
        return self

    def __exit__(self, *args):
        for name in list(self.mocks):
            self.end(name)
        self.proc.kill()
        self.proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Mock:
    def __init__(self, object_):
        self.object = object_

    def __getattr__(self, method):
        return lambda *args: self.object.get_dbus_method(method, 'org.freedesktop.DBus.Mock')(*args)

    def update(self, interface, **props):
        self.UpdateProperties(interface, dbus.Dictionary(props, signature='sv'))


def signals(c):
    return {s['name']: s for s in c.call('signals.get')['signals']}


def is_seen(c, **wanted):
    """name=(value, source)"""
    def look():
        have = signals(c)
        return all((have[k].get('value'), have[k]['source']) == v for k, v in wanted.items())
    try:
        wait_for(str(wanted), 10, look)
    except AssertionError:
        have = signals(c)
        raise AssertionError('wanted %s, have %s' % (wanted, {k: have[k] for k in wanted}))


def needs_bus(test):
    def run():
        if MISSING:
            print('# %s: %s' % (test.__name__, MISSING), flush=True)
            return
        test()
    run.__name__ = test.__name__ + (' # ' + MISSING if MISSING else '')
    return run


DISPLAY = '/org/freedesktop/UPower/devices/DisplayDevice'
DEVICE = 'org.freedesktop.UPower.Device'
UPOWER = 'org.freedesktop.UPower'
LOGIND = 'org.freedesktop.login1'
SESSION = LOGIND + '.Session'


def without_a_bus_the_files_tell():
    with Daemon(env={'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/no/such/socket'}) as d:
        c = d.client()
        have = signals(c)
        assert have['external_power']['value'] is True
        assert have['external_power']['source'] == 'sysfs'
        assert have['session_idle']['source'] == 'none' and 'value' not in have['session_idle']
        assert have['disk_free']['source'] == 'store'
        d.put('sys/firmware/acpi/platform_profile', 'low-power')
        is_seen(c, power_saver=(True, 'sysfs'))


def a_stream_tells_at_once_and_then_what_changed():
    with Daemon() as d:
        c = d.client()
        watch = c.send('signals.get', stream=True)
        first = next_item(c)
        assert len(first['signals']) > 30, first
        d.plug(False)
        seen = {}
        while 'external_power' not in seen:
            item = next_item(c)
            assert len(item['signals']) < 20, item
            seen.update({s['name']: s.get('value') for s in item['signals']})
        assert seen['external_power'] is False
        c.notify('$/cancel', id=watch)
        try:
            c.wait(watch)
            raise AssertionError('it goes on')
        except Exception as e:
            assert 'CANCELLED' in str(e), e


def next_item(c):
    while not c.items:
        m = c.recv()
        assert m and m[0] == 2, m
        c.items.append(m[2][0])
    return c.items.pop(0)


@needs_bus
def upower_goes_over_the_files_until_it_is_gone():
    with Bus() as bus, Daemon(env=bus.env) as d:
        c = d.client()
        is_seen(c, external_power=(True, 'sysfs'))
        upower = bus.upower(OnBattery=True)
        is_seen(c, external_power=(False, 'dbus'))
        upower.SetupDisplayDevice(dbus.UInt32(2), dbus.UInt32(1), 55.5, 20.0, 40.0, 7.5,
                                  dbus.Int64(0), dbus.Int64(0), True, '', dbus.UInt32(1))
        upower.update(UPOWER, OnBattery=False)
        is_seen(c, external_power=(True, 'dbus'), battery_pct=(55.5, 'dbus'),
                battery_state=('charging', 'dbus'), energy_rate=(7.5, 'dbus'),
                battery_wh=(20.0, 'dbus'), warning=('none', 'dbus'))
        bus.end(UPOWER)
        is_seen(c, external_power=(True, 'sysfs'), battery_pct=(80.0, 'sysfs'),
                energy_rate=(None, 'none'))
        bus.upower(OnBattery=True)
        is_seen(c, external_power=(False, 'dbus'), battery_pct=(80.0, 'sysfs'))


@needs_bus
def what_upower_cannot_mean_is_left_to_the_files():
    with Bus() as bus, Daemon(env=bus.env) as d:
        c = d.client()
        upower = bus.upower(OnBattery=False)
        upower.SetupDisplayDevice(dbus.UInt32(2), dbus.UInt32(77), 300.0, 20.0, -1.0, 1e300,
                                  dbus.Int64(0), dbus.Int64(0), True, '', dbus.UInt32(99))
        is_seen(c, external_power=(True, 'dbus'), battery=(True, 'dbus'),
                battery_pct=(80.0, 'sysfs'), battery_state=('charging', 'sysfs'),
                energy_rate=(None, 'none'), battery_wh=(None, 'none'), warning=(None, 'none'))
        # Values of other types than they have.
        bus.at(UPOWER, DISPLAY).update(DEVICE, Percentage='full', State=True,
                                       WarningLevel=dbus.Array(['x'], signature='s'))
        upower.update(UPOWER, OnBattery='perhaps')
        is_seen(c, external_power=(True, 'sysfs'), battery_pct=(80.0, 'sysfs'))


@needs_bus
def power_that_toggles_counts_as_lost():
    with Bus() as bus, Daemon(env=bus.env) as d:
        c = d.client()
        upower = bus.upower(OnBattery=False)
        is_seen(c, external_power=(True, 'dbus'))
        for i in range(8):
            upower.update(UPOWER, OnBattery=bool(i % 2 == 0))
            is_seen(c, battery=(True, 'sysfs'))  # One look at each.
        have = signals(c)
        assert have['external_power']['value'] is False, have['external_power']
        assert 'unsteady' in have['external_power']['text'], have['external_power']
        assert have['power_flaps']['value'] >= 4


@needs_bus
def sessions_of_people_count_one_by_one():
    with Bus() as bus, Daemon(env=bus.env) as d:
        c = d.client()
        manager = bus.logind()
        manager.AddSession('c1', 'seat0', dbus.UInt32(500), 'maren', True)
        manager.AddSession('c2', 'seat0', dbus.UInt32(501), 'jonas', False)
        manager.AddSession('g1', 'seat0', dbus.UInt32(120), 'gdm', False)
        one, two, greeter = (bus.at(LOGIND, '/org/freedesktop/login1/session/' + s)
                             for s in ('c1', 'c2', 'g1'))
        greeter.update(SESSION, Class='greeter')
        is_seen(c, sessions=(2, 'dbus'), sessions_idle=(0, 'dbus'), session_idle=(False, 'dbus'))
        one.update(SESSION, IdleHint=True)
        is_seen(c, sessions_idle=(1, 'dbus'), session_idle=(False, 'dbus'))
        two.update(SESSION, LockedHint=True)
        is_seen(c, sessions_idle=(2, 'dbus'), session_idle=(True, 'dbus'))
        two.update(SESSION, Class='manager-early')
        is_seen(c, sessions=(1, 'dbus'), session_idle=(True, 'dbus'))
        one.update(SESSION, IdleHint=dbus.Double(3))
        is_seen(c, sessions_idle=(0, 'dbus'), session_idle=(False, 'dbus'))
        bus.end(LOGIND)
        is_seen(c, session_idle=(None, 'none'), inhibitors=('', 'none'))


@needs_bus
def inhibitors_and_sleep_are_seen():
    with Bus() as bus, Daemon(env=bus.env) as d:
        c = d.client()
        manager = bus.logind()
        inhibit = manager.object.get_dbus_method('Inhibit', LOGIND + '.Manager')
        is_seen(c, inhibitors=('', 'dbus'), sleep=(False, 'dbus'))
        fd = inhibit('idle', 'a film', 'somebody watches', 'block').take()
        manager.AddProperty(LOGIND + '.Manager', 'BlockInhibited', 'idle')
        manager.update(LOGIND + '.Manager', BlockInhibited='idle')
        is_seen(c, inhibitors=('a film', 'dbus'))
        os.close(fd)
        time.sleep(0.1)
        manager.update(LOGIND + '.Manager', BlockInhibited='')
        is_seen(c, inhibitors=('', 'dbus'))
        for name, wanted in (('PrepareForSleep', False), ('PrepareForShutdown', True)):
            manager.EmitSignal(LOGIND + '.Manager', name, 'b', [True])
            is_seen(c, sleep=(True, 'dbus'), shutdown=(wanted, 'dbus'))
            manager.EmitSignal(LOGIND + '.Manager', name, 'b', [False])
            is_seen(c, sleep=(False, 'dbus'), shutdown=(False, 'dbus'))


@needs_bus
def the_power_profile_is_known():
    with Bus() as bus, Daemon(env=bus.env) as d:
        c = d.client()
        is_seen(c, power_saver=(None, 'none'))
        name = 'net.hadess.PowerProfiles'
        profiles = bus.mock('power_profiles_daemon', name, '/net/hadess/PowerProfiles')
        is_seen(c, power_saver=(False, 'dbus'))
        profiles.update(name, ActiveProfile='power-saver')
        is_seen(c, power_saver=(True, 'dbus'))
        bus.end(name)
        is_seen(c, power_saver=(None, 'none'))


@needs_bus
def a_bus_that_is_started_anew_is_found_again():
    with Bus() as bus, Daemon(env=bus.env) as d:
        c = d.client()
        bus.upower(OnBattery=True)
        is_seen(c, external_power=(False, 'dbus'))
        bus.kill()
        is_seen(c, external_power=(True, 'sysfs'), session_idle=(None, 'none'))
        time.sleep(8)  # Past the attempts that are made at first.
        assert d.proc.poll() is None
        bus.start()
        bus.upower(OnBattery=True)
        is_seen(c, external_power=(False, 'dbus'))


@needs_bus
def a_bus_that_comes_later_is_found():
    with Bus() as bus:
        bus.kill()
        with Daemon(env=bus.env) as d:
            c = d.client()
            is_seen(c, external_power=(True, 'sysfs'))
            bus.start()
            bus.upower(OnBattery=True)
            is_seen(c, external_power=(False, 'dbus'))


def a_fifo_of_the_service_manager_tells_of_memory():
    dir_ = tempfile.mkdtemp(prefix='pock-fifo-')
    fifo = os.path.join(dir_, 'pressure')
    os.mkfifo(fifo)
    try:
        with Daemon(env={'MEMORY_PRESSURE_WATCH': fifo}) as d:
            c = d.client()
            is_seen(c, memory_low=(False, 'procfs'))
            with open(fifo, 'wb') as f:
                f.write(b'x')
            is_seen(c, memory_low=(True, 'procfs'))
    finally:
        shutil.rmtree(dir_)


def pockctl(d, *args, **kw):
    return subprocess.run([POCKCTL, '--socket', d.socket] + list(args), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60 * SLOW, **kw)


def pockctl_shows_them():
    with Daemon() as d:
        out = pockctl(d, 'signals')
        assert out.returncode == 0, out
        lines = out.stdout.splitlines()
        assert lines[0].split() == ['SIGNAL', 'VALUE', 'SOURCE', 'SINCE'], lines[0]
        row = next(line.split() for line in lines if line.startswith('external_power'))
        assert row[1:3] == ['yes', 'sysfs'], row
        out = json.loads(pockctl(d, 'signals', '--json').stdout)
        assert out['schema'] == 1
        assert {s['name']: s.get('value') for s in out['signals']}['battery_pct'] == 80
        assert 'battery_pct' in pockctl(d, 'signals', '-q').stdout.split()
        assert pockctl(d, 'signals', '--watch', '--record', 'x').returncode == 2
        assert pockctl(d, 'signals', '--speed', '2').returncode == 2


def what_pockctl_records_it_can_replay():
    with Daemon() as d:
        path = os.path.join(d.dir, 'night.jsonl')
        rec = subprocess.Popen([POCKCTL, '--socket', d.socket, 'signals', '--record', path],
                               stderr=subprocess.PIPE)

        def lines():
            if not os.path.exists(path):
                return []
            with open(path) as f:
                return [json.loads(line) for line in f if line.endswith('\n')]

        def last(name):
            values = [x['signals'][name] for x in lines() if name in x.get('signals', {})]
            return values[-1] if values else None

        wait_for('the first line', 10, lambda: last('external_power') is True)
        d.plug(False)
        wait_for('a change', 10, lambda: last('external_power') is False)
        d.plug(True)
        wait_for('another', 10, lambda: last('external_power') is True)
        rec.send_signal(2)
        assert rec.wait(10 * SLOW) == 130
        assert lines()[0]['schema'] == 1
        out = pockctl(d, 'signals', '--replay', path, '--json')
        assert out.returncode == 0, out
        told = [json.loads(line) for line in out.stdout.splitlines()]
        assert told[-1]['event'] == 'end' and told[-1]['lines'] == len(lines()) - 1, told
        # With the owner's policy: nobody need be away.
        d.client().call('policy.set', values={'respect_idle': False, 'psi_cpu_some': 100})
        out = pockctl(d, 'signals', '--replay', path, '--json')
        told = [json.loads(line) for line in out.stdout.splitlines()]
        assert [t['event'] for t in told if t['event'] != 'blocked'][0] == 'start', told
        assert told[-1]['stops'].get('POWER', 0) == 1, told
        # For people, and in the time that it took.
        out = pockctl(d, 'signals', '--replay', path, '--speed', '1000')
        words = out.stdout.split()
        assert out.returncode == 0 and 'start' in words and 'POWER' in words, out
        assert '%d changes' % told[-1]['lines'] in out.stdout and 'stopped by POWER 1' in out.stdout, out
        bad = pockctl(d, 'signals', '--replay', os.path.join(d.dir, 'log'))
        assert bad.returncode == 1 and 'line 1' in bad.stderr, bad
        bad = pockctl(d, 'signals', '--replay', os.path.join(d.dir, 'none'))
        assert bad.returncode == 1 and 'cannot read' in bad.stderr, bad
        for args, words in ((['--policy', 'x', path], 'KEY=VALUE'), (['--policy', 'level_start_pct=much', path], 'level_start_pct'),
                            (['--speed', '0', path], 'usage:'), (['--nonsense', path], 'usage:'), ([], 'usage:')):
            bad = subprocess.run([os.path.join(BUILD, 'daemon/pock-replay')] + args, capture_output=True, text=True)
            assert bad.returncode == 2 and words in bad.stderr, (args, bad)
        # What a newer pockd knows is told of, and left out; times are of Greenwich.
        out = subprocess.run([os.path.join(BUILD, 'daemon/pock-replay'), '--utc', '--policy', 'later=1', path],
                             capture_output=True, text=True)
        assert out.returncode == 0 and 'no key later' in out.stderr and 'Z  ' in out.stdout, out


if __name__ == '__main__':
    if MISSING:
        print('# python3-dbusmock is missing: what the bus says is NOT tested here', flush=True)
    main([
        without_a_bus_the_files_tell,
        a_stream_tells_at_once_and_then_what_changed,
        upower_goes_over_the_files_until_it_is_gone,
        what_upower_cannot_mean_is_left_to_the_files,
        power_that_toggles_counts_as_lost,
        sessions_of_people_count_one_by_one,
        inhibitors_and_sleep_are_seen,
        the_power_profile_is_known,
        a_bus_that_is_started_anew_is_found_again,
        a_bus_that_comes_later_is_found,
        a_fifo_of_the_service_manager_tells_of_memory,
        pockctl_shows_them,
        what_pockctl_records_it_can_replay,
    ])
