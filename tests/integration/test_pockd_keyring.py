#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""The key of a store in a real gnome-keyring, on a bus of its own."""
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import BUILD, SLOW, Daemon, RpcError, main, wait_for  # noqa: E402
from test_pockd_service import Manager  # noqa: E402

POCKCTL = os.path.join(BUILD, 'clients/pockctl/pockctl')
NEEDED = ['gnome-keyring-daemon', 'dbus-daemon', 'busctl']
SECRETS = '/org/freedesktop/secrets'
LOGIN = SECRETS + '/collection/login'
TEXT = 'the swallows came back on the ninth'

# A bus that starts nobody: who is not there stays away.
BUS = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
'''


class Session:
    """A bus, a home and perhaps a keyring."""

    def __init__(self, keyring=True):
        self.dir = tempfile.mkdtemp(prefix='pockd-keyring-')
        os.mkdir(os.path.join(self.dir, 'run'), 0o700)
        path = os.path.join(self.dir, 'bus')
        self.address = 'unix:path=' + path
        conf = os.path.join(self.dir, 'bus.conf')
        with open(conf, 'w') as f:
            f.write(BUS % path)
        self.env = dict(os.environ, HOME=self.dir, XDG_RUNTIME_DIR=os.path.join(self.dir, 'run'),
                        XDG_DATA_HOME=os.path.join(self.dir, 'data'), DBUS_SESSION_BUS_ADDRESS=self.address)
        for name in ('DISPLAY', 'WAYLAND_DISPLAY', 'GNOME_KEYRING_CONTROL', 'XDG_CONFIG_HOME'):
            self.env.pop(name, None)
        self.bus = subprocess.Popen(['dbus-daemon', '--config-file', conf, '--nofork'], env=self.env)
        wait_for('the bus', 20, lambda: os.path.exists(path))
        self.ring = None
        if keyring:
            self.start()

    def start(self):
        self.ring = subprocess.Popen(['gnome-keyring-daemon', '--foreground', '--unlock', '--components=secrets'],
                                     env=self.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
        self.ring.stdin.write(b'open sesame')
        self.ring.stdin.close()
        wait_for('the keyring', 20, lambda: self.call('get-property', SECRETS + '/aliases/default',
                                                      'org.freedesktop.Secret.Collection', 'Locked') == 'b false')

    def call(self, verb, *args):
        r = subprocess.run(['busctl', '--address=' + self.address, verb, 'org.freedesktop.secrets', *args],
                           capture_output=True, text=True)
        return r.stdout.strip() if r.returncode == 0 else None

    def json(self, *args):
        r = subprocess.run(['busctl', '--address=' + self.address, '-j', 'call', 'org.freedesktop.secrets', *args],
                           capture_output=True, text=True)
        assert r.returncode == 0, r
        return json.loads(r.stdout)['data']

    def items(self):
        """Paths of what pockd keeps here, and their attributes."""
        found = self.json(SECRETS, 'org.freedesktop.Secret.Service', 'SearchItems', 'a{ss}', '1', 'application', 'pockd')
        return found[0] + found[1]

    def attributes(self, item):
        r = subprocess.run(['busctl', '--address=' + self.address, '-j', 'get-property', 'org.freedesktop.secrets', item,
                            'org.freedesktop.Secret.Item', 'Attributes'], capture_output=True, text=True)
        return json.loads(r.stdout)['data']

    def lock(self):
        self.json(SECRETS, 'org.freedesktop.Secret.Service', 'Lock', 'ao', '1', LOGIN)

    def unlock(self):
        """As PAM does: a byte that brings our uid, then length, operation 1 and the password."""
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(os.path.join(self.dir, 'run', 'keyring', 'control'))
            c.sendall(b'\0')
            word = b'open sesame'
            c.sendall(struct.pack('>III', 12 + len(word), 1, len(word)) + word)
            assert struct.unpack('>II', c.recv(8)) == (8, 0)

    def stop(self):
        if self.ring:
            self.ring.terminate()
            self.ring.wait(20 * SLOW)
            self.ring = None

    def daemon(self, *args):
        return Daemon(args=['--key-wait-ms', str(int(4000 * SLOW)), *args],
                      env={'DBUS_SESSION_BUS_ADDRESS': self.address, 'CREDENTIALS_DIRECTORY': ''})

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.stop()
        self.bus.terminate()
        self.bus.wait(20 * SLOW)
        shutil.rmtree(self.dir, ignore_errors=True)


def put(d, text=TEXT):
    d.client().call('data.put', create_stream=True, record={
        'uid': os.urandom(16), 'stream': 'notes', 'kind': 'text', 'time': int(time.time() * 1000), 'text': text})


def texts(d):
    c = d.client()
    return [c.call('data.get', ids=[i])['records'][0]['text']
            for i in range(1, c.call('data.count')['records'] + 1)]


def again(d):
    assert d.stop() == 0, d.text()
    d.start()


def refused(d):
    """What a start says that must not succeed."""
    p = subprocess.run(d.command(), env=d.env, capture_output=True, text=True, timeout=90 * SLOW)
    assert p.returncode == 78, p
    return p.stderr


class Waiting:
    """A start that waits for the keyring, as it says."""

    def __init__(self, d, seconds):
        self.d, self.log = d, os.path.join(d.dir, 'waiting')
        with open(self.log, 'w') as f:
            self.proc = subprocess.Popen(d.command() + ['--key-wait-ms', str(min(600000, int(seconds * 1000 * SLOW)))], env=d.env,
                                         stderr=f)
        wait_for('the wait', 20, lambda: 'event=key_waiting' in self.text())
        assert self.proc.poll() is None

    def text(self):
        with open(self.log) as f:
            return f.read()

    def goes_on(self):
        wait_for('the start', 20, lambda: 'event=listening' in self.text())

    def end(self):
        self.proc.terminate()
        return self.proc.wait(30 * SLOW)


def pockctl(d, *args):
    return subprocess.run([POCKCTL, '--socket', d.socket, *args], capture_output=True, text=True, timeout=120 * SLOW)


def key_file(d):
    return os.path.join(d.dir, 'd', 'pockd.key')


def a_new_store_has_its_key_in_the_keyring_and_nowhere_else():
    with Session() as s, s.daemon('--key-source', 'secret-service') as d:
        put(d)
        assert d.client().call('key.show')['source'] == 'secret-service'
        shown = pockctl(d, 'key', 'show')
        assert 'the Secret Service of the session keeps it' in shown.stdout, shown
        assert 'in the Secret Service of the session' in pockctl(d, 'doctor').stdout
        assert not os.path.exists(key_file(d))
        items = s.items()
        assert len(items) == 1, items
        a = s.attributes(items[0])
        assert a['application'] == 'pockd' and a['key'] == d.client().call('key.show')['key'], a
        again(d)
        assert texts(d) == [TEXT]
        # Its digits are in no file of the store and no line of the log.
        digits = secret_of(s, items[0])
        assert len(digits) == 64
        d.stop()
        for root, _, names in os.walk(d.dir):
            for name in names:
                path = os.path.join(root, name)
                if os.path.isfile(path):
                    with open(path, 'rb') as f:
                        data = f.read()
                    assert digits.encode() not in data and bytes.fromhex(digits) not in data, path
        d.start()


def secret_of(s, item):
    """By a plain session, which ends with the connection: one program for both calls."""
    code = ('import dbus\n'
            'bus = dbus.SessionBus()\n'
            'service = dbus.Interface(bus.get_object("org.freedesktop.secrets", "/org/freedesktop/secrets"),'
            ' "org.freedesktop.Secret.Service")\n'
            '_, session = service.OpenSession("plain", dbus.String("", variant_level=1))\n'
            f'item = dbus.Interface(bus.get_object("org.freedesktop.secrets", "{item}"), "org.freedesktop.Secret.Item")\n'
            'print(bytes(item.GetSecret(session)[2]).decode())\n')
    r = subprocess.run(['/usr/bin/python3', '-c', code], env=s.env, capture_output=True, text=True)
    assert r.returncode == 0, r
    return r.stdout.strip()


def a_key_moves_into_the_keyring_and_back():
    with Session() as s, s.daemon() as d:
        put(d)
        assert d.client().call('key.show')['source'] == 'file'
        first = d.client().call('key.show')['key']
        moved = pockctl(d, 'key', 'rotate', '--to', 'secret-service')
        assert moved.returncode == 0 and 'which the Secret Service keeps' in moved.stdout, moved
        assert not os.path.exists(key_file(d)) and len(s.items()) == 1
        put(d, 'two')
        again(d)
        assert texts(d) == [TEXT, 'two']
        # Another one, where it is: the one before it is gone from there.
        changed = d.client().call('key.rotate')
        assert changed['source'] == 'secret-service' and not changed['left'], changed
        items = s.items()
        assert len(items) == 1 and s.attributes(items[0])['key'] == changed['key'] != first
        again(d)
        back = pockctl(d, 'key', 'rotate', '--to', 'file')
        assert back.returncode == 0 and 'keeps' not in back.stdout, back
        assert os.stat(key_file(d)).st_mode & 0o777 == 0o400 and s.items() == []
        s.stop()
        again(d)
        assert texts(d) == [TEXT, 'two']
        wrong = pockctl(d, 'key', 'rotate', '--to', 'moon')
        assert wrong.returncode != 0 and 'must be file or secret-service' in wrong.stderr, wrong


def a_locked_keyring_is_waited_for():
    with Session() as s, s.daemon('--key-source', 'secret-service') as d:
        put(d)
        d.stop()
        s.lock()
        said = refused(d)
        assert 'is locked: unlock it' in said and 'start pockd again' in said and 'nothing was changed' in said, said
        m = Manager()
        d.env.update(m.env)
        w = Waiting(d, 40)
        m.hears('STATUS=Waiting for the Secret Service')
        wait_for('more time', 20, lambda: [x for x in m.listen() if x.startswith('EXTEND_TIMEOUT_USEC=')])
        d.env.pop('NOTIFY_SOCKET')
        s.unlock()
        w.goes_on()
        assert w.end() == 0
        # One that waits can be ended.
        s.lock()
        assert Waiting(d, 600).end() == -signal.SIGTERM
        # Moving a key does not wait for ever either, and changes nothing.
        s.unlock()
        d.start()
        s.lock()
        key = d.client().call('key.show')['key']
        try:
            d.client().call('key.rotate')
            raise AssertionError('it gave a key to a locked keyring')
        except RpcError as e:
            assert e.name == 'CONFLICT' and 'is locked' in e.msg and 'try again' in e.msg, e
        assert d.client().call('key.show')['key'] == key
        s.unlock()
        assert not d.client().call('key.rotate')['left'] and len(s.items()) == 1
        again(d)
        assert texts(d) == [TEXT]


def without_bus_or_keyring_it_says_what_to_do():
    with Session() as s, s.daemon('--key-source', 'secret-service') as d:
        put(d)
        d.stop()
        s.stop()
        said = refused(d)
        assert 'nobody keeps secrets on this session' in said and 'gnome-keyring' in said, said
        address, d.env['DBUS_SESSION_BUS_ADDRESS'] = d.env['DBUS_SESSION_BUS_ADDRESS'], 'unix:path=/nonexistent'
        said = refused(d)
        assert 'there is no session bus' in said and 'nothing was changed' in said, said
        d.env['DBUS_SESSION_BUS_ADDRESS'] = address
        # Who comes while it waits is in time; what is open needs nobody.
        w = Waiting(d, 40)
        s.start()
        w.goes_on()
        s.stop()
        assert texts(d) == [TEXT]
        assert w.end() == 0
        # A new store is not given a key of another kind instead.
        n = s.daemon('--key-source', 'secret-service')
        said = refused(n)
        assert 'needs a first key' in said and 'nobody keeps secrets' in said, said
        assert not os.path.exists(key_file(n))
        shutil.rmtree(n.dir)
        s.start()
        d.start()
        assert texts(d) == [TEXT]


def a_key_that_is_gone_or_another_is_never_replaced():
    with Session() as s, s.daemon('--key-source', 'secret-service') as d:
        put(d)
        item = s.items()[0]
        digits = secret_of(s, item)
        attributes = s.attributes(item)
        d.stop()
        s.json(item, 'org.freedesktop.Secret.Item', 'Delete')
        said = refused(d)
        assert 'is not there any more' in said and attributes['key'] in said and 'nothing was changed' in said, said
        assert s.items() == [] and not os.path.exists(key_file(d))
        # Something else under its name.
        for value, words in ((digits[:-1] + ('0' if digits[-1] != '0' else '1'), 'what is kept under its name is key'),
                             ('open sesame', 'its secret is no key')):
            r = subprocess.run(['/usr/bin/python3', '-c', STORE % (attributes, value)], env=s.env, capture_output=True,
                               text=True)
            assert r.returncode == 0, r
            said = refused(d)
            assert words in said and value not in said, said
        # The right one, put back by hand: there, or as a file.
        r = subprocess.run(['/usr/bin/python3', '-c', STORE % (attributes, digits)], env=s.env, capture_output=True,
                           text=True)
        assert r.returncode == 0, r
        d.start()
        assert texts(d) == [TEXT]
        d.stop()
        s.json(s.items()[0], 'org.freedesktop.Secret.Item', 'Delete')
        with open(key_file(d), 'w') as f:
            f.write(digits + '\n')
        d.start()
        assert texts(d) == [TEXT] and d.client().call('key.show')['source'] == 'file'


STORE = '''
import dbus
bus = dbus.SessionBus()
service = dbus.Interface(bus.get_object("org.freedesktop.secrets", "/org/freedesktop/secrets"),
                         "org.freedesktop.Secret.Service")
_, session = service.OpenSession("plain", dbus.String("", variant_level=1))
c = dbus.Interface(bus.get_object("org.freedesktop.secrets", "/org/freedesktop/secrets/aliases/default"),
                   "org.freedesktop.Secret.Collection")
c.CreateItem({"org.freedesktop.Secret.Item.Label": "mine",
              "org.freedesktop.Secret.Item.Attributes": dbus.Dictionary(%r, signature="ss")},
             (session, dbus.ByteArray(b""), dbus.ByteArray(b"%s"), "text/plain"), True)
'''


def a_kill_while_it_moves_leaves_a_key_that_opens():
    with Session() as s, s.daemon() as d:
        put(d)
        to = ['secret-service', 'file', 'secret-service', 'secret-service', 'file']
        for n in range(15):
            c = d.client()
            c.send('key.rotate', to=to[n % len(to)])
            time.sleep(0.004 * n)
            d.kill()
            d.start()
            assert texts(d) == [TEXT]
        # What was cut short left nothing behind.
        d.client().call('key.rotate', to='secret-service')
        again(d)
        assert len(s.items()) == 1 and not os.path.exists(key_file(d))
        assert not d.client().call('key.show')['left']


def missing():
    for name in NEEDED:
        if not shutil.which(name):
            return name
    if subprocess.run(['/usr/bin/python3', '-c', 'import dbus'], capture_output=True).returncode:
        return 'python3-dbus'
    return None


if __name__ == '__main__':
    if missing():
        print('1..0 # skipped: %s is not installed' % missing())
        sys.exit(0)
    main([
        a_new_store_has_its_key_in_the_keyring_and_nowhere_else,
        a_key_moves_into_the_keyring_and_back,
        a_locked_keyring_is_waited_for,
        without_bus_or_keyring_it_says_what_to_do,
        a_key_that_is_gone_or_another_is_never_replaced,
        a_kill_while_it_moves_leaves_a_key_that_opens,
    ])
