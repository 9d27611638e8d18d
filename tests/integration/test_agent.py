#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""pock-agent between a session's bus, apps in sandboxes and pockd."""
import os
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import BUILD, SLOW, Client, Daemon, main, wait_for  # noqa: E402
from test_pockd_consent import INFO, app, apps, asking, owner, put, records, refused, sandboxed  # noqa: E402

AGENT = os.path.join(BUILD, 'clients/agent/pock-agent')
POCKCTL = os.path.join(BUILD, 'clients/pockctl/pockctl')


def python_with_dbusmock():
    for python in (sys.executable, '/usr/bin/python3'):
        if subprocess.run([python, '-c', 'import dbus, dbusmock'], capture_output=True).returncode == 0:
            return python
    return None


PYTHON = python_with_dbusmock()


class Session:
    """A session's bus with somebody who shows notifications, and the agent."""

    def __init__(self, d, bus=True):
        self.d, self.procs = d, []
        self.door = os.path.join(d.dir, 'door', 'pockd.sock')
        self.log = os.path.join(d.dir, 'notifications')
        self.agent_log = os.path.join(d.dir, 'agent-log')
        self.env = dict(os.environ, DBUS_SESSION_BUS_ADDRESS='unix:path=/nonexistent')
        if bus:
            p = subprocess.Popen(['dbus-daemon', '--session', '--nofork', '--print-address'],
                                 stdout=subprocess.PIPE, text=True)
            self.procs.append(p)
            self.env['DBUS_SESSION_BUS_ADDRESS'] = p.stdout.readline().strip()
            self.procs.append(subprocess.Popen([PYTHON, '-m', 'dbusmock', '--logfile', self.log, '--template',
                                                'notification_daemon'], env=self.env))
            wait_for('the mock', 20, lambda: self.python(
                'print(bus.name_has_owner("org.freedesktop.Notifications"))').stdout.strip() in ('1', 'True'))
        self.start()

    def start(self):
        self.agent = subprocess.Popen([AGENT, '--socket', self.d.socket, '--door', self.door], env=self.env,
                                      stderr=open(self.agent_log, 'ab'))
        self.procs.append(self.agent)
        wait_for('the agent', 20, lambda: 'connected to' in self.text(self.agent_log) and os.path.exists(self.door))

    def python(self, text):
        return subprocess.run([PYTHON, '-c', 'import dbus\nbus = dbus.SessionBus()\n' + text], env=self.env,
                              capture_output=True, text=True)

    def text(self, path):
        try:
            with open(path, errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def shown(self, name):
        """The number of the notification about an app."""
        lines = [line for line in self.text(self.log).splitlines() if ' Notify ' in line]
        for n, line in enumerate(lines, 1):
            if name + ' wants to use pockd' in line:
                return n
        return None

    def answer(self, number, key):
        r = self.python('o = bus.get_object("org.freedesktop.Notifications", "/org/freedesktop/Notifications")\n'
                        'o.EmitSignal("org.freedesktop.Notifications", "ActionInvoked", "us", '
                        f'[dbus.UInt32({number}), "{key}"], dbus_interface="org.freedesktop.DBus.Mock")')
        assert r.returncode == 0, r

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for p in reversed(self.procs):
            if p.poll() is None:
                p.terminate()
            p.wait(20 * SLOW)
            if p.stdout:
                p.stdout.close()
        if kind:
            sys.stderr.write(self.text(self.agent_log) + self.text(self.log))


def has_bus():
    if PYTHON and shutil.which('dbus-daemon'):
        return True
    print('# skipped: python3-dbusmock or dbus-daemon is not installed')
    return False


def the_owner_is_asked_and_answers():
    if not has_bus():
        return
    with asking() as d, Session(d) as s:
        o = owner(d)
        a = app(d, 'org.example.A', wants=['train', 'score'])
        name = a.hello['app']
        word = name.split(':')[1]
        n = wait_for('the notification', 20, lambda: s.shown(word))
        line = s.text(s.log)
        assert 'learned from' in line and 'how well texts fit' in line and 'have texts written' not in line, line
        assert '"Allow"' in line and '"Deny"' in line and 'Any program may take this name' in line, line
        refused('NOT_CONSENTED', lambda: put(a))
        s.answer(n, 'allow')
        wait_for('the grant', 20, lambda: apps(o)[name]['state'] == 'granted')
        assert apps(o)[name]['purposes'] == ['train', 'score']
        put(a)
        if name.startswith('scope:'):
            return
        b = app(d, 'org.example.B')
        n = wait_for('the other', 20, lambda: s.shown('org.example.B'))
        s.answer(n, 'deny')
        wait_for('the refusal', 20, lambda: apps(o)[b.hello['app']]['state'] == 'revoked')
        refused('NOT_CONSENTED', lambda: put(b))


def what_waited_before_the_agent_is_asked_about_and_what_is_answered_elsewhere_goes():
    if not has_bus():
        return
    with asking() as d:
        o, a = owner(d), app(d, 'org.example.A')
        word = a.hello['app'].split(':')[1]
        with Session(d) as s:
            wait_for('the notification', 20, lambda: s.shown(word))
            o.call('app.grant', app=a.hello['app'], purposes=['train'])
            wait_for('its end', 20, lambda: 'CloseNotification' in s.text(s.log))


def nobody_else_answers_for_the_owner():
    if not has_bus():
        return
    with asking() as d, Session(d) as s:
        o, a = owner(d), app(d, 'org.example.A')
        name = a.hello['app']
        n = wait_for('the notification', 20, lambda: s.shown(name.split(':')[1]))
        # A signal of the right name, from a program that does not show notifications.
        r = s.python('import dbus.lowlevel as l\n'
                     'm = l.SignalMessage("/org/freedesktop/Notifications", "org.freedesktop.Notifications", '
                     '"ActionInvoked")\n'
                     f'm.append(dbus.UInt32({n}), "allow", signature="us")\n'
                     'bus.send_message(m)\nbus.flush()')
        assert r.returncode == 0, r
        # And answers that make no sense, from the one that does.
        s.answer(n, 'default')
        s.answer(n + 7, 'allow')
        s.answer(n, 'deny')
        wait_for('the real answer', 20, lambda: apps(o)[name]['state'] != 'pending')
        assert apps(o)[name]['state'] == 'revoked'


def without_an_agent_or_a_bus_the_answer_is_no():
    with asking() as d:
        a = app(d)
        refused('NOT_CONSENTED', lambda: put(a))
        with Session(d, bus=False) as s:
            refused('NOT_CONSENTED', lambda: put(a))
            assert 'no session bus' in s.text(s.agent_log)
            assert apps(owner(d))[a.hello['app']]['state'] == 'pending'


class Nobody(Daemon):
    """pockd as a user of its own, as the system service is: it cannot look into sandboxes."""

    def start(self):
        os.makedirs(os.path.join(self.dir, 'd'), exist_ok=True)
        for path in (self.dir, os.path.join(self.dir, 'd')):
            os.chown(path, 65534, 65534)
        real = subprocess.Popen

        def popen(*args, **kw):
            return real(*args, user=65534, group=65534, extra_groups=[], **kw)
        subprocess.Popen = popen
        try:
            return super().start()
        finally:
            subprocess.Popen = real


def the_door_names_apps_that_the_daemon_cannot_see_into():
    if os.geteuid() != 0:
        print('# skipped: only root can give a process another root')
        return
    with Nobody(args=['--consent', 'ask']) as d, Session(d, bus=False) as s:
        def greet(path):
            c = Client(path)
            try:
                c.call('data.put_many', records=records(1), create_stream=True)
                return [c.hello['app'], 'done']
            except Exception as e:
                return [c.hello['app'], e.name]
        # By itself the daemon cannot tell what this is.
        assert not sandboxed(d, INFO, greet)[0].startswith('flatpak:')
        door = lambda _: greet('/door/pockd.sock')  # noqa: E731
        name = 'flatpak:org.example.Notes'
        assert sandboxed(d, INFO, door) == [name, 'NOT_CONSENTED']
        o = owner(d)
        assert apps(o)[name]['strength'] == 'sandboxed'
        o.call('app.grant', app='org.example.Notes', purposes=['train'])
        assert sandboxed(d, INFO, door) == [name, 'done']
        # A sandbox that does not say who it is stays outside.
        out = sandboxed(d, '[Runtime]\nname=x\n', door)
        assert 'hung up' in out or 'Reset' in out or 'Broken' in out, out
        assert 'was not let in' in s.text(s.agent_log)
        # The owner's own tools may come through it too.
        r = subprocess.run([POCKCTL, '--socket', s.door, 'apps', '-q'], capture_output=True, text=True)
        assert r.returncode == 0 and name in r.stdout, r


def it_comes_back_to_a_daemon_that_was_started_again():
    with asking() as d, Session(d, bus=False) as s:
        d.stop()
        wait_for('the loss', 20, lambda: 'hung up' in s.text(s.agent_log))
        d.start()
        wait_for('the link', 30, lambda: len(re.findall('connected to', s.text(s.agent_log))) == 2)
        c = Client(s.door)
        assert c.hello['consent'] == 'pending', c.hello
        c.close()


def a_session_has_one_agent_and_a_door_only_while_it_runs():
    with asking() as d, Session(d, bus=False) as s:
        assert os.stat(s.door).st_mode & 0o077 == 0
        assert os.stat(os.path.dirname(s.door)).st_mode & 0o077 == 0
        r = subprocess.run([AGENT, '--socket', d.socket, '--door', s.door], env=s.env, capture_output=True,
                           text=True, timeout=20 * SLOW)
        assert r.returncode == 0 and 'another agent' in r.stderr, r
        s.agent.send_signal(signal.SIGTERM)
        assert s.agent.wait(20 * SLOW) == 0
        assert not os.path.exists(s.door)
        r = subprocess.run([AGENT, '--nonsense'], capture_output=True, text=True)
        assert r.returncode == 2
        assert subprocess.run([AGENT, '--help'], capture_output=True, text=True).stdout.startswith('usage')


if __name__ == '__main__':
    main([
        the_owner_is_asked_and_answers,
        what_waited_before_the_agent_is_asked_about_and_what_is_answered_elsewhere_goes,
        nobody_else_answers_for_the_owner,
        without_an_agent_or_a_bus_the_answer_is_no,
        the_door_names_apps_that_the_daemon_cannot_see_into,
        it_comes_back_to_a_daemon_that_was_started_again,
        a_session_has_one_agent_and_a_door_only_while_it_runs,
    ])
